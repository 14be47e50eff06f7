"""What Lambda does by itself: it runs the events that were accepted for later."""

from __future__ import annotations

import logging

import msgspec

from penstock.core.node import Node
from penstock.core.worker import worker
from penstock.events.consumer import Consumer
from penstock.services.lambda_ import events, invocations, keys, records
from penstock.services.lambda_.access import Target
from penstock.services.lambda_.events import Event
from penstock.store import Transaction
from penstock.store.backoff import backoff_s
from penstock.store.queue import Leased
from penstock.wire.errors import AwsError

log = logging.getLogger(__name__)

CONCURRENCY = 64

# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
AGE_MAX_S = 6 * 3600.0
FUNCTION_ERROR_DELAYS_S = (60.0, 120.0)
THROTTLE_DELAY_S_MOST = 300.0


@worker("lambda:warmth")
async def warm_up(node: Node) -> None:
    """After a start: have the runtime get ready behind the first function there is, before somebody invokes it."""

    def first(txn: Transaction) -> bytes | None:
        return next((raw for _, raw in txn.scan(*keys.every_function(), 1)), None)

    raw = await node.store.transact(first, read_only=True)
    if raw is not None:
        node.runtime.supports(records.decode(raw).runtime)


@worker("lambda:events")
async def invoke_events(node: Node) -> None:
    """Run events that were accepted for later, retry them as AWS does, and give up on them as AWS does."""

    async def handle(leased: Leased) -> None:
        event = events.decode(leased.body)
        target = await node.store.transact(lambda txn: _target(txn, event), read_only=True)
        if target is None:
            await _end(node, leased, "the function is gone")
            return
        try:
            outcome = await invocations.run(node, target, event.request_id, event.payload, event.client_context)
        except AwsError as error:
            delay_s = backoff_s(event.throttles + 1, first_s=1.0, most_s=THROTTLE_DELAY_S_MOST)
            await _again(
                node, leased, msgspec.structs.replace(event, throttles=event.throttles + 1), delay_s, error.code
            )
            return
        if not outcome.error:
            await node.store.transact(lambda txn: events.QUEUE.done(txn, leased))
        elif event.function_errors >= len(FUNCTION_ERROR_DELAYS_S):
            await _end(node, leased, "the function failed at every try")
        else:
            delay_s = FUNCTION_ERROR_DELAYS_S[event.function_errors]
            next_try = msgspec.structs.replace(event, function_errors=event.function_errors + 1)
            await _again(node, leased, next_try, delay_s, "the function failed")

    await Consumer(node, events.QUEUE, handle, name="lambda:events", concurrency=CONCURRENCY).run()


def _target(txn: Transaction, event: Event) -> Target | None:
    try:
        found = records.read(txn, event.account, event.region, event.name, event.qualifier)
    except AwsError:
        return None
    return Target(found, event.qualifier) if found.incarnation == event.incarnation else None


async def _again(node: Node, leased: Leased, event: Event, delay_s: float, why: str) -> None:
    """Put the event back with what it has met, unless it has grown too old."""
    now = node.clock.now()
    if now + delay_s > event.accepted_at + AGE_MAX_S:
        await _end(node, leased, f"older than {AGE_MAX_S / 3600:g} h ({why})")
        return

    def body(txn: Transaction) -> None:
        events.QUEUE.done(txn, leased)
        events.QUEUE.put(txn, events.encode(event), due=now + delay_s)

    await node.store.transact(body)


async def _end(node: Node, leased: Leased, why: str) -> None:
    """Drop the event, as AWS does where no destination is set: said in the log and counted."""
    event = events.decode(leased.body)
    await node.store.transact(lambda txn: events.QUEUE.done(txn, leased))
    node.telemetry.count("penstock_lambda_events_dropped_total", function=event.name)
    log.warning("event %s of function %s was dropped: %s", event.request_id, event.name, why)
