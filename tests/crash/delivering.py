"""A node that does nothing but emit and deliver, to be killed by test_deliveries.py: python delivering.py DATA FIRST.

Emits deliveries numbered from FIRST on in three lanes, two a transaction, and says so once that is durable. Each call
writes down that it was made, in order. With FIRST = -1 it emits nothing, and ends when the outbox is empty.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from penstock.clock import Clock
from penstock.config import Settings
from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.operation import operation
from penstock.events import consumer
from penstock.events.delivery import deliver
from penstock.events.outbox import QUEUE, Delivery, emit
from penstock.store.api import Transaction
from penstock.store.open import open_store
from penstock.telemetry import Telemetry
from penstock.wire.errors import AwsError

MADE = b"made"


@operation("testing:Receive", action="")
async def receive(call: Call, params: dict[str, Any]) -> dict[str, Any]:
    """Every seventh fails at its first try, so that retries are among what a crash interrupts."""
    n = params["n"]

    def body(txn: Transaction) -> bool:
        tried = b"tried" + n.to_bytes(4, "big")
        if n % 7 == 0 and txn.get(tried) is None:
            txn.set(tried, b"")
            return False
        txn.append(MADE, n.to_bytes(4, "big"))
        return True

    await asyncio.sleep(0.005)
    if not await call.store.transact(body):
        raise AwsError("SlowDown", "", 503)
    return {}


def delivery(n: int) -> Delivery:
    return Delivery(
        service="testing", operation="Receive", params={"n": n}, principal="s3.amazonaws.com",
        account="000000000000", region="us-east-1", lane=f"lane{n // 2 % 3}",
    )  # fmt: skip


async def emitting(node: Node, n: int) -> None:
    while True:

        def body(txn: Transaction, n: int = n) -> None:
            for i in (n, n + 1):
                emit(txn, delivery(i), now=node.clock.now())

        await node.store.transact(body)
        print(n, n + 1, flush=True)
        n += 2
        await asyncio.sleep(0.005)


async def main(data: Path, first: int) -> None:
    store = await open_store("", data)
    # Short, so that the next run soon has what this one held; long, where the clock runs a hundred times too fast.
    consumer.LEASE_S = 0.6 if first >= 0 else 60.0
    nothing: Any = None
    node = Node(Settings(), Clock(), store, nothing, nothing, nothing, Telemetry())
    tasks = [asyncio.create_task(deliver(node))]
    if first >= 0:
        tasks.append(asyncio.create_task(emitting(node, first)))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        raise SystemExit("it ended by itself")
    while True:
        counts = await store.transact(QUEUE.counts)
        if counts.available + counts.delayed + counts.in_flight == 0:
            break
        node.clock.advance(1.0)
        await asyncio.sleep(0.01)
    made = await store.transact(lambda txn: [value for _, value in txn.scan(MADE, MADE + b"\xff")])
    print("made", *(int.from_bytes(value, "big") for value in made), flush=True)
    print("dead", counts.dead, flush=True)
    tasks[0].cancel()
    await asyncio.wait(tasks)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
