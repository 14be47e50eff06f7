"""The delivery worker: takes deliveries from the outbox and makes the calls. Every node runs one; they share the work.

What becomes of a call that fails:

- throttled, a server error, anything that is no AwsError: tried again with back-off (1 s doubling to 5 min, full
  jitter) until `max_attempts` tries have failed or the delivery is older than `max_age_s`; then it is buried.
- refused (any other 4xx: AccessDenied, ResourceNotFound...): AWS's own senders cannot know a typing error from a policy
  that arrives a moment later, so they retry; so do we, but three times in all, and then it is buried with the reason.

Buried deliveries stay as dead letters for 14 days, can be redriven, are counted and logged.

A node holds what it delivers by short leases, renewed while the call runs (see `consumer`): those of a dead node are
soon another's, and a call that takes 15 minutes is not made twice.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from penstock.core import identity
from penstock.core.worker import worker
from penstock.events.consumer import Consumer
from penstock.events.outbox import QUEUE, Delivery, decode
from penstock.store.api import Transaction
from penstock.store.backoff import backoff_s
from penstock.store.queue import Leased
from penstock.wire.errors import AwsError

if TYPE_CHECKING:
    from penstock.core.node import Node

log = logging.getLogger(__name__)

MOST_AT_ONCE = 256
"""Calls under way on one node."""
REFUSED_ATTEMPTS = 3
ROLE_DURATION_S = 900
DEAD_LETTER_AGE_S = 14 * 86400.0
FIRST_BACKOFF_S = 1.0
MOST_BACKOFF_S = 300.0
_PURGED_AT_ONCE = 100

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
    courier = Courier(node)
    consumer = Consumer(node, QUEUE, courier.deliver, name="events:delivery", concurrency=MOST_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        group.create_task(consumer.run())
        group.create_task(courier.purge_dead())


class Courier:
    """Makes one node's deliveries."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def deliver(self, leased: Leased) -> None:
        """Make one delivery, and settle what becomes of it. Raises LeaseLost."""
        try:
            delivery = decode(leased.body)
        except ValueError as error:
            log.error("a delivery is unreadable: %s", error)
            await self._bury(leased, None, "Unreadable", f"unreadable: {error}")
            return
        if leased.retries and self._age_s(leased) > delivery.max_age_s:
            await self._bury(leased, delivery, "Expired", f"older than {delivery.max_age_s:g} s")
            return
        try:
            await self._call(delivery)
        except Exception as error:
            await self._failed(leased, delivery, error)
            return
        await self._node.store.transact(lambda txn: QUEUE.done(txn, leased))
        self._count("penstock_deliveries_total", delivery)

    async def _call(self, delivery: Delivery) -> None:
        context = {}
        if delivery.source_arn:
            context["aws:SourceArn"] = delivery.source_arn
        if delivery.source_account:
            context["aws:SourceAccount"] = delivery.source_account
        await self._node.call(
            delivery.service, delivery.operation, delivery.params,
            principal=await self._principal(delivery), account=delivery.account, region=delivery.region,
            context=context, trace=delivery.trace,
        )  # fmt: skip

    async def _principal(self, delivery: Delivery) -> identity.Principal:
        """Who calls. Where a role has no record there is nothing to hold it to: its account calls."""
        if not delivery.role:
            return identity.service(delivery.principal, delivery.source_account)
        directory = self._node.directory
        session = delivery.source_arn.rpartition(":")[2][:64] or "delivery"
        credential = await directory.role_credential(delivery.role, session, ROLE_DURATION_S, delivery.principal)
        if (await directory.identity(credential.principal)).missing:
            return identity.root(credential.principal.account)
        return credential.principal

    async def _failed(self, leased: Leased, delivery: Delivery, error: Exception) -> None:
        failures = leased.retries + 1
        if delivery.failure_count:
            self._node.telemetry.add(delivery.failure_count, delivery.failure_labels)
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
            await self._node.store.transact(lambda txn: QUEUE.retry(txn, leased, due))
            self._count("penstock_delivery_retries_total", delivery, code)

    async def _bury(self, leased: Leased, delivery: Delivery | None, code: str, reason: str) -> None:
        now = self._node.clock.now()
        await self._node.store.transact(lambda txn: QUEUE.bury(txn, leased, reason, now=now))
        self._count("penstock_delivery_dead_total", delivery, code)
        if delivery is not None:
            log.warning("gave up on %s.%s for %s: %s", delivery.service, delivery.operation,
                        delivery.source_arn or delivery.principal, reason)  # fmt: skip

    async def purge_dead(self) -> None:
        """Every hour, forget dead letters that nobody looked at for long."""
        while True:
            now = self._node.clock.now()
            while await self._node.store.transact(partial(_purge, now - DEAD_LETTER_AGE_S)) == _PURGED_AT_ONCE:
                pass
            await self._node.clock.sleep(3600)

    def _age_s(self, leased: Leased) -> float:
        return self._node.clock.now() - leased.enqueued_at

    def _count(self, name: str, delivery: Delivery | None, code: str = "") -> None:
        target = f"{delivery.service}:{delivery.operation}" if delivery else ""
        if code:
            self._node.telemetry.count(name, target=target, code=code)
        else:
            self._node.telemetry.count(name, target=target)


def _purge(before: float, txn: Transaction) -> int:
    old = [d.key for d in QUEUE.dead_letters(txn, limit=_PURGED_AT_ONCE) if d.buried_at < before]
    for key in old:
        QUEUE.discard(txn, key)
    return len(old)
