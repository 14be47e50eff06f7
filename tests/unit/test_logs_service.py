"""CloudWatch Logs through the registry, on the memory engine: what needs a hand on the clock or on the store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock.clock import Clock
from penstock.config import Settings
from penstock.core import identity
from penstock.core.node import Node
from penstock.services.logs import keys
from penstock.services.logs.workers import expire, expire_all
from penstock.store.memory import MemoryStore
from penstock.telemetry import Telemetry
from penstock.wire.errors import AwsError

Api = Callable[..., Awaitable[dict[str, Any]]]
DAY_MS = 86_400_000


@pytest.fixture
def node() -> Node:
    nothing: Any = None
    return Node(Settings(), Clock(), MemoryStore(), nothing, nothing, nothing, Telemetry())


@pytest.fixture
def logs(node: Node) -> Api:
    async def call(
        operation: str, account: str = "000000000000", region: str = "us-east-1", **params: Any
    ) -> dict[str, Any]:
        who = identity.root(account)
        return await node.call("logs", operation, params, principal=who, account=account, region=region)

    return call


def now_ms(node: Node) -> int:
    return round(node.clock.now() * 1000)


async def stream(logs: Api, group: str = "g", name: str = "s") -> dict[str, str]:
    try:
        await logs("CreateLogGroup", logGroupName=group)
    except AwsError as error:
        assert error.code == "ResourceAlreadyExistsException"
    await logs("CreateLogStream", logGroupName=group, logStreamName=name)
    return {"logGroupName": group, "logStreamName": name}


async def refused(code: str, message: str, awaitable: Awaitable[Any]) -> None:
    with pytest.raises(AwsError) as caught:
        await awaitable
    assert (caught.value.code, caught.value.message) == (code, message)


async def read_all(logs: Api, forward: bool = True, **params: Any) -> list[dict[str, Any]]:
    """Page until the token stays the same, as AWS says to."""
    events: list[dict[str, Any]] = []
    answer = await logs("GetLogEvents", startFromHead=forward, **params)
    while True:
        page = answer["events"]
        events = events + page if forward else page + events
        token = answer["nextForwardToken" if forward else "nextBackwardToken"]
        answer = await logs("GetLogEvents", **params, nextToken=token)
        if answer["nextForwardToken" if forward else "nextBackwardToken"] == token:
            assert not answer["events"]
            return events


async def filter_all(logs: Api, **params: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    answer = await logs("FilterLogEvents", **params)
    while True:
        events += answer["events"]
        if "nextToken" not in answer:
            return events
        answer = await logs("FilterLogEvents", **params, nextToken=answer["nextToken"])


async def test_events_come_back_in_order_of_time_whatever_the_batches(node: Node, logs: Api) -> None:
    rng = random.Random(4)
    base = now_ms(node) - 3_600_000
    written: dict[str, list[tuple[int, str]]] = {}
    for name in ("a", "b", "c"):
        where = await stream(logs, name=name)
        written[name] = []
        for batch in range(12):
            at = base + rng.randrange(100_000)
            times = sorted(at + rng.choice([0, 1, 500, 9_000, 40_000]) for _ in range(rng.randrange(1, 9)))
            events = [{"timestamp": t, "message": f"{name}{batch}.{i}"} for i, t in enumerate(times)]
            await logs("PutLogEvents", **where, logEvents=events)
            written[name] += [(e["timestamp"], e["message"]) for e in events]
        for limit in (1, 7, 10_000):
            for forward in (True, False):
                events = await read_all(logs, **where, forward=forward, limit=limit)
                # sorted() is stable: of one time, first come first.
                expected = sorted(written[name], key=lambda e: e[0])
                assert [(e["timestamp"], e["message"]) for e in events] == expected
        low, high = base + 20_000, base + 60_000
        events = await read_all(logs, **where, startTime=low, endTime=high)
        assert [e["message"] for e in events] == [
            m for t, m in sorted(written[name], key=lambda e: e[0]) if low <= t < high
        ]
    everything = sorted((t, name) for name, events in written.items() for t, _ in events)
    for limit in (5, 10_000):
        found = await filter_all(logs, logGroupName="g", limit=limit)
        assert [(e["timestamp"], e["logStreamName"]) for e in found] == everything
        assert len({e["eventId"] for e in found}) == len(everything)
        back = await filter_all(logs, logGroupName="g", limit=limit, startFromHead=False, startTime=base)
        assert back == found[::-1]
    some = await filter_all(logs, logGroupName="g", logStreamNames=["c", "a"], filterPattern="?a1 ?c2", limit=2)
    assert {e["logStreamName"] for e in some} == {"a", "c"}
    assert all("a1" in e["message"] or "c2" in e["message"] for e in some)
    assert await filter_all(logs, logGroupName="g", logStreamNamePrefix="b", endTime=base - 1) == []


async def test_reading_at_the_tail_goes_on_where_it_was(node: Node, logs: Api) -> None:
    where = await stream(logs)
    empty = await logs("GetLogEvents", **where)
    assert empty["events"] == []
    at = now_ms(node)
    await logs("PutLogEvents", **where, logEvents=[{"timestamp": at + n, "message": str(n)} for n in range(5)])
    first = await logs("GetLogEvents", **where, nextToken=empty["nextForwardToken"])
    assert [e["message"] for e in first["events"]] == list("01234")
    tail = await logs("GetLogEvents", **where, limit=2)
    assert [e["message"] for e in tail["events"]] == ["3", "4"]
    await logs("PutLogEvents", **where, logEvents=[{"timestamp": at + 9, "message": "new"}])
    more = await logs("GetLogEvents", **where, nextToken=tail["nextForwardToken"])
    assert [e["message"] for e in more["events"]] == ["new"]
    before = await logs("GetLogEvents", **where, nextToken=tail["nextBackwardToken"], limit=2)
    assert [e["message"] for e in before["events"]] == ["1", "2"]


async def test_pages_hold_one_megabyte_and_a_search_ends_with_a_token(node: Node, logs: Api) -> None:
    where = await stream(logs)
    at = now_ms(node)
    for n in range(10):
        await logs("PutLogEvents", **where, logEvents=[{"timestamp": at + n, "message": str(n) * 1_000_000}])
    assert len((await logs("GetLogEvents", **where, startFromHead=True))["events"]) == 1
    assert len(await read_all(logs, **where)) == 10
    answer = await logs("FilterLogEvents", logGroupName="g", filterPattern="99")
    assert answer["events"] == []
    assert len(await filter_all(logs, logGroupName="g", filterPattern="99")) == 1
    assert len(await filter_all(logs, logGroupName="g")) == 10


async def test_batches_are_checked_as_aws_does(node: Node, logs: Api) -> None:
    where = await stream(logs)
    at = now_ms(node)

    def put(*events: tuple[int, str]) -> Awaitable[dict[str, Any]]:
        return logs("PutLogEvents", **where, logEvents=[{"timestamp": t, "message": m} for t, m in events])

    code = "InvalidParameterException"
    await refused(
        code, "Log events in a single PutLogEvents request must be in chronological order.",
        put((at, "a"), (at - 1, "b")),
    )  # fmt: skip
    await refused(
        code, "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        put((at - DAY_MS - 1, "a"), (at, "b")),
    )  # fmt: skip
    await refused(
        code, "Upload too large: 1048577 bytes exceeds limit of 1048576",
        put((at, "x" * 524_262), (at, "x" * 524_263)),
    )  # fmt: skip
    await refused(
        code, "Log event too large: 1048578 bytes exceeds limit of 1048576", put((at, "\u00e9" * 524_276))
    )  # fmt: skip
    await put((at, "x" * 1_048_550))
    await refused(
        "ResourceNotFoundException", "The specified log stream does not exist.",
        logs("PutLogEvents", logGroupName="g", logStreamName="no", logEvents=[{"timestamp": at, "message": "x"}]),
    )  # fmt: skip
    await refused(
        "ResourceNotFoundException", "The specified log group does not exist.",
        logs("PutLogEvents", logGroupName="no", logStreamName="no", logEvents=[{"timestamp": at, "message": "x"}]),
    )  # fmt: skip
    answer = await put((at - 15 * DAY_MS, "old"), (at - 14 * DAY_MS - 9, "old"), (at, "now"), (at + 7_300_000, "new"))
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 2, "tooNewLogEventStartIndex": 3}
    await logs("PutRetentionPolicy", logGroupName="g", retentionInDays=3)
    answer = await put((at - 15 * DAY_MS, "old"), (at - 4 * DAY_MS, "expired"))
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2}
    assert [e["message"][:3] for e in await read_all(logs, **where)] == ["xxx", "now"]


async def test_retention_hides_at_once_and_removes_by_the_clock(node: Node, logs: Api) -> None:
    store: Any = node.store
    where = await stream(logs)
    other = await stream(logs, group="for-ever")
    start = now_ms(node)
    for day in range(6):
        for place in (where, other):
            events = [{"timestamp": now_ms(node) + n, "message": f"{day}.{n} " + "x" * 50_000} for n in range(3)]
            await logs("PutLogEvents", **place, logEvents=events)
        node.clock.advance(86_340)
    await logs("PutRetentionPolicy", logGroupName="g", retentionInDays=3)
    [group] = (await logs("DescribeLogGroups", logGroupNamePrefix="g"))["logGroups"]
    assert group["retentionInDays"] == 3
    before = group["storedBytes"]
    assert before > 18 * 50_000
    kept = [e["message"].split()[0] for e in await read_all(logs, **where)]
    assert kept == [f"{day}.{n}" for day in (3, 4, 5) for n in range(3)]
    assert len(await filter_all(logs, logGroupName="g")) == 9
    task = asyncio.create_task(expire(node))
    try:
        await asyncio.sleep(0.05)
        [group] = (await logs("DescribeLogGroups", logGroupNamePrefix="g"))["logGroups"]
        assert group["storedBytes"] == before // 2
        [described] = (await logs("DescribeLogStreams", logGroupName="g"))["logStreams"]
        assert described["firstEventTimestamp"] >= start + 3 * 86_340_000
        node.clock.advance(30 * 86_400)
        await asyncio.sleep(0.05)
    finally:
        task.cancel()
    [group] = (await logs("DescribeLogGroups", logGroupNamePrefix="g"))["logGroups"]
    assert group["storedBytes"] == 0
    chunks = keys.range_under(keys.chunks_of_group("000000000000", "us-east-1", "g"))
    assert not list(store.data.irange(*chunks))
    [described] = (await logs("DescribeLogStreams", logGroupName="g"))["logStreams"]
    assert "lastEventTimestamp" not in described
    assert len(await read_all(logs, **other)) == 18
    await logs("DeleteRetentionPolicy", logGroupName="g")
    assert await expire_all(node) == 0


async def test_deleting_gives_everything_back(node: Node, logs: Api) -> None:
    store: Any = node.store
    for name in ("s", "t"):
        where = await stream(logs, name=name)
        await logs("PutLogEvents", **where, logEvents=[{"timestamp": now_ms(node), "message": "x" * 300_000}])
    await logs("DeleteLogStream", logGroupName="g", logStreamName="t")
    [group] = (await logs("DescribeLogGroups"))["logGroups"]
    assert group["storedBytes"] == 300_026
    await logs("PutRetentionPolicy", logGroupName="g", retentionInDays=1)
    await logs("DeleteLogGroup", logGroupName="g")
    assert not store.data


async def test_small_batches_are_few_keys(node: Node, logs: Api) -> None:
    store: Any = node.store
    where = await stream(logs)
    before = len(store.data)
    for n in range(20):
        events = [{"timestamp": now_ms(node) + i, "message": f"line {n}.{i}"} for i in range(5)]
        await logs("PutLogEvents", **where, logEvents=events)
    assert len(store.data) == before + 20 + 1  # and the count of bytes


async def test_accounts_and_regions_do_not_meet(node: Node, logs: Api) -> None:
    where = await stream(logs)
    await logs("PutLogEvents", **where, logEvents=[{"timestamp": now_ms(node), "message": "mine"}])
    for other in ({"account": "111111111111"}, {"region": "eu-west-1"}):
        assert (await logs("DescribeLogGroups", **other))["logGroups"] == []
        await refused(
            "ResourceNotFoundException",
            "The specified log group does not exist.",
            logs("GetLogEvents", **other, **where),
        )
        await logs("CreateLogGroup", logGroupName="g", **other)
        assert (await logs("DescribeLogStreams", logGroupName="g", **other))["logStreams"] == []
        arn = "arn:aws:logs:us-east-1:000000000000:log-group:g"
        await refused(
            "ResourceNotFoundException", "The specified resource does not exist.",
            logs("ListTagsForResource", resourceArn=arn, **other),
        )  # fmt: skip
