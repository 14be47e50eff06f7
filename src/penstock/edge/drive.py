"""Running a coroutine on the spot, without a Task for as long as it does not have to wait.

Most requests never wait: their answer is known inside the very callback that brought their last byte. A Task for them
would cost more than their routing. One that does wait becomes a Task at its first await and goes on as usual.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class _StandIn:
    """What `asyncio.current_task()` gives while there is no Task yet, so that `asyncio.timeout` and TaskGroup work.

    Both keep what they were given and cancel it later; by then there is a Task to pass that on to. It has what those two
    ask of a task, and no more.
    """

    __slots__ = ("task",)

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None

    def cancel(self, msg: Any = None) -> bool:
        return self.task is not None and self.task.cancel(msg)

    def done(self) -> bool:
        return self.task is not None and self.task.done()

    def cancelling(self) -> int:
        return 0 if self.task is None else self.task.cancelling()

    def uncancel(self) -> int:
        return 0 if self.task is None else self.task.uncancel()


def drive(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], ended: Callable[[T | None, Any], None]
) -> asyncio.Task[None] | None:
    """Run `coroutine`; `ended(result, None)` or `ended(None, exception)` is called once, maybe before this returns.

    Returns the Task where it had to wait, else None. Not to be called from inside a Task.
    """
    stand_in = _StandIn()
    asyncio._enter_task(loop, stand_in)  # type: ignore[arg-type]
    try:
        waits_for = coroutine.send(None)
    except StopIteration as stop:
        asyncio._leave_task(loop, stand_in)  # type: ignore[arg-type]
        ended(stop.value, None)
        return None
    except BaseException as error:
        asyncio._leave_task(loop, stand_in)  # type: ignore[arg-type]
        ended(None, error)
        if not isinstance(error, Exception | asyncio.CancelledError):
            raise
        return None
    asyncio._leave_task(loop, stand_in)  # type: ignore[arg-type]
    stand_in.task = task = loop.create_task(_as_task(coroutine, waits_for, ended))
    return task


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
