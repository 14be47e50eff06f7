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
