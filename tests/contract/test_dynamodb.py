"""DynamoDB on every engine, and on one that runs bodies more than once: counters, transfers, indexes, large items."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from dynamodb_calls import Calls
from penstock.services.dynamodb import jobs
from penstock.services.dynamodb.indexes import fill_some
from penstock.store.api import Store
from penstock.store.tuples import range_of
from penstock.wire.errors import AwsError


def key(pk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}}


def add(pk: str, amount: int, condition: str = "") -> dict[str, Any]:
    values = {":a": {"N": str(amount)}, **({":least": {"N": str(-amount)}} if condition else {})}
    update = {
        "TableName": "tab", "Key": key(pk), "UpdateExpression": "SET n = if_not_exists(n, :a) + :a ADD m :a",
        "ExpressionAttributeValues": values,
    }  # fmt: skip
    return {**update, "ConditionExpression": condition} if condition else update


@pytest.fixture
async def ddb(store: Store) -> Calls:
    calls = Calls(store)
    await calls.table("tab")
    return calls


async def test_counters_never_lose_one(ddb: Calls) -> None:
    async def client() -> None:
        for _ in range(6):
            await ddb("UpdateItem", **add("counter", 1))

    await asyncio.gather(*(client() for _ in range(6)))
    item = (await ddb("GetItem", TableName="tab", Key=key("counter")))["Item"]
    assert item == {**key("counter"), "n": {"N": "37"}, "m": {"N": "36"}}


async def test_transfers_lose_nothing(ddb: Calls) -> None:
    for account in "abc":
        await ddb("PutItem", TableName="tab", Item={**key(account), "m": {"N": "50"}})

    async def move(source: str, target: str) -> None:
        for _ in range(5):
            try:
                debit, credit = add(source, -7, "m >= :least"), add(target, 7)
                await ddb("TransactWriteItems", TransactItems=[{"Update": debit}, {"Update": credit}])
            except AwsError as error:
                assert error.code == "TransactionCanceledException"
            gets = [{"Get": {"TableName": "tab", "Key": key(account)}} for account in "abc"]
            seen = (await ddb("TransactGetItems", TransactItems=gets))["Responses"]
            assert sum(int(each["Item"]["m"]["N"]) for each in seen) == 150

    await asyncio.gather(*(move(a, b) for a in "abc" for b in "abc" if a != b))


async def test_indexes_agree_with_their_table(ddb: Calls) -> None:
    """Written to by several clients while an index is added and filled."""
    chance = random.Random(3)

    async def write(turn: int) -> None:
        pk = f"{turn % 7}"
        if turn % 5 == 0:
            await ddb("DeleteItem", TableName="tab", Key=key(pk))
            return
        body = {"S": "x" * (150_000 if turn % 11 == 0 else 10)}
        await ddb("PutItem", TableName="tab", Item={**key(pk), "g": {"S": chance.choice("GH")}, "d": body})

    await asyncio.gather(*(write(turn) for turn in range(30)))
    create = {
        "IndexName": "by-g", "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["d"]},
    }  # fmt: skip
    await ddb(
        "UpdateTable", TableName="tab", GlobalSecondaryIndexUpdates=[{"Create": create}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "g")],
    )  # fmt: skip

    async def fill() -> None:
        while await ddb.node.store.transact(fill_some):
            pass

    await asyncio.gather(fill(), *(write(turn) for turn in range(30, 60)))
    await fill()

    def order(item: dict[str, Any]) -> str:
        return str(item["pk"]["S"])

    items = sorted((await ddb("Scan", TableName="tab"))["Items"], key=order)
    entries = sorted((await ddb("Scan", TableName="tab", IndexName="by-g"))["Items"], key=order)
    assert entries == items
    described = (await ddb("DescribeTable", TableName="tab"))["Table"]
    assert described["ItemCount"] == len(items)
    assert described["GlobalSecondaryIndexes"][0]["ItemCount"] == len(items)
    assert described["GlobalSecondaryIndexes"][0]["IndexSizeBytes"] == described["TableSizeBytes"]
    await ddb("DeleteTable", TableName="tab")
    left = await ddb.node.store.transact(lambda txn: [k for k, _ in txn.scan(b"", b"\xff") if b"backfills" not in k])
    assert left == []


async def test_a_restored_table_is_of_one_moment(ddb: Calls) -> None:
    """Money moves between accounts, in transactions, while the table is restored: no copy has more or less of it."""
    for account in "abcdef":
        await ddb("PutItem", TableName="tab", Item={**key(account), "m": {"N": "50"}})
    on = {"PointInTimeRecoveryEnabled": True}
    await ddb("UpdateContinuousBackups", TableName="tab", PointInTimeRecoverySpecification=on)
    worker, stop = asyncio.create_task(jobs.work(ddb.node)), asyncio.Event()

    async def move(seed: int) -> None:
        chosen = random.Random(seed)
        while not stop.is_set():
            source, target = chosen.sample("abcdef", 2)
            debit, credit = add(source, -7), add(target, 7)
            await ddb("TransactWriteItems", TransactItems=[{"Update": debit}, {"Update": credit}])
            await asyncio.sleep(0)

    movers = [asyncio.create_task(move(seed)) for seed in range(3)]
    try:
        async with asyncio.timeout(40):
            for number in range(4):
                copy = f"copy{number}"
                await ddb(
                    "RestoreTableToPointInTime",
                    SourceTableName="tab",
                    TargetTableName=copy,
                    UseLatestRestorableTime=True,
                )
                while (await ddb("DescribeTable", TableName=copy))["Table"]["TableStatus"] != "ACTIVE":
                    await asyncio.sleep(0.01)
                found = (await ddb("Scan", TableName=copy))["Items"]
                assert len(found) == 6
                assert sum(int(each["m"]["N"]) for each in found) == 300
    finally:
        stop.set()
        await asyncio.gather(*movers)
        worker.cancel()
        await asyncio.wait([worker])


async def test_an_encrypted_table_with_vectors_on_every_engine(store: Store) -> None:
    """Its key is asked for while many write; nonces are never shared by the engine's threads, so all of it opens again."""
    ddb = Calls(store)
    await ddb(
        "CreateTable", TableName="sealed", BillingMode="PAY_PER_REQUEST", SSESpecification={"Enabled": True},
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        VectorIndexes=[{
            "IndexName": "near", "VectorAttribute": {"AttributeName": "v"}, "Projection": {"ProjectionType": "ALL"},
            "Dimensions": 2, "DistanceFunction": "EUCLIDEAN",
        }],
    )  # fmt: skip

    async def write(n: int) -> None:
        vector = {"L": [{"N": f"{n}"}, {"N": "0"}]}
        await ddb(
            "PutItem", TableName="sealed", Item={**key(f"{n % 9}"), "v": vector, "d": {"S": "x" * (n % 3) * 50_000}}
        )

    await asyncio.gather(*(write(n) for n in range(27)))
    items = (await ddb("Scan", TableName="sealed"))["Items"]
    assert sorted(each["pk"]["S"] for each in items) == [str(n) for n in range(9)]
    found = await ddb(
        "SearchVectors", TableName="sealed", IndexName="near", SearchVector=[{"N": "0"}, {"N": "0"}], TopK=9
    )
    scores = {each["Item"]["pk"]["S"]: each["Score"] for each in found["SearchResults"]}
    assert scores == {each["pk"]["S"]: float(each["v"]["L"][0]["N"]) for each in items}
    stored = [value async for value in _values(store)]
    assert stored
    assert not any(b'"pk"' in value for value in stored)


async def _values(store: Store) -> Any:
    """What lies where items do."""
    begin, end = range_of(("ddb", "item"))
    for _, value in await store.transact(lambda txn: list(txn.scan(begin, end)), read_only=True):
        yield value
