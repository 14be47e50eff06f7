"""The one clock of all nodes on a store: how far it was moved forward is kept there, so that time never goes back.

A node that started again without it would find leases, retries and timers of a future that does not come.

("clock",)   f64 big-endian: seconds that the clock is ahead of the host's
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

from penstock.clock import Clock
from penstock.core.worker import worker
from penstock.store import Store, Transaction
from penstock.store.tuples import pack

if TYPE_CHECKING:
    from penstock.core.node import Node

KEY = pack(("clock",))
_LOOK_S = 60.0


async def catch_up(store: Store, clock: Clock) -> None:
    """Move the clock to where the store says that it is."""
    behind_s = await store.transact(_ahead_s, read_only=True) - clock.ahead_s
    if behind_s > 0:
        clock.advance(behind_s)


async def advance(node: Node, seconds: float) -> float:
    """Move the clock of every node forward, durably. Returns the new time."""
    ahead_s = node.clock.ahead_s

    def body(txn: Transaction) -> None:
        txn.set(KEY, struct.pack(">d", max(_ahead_s(txn), ahead_s) + seconds))

    await node.store.transact(body)
    await catch_up(node.store, node.clock)
    return node.clock.now()


@worker("core:clock")
async def follow(node: Node) -> None:
    """Move with the other nodes."""
    while True:
        watch = asyncio.create_task(node.store.watch(KEY, _LOOK_S))
        try:
            await asyncio.sleep(0)
            await catch_up(node.store, node.clock)
            await watch
        finally:
            watch.cancel()


def _ahead_s(txn: Transaction) -> float:
    stored = txn.get(KEY)
    return 0.0 if stored is None else float(struct.unpack(">d", stored)[0])
