"""What runs by itself: a service's background loops, started with the node and stopped with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from penstock.store.api import StoreError

if TYPE_CHECKING:
    from penstock.core.node import Node

log = logging.getLogger(__name__)

_FIRST_WAIT_S = 1.0
_MOST_WAIT_S = 10.0

Loop: TypeAlias = Callable[["Node"], Awaitable[None]]
WORKERS: dict[str, Loop] = {}


def worker(name: str) -> Callable[[Loop], Loop]:
    """Register `async def f(node)` to run for as long as the node does. It is cancelled at shutdown."""

    def register(loop: Loop) -> Loop:
        if name in WORKERS:
            raise RuntimeError(f"worker {name} is registered twice")
        WORKERS[name] = loop
        return loop

    return register


async def run_workers(node: Node) -> None:
    """Run every registered worker until cancelled. One that fails is logged and started again, soon at first."""
    async with asyncio.TaskGroup() as group:
        for name, loop in WORKERS.items():
            group.create_task(_supervise(name, loop, node), name=f"worker:{name}")


async def _supervise(name: str, loop: Loop, node: Node) -> None:
    wait_s = _FIRST_WAIT_S
    while True:
        began_s = node.clock.monotonic()
        try:
            await loop(node)
            return
        except Exception as error:
            if (outside := _outside(error)) is not None:
                # The program is not to blame: no traceback, and not every second for as long as a database is away.
                log.error("worker %s failed; starting it again: %s", name, outside)
            else:
                log.exception("worker %s failed; starting it again", name)
        node.telemetry.count("penstock_worker_failures_total", worker=name)
        if (task := asyncio.current_task()) is not None and task.cancelling():
            # It failed while it was being cancelled, and a TaskGroup in it told of the failure alone.
            raise asyncio.CancelledError
        if node.clock.monotonic() - began_s > _MOST_WAIT_S:
            wait_s = _FIRST_WAIT_S
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, _MOST_WAIT_S)


def _outside(error: Exception) -> Exception | None:
    """The store's or the machine's error that this is, or that a group of tasks consists of; None of any other."""
    if isinstance(error, ExceptionGroup):
        found = [_outside(inner) for inner in error.exceptions]
        return None if None in found else found[0]
    return error if isinstance(error, (StoreError, OSError)) else None
