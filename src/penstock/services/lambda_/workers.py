"""What Lambda does by itself: it runs the events that were accepted for later."""

from __future__ import annotations

import logging
from functools import partial
from typing import NamedTuple

import msgspec

from penstock.core.node import Node
from penstock.core.worker import worker
from penstock.events import outbox
from penstock.events.consumer import Consumer
from penstock.runtime.api import Outcome
from penstock.services.lambda_ import (
    access,
    destinations,
    event_invoke_configs,
    events,
    invocations,
    keys,
    metrics,
    records,
    recursion,
)
from penstock.services.lambda_.access import Target
from penstock.services.lambda_.event_invoke_configs import EventInvokeConfig
from penstock.services.lambda_.events import Event
from penstock.store import Transaction
from penstock.store.backoff import backoff_s
from penstock.store.queue import Leased
from penstock.wire.errors import AwsError

log = logging.getLogger(__name__)

CONCURRENCY = 64
TIDY_EVERY_S = 300.0

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


@worker("lambda:packages")
async def tidy_up(node: Node) -> None:
    """Every few minutes, forget functions that are gone and give back the disk that their code was unpacked on."""
    while True:
        await node.clock.sleep(TIDY_EVERY_S)
        await node.own(invocations.Ready).tidy()


@worker("lambda:events")
async def invoke_events(node: Node) -> None:
    """Run events that were accepted for later, retry them as AWS does, and give up on them as AWS does."""
    await Consumer(node, events.QUEUE, partial(_run, node), name="lambda:events", concurrency=CONCURRENCY).run()


async def _run(node: Node, leased: Leased) -> None:
    """Run one event and settle what becomes of it: its end and what follows from it are one transaction."""
    event = events.decode(leased.body)
    found = await node.store.transact(lambda txn: _found(txn, event), read_only=True)
    if found is None:
        await _end(node, leased, event, None, "the function is gone")
        return
    target, config = found
    age_ms = 1000 * max(0.0, node.clock.now() - event.accepted_at)
    metrics.count(node, "async_event_age_ms_total", event.account, event.region, event.name, age_ms)
    tries = event.function_errors + 1
    age_max_s = AGE_MAX_S if config is None or config.age_max_s is None else config.age_max_s
    retries_max = len(FUNCTION_ERROR_DELAYS_S) if config is None or config.retries_max is None else config.retries_max
    outcome: Outcome | None = None
    condition = "RetriesExhausted"
    try:
        outcome = await invocations.run(
            node, target, event.request_id, event.payload, event.client_context, trace=event.trace
        )
    except AwsError as error:
        why = error.code
        if why == "RecursiveInvocationException":
            await _end(node, leased, event, Ending(target, config, why, tries - 1, None), why)
            return
        delay_s = backoff_s(event.throttles + 1, first_s=1.0, most_s=THROTTLE_DELAY_S_MOST)
        again = msgspec.structs.replace(event, throttles=event.throttles + 1)
        tries -= 1
    else:
        if not outcome.error:
            await _end(node, leased, event, Ending(target, config, "Success", tries, outcome), "")
            return
        why = "the function failed"
        if event.function_errors >= retries_max:
            await _end(node, leased, event, Ending(target, config, condition, tries, outcome), "it failed at every try")
            return
        delay_s = FUNCTION_ERROR_DELAYS_S[event.function_errors]
        again = msgspec.structs.replace(event, function_errors=event.function_errors + 1)
    now = node.clock.now()
    if now + delay_s > event.accepted_at + age_max_s:
        ending = Ending(target, config, "EventAgeExceeded", tries, outcome)
        await _end(node, leased, event, ending, f"older than {age_max_s:g} s ({why})")
        return

    def body(txn: Transaction) -> None:
        events.QUEUE.done(txn, leased)
        events.QUEUE.put(txn, events.encode(again), due=now + delay_s)

    await node.store.transact(body)


class Ending(NamedTuple):
    """How an event ended."""

    target: Target
    config: EventInvokeConfig | None
    condition: str
    tries: int
    outcome: Outcome | None


def _found(txn: Transaction, event: Event) -> tuple[Target, EventInvokeConfig | None] | None:
    where = event.account, event.region, event.name, event.qualifier
    try:
        found = access.target(txn, *where)
    except AwsError:
        return None
    if found.function.incarnation != event.incarnation:
        return None
    return found, event_invoke_configs.read(txn, *where)


async def _end(node: Node, leased: Leased, event: Event, ending: Ending | None, why: str) -> None:
    """End the event; send what became of it to where its function says. why: "" where it went well."""
    now = node.clock.now()
    sent = [] if ending is None else _sent(event, ending, now)

    def body(txn: Transaction) -> None:
        events.QUEUE.done(txn, leased)
        for delivery in sent:
            outbox.emit(txn, delivery, now=now)

    await node.store.transact(body)
    if why:
        metrics.count(node, "async_events_dropped_total", event.account, event.region, event.name)
        log.warning("event %s of function %s ended: %s", event.request_id, event.name, why)


def _sent(event: Event, ending: Ending, now: float) -> list[outbox.Delivery]:
    function, config = ending.target.function, ending.config
    sent = []
    succeeded = ending.condition == "Success"
    target = "" if config is None else config.on_success if succeeded else config.on_failure
    if target:
        document = destinations.record(event, function, ending.condition, ending.tries, ending.outcome, now)
        trace, _ = recursion.step(event.trace, function, now)
        sent.append(destinations.delivery(target, function, document, trace, now))
    if function.dead_letter and not succeeded:
        sent.append(destinations.dead_letter(function, event, ending.outcome, event.trace))
    return sent
