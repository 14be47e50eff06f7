"""What runs by itself: forgetting the tokens of transactions, filling new indexes."""

from __future__ import annotations

import asyncio

from penstock.core.node import Node
from penstock.core.worker import worker
from penstock.services.dynamodb import keys
from penstock.services.dynamodb.indexes import fill_some
from penstock.services.dynamodb.tokens import forget_expired

_EVERY_S = 60.0


@worker("dynamodb:tokens")
async def forget_tokens(node: Node) -> None:
    """Once a minute, remove request tokens that are past their ten minutes. Doing it twice does no harm."""
    while True:
        await node.clock.sleep(_EVERY_S)
        while await node.store.transact(lambda txn: forget_expired(txn, node.clock.now())):
            pass


@worker("dynamodb:indexes")
async def fill_indexes(node: Node) -> None:
    """Fill global indexes that were added to tables with data, a part at a time. Two nodes may do it together."""
    while True:
        # Watched before it is looked at, so that what is added in between is not missed.
        changed = asyncio.create_task(node.store.watch(keys.BACKFILLS, _EVERY_S))
        try:
            await asyncio.sleep(0)
            while await node.store.transact(fill_some):
                pass
            await changed
        finally:
            changed.cancel()
