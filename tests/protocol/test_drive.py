"""Coroutines run on the spot: no Task while nothing has to be waited for, and a real one from the first wait on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from penstock.edge.drive import drive

Ran = tuple[Any, BaseException | None, bool]


async def run(coroutine: Coroutine[Any, Any, Any], then: Callable[[asyncio.Task[None]], Any] | None = None) -> Ran:
    """(result, exception, whether it ended on the spot): driven from a callback of the loop, as the listener does."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    at_once: list[bool] = []

    def begin() -> None:
        task = drive(loop, coroutine, lambda result, error: ended.set_result((result, error)))
        at_once.append(task is None)
        if task is not None and then is not None:
            loop.call_later(0.02, then, task)

    loop.call_soon(begin)
    result, error = await asyncio.wait_for(ended, 5)
    return result, error, at_once[0]


async def plain() -> str:
    return "done"


async def waits() -> str:
    await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    return await plain()


async def fails() -> None:
    raise KeyError("at once")


async def fails_later() -> None:
    await asyncio.sleep(0.01)
    raise KeyError("later")


async def in_a_group() -> int:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(waits()) for _ in range(3)]
    return sum(len(task.result()) for task in tasks)


async def in_a_failing_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fails_later())
        await asyncio.sleep(10)


async def runs_out_of_time() -> str:
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(10)
    except TimeoutError:
        await asyncio.sleep(0)
        return "too late"
    return "no"


async def two_time_outs() -> str:
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(1)
    return "out"


async def awaits_a_failing_future() -> str:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_exception, ValueError("x"))
    try:
        await future
    except ValueError:
        return "caught"
    return "no"


@pytest.mark.parametrize(
    ("body", "result", "at_once"),
    [
        (plain, "done", True), (waits, "done", False), (in_a_group, 12, False), (runs_out_of_time, "too late", False),
        (two_time_outs, "out", False), (awaits_a_failing_future, "caught", False),
    ],
)  # fmt: skip
async def test_results(body: Callable[[], Coroutine[Any, Any, Any]], result: Any, at_once: bool) -> None:
    assert await run(body()) == (result, None, at_once)


async def test_exceptions() -> None:
    _, error, at_once = await run(fails())
    assert (str(error), at_once) == ("'at once'", True)
    _, error, at_once = await run(fails_later())
    assert (str(error), at_once) == ("'later'", False)
    _, error, _ = await run(in_a_failing_group())
    assert isinstance(error, ExceptionGroup)


async def test_cancellation() -> None:
    cleaned: list[str] = []

    async def holds() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0)
            cleaned.append("yes")

    _, error, _ = await run(holds(), lambda task: task.cancel())
    assert isinstance(error, asyncio.CancelledError)
    assert cleaned == ["yes"]


async def test_a_thousand_at_once() -> None:
    async def some(n: int) -> int:
        await asyncio.sleep(0.001 * (n % 7))
        return n

    found: list[Awaitable[Ran]] = [run(some(n)) for n in range(1000)]
    assert [ran[0] for ran in await asyncio.gather(*found)] == list(range(1000))
