"""What runs by itself: forgetting the tokens of transactions."""

from __future__ import annotations

from penstock.core.node import Node
from penstock.core.worker import worker
from penstock.services.dynamodb.tokens import forget_expired

_EVERY_S = 60.0


@worker("dynamodb:tokens")
async def forget_tokens(node: Node) -> None:
    """Once a minute, remove request tokens that are past their ten minutes. Doing it twice does no harm."""
    while True:
        await node.clock.sleep(_EVERY_S)
        while await node.store.transact(lambda txn: forget_expired(txn, node.clock.now())):
            pass
