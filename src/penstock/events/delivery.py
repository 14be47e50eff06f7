"""The delivery worker: takes deliveries from the outbox and makes the calls. Every node runs one; they share the work.

What becomes of a call that fails:

- throttled, a server error, anything that is no AwsError: tried again with back-off (1 s doubling to 5 min, full
  jitter) until `max_attempts` tries have failed or the delivery is older than `max_age_s`; then it is buried.
- refused (any other 4xx: AccessDenied, ResourceNotFound...): AWS's own senders cannot know a typing error from a policy
  that arrives a moment later, so they retry; so do we, but three times in all, and then it is buried with the reason.

Buried deliveries stay as dead letters for 14 days, can be redriven, are counted and logged.

A node holds what it delivers by leases of a few seconds, extended while the call runs: those of a dead node come back
soon, and a call that takes 15 minutes is not made twice. At shutdown no more are taken, running calls are waited for
(`drain_timeout_s`), and what still runs then is cancelled and given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.core import identity
from penstock.core.worker import worker
from penstock.events.outbox import QUEUE, Delivery, decode
from penstock.store.api import Transaction, UnknownCommit
from penstock.store.backoff import backoff_s
from penstock.store.queue import Leased, LeaseLost
from penstock.wire.errors import AwsError

if TYPE_CHECKING:
    from penstock.core.node import Node

log = logging.getLogger(__name__)

LEASE_S = 6.0
HEARTBEAT_S = 2.0
MOST_AT_ONCE = 256
"""Calls under way on one node."""
BATCH = 32
REFUSED_ATTEMPTS = 3
DEAD_LETTER_AGE_S = 14 * 86400.0
FIRST_BACKOFF_S = 1.0
MOST_BACKOFF_S = 300.0

_THROTTLED = frozenset({
    "BandwidthLimitExceeded", "LimitExceededException", "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException",
    "RequestTimeout", "RequestTimeoutException", "SlowDown", "ThrottledException", "Throttling", "ThrottlingException",
    "TooManyRequestsException", "TransactionInProgressException",
})  # fmt: skip
"""Codes that the AWS SDKs retry in their standard mode:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html"""
_SERVER_ERRORS = frozenset({
    "InternalError", "InternalFailure", "InternalServerError", "InternalServerException", "InternalServiceError",
    "InternalServiceException", "ServiceException", "ServiceFailureException", "ServiceUnavailable",
    "ServiceUnavailableException",
})  # fmt: skip


def is_refusal(error: BaseException) -> bool:
    """Whether trying again would give the same answer, as far as the error tells."""
    if not isinstance(error, AwsError):
        return False
    if error.code in _THROTTLED or error.code in _SERVER_ERRORS or error.status == 429:
        return False
    return error.status < 500 or error.status == 501


@worker("events:delivery")
async def deliver(node: Node) -> None:
    """Make deliveries until cancelled, then drain."""
    await Courier(node).run()


class Courier:
    """One node's deliveries under way."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._held: dict[bytes, Leased] = {}
        """What is under way, until its end is being written down."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._next_purge = 0.0

    async def run(self) -> None:
        """Deliver until cancelled. Returns (by CancelledError) when what was under way has ended or was given back."""
        helpers = [asyncio.create_task(self._watch()), asyncio.create_task(self._heartbeat())]
        await asyncio.sleep(0)
        # An engine may take a moment until its watch really watches: look again then.
        asyncio.get_running_loop().call_later(1.0, self._wake.set)
        try:
            while True:
                await self._turn()
        finally:
            helpers[0].cancel()
            # The heartbeat goes on: what is being waited for must stay ours.
            await self._drain()
            helpers[1].cancel()

    async def _turn(self) -> None:
        """Take what is due, or wait until something may be."""
        self._wake.clear()
        room = min(MOST_AT_ONCE - len(self._tasks), BATCH)
        if room <= 0:
            await self._wake.wait()
            return
        now = self._node.clock.now()

        def lease(txn: Transaction) -> tuple[list[Leased], float | None]:
            taken = QUEUE.lease(txn, now=now, lease_s=LEASE_S, holder=self._node.id, limit=room)
            return taken, None if taken else QUEUE.next_due(txn)

        try:
            taken, next_due = await self._node.store.transact(lease)
        except UnknownCommit:
            return  # what we may hold without knowing comes back by itself
        for leased in taken:
            self._start(leased)
        if taken:
            return
        if now >= self._next_purge:
            self._next_purge = now + 3600
            await self._purge_dead(now)
        await self._idle_until(next_due)

    async def _idle_until(self, due: float | None) -> None:
        if due is None:
            await self._wake.wait()
            return
        # At least a moment, so that entries which turn out to be nothing are not a busy loop.
        due = max(due, self._node.clock.now() + 0.005)
        waits = {asyncio.create_task(self._wake.wait()), asyncio.create_task(self._node.clock.sleep_until(due))}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    async def _watch(self) -> None:
        while True:
            await self._node.store.watch(QUEUE.wake_key, 60.0)
            self._wake.set()

    def _start(self, leased: Leased) -> None:
        under_way = leased.id in self._held
        self._held[leased.id] = leased
        if under_way:
            return  # the clock was moved past our own lease: the call goes on, under the new one
        task = asyncio.create_task(self._deliver(leased), name="delivery")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if len(self._tasks) >= MOST_AT_ONCE:
            self._wake.set()
        self._tasks.discard(task)

    async def _deliver(self, leased: Leased) -> None:
        try:
            delivery = decode(leased.body)
            reason = f"older than {delivery.max_age_s:g} s"
            too_old = leased.retries > 0 and self._age_s(leased) > delivery.max_age_s
        except ValueError as error:
            delivery, too_old, reason = None, True, f"unreadable: {error}"
        try:
            if too_old or delivery is None:
                await self._bury(leased, delivery, "Expired", reason)
                return
            await self._call(leased, delivery)
        except LeaseLost as lost:
            self._count("penstock_delivery_leases_lost_total", delivery)
            log.warning("a delivery was made, and may be made again: %s", lost)
        except Exception:
            # The store failed us. The lease runs out, and the message comes back.
            self._held.pop(leased.id, None)
            log.exception("a delivery could not be settled")

    async def _call(self, leased: Leased, delivery: Delivery) -> None:
        context = {}
        if delivery.source_arn:
            context["aws:SourceArn"] = delivery.source_arn
        if delivery.source_account:
            context["aws:SourceAccount"] = delivery.source_account
        try:
            await self._node.call(
                delivery.service, delivery.operation, delivery.params,
                principal=identity.service(delivery.principal, delivery.source_account), account=delivery.account,
                region=delivery.region, context=context,
            )  # fmt: skip
        except Exception as error:
            await self._failed(leased, delivery, error)
            return
        await self._settle(leased.id, QUEUE.done)
        self._count("penstock_deliveries_total", delivery)

    async def _failed(self, leased: Leased, delivery: Delivery, error: Exception) -> None:
        failures = leased.retries + 1
        allowed = min(delivery.max_attempts, REFUSED_ATTEMPTS) if is_refusal(error) else delivery.max_attempts
        code = error.code if isinstance(error, AwsError) else type(error).__name__
        if not isinstance(error, AwsError):
            log.error("%s.%s failed in a delivery", delivery.service, delivery.operation, exc_info=error)
        wait_s = backoff_s(failures, first_s=FIRST_BACKOFF_S, most_s=MOST_BACKOFF_S)
        if failures >= allowed:
            await self._bury(leased, delivery, code, f"{error} (attempt {failures}, the last)")
        elif self._age_s(leased) + wait_s > delivery.max_age_s:
            await self._bury(leased, delivery, code, f"{error} (older than {delivery.max_age_s:g} s)")
        else:
            due = self._node.clock.now() + wait_s
            await self._settle(leased.id, lambda txn, held: QUEUE.retry(txn, held, due))
            self._count("penstock_delivery_retries_total", delivery, code)

    async def _bury(self, leased: Leased, delivery: Delivery | None, code: str, reason: str) -> None:
        now = self._node.clock.now()
        await self._settle(leased.id, lambda txn, held: QUEUE.bury(txn, held, reason, now=now))
        self._count("penstock_delivery_dead_total", delivery, code)
        if delivery is not None:
            log.warning("gave up on %s.%s for %s: %s", delivery.service, delivery.operation,
                        delivery.source_arn or delivery.principal, reason)  # fmt: skip
        else:
            log.error("gave up on a delivery: %s", reason)

    async def _settle(self, id: bytes, act: Callable[[Transaction, Leased], None]) -> None:
        """Carry out what ends this attempt, under the newest lease that we have. Raises LeaseLost."""
        held = self._held.pop(id)
        with contextlib.suppress(UnknownCommit):
            await self._node.store.transact(lambda txn: act(txn, held))

    async def _heartbeat(self) -> None:
        """Hold on to what takes long."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            now = self._node.clock.now()
            held = [leased for leased in self._held.values() if now - leased.leased_at > HEARTBEAT_S / 2]
            if held:
                await self._extend(held, now + LEASE_S)

    async def _extend(self, held: list[Leased], until: float) -> None:
        def extend(txn: Transaction) -> None:
            for leased in held:
                # Lost ones are noticed when their calls end.
                with contextlib.suppress(LeaseLost):
                    QUEUE.extend(txn, leased, until)

        try:
            await self._node.store.transact(extend)
        except Exception:
            log.exception("leases of deliveries could not be extended")

    async def _drain(self) -> None:
        """Wait for what is under way; cancel and give back what takes too long."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=self._node.settings.drain_timeout_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        held = list(self._held.values())

        def give_back(txn: Transaction) -> None:
            for leased in held:
                with contextlib.suppress(LeaseLost):
                    QUEUE.retry(txn, leased, leased.due, failed=False)

        if held:
            await self._node.store.transact(give_back)

    async def _purge_dead(self, now: float) -> None:
        """Forget dead letters that nobody looked at for long."""

        def purge(txn: Transaction) -> int:
            old = [d.key for d in QUEUE.dead_letters(txn, limit=100) if d.buried_at < now - DEAD_LETTER_AGE_S]
            for key in old:
                QUEUE.discard(txn, key)
            return len(old)

        while await self._node.store.transact(purge) == 100:
            pass

    def _age_s(self, leased: Leased) -> float:
        return self._node.clock.now() - leased.enqueued_at

    def _count(self, name: str, delivery: Delivery | None, code: str = "") -> None:
        target = f"{delivery.service}:{delivery.operation}" if delivery else ""
        if code:
            self._node.telemetry.count(name, target=target, code=code)
        else:
            self._node.telemetry.count(name, target=target)
