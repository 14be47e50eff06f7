"""Point-in-time recovery: random writes at random times, and the table as it was at any of these times."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamodb_calls import Calls
from penstock.services.dynamodb import history, jobs, keys, recovery, table

HOUR, DAY = 3600.0, 86400.0


@contextlib.asynccontextmanager
async def working(call: Calls) -> AsyncIterator[None]:
    """With the jobs done."""
    worker = asyncio.create_task(jobs.work(call.node))
    try:
        yield
    finally:
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker


async def recoverable(call: Calls, name: str = "tab", **spec: Any) -> None:
    await call(
        "UpdateContinuousBackups",
        TableName=name,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True, **spec},
    )


async def restored(call: Calls, target: str, **when: Any) -> dict[str, str]:
    """The items of the table as it was: key -> value."""
    if "SourceTableArn" not in when:
        when["SourceTableName"] = "tab"
    await call("RestoreTableToPointInTime", TargetTableName=target, **when)
    async with asyncio.timeout(20):
        while (await call("DescribeTable", TableName=target))["Table"]["TableStatus"] != "ACTIVE":
            await asyncio.sleep(0.005)
    return await items(call, target)


async def items(call: Calls, name: str) -> dict[str, str]:
    found, more = {}, {}
    while True:
        page = await call("Scan", TableName=name, **more)
        found.update({each["pk"]["S"]: each["v"]["S"] for each in page["Items"]})
        if "LastEvaluatedKey" not in page:
            return found
        more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def put(key: str, value: str) -> dict[str, Any]:
    return {"pk": {"S": key}, "v": {"S": value}}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_any_second_can_be_restored(seed: int) -> None:
    asyncio.run(_any_second(random.Random(seed)))


async def _any_second(rng: random.Random) -> None:
    call = Calls()
    await call.table()
    model: dict[str, str] = {}
    for n in range(rng.randrange(6)):
        await _write(call, rng, model, f"before{n}")
    call.node.clock.advance(1)
    await recoverable(call)
    states = [(call.node.clock.now(), dict(model))]
    for turn in range(rng.randrange(1, 60)):
        if rng.random() < 0.5:
            call.node.clock.advance(rng.choice([0.0, 0.3, 2.0, 90.0, HOUR]))
        await _write(call, rng, model, str(turn))
        states.append((call.node.clock.now(), dict(model)))
    async with working(call):
        for number in range(4):
            at, expected = rng.choice(states)
            # What was written last before that moment counts, whatever came within the same microsecond.
            expected = [state for time, state in states if time <= at][-1]
            assert await restored(call, f"copy{number}", RestoreDateTime=at) == expected
            await _write(call, rng, model, f"later{number}")
        assert await restored(call, "latest", UseLatestRestorableTime=True) == model
    assert await items(call, "tab") == model


async def _write(call: Calls, rng: random.Random, model: dict[str, str], value: str) -> None:
    chosen = [f"key{n}\0" if n % 3 else f"key{n}" for n in rng.sample(range(8), 3)]
    large = value + "x" * (120_000 if rng.random() < 0.05 else 0)
    match rng.randrange(5):
        case 0:
            await call("DeleteItem", TableName="tab", Key={"pk": {"S": chosen[0]}})
            model.pop(chosen[0], None)
        case 1:
            await call("PutItem", TableName="tab", Item=put(chosen[0], large))
            model[chosen[0]] = large
        case 2:
            await call(
                "UpdateItem", TableName="tab", Key={"pk": {"S": chosen[0]}}, UpdateExpression="SET v = :v",
                ExpressionAttributeValues={":v": {"S": value}},
            )  # fmt: skip
            model[chosen[0]] = value
        case 3:
            writes = [{"PutRequest": {"Item": put(key, value)}} for key in chosen[1:]]
            gone: list[Any] = [{"DeleteRequest": {"Key": {"pk": {"S": chosen[0]}}}}]
            await call("BatchWriteItem", RequestItems={"tab": writes + gone})
            model.update(dict.fromkeys(chosen[1:], value))
            model.pop(chosen[0], None)
        case _:
            parts = [{"Put": {"TableName": "tab", "Item": put(key, value)}} for key in chosen[1:]]
            part = {"Delete": {"TableName": "tab", "Key": {"pk": {"S": chosen[0]}}}}
            await call("TransactWriteItems", TransactItems=[*parts, part])
            model.update(dict.fromkeys(chosen[1:], value))
            model.pop(chosen[0], None)


@pytest.fixture
async def call() -> Calls:
    made = Calls()
    await made.table()
    return made


async def test_what_is_older_than_the_period_is_forgotten(call: Calls) -> None:
    await recoverable(call, RecoveryPeriodInDays=2)
    await call("PutItem", TableName="tab", Item=put("a", "1"))
    call.node.clock.advance(DAY)
    await call("PutItem", TableName="tab", Item=put("a", "2"))
    at = call.node.clock.now()
    call.node.clock.advance(DAY + HOUR)
    await call("PutItem", TableName="tab", Item=put("a", "3"))
    assert await _kept(call) == 3
    await recovery.trim_all(call.node)
    assert await _kept(call) == 2
    described = (await call("DescribeContinuousBackups", TableName="tab"))["ContinuousBackupsDescription"]
    shown = described["PointInTimeRecoveryDescription"]
    assert shown["RecoveryPeriodInDays"] == 2
    assert shown["LatestRestorableDateTime"] - shown["EarliestRestorableDateTime"] == pytest.approx(2 * DAY)
    async with working(call):
        assert await restored(call, "copy", RestoreDateTime=at + 1) == {"a": "2"}
    too_old = await call.error(
        "RestoreTableToPointInTime", SourceTableName="tab", TargetTableName="x", RestoreDateTime=at - DAY
    )
    assert too_old.startswith("InvalidRestoreTimeException: ")
    future = call.node.clock.now() + 60
    too_new = await call.error(
        "RestoreTableToPointInTime", SourceTableName="tab", TargetTableName="x", RestoreDateTime=future
    )
    assert too_new == too_old
    await call(
        "UpdateContinuousBackups",
        TableName="tab",
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False},
    )
    assert await _kept(call) == 0
    await call("PutItem", TableName="tab", Item=put("a", "4"))
    assert await _kept(call) == 0


async def test_a_longer_period_does_not_bring_back_what_is_forgotten(call: Calls) -> None:
    await recoverable(call, RecoveryPeriodInDays=1)
    begun = call.node.clock.now()
    await call("PutItem", TableName="tab", Item=put("a", "1"))
    call.node.clock.advance(3 * DAY)
    await recovery.trim_all(call.node)
    await recoverable(call, RecoveryPeriodInDays=35)
    described = (await call("DescribeContinuousBackups", TableName="tab"))["ContinuousBackupsDescription"]
    shown = described["PointInTimeRecoveryDescription"]
    assert shown["RecoveryPeriodInDays"] == 35
    assert shown["EarliestRestorableDateTime"] == pytest.approx(begun + 2 * DAY, abs=5)
    call.node.clock.advance(5 * DAY)
    again = (await call("DescribeContinuousBackups", TableName="tab"))["ContinuousBackupsDescription"]
    assert again["PointInTimeRecoveryDescription"]["EarliestRestorableDateTime"] == shown["EarliestRestorableDateTime"]
    early = await call.error(
        "RestoreTableToPointInTime", SourceTableName="tab", TargetTableName="x", RestoreDateTime=begun + DAY
    )
    assert early.startswith("InvalidRestoreTimeException: ")


async def _kept(call: Calls) -> int:
    def body(txn: Any) -> int:
        stored = txn.get(keys.table(call.account, call.region, "tab"))
        table_id = uuid.UUID(table.decode(stored).record.id).bytes
        counts = []
        for prefix in (keys.history(table_id), keys.history_due(table_id)):
            counts.append(sum(1 for _ in txn.scan(prefix, prefix + b"\xff")))
        assert counts[0] == counts[1]
        return counts[0]

    return await call.node.store.transact(body, read_only=True)


async def test_restores_are_refused_where_they_cannot_be(call: Calls) -> None:
    when: dict[str, Any] = {"UseLatestRestorableTime": True}
    off = await call.error("RestoreTableToPointInTime", SourceTableName="tab", TargetTableName="new", **when)
    assert off == "PointInTimeRecoveryUnavailableException: Point in time recovery is not enabled for table 'tab'"
    missing = await call.error("RestoreTableToPointInTime", SourceTableName="none", TargetTableName="new", **when)
    assert missing == "TableNotFoundException: Table not found: none"
    await recoverable(call)
    for wrong in ({}, {"UseLatestRestorableTime": True, "RestoreDateTime": 5}):
        both = await call.error("RestoreTableToPointInTime", SourceTableName="tab", TargetTableName="new", **wrong)
        assert both.startswith("ValidationException: ")
    there = await call.error("RestoreTableToPointInTime", SourceTableName="tab", TargetTableName="tab", **when)
    assert there == "TableAlreadyExistsException: Table already exists: tab"
    assert (
        await call.error("DescribeContinuousBackups", TableName="none")
        == "TableNotFoundException: Table not found: none"
    )


async def test_a_table_is_kept_while_it_is_read(call: Calls) -> None:
    await recoverable(call)
    await call("PutItem", TableName="tab", Item=put("a", "1"))
    await call("RestoreTableToPointInTime", SourceTableName="tab", TargetTableName="new", UseLatestRestorableTime=True)
    busy = await call.error("DeleteTable", TableName="tab")
    assert busy.startswith("ResourceInUseException: ")
    assert (await call.error("DeleteTable", TableName="new")).startswith("ResourceInUseException: ")
    assert (await call.error("PutItem", TableName="new", Item=put("a", "1"))).startswith("ResourceNotFoundException: ")
    # Recovery is switched off while the restore is under way: what it needs stays.
    await call(
        "UpdateContinuousBackups",
        TableName="tab",
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False},
    )
    await call("PutItem", TableName="tab", Item=put("a", "2"))
    async with working(call), asyncio.timeout(20):
        while (await call("DescribeTable", TableName="new"))["Table"]["TableStatus"] != "ACTIVE":
            await asyncio.sleep(0.005)
    assert await items(call, "new") == {"a": "1"}
    assert await _kept(call) == 0


async def test_changes_between_two_times(call: Calls) -> None:
    await call("PutItem", TableName="tab", Item=put("same", "1"))
    await call("PutItem", TableName="tab", Item=put("gone", "1"))
    await recoverable(call)
    await call("PutItem", TableName="tab", Item=put("changed", "1"))
    call.node.clock.advance(10)
    begin = call.node.clock.now()
    call.node.clock.advance(10)
    for value in ("2", "3"):
        await call("PutItem", TableName="tab", Item=put("changed", value))
        await call("PutItem", TableName="tab", Item=put("new", value))
        await call("PutItem", TableName="tab", Item=put("brief", value))
    await call("DeleteItem", TableName="tab", Key={"pk": {"S": "gone"}})
    await call("DeleteItem", TableName="tab", Key={"pk": {"S": "brief"}})
    await call("PutItem", TableName="tab", Item=put("same", "1"))
    end = call.node.clock.now()
    call.node.clock.advance(10)
    await call("PutItem", TableName="tab", Item=put("changed", "4"))
    found, after = [], b""
    while True:

        def body(txn: Any, begin_at: bytes = after) -> tuple[list[history.Change], bytes]:
            source = table.decode(txn.get(keys.table(call.account, call.region, "tab")) or b"")
            return history.changes_between(txn, source, begin_at, round(begin * 1e6), round(end * 1e6), 2, 1000)

        part, after = await call.node.store.transact(body, read_only=True)
        found += part
        if not after:
            break
    values = {
        (each.old and json.loads(each.old)["v"]["S"], each.new and json.loads(each.new)["v"]["S"]): each
        for each in found
    }
    assert set(values) == {("1", "3"), (b"", "3"), ("1", b""), ("1", "1")}
    assert len(found) == 4
    assert all(begin * 1e6 < each.written_us <= end * 1e6 for each in found)


async def test_the_quota_of_restores(call: Calls) -> None:
    await recoverable(call)
    for number in range(50):
        await call(
            "RestoreTableToPointInTime",
            SourceTableName="tab",
            TargetTableName=f"copy{number}",
            UseLatestRestorableTime=True,
        )
    past = await call.error(
        "RestoreTableToPointInTime", SourceTableName="tab", TargetTableName="new", UseLatestRestorableTime=True
    )
    assert past.startswith("LimitExceededException: Subscriber limit exceeded")
    assert len((await call("ListTables"))["TableNames"]) == 51
    async with working(call), asyncio.timeout(30):
        while (await call("DescribeTable", TableName="copy49"))["Table"]["TableStatus"] != "ACTIVE":
            await asyncio.sleep(0.01)
