"""Time. Everything that asks what time it is, or waits for a time, asks a `Clock`; nothing else reads the wall clock.

A clock can be moved forward (`advance`), which wakes whoever waits on it, so that expiry, retention, schedules and
retries can be seen to work in a test. This file knows nothing of storage or services.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time


class Clock:
    """Wall time that can be moved forward, and timers that follow it."""

    def __init__(self) -> None:
        self._offset_s = 0.0
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []
        self._ids = itertools.count()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._offset_s

    def host_now(self) -> float:
        """Seconds since the epoch as the rest of the world sees them, never moved: to compare with others' times."""
        return time.time()

    @property
    def ahead_s(self) -> float:
        """Seconds that the clock has been moved forward in all."""
        return self._offset_s

    def monotonic(self) -> float:
        """Seconds that only grow and are never moved: for durations and time-outs of real I/O."""
        return time.monotonic()

    def advance(self, seconds: float) -> float:
        """Move the clock forward and wake every sleeper whose time has come. Returns the new time.

        Raises ValueError for a negative step: time never goes back.
        """
        if seconds < 0:
            raise ValueError("the clock only moves forward")
        self._offset_s += seconds
        now = self.now()
        while self._waiters and self._waiters[0][0] <= now:
            _, _, future = heapq.heappop(self._waiters)
            if not future.done():
                future.set_result(None)
        return now

    async def sleep_until(self, due: float) -> None:
        """Return once `now() >= due`, by the passing of time or by `advance`."""
        while (remaining_s := due - self.now()) > 0:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiters, (due, next(self._ids), future))
            try:
                await asyncio.wait([future], timeout=remaining_s)
            finally:
                if not future.done():
                    future.cancel()
                    self._waiters = [w for w in self._waiters if w[2] is not future]
                    heapq.heapify(self._waiters)

    async def sleep(self, seconds: float) -> None:
        """Sleep `seconds` of this clock's time."""
        await self.sleep_until(self.now() + seconds)
