"""Running a coroutine on the spot, without a Task for as long as it does not have to wait twice.

Most requests never wait: their answer is known inside the very callback that brought their last byte. A Task for them
would cost more than their routing. Most others wait once, for the disk, and are carried on by the very future that they
wait for. One that waits again becomes a Task and goes on as usual.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Driven(Generic[T]):
    """A coroutine that is being run. It is what `asyncio.current_task()` gives while there is no Task, so that
    `asyncio.timeout` and TaskGroup work: it has what those two ask of a task, and what its owner needs, and no more.

    They keep what they were given and cancel it later, by when there may be a Task to pass that on to.
    """

    _waits_for: asyncio.Future[Any] | None = None
    _must_cancel = False
    _cancels = 0
    _over = False
    _then: list[Callable[[Any], object]] | None = None
    task: asyncio.Task[Any] | None = None
    # (Defaults of the class, as most requests never need an object's own.)

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T],
        ended: Callable[[T | None, Any], None],
    ) -> None:
        self._loop = loop
        self._coroutine: Coroutine[Any, Any, T] | None = coroutine
        self._ended: Callable[[T | None, Any], None] | None = ended

    def cancel(self, msg: Any = None) -> bool:
        """As `Task.cancel`; without effect before the first wait."""
        if self.task is not None:
            return self.task.cancel(msg)
        if self._waits_for is None:
            return False
        self._cancels += 1
        if not self._waits_for.cancel(msg):
            self._must_cancel = True  # it was done already, and our turn is to come
        return True

    def done(self) -> bool:
        return self._over

    def cancelling(self) -> int:
        return self._cancels + (0 if self.task is None else self.task.cancelling())

    def uncancel(self) -> int:
        if self._cancels:
            self._cancels -= 1
        elif self.task is not None:
            self.task.uncancel()
        return self.cancelling()

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Have `callback` called with this object once it has ended; for one that had to wait."""
        self._then = [*(self._then or ()), callback]

    def begin(self) -> bool:
        """Run up to the first wait. Returns whether it has ended."""
        coroutine, loop = self._coroutine, self._loop
        assert coroutine is not None
        asyncio._enter_task(loop, self)  # type: ignore[arg-type]
        try:
            waits_for = coroutine.send(None)
        except BaseException as how:
            asyncio._leave_task(loop, self)  # type: ignore[arg-type]
            self._stopped(how)
            return True
        asyncio._leave_task(loop, self)  # type: ignore[arg-type]
        if getattr(waits_for, "_asyncio_future_blocking", None):
            waits_for._asyncio_future_blocking = False  # as a Task does: it is being waited for
            self._waits_for = waits_for
            waits_for.add_done_callback(self._go_on)
        else:
            self.task = loop.create_task(_as_task(coroutine, waits_for, self._end))
        return False

    def _go_on(self, _awaited: object) -> None:
        """Run on. Who waits again becomes a Task."""
        coroutine, loop = self._coroutine, self._loop
        assert coroutine is not None
        asyncio._enter_task(loop, self)  # type: ignore[arg-type]
        try:
            waits_for = coroutine.throw(asyncio.CancelledError()) if self._must_cancel else coroutine.send(None)
        except BaseException as how:
            asyncio._leave_task(loop, self)  # type: ignore[arg-type]
            self._stopped(how)
            return
        asyncio._leave_task(loop, self)  # type: ignore[arg-type]
        self.task = loop.create_task(_as_task(coroutine, waits_for, self._end))

    def _stopped(self, how: BaseException) -> None:
        if type(how) is StopIteration:
            self._end(how.value, None)
            return
        self._end(None, how)
        if not isinstance(how, Exception | asyncio.CancelledError):
            raise how

    def _end(self, result: T | None, error: Any) -> None:
        ended = self._ended
        assert ended is not None
        # Whoever keeps this object a while longer does not keep the request with it.
        self._ended = self._coroutine = None
        self._over = True
        if self._waits_for is not None:
            then, self._waits_for, self._then = self._then, None, None
            for callback in then or ():
                callback(self)
        ended(result, error)


def drive(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], ended: Callable[[T | None, Any], None]
) -> Driven[T] | None:
    """Run `coroutine`; `ended(result, None)` or `ended(None, exception)` is called once, maybe before this returns.

    Returns what is under way where it had to wait, to be kept (the loop itself holds it weakly, if at all); else None. Not
    to be called from inside a Task.
    """
    driven = Driven(loop, coroutine, ended)
    return None if driven.begin() else driven


async def _as_task(coroutine: Coroutine[Any, Any, T], waits_for: Any, ended: Callable[[T | None, Any], None]) -> None:
    try:
        result = await _resume(coroutine, waits_for)
    except BaseException as error:
        ended(None, error)
        if not isinstance(error, Exception):
            raise
    else:
        ended(result, None)


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Carry on with a coroutine that has yielded already: hand its future to the Task, then what it yields next.

    The future still says `_asyncio_future_blocking`, as nobody has looked at it, so the Task takes it as its own.
    """
    while True:
        try:
            try:
                value = yield waits_for
            except BaseException as error:
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(value)
        except StopIteration as stop:
            result: T = stop.value
            return result
