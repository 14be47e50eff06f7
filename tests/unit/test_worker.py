"""Workers end when they are told to, also one that fails while it is being cancelled."""

from __future__ import annotations

import asyncio

import pytest

from bare_node import node  # noqa: F401  (a fixture)
from penstock.core.node import Node
from penstock.core.worker import WORKERS, run_workers
from penstock.store.api import EngineFailed


async def fails_at_the_end(node: Node) -> None:  # noqa: F811
    async def child() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise EngineFailed("nothing can be given back")

    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        group.create_task(asyncio.sleep(3600))


async def test_one_that_fails_while_cancelled_ends(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    for name in list(WORKERS):
        monkeypatch.delitem(WORKERS, name)
    monkeypatch.setitem(WORKERS, "testing:worker", fails_at_the_end)
    workers = asyncio.create_task(run_workers(node))
    await asyncio.sleep(0.01)
    workers.cancel()
    done, _ = await asyncio.wait([workers], timeout=5)
    assert done, "it was started again"
    assert workers.cancelled()


@pytest.mark.parametrize(
    ("also", "traceback"), [(EngineFailed("the disk is full"), False), (KeyError("a mistake"), True)]
)
async def test_only_our_own_mistakes_bring_a_traceback(
    node: Node,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    also: Exception,
    traceback: bool,
) -> None:
    async def fails(node: Node) -> None:
        async def child(error: Exception) -> None:
            raise error

        async with asyncio.TaskGroup() as group:
            group.create_task(child(EngineFailed("the disk is full")))
            group.create_task(child(also))

    for name in list(WORKERS):
        monkeypatch.delitem(WORKERS, name)
    monkeypatch.setitem(WORKERS, "testing:worker", fails)
    workers = asyncio.create_task(run_workers(node))
    await asyncio.sleep(0.01)
    workers.cancel()
    await asyncio.wait([workers], timeout=5)
    failures = [record for record in caplog.records if "worker testing:worker failed" in record.getMessage()]
    assert [record.exc_info is not None for record in failures] == [traceback]
