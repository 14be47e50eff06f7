"""How fast functions may be invoked, and how fast their concurrency may grow."""

from __future__ import annotations

import pytest

from penstock.services.lambda_.pace import Pace
from penstock.wire.errors import AwsError

F, G = ("1", "r", "f"), ("1", "r", "g")
ACCOUNT = ("1", "r")


class At:
    """A clock that stands."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time


def reason(pace: Pace, *arguments: object, is_reserved: bool = False) -> str:
    with pytest.raises(AwsError) as refusal:
        pace.check(*arguments, is_reserved=is_reserved)  # type: ignore[arg-type]
    return str(refusal.value.members["Reason"])


def test_ten_invocations_a_second_for_each_of_the_concurrency() -> None:
    clock = At()
    pace = Pace(clock)  # type: ignore[arg-type]
    for _ in range(20):
        pace.check(F, 2, F, 1, is_reserved=True)
    assert reason(pace, F, 2, F, 1, is_reserved=True) == "ReservedFunctionInvocationRateLimitExceeded"
    for _ in range(10_000):
        pace.check(ACCOUNT, 3, G, 1, is_reserved=False)
    assert reason(pace, ACCOUNT, 3, G, 1) == "FunctionInvocationRateLimitExceeded"
    clock.time += 1
    pace.check(F, 2, F, 1, is_reserved=True)
    assert reason(pace, F, 0, F, 1, is_reserved=True) == "ReservedFunctionInvocationRateLimitExceeded"


def test_concurrency_grows_by_a_thousand_and_then_a_hundred_a_second() -> None:
    clock = At()
    pace = Pace(clock)  # type: ignore[arg-type]
    for running in range(1, 1001):
        pace.check(ACCOUNT, 5000, F, running, is_reserved=False)
    assert reason(pace, ACCOUNT, 5000, F, 1001) == "ConcurrentInvocationLimitExceeded"
    pace.check(ACCOUNT, 5000, G, 1, is_reserved=False)
    pace.check(ACCOUNT, 5000, F, 900, is_reserved=False)
    clock.time += 0.5
    for running in range(1001, 1051):
        pace.check(ACCOUNT, 5000, F, running, is_reserved=False)
    assert reason(pace, ACCOUNT, 5000, F, 1051) == "ConcurrentInvocationLimitExceeded"
    clock.time += 700
    for running in range(1051, 2051):
        pace.check(ACCOUNT, 5000, F, running, is_reserved=False)
