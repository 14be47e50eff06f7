"""An event loop whose time stands still while anything is to be done, and jumps when nothing is.

Threads' work is done on the spot, so that a seed always gives the same run, however busy the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
from collections.abc import Callable, Iterator
from typing import Any

from penstock.clock import Clock

EPOCH_S = 1_800_000_000.0
"""When every simulation begins."""


class Stuck(AssertionError):
    """Everybody waits for somebody else, or the simulation took longer (of its own time) than it may."""


@contextlib.contextmanager
def rerunnable(seed: int) -> Iterator[None]:
    """What fails inside says how to run it again."""
    random.seed(seed)
    try:
        yield
    except BaseException as error:
        error.add_note(f"PENSTOCK_SEED={seed} runs this again")
        raise


class VirtualLoop(asyncio.SelectorEventLoop):
    """`limit_s`: the most seconds of its own time that it runs."""

    def __init__(self, limit_s: float) -> None:
        self.now_s = 0.0
        self.limit_s = limit_s
        super().__init__(_Jumping(self))

    @classmethod
    @contextlib.contextmanager
    def running(cls, limit_s: float) -> Iterator[VirtualLoop]:
        """A loop, and at its end nothing left of it."""
        loop = cls(limit_s)
        try:
            yield loop
        finally:
            loop.limit_s = float("inf")
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def time(self) -> float:
        return self.now_s

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if found or timeout == 0:
            return found
        if timeout is None:
            raise Stuck("a deadlock: nothing is to be done, now or later")
        self._loop.now_s += timeout
        if self._loop.now_s > self._loop.limit_s:
            raise Stuck(f"not done after {self._loop.limit_s:g} s of the simulation's time")
        return []


class VirtualClock(Clock):
    """A node's clock in that loop; `advance` moves it as ever."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def now(self) -> float:
        return self.host_now() + self.ahead_s

    def host_now(self) -> float:
        return EPOCH_S + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()
