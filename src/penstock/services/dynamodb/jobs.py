"""What takes long: backups, restores, exports, imports. Each is a message of a durable queue and a record of its own.

A job works in steps, each a transaction that notes how far it is, so that after a crash another node, or this one when it
is back, goes on from there. Every step is fenced: a node that was thought dead and is not cannot do it twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from penstock.core.call import Call
from penstock.events.consumer import LEASE_S, Consumer
from penstock.services.dynamodb import keys
from penstock.store.api import Transaction
from penstock.store.queue import Leased, Queue
from penstock.wire.errors import AwsError

if TYPE_CHECKING:
    from penstock.core.node import Node

QUEUE = Queue(keys.JOBS)
AT_ONCE = 4
"""Jobs under way on one node."""
KEPT_DAYS = 90
"""How long an export or import can be described."""
_FORGOTTEN_AT_ONCE = 20
_SETTLED_S = 1.0
MOST_RUNNING = {"restore": 50, "import": 50, "export": 300}
"""AWS's quotas of what an account may have under way in a region:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html"""


class Job(msgspec.Struct, array_like=True):
    """What a message of the queue says. kind: "backup", "restore", "export" or "import"; id: of its record."""

    kind: str
    account: str
    region: str
    id: str


class Step:
    """A job in a node's hands."""

    def __init__(self, node: Node, leased: Leased) -> None:
        self.node = node
        self.job: Job = _decode(leased.body)
        self._leased = leased

    def check(self, txn: Transaction) -> None:
        """To be called in every transaction that writes. Raises LeaseLost if another node has the job now."""
        QUEUE.extend(txn, self._leased, self.node.clock.now() + LEASE_S)

    def end(self, txn: Transaction) -> None:
        """The job is done with this transaction, well or not. Raises LeaseLost."""
        QUEUE.done(txn, self._leased)
        txn.clear(keys.running(self.job.account, self.job.region, self.job.kind, self.job.id))


Handler: TypeAlias = Callable[[Step], Awaitable[None]]
HANDLERS: dict[str, Handler] = {}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Job).decode


def handles(kind: str) -> Callable[[Handler], Handler]:
    """Register who does jobs of a kind: it works until the job is ended, and may be called again after a crash."""

    def register(handler: Handler) -> Handler:
        HANDLERS[kind] = handler
        return handler

    return register


def start(txn: Transaction, call: Call, kind: str, id: str) -> None:
    """Have the job done once this transaction has committed. Raises LimitExceededException past the quota."""
    most = MOST_RUNNING.get(kind, 0)
    if most and call.node.settings.limits:
        running = sum(1 for _ in txn.scan(*keys.all_running(call.account, call.region, kind), most))
        if running >= most:
            raise AwsError(
                "LimitExceededException", f"Subscriber limit exceeded: There is a limit of {most} concurrent {kind}s"
            )
    _forget_old(txn, call, kind)
    txn.set(keys.running(call.account, call.region, kind, id), b"")
    QUEUE.put(txn, _encode(Job(kind, call.account, call.region, id)), due=call.node.clock.now())


def _forget_old(txn: Transaction, call: Call, kind: str) -> None:
    """Remove exports or imports of the account that are too old to be described, a few each time: ids begin with a time."""
    last = keys.transfer(call.account, call.region, kind, f"{int((call.now - KEPT_DAYS * 86400) * 1000):014d}")
    for key, _ in list(txn.scan(keys.transfers(call.account, call.region, kind)[0], last, _FORGOTTEN_AT_ONCE)):
        txn.clear(key)


class _Here:
    """Whether this process does jobs."""

    def __init__(self, node: Node) -> None:
        self.working = False


async def settle(call: Call, kind: str, id: str) -> None:
    """Wait a moment for a job that was just started: of a small table it is done before its caller can ask."""
    if not call.node.own(_Here).working:
        return
    key = keys.running(call.account, call.region, kind, id)
    give_up_at = call.node.clock.monotonic() + _SETTLED_S
    while (left_s := give_up_at - call.node.clock.monotonic()) > 0:
        # Watched before it is looked at, so that its end is not missed in between.
        ended = asyncio.create_task(call.store.watch(key, left_s))
        try:
            await asyncio.sleep(0)
            if await call.store.transact(lambda txn: txn.get(key), read_only=True) is None:
                return
            await ended
        finally:
            ended.cancel()


async def work(node: Node) -> None:
    """Do jobs until cancelled."""

    def mark() -> None:
        node.own(_Here).working = True

    mark()
    node.on_reset.append(mark)

    async def handle(leased: Leased) -> None:
        step = Step(node, leased)
        await HANDLERS[step.job.kind](step)

    await Consumer(node, QUEUE, handle, name="dynamodb:jobs", concurrency=AT_ONCE).run()
