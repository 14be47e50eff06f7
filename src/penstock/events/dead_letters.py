"""Deliveries that were given up on, for people to look at and to send again."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.node import Node
from penstock.events.outbox import QUEUE, decode
from penstock.store import Transaction
from penstock.store.queue import DeadLetter

PAGE = 100


async def overview(node: Node, after: str = "") -> dict[str, Any]:
    """How many deliveries there are, and the dead ones buried behind the one with key `after` (hex), oldest first.

    Raises ValueError for an `after` that is no hex.
    """
    begin = bytes.fromhex(after)

    def body(txn: Transaction) -> dict[str, Any]:
        counts = QUEUE.counts(txn)
        letters = QUEUE.dead_letters(txn, begin, PAGE)
        return {
            "available": counts.available,
            "delayed": counts.delayed,
            "in_flight": counts.in_flight,
            "dead": counts.dead,
            "dead_letters": [_view(letter) for letter in letters],
        }

    return await node.store.transact(body, read_only=True)


async def redrive(node: Node, keys: list[str]) -> int:
    """Have dead deliveries made after all, last in their lanes. Returns how many of the keys (hex) there were.

    Raises ValueError for a key that is no hex.
    """
    wanted = [bytes.fromhex(key) for key in keys]
    now = node.clock.now()
    return await node.store.transact(lambda txn: sum(QUEUE.redrive(txn, key, due=now) for key in wanted))


def _view(letter: DeadLetter) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "key": letter.key.hex(),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "emitted_at": letter.enqueued_at,
        "buried_at": letter.buried_at,
    }
    try:
        delivery = decode(letter.body)
    except msgspec.DecodeError:
        return shown
    return shown | {
        "call": f"{delivery.service}:{delivery.operation}",
        "account": delivery.account,
        "region": delivery.region,
        "source": delivery.source_arn or delivery.principal,
        "lane": delivery.lane,
    }
