"""Deliveries: made soon, made again, given up on, in order, by whoever lives."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from penstock.clock import Clock
from penstock.config import Settings
from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.operation import REGISTRY, operation
from penstock.events.consumer import LEASE_S
from penstock.events.delivery import deliver, is_refusal
from penstock.events.outbox import QUEUE, Delivery, emit
from penstock.store.memory import MemoryStore
from penstock.telemetry import Telemetry
from penstock.wire.errors import AwsError


class Target:
    """What the operation under test does, and what it saw."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.calls: list[Call] = []
        self.errors: dict[Any, list[Exception]] = {}
        self.gate = asyncio.Event()
        self.gate.set()


@pytest.fixture
def target() -> Iterator[Target]:
    made = Target()

    @operation("testing:Receive", action="")
    async def receive(call: Call, params: dict[str, Any]) -> dict[str, Any]:
        made.calls.append(call)
        await made.gate.wait()
        errors = made.errors.get(params["n"])
        if errors:
            raise errors.pop(0)
        made.seen.append(params["n"])
        return {}

    yield made
    del REGISTRY["testing", "Receive"]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    yield make_node(MemoryStore(), Clock())


def make_node(store: MemoryStore, clock: Clock, drain_timeout_s: float = 5.0) -> Node:
    nothing: Any = None
    settings = Settings(drain_timeout_s=drain_timeout_s)
    return Node(settings, clock, store, nothing, nothing, nothing, Telemetry())


@contextlib.asynccontextmanager
async def delivering(node: Node) -> AsyncIterator[None]:
    task = asyncio.create_task(deliver(node))
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def send(node: Node, n: Any, **more: Any) -> None:
    delivery = Delivery(
        service="testing", operation="Receive", params={"n": n}, principal="s3.amazonaws.com",
        account="000000000000", region="us-east-1", **more,
    )  # fmt: skip
    await node.store.transact(lambda txn: emit(txn, delivery, now=node.clock.now()))


async def until(condition: Any, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.002)


async def counts(node: Node) -> tuple[int, int, int, int]:
    c = await node.store.transact(QUEUE.counts)
    return c.available, c.delayed, c.in_flight, c.dead


async def test_made_within_milliseconds_by_the_service_for_the_source(node: Node, target: Target) -> None:
    async with delivering(node):
        await asyncio.sleep(0.05)
        began = time.perf_counter()
        await send(node, 1, source_arn="arn:aws:s3:::b", source_account="111111111111")
        await until(lambda: target.seen == [1])
        assert time.perf_counter() - began < 0.1
        await asyncio.sleep(0.02)
        assert await counts(node) == (0, 0, 0, 0)
    [call] = target.calls
    assert (call.principal.arn, call.account, call.region) == ("s3.amazonaws.com", "000000000000", "us-east-1")
    assert call.context == {"aws:SourceArn": "arn:aws:s3:::b", "aws:SourceAccount": "111111111111"}
    assert 'penstock_deliveries_total{target="testing:Receive"} 1' in node.telemetry.render()


async def test_what_fails_is_tried_again_later(node: Node, target: Target) -> None:
    target.errors[1] = [AwsError("ServiceUnavailable", "", 503), AwsError("SlowDown", "", 503), RuntimeError("bug")]
    async with delivering(node):
        await send(node, 1)
        for tries in (1, 2, 3):
            await until(lambda tries=tries: len(target.calls) == tries)
            await asyncio.sleep(0.02)
            assert await counts(node) == (0, 1, 0, 0)
            assert not target.seen
            node.clock.advance(300)
        await until(lambda: target.seen == [1])
    assert await counts(node) == (0, 0, 0, 0)


async def test_what_is_refused_is_buried_with_the_reason_after_three_tries(node: Node, target: Target) -> None:
    target.errors[1] = [AwsError("AccessDeniedException", "no", 403)] * 5
    async with delivering(node):
        await send(node, 1)
        for tries in (1, 2, 3):
            await until(lambda tries=tries: len(target.calls) == tries)
            await asyncio.sleep(0.02)
            node.clock.advance(300)
        await asyncio.sleep(0.02)
        assert await counts(node) == (0, 0, 0, 1)
        [letter] = await node.store.transact(QUEUE.dead_letters)
        assert letter.reason == "AccessDeniedException: no (attempt 3, the last)"
        metric = 'penstock_delivery_dead_total{code="AccessDeniedException",target="testing:Receive"} 1'
        assert metric in node.telemetry.render()
        target.errors.clear()
        await node.store.transact(lambda txn: QUEUE.redrive(txn, letter.key, due=node.clock.now()))
        await until(lambda: target.seen == [1])


async def test_attempts_and_age_are_bounded(node: Node, target: Target) -> None:
    target.errors[1] = [AwsError("InternalError", "", 500)] * 50
    target.errors[2] = [AwsError("InternalError", "", 500)] * 50
    async with delivering(node):
        await send(node, 1, max_attempts=5)
        await send(node, 2, max_age_s=700.0)
        for _ in range(12):
            await asyncio.sleep(0.02)
            node.clock.advance(300)
        letters = await node.store.transact(QUEUE.dead_letters)
    assert sorted(letter.reason for letter in letters) == [
        "InternalError:  (attempt 5, the last)",
        "InternalError:  (older than 700 s)",
    ] or "older than 700 s" in "".join(letter.reason for letter in letters)
    assert len(letters) == 2
    assert len(target.calls) <= 5 + 4


async def test_a_lane_waits_for_its_first_and_others_do_not(node: Node, target: Target) -> None:
    target.errors["a0"] = [AwsError("InternalError", "", 500)] * 3
    async with delivering(node):
        for n in range(5):
            await send(node, f"a{n}", lane="a")
            await send(node, f"b{n}", lane="b")
        await until(lambda: len(target.seen) == 5)
        assert target.seen == [f"b{n}" for n in range(5)]
        for tries in range(3):
            node.clock.advance(300)
            await until(lambda tries=tries: len(target.calls) >= 5 + 2 + tries)
            await asyncio.sleep(0.02)
        await until(lambda: len(target.seen) == 10)
        assert target.seen[5:] == [f"a{n}" for n in range(5)]


async def test_a_dead_nodes_deliveries_move_to_a_live_one(node: Node, target: Target) -> None:
    for n in range(4):
        await send(node, n)
    now = node.clock.now()
    for _ in range(8):
        await node.store.transact(lambda txn: QUEUE.lease(txn, now=now, lease_s=LEASE_S, holder="dead", limit=9))
    async with delivering(node), delivering(make_node(node.store, node.clock)):
        await send(node, "new")
        await until(lambda: target.seen == ["new"])
        node.clock.advance(LEASE_S + 1)
        await until(lambda: len(target.seen) == 5)
        await asyncio.sleep(0.05)
    assert sorted(map(str, target.seen)) == ["0", "1", "2", "3", "new"]


async def test_two_nodes_share_and_nothing_is_made_twice(node: Node, target: Target) -> None:
    other = make_node(node.store, node.clock)
    async with delivering(node), delivering(other):
        for n in range(300):
            await send(node, n)
        await until(lambda: len(target.seen) >= 300)
        await asyncio.sleep(0.05)
    assert sorted(target.seen) == list(range(300))
    assert {call.node for call in target.calls} == {node, other}


async def test_a_slow_call_is_not_made_twice_though_the_clock_jumps(node: Node, target: Target) -> None:
    target.gate.clear()
    async with delivering(node):
        await send(node, 1)
        await until(lambda: len(target.calls) == 1)
        for _ in range(3):
            node.clock.advance(3600)
            await asyncio.sleep(0.02)
        target.gate.set()
        await until(lambda: target.seen == [1])
        await asyncio.sleep(0.02)
    assert await counts(node) == (0, 0, 0, 0)
    assert len(target.calls) == 1


async def test_shutdown_waits_for_what_runs_and_takes_no_more(node: Node, target: Target) -> None:
    target.gate.clear()
    task = asyncio.create_task(deliver(node))
    await send(node, 1)
    await until(lambda: len(target.calls) == 1)
    task.cancel()
    await asyncio.sleep(0.02)
    await send(node, 2)
    assert not task.done()
    target.gate.set()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
    assert target.seen == [1]
    assert await counts(node) == (1, 0, 0, 0)


async def test_shutdown_gives_back_what_takes_too_long(node: Node, target: Target) -> None:
    slow = make_node(node.store, node.clock, drain_timeout_s=0.05)
    target.gate.clear()
    async with delivering(slow):
        await send(node, 1)
        await until(lambda: len(target.calls) == 1)
    assert await counts(node) == (1, 0, 0, 0)
    target.gate.set()
    async with delivering(node):
        await until(lambda: target.seen == [1])


async def test_an_idle_worker_does_nothing(node: Node, target: Target) -> None:
    async with delivering(node):
        await send(node, 1)
        await until(lambda: target.seen == [1])
        await asyncio.sleep(0.1)
        version = node.store.version
        transactions = 0
        transact = node.store.transact

        async def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal transactions
            transactions += 1
            return await transact(*args, **kwargs)

        node.store.transact = counted
        await asyncio.sleep(0.5)
        assert transactions <= 2  # the one look a second after the start
        assert node.store.version == version


def test_which_errors_are_refusals() -> None:
    assert is_refusal(AwsError("AccessDenied", "", 403))
    assert is_refusal(AwsError("ResourceNotFoundException"))
    assert is_refusal(AwsError("NotImplemented", "", 501))
    assert not is_refusal(AwsError("TooManyRequestsException"))
    assert not is_refusal(AwsError("ServiceException", "", 500))
    assert not is_refusal(AwsError("AnythingElse", "", 503))
    assert not is_refusal(KeyError("x"))
