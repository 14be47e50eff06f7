"""How fast functions may be invoked, and how fast their concurrency may grow.

- Ten times the concurrency that an invocation counts against, in invocations a second.
- A function's concurrency grows by 1,000 in ten seconds: a bucket of 1,000, filled up by 100 a second.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html, "Concurrency and requests per second";
https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html. Counted by each node for itself, as concurrency is.
"""

from __future__ import annotations

from penstock.clock import Clock
from penstock.wire.errors import AwsError

REQUESTS_FOR_EACH = 10
QUOTA = 1000
"""AWS's for an account: where the settings allow less to spare the host, the rate stays what it is."""
GROWTH_AT_ONCE = 1000
GROWTH_PER_S = 100.0
FORGOTTEN_AFTER_S = 600.0
_KNOWN_MAX = 10_000


def throttled(reason: str) -> AwsError:
    """https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html, TooManyRequestsException."""
    return AwsError("TooManyRequestsException", "Rate Exceeded.", 429, members={"Reason": reason, "Type": "User"})


class _Growth:
    """How far a function's concurrency has grown, and how much further it may at once."""

    __slots__ = ("at", "most", "tokens")

    def __init__(self, now: float) -> None:
        self.most = 0
        self.tokens = float(GROWTH_AT_ONCE)
        self.at = now


class Pace:
    """What this process has let in, second by second and function by function."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = 0
        self._let_in: dict[tuple[str, ...], int] = {}
        self._growth: dict[tuple[str, str, str], _Growth] = {}

    def check(
        self, key: tuple[str, ...], most: int, function: tuple[str, str, str], running: int, *, is_reserved: bool
    ) -> None:
        """Let one more in. key, most: what it counts against. running: of the function, with this one.

        Raises AwsError TooManyRequestsException.
        """
        now = self._clock.now()
        if int(now) != self._second:
            self._second = int(now)
            self._let_in.clear()
        count = self._let_in.get(key, 0) + 1
        if count > REQUESTS_FOR_EACH * (most if is_reserved else max(most, QUOTA)):
            kind = (
                "ReservedFunctionInvocationRateLimitExceeded" if is_reserved else "FunctionInvocationRateLimitExceeded"
            )
            raise throttled(kind)
        growth = self._growth.get(function)
        if growth is None or running > growth.most:
            self._grow(function, running, now)
        self._let_in[key] = count

    def _grow(self, function: tuple[str, str, str], running: int, now: float) -> None:
        growth = self._growth.get(function)
        if growth is None or now - growth.at > FORGOTTEN_AFTER_S:
            if len(self._growth) >= _KNOWN_MAX:
                self._growth.clear()
            growth = self._growth[function] = _Growth(now)
        growth.tokens = min(GROWTH_AT_ONCE, growth.tokens + (now - growth.at) * GROWTH_PER_S)
        growth.at = now
        if growth.tokens < 1:
            raise throttled("ConcurrentInvocationLimitExceeded")
        growth.tokens -= 1
        growth.most = running
