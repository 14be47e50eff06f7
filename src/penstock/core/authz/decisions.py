"""The recent decisions of this process, for `/_penstock/authz`. A ring in memory: what is older is gone."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import NamedTuple


class Decided(NamedTuple):
    """One decision. at: seconds since the epoch. reason: "" where allowed, else what denied or was missing."""

    at: float
    request_id: str
    principal: str
    action: str
    resource: str
    allowed: bool
    reason: str


class Decisions:
    """A bounded ring of decisions. Root's own calls are not in it: nothing was decided there."""

    __slots__ = ("ring",)

    def __init__(self, size: int = 1000) -> None:
        self.ring: deque[tuple[float, str, str, str, str, bool, str]] = deque(maxlen=size)
        """Rows in the order of `Decided`'s fields, left plain: writing one is on the path of every request."""

    def recent(self, limit: int = 100, *, denied_only: bool = False) -> list[Decided]:
        """The newest first, at most `limit`."""
        found = (Decided(*row) for row in reversed(self.ring))
        return list(islice((row for row in found if not (denied_only and row.allowed)), limit))
