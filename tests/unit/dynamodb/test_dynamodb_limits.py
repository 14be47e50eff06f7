"""Quotas of AWS that are held whatever the data: sizes of item collections, expressions, projections, provisioned units."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dynamodb_calls import Calls

V = "ValidationException: "
FULL = "ItemCollectionSizeLimitExceededException: Collection size exceeded."
KEYS = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
SIZES = {
    "IndexName": "sizes", "KeySchema": [KEYS[0], {"AttributeName": "size", "KeyType": "RANGE"}],
    "Projection": {"ProjectionType": "KEYS_ONLY"},
}  # fmt: skip


def types(*names: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "AttributeType": "S"} for name in names]


@pytest.fixture
async def ddb() -> Calls:
    """A table with a local index, whose item collections may have 2,000 bytes."""
    calls = Calls()
    calls.node.settings = msgspec.structs.replace(calls.node.settings, item_collection_bytes=2000)
    await calls(
        "CreateTable", TableName="tab", BillingMode="PAY_PER_REQUEST", KeySchema=KEYS,
        AttributeDefinitions=types("pk", "sk", "size"), LocalSecondaryIndexes=[SIZES],
    )  # fmt: skip
    return calls


def item(pk: str, sk: str, length: int, **more: Any) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}, "text": {"S": "x" * length}, **more}


def put(given: dict[str, Any]) -> dict[str, Any]:
    return {"Put": {"TableName": "tab", "Item": given}}


async def test_an_item_collection_does_not_outgrow_its_limit(ddb: Calls) -> None:
    for sk in "ab":
        await ddb("PutItem", TableName="tab", Item=item("p", sk, 900))
    assert await ddb.error("PutItem", TableName="tab", Item=item("p", "c", 300)) == FULL
    await ddb("PutItem", TableName="tab", Item=item("q", "c", 1500))  # another collection
    # An entry of the index counts too: the item alone would fit.
    await ddb("PutItem", TableName="tab", Item=item("p", "c", 60))
    assert await ddb.error("PutItem", TableName="tab", Item=item("p", "c", 60, size={"S": "y" * 60})) == FULL
    grow = {"UpdateExpression": "SET more = :x", "ExpressionAttributeValues": {":x": {"S": "x" * 200}}}
    key = {"pk": {"S": "p"}, "sk": {"S": "a"}}
    assert await ddb.error("UpdateItem", TableName="tab", Key=key, **grow) == FULL
    batch = [{"PutRequest": {"Item": item("p", "d", 300)}}]
    assert await ddb.error("BatchWriteItem", RequestItems={"tab": batch}) == FULL
    # What makes it smaller is allowed, and makes room.
    await ddb("PutItem", TableName="tab", Item=item("p", "b", 100))
    await ddb("UpdateItem", TableName="tab", Key=key, **grow)


async def test_a_transaction_says_which_item_was_too_much(ddb: Calls) -> None:
    puts = [put(item("p", "a", 900)), put(item("q", "a", 10)), put(item("p", "b", 1100))]
    error = await ddb.error("TransactWriteItems", TransactItems=puts)
    assert error.endswith("[None, None, ItemCollectionSizeLimitExceeded]")
    assert (await ddb("Scan", TableName="tab"))["Count"] == 0
    statement = "INSERT INTO tab VALUE {'pk': 'p', 'sk': 'a', 'text': ?}"
    done = await ddb("BatchExecuteStatement", Statements=[{"Statement": statement, "Parameters": [{"S": "x" * 2000}]}])
    assert done["Responses"][0]["Error"]["Code"] == "ItemCollectionSizeLimitExceeded"


async def test_an_expression_has_300_operators(ddb: Calls) -> None:
    scan = {"TableName": "tab", "ExpressionAttributeValues": {":a": {"S": "a"}}}
    await ddb("Scan", **scan, FilterExpression=" AND ".join(["a<:a"] * 300))
    error = await ddb.error("Scan", **scan, FilterExpression=" AND ".join(["a<:a"] * 301))
    assert error == V + "Invalid FilterExpression: The expression contains too many operators; operator count: 301"
    update = {
        "TableName": "tab",
        "Key": {"pk": {"S": "p"}, "sk": {"S": "s"}},
        "ExpressionAttributeValues": {":a": {"N": "1"}},
    }
    sums = ",".join(f"a{n}=:a+:a" for n in range(301))
    error = await ddb.error("UpdateItem", **update, UpdateExpression=f"SET {sums}")
    assert error.endswith("Invalid UpdateExpression: The expression contains too many operators; operator count: 301")


async def test_values_of_expressions_have_2_mb(ddb: Calls) -> None:
    values = {f":v{n}": {"S": "x" * 300_000} for n in range(8)}
    error = await ddb.error(
        "Scan", TableName="tab", FilterExpression=f"a IN ({','.join(values)})", ExpressionAttributeValues=values
    )
    assert "ExpressionAttributeValues exceeds max size" in error
    error = await ddb.error(
        "Scan", TableName="tab", FilterExpression="a = :v", ExpressionAttributeValues={":" + "v" * 255: {"S": ""}}
    )
    assert "key that is too long" in error


async def test_indexes_name_100_attributes_in_all(ddb: Calls) -> None:
    def index(n: int, count: int) -> dict[str, Any]:
        names = [f"a{i}" for i in range(count)]
        return {
            "IndexName": f"index-{n}", "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": names},
        }  # fmt: skip

    made = {
        "TableName": "wide",
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": KEYS,
        "AttributeDefinitions": types("pk", "sk", "g"),
    }
    many = [index(n, 20) for n in range(5)]
    error = await ddb.error("CreateTable", **made, GlobalSecondaryIndexes=[*many, index(5, 1)])
    assert "NonKeyAttributes count exceeds the per-table limit of 100" in error
    await ddb("CreateTable", **made, GlobalSecondaryIndexes=many)
    add = {"AttributeDefinitions": types("g"), "GlobalSecondaryIndexUpdates": [{"Create": index(5, 1)}]}
    assert "per-table limit of 100" in await ddb.error("UpdateTable", TableName="wide", **add)
    twice = index(6, 2)
    twice["Projection"]["NonKeyAttributes"] = ["a", "a"]
    assert "Duplicate attribute name" in await ddb.error(
        "CreateTable", **made | {"TableName": "other"}, GlobalSecondaryIndexes=[twice]
    )


async def test_provisioned_units_of_a_table_and_an_account(ddb: Calls) -> None:
    def made(name: str, reads: int, writes: int = 1) -> dict[str, Any]:
        return {
            "TableName": name, "KeySchema": KEYS, "AttributeDefinitions": types("pk", "sk"),
            "ProvisionedThroughput": {"ReadCapacityUnits": reads, "WriteCapacityUnits": writes},
        }  # fmt: skip

    assert "table-level limit of 40000 ReadCapacityUnits" in await ddb.error("CreateTable", **made("large", 40_001))
    for name in ("one", "two"):
        await ddb("CreateTable", **made(name, 35_000))
    error = await ddb.error("CreateTable", **made("three", 20_000))
    assert (
        error.startswith("LimitExceededException: Subscriber limit exceeded")
        and "account-level limit of 80000" in error
    )
    units = {"ReadCapacityUnits": 40_001, "WriteCapacityUnits": 1}
    assert "table-level" in await ddb.error("UpdateTable", TableName="one", ProvisionedThroughput=units)
    await ddb(
        "UpdateTable", TableName="one", ProvisionedThroughput={"ReadCapacityUnits": 40_000, "WriteCapacityUnits": 2}
    )
    ddb.node.settings = msgspec.structs.replace(ddb.node.settings, limits=False)
    await ddb("CreateTable", **made("three", 50_000))
