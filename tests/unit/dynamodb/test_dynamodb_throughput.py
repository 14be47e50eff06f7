"""Throughput: what tables, indexes and partitions may take a second, who is throttled, and how limits are changed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamodb_calls import Calls
from penstock.services.dynamodb.throughput import Bucket
from penstock.wire.errors import AwsError

TABLE = (
    "ProvisionedThroughputExceededException: The level of configured provisioned throughput for the table was exceeded. "
    "Consider increasing your provisioning level with the UpdateTable API."
)
ON_DEMAND = "ThrottlingException: Throughput exceeds the maximum OnDemandThroughput configured on table or index"


@given(
    st.floats(0.1, 1000), st.floats(1, 300),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0.5, 50)), max_size=60),
)  # fmt: skip
def test_buckets_give_no_more_than_burst_and_rate(rate: float, burst_s: float, asks: list[tuple[float, float]]) -> None:
    bucket = Bucket(rate, rate * burst_s, 0.0)
    now = given_units = 0.0
    for later, units in asks:
        now += later
        bucket.refill(rate, rate * burst_s, now)
        if bucket.left > 0:
            # Only the last request may go beyond what there is.
            assert given_units <= rate * burst_s + rate * now + 1e-6
            bucket.left -= units
            given_units += units


async def make(ddb: Calls, read: int = 1, write: int = 1, index_write: int = 1000, **more: Any) -> None:
    throughput = {"ReadCapacityUnits": read, "WriteCapacityUnits": write}
    if not more:
        more = {"ProvisionedThroughput": throughput}
    await ddb(
        "CreateTable", TableName="tab", **more,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "g")],
        GlobalSecondaryIndexes=[{
            "IndexName": "by-g", "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
            **({} if "BillingMode" in more else {
                "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": index_write},
            }),
        }],
    )  # fmt: skip


def item(pk: str, size: int = 0, **more: Any) -> dict[str, Any]:
    return {"pk": {"S": pk}, **({"x": {"S": "x" * size}} if size else {}), **more}


async def until_throttled(ddb: Calls, operation: str, most: int = 400, **params: Any) -> tuple[int, str]:
    for number in range(most):
        try:
            await ddb(operation, **params)
        except AwsError as error:
            return number, str(error)
    raise AssertionError(f"{most} were not throttled")


async def test_provisioned_writes_and_reads() -> None:
    ddb = Calls()
    await make(ddb)
    count, told = await until_throttled(ddb, "PutItem", TableName="tab", Item=item("a"))
    assert told == TABLE
    assert count in (300, 301)  # the clock goes on meanwhile
    with pytest.raises(AwsError) as caught:
        await ddb("DeleteItem", TableName="tab", Key=item("a"))
    arn = f"arn:aws:dynamodb:us-east-1:{ddb.account}:table/tab"
    assert caught.value.members == {
        "ThrottlingReasons": [{"reason": "TableWriteProvisionedThroughputExceeded", "resource": arn}]
    }
    ddb.node.clock.advance(2)
    count, told = await until_throttled(ddb, "UpdateItem", TableName="tab", Key=item("a"))
    assert told == TABLE
    assert count in (1, 2, 3)
    count, told = await until_throttled(ddb, "GetItem", 700, TableName="tab", Key=item("a"))
    assert told == TABLE
    assert count in (600, 601, 602)
    for operation, params in (
        ("Scan", {}),
        ("Query", {"KeyConditionExpression": "pk = :a", "ExpressionAttributeValues": {":a": {"S": "a"}}}),
        ("BatchGetItem", {"RequestItems": {"tab": {"Keys": [item("a")]}}}),
        ("ExecuteStatement", {"Statement": "SELECT * FROM tab"}),
    ):
        named = {} if operation in ("BatchGetItem", "ExecuteStatement") else {"TableName": "tab"}
        assert await ddb.error(operation, **named, **params) == TABLE


async def test_what_is_taken_beyond_is_owed() -> None:
    ddb = Calls()
    await make(ddb)
    await ddb("PutItem", TableName="tab", Item=item("a", 399 * 1024))
    assert await ddb.error("PutItem", TableName="tab", Item=item("b")) == TABLE
    ddb.node.clock.advance(99)
    assert await ddb.error("PutItem", TableName="tab", Item=item("b")) == TABLE
    ddb.node.clock.advance(3)
    await ddb("PutItem", TableName="tab", Item=item("b"))


async def test_failed_conditions_cost_too() -> None:
    ddb = Calls()
    await make(ddb)
    for _ in range(300):
        error = await ddb.error("PutItem", TableName="tab", Item=item("a"), ConditionExpression="attribute_exists(pk)")
        assert error.startswith("ConditionalCheckFailed")
    count, told = await until_throttled(ddb, "PutItem", TableName="tab", Item=item("a"))
    assert told == TABLE
    assert count <= 1


async def test_an_index_holds_writes_back() -> None:
    ddb = Calls()
    await make(ddb, write=1000, index_write=1)
    put = {"TableName": "tab", "Item": item("a", g={"S": "g"}, x={"S": "x" * 150 * 1024})}
    await ddb("PutItem", **put)
    put["Item"] = {**put["Item"], "y": {"S": "y" * 200 * 1024}}
    await ddb("PutItem", **put)
    put["Item"] = {**put["Item"], "z": {"S": "z"}}
    assert "one or more global secondary indexes of the table was exceeded" in await ddb.error("PutItem", **put)
    found = (await ddb("GetItem", TableName="tab", Key=item("a")))["Item"]
    assert "z" not in found
    await ddb("PutItem", TableName="tab", Item=item("not in the index"))
    result = await ddb.error("BatchWriteItem", RequestItems={"tab": [{"PutRequest": {"Item": put["Item"]}}]})
    assert "global secondary indexes" in result


async def test_a_hot_partition() -> None:
    ddb = Calls()
    await make(ddb, read=39_000, write=39_000)
    for _ in range(3):
        await ddb("PutItem", TableName="tab", Item=item("hot", 390 * 1024))
    with pytest.raises(AwsError) as caught:
        await ddb("PutItem", TableName="tab", Item=item("hot", 390 * 1024))
    assert caught.value.members["ThrottlingReasons"][0]["reason"] == "TableWriteKeyRangeThroughputExceeded"
    await ddb("PutItem", TableName="tab", Item=item("cool", 390 * 1024))
    ddb.node.clock.advance(1)
    await ddb("PutItem", TableName="tab", Item=item("hot", 390 * 1024))


async def test_batches_leave_what_is_throttled() -> None:
    ddb = Calls()
    await make(ddb, read=1, write=1)
    await ddb("PutItem", TableName="tab", Item=item("big", 289 * 1024))
    requests = [{"PutRequest": {"Item": item(str(n))}} for n in range(25)]
    result = await ddb("BatchWriteItem", RequestItems={"tab": requests}, ReturnConsumedCapacity="TOTAL")
    left = result["UnprocessedItems"]["tab"]
    done = 25 - len(left)
    assert 0 < done < 25
    assert left == requests[done:]
    assert result["ConsumedCapacity"] == [{"TableName": "tab", "CapacityUnits": float(done)}]
    assert await ddb.error("BatchWriteItem", RequestItems={"tab": left}) == TABLE
    ddb.node.clock.advance(1)
    assert len((await ddb("BatchWriteItem", RequestItems={"tab": left}))["UnprocessedItems"]["tab"]) == len(left) - 1
    keys = [item("big"), *(item(str(n)) for n in range(done))]
    for _ in range(4):  # 72.5 units each
        await ddb("GetItem", TableName="tab", Key=item("big"), ConsistentRead=True)
    got = await ddb("BatchGetItem", RequestItems={"tab": {"Keys": keys}})
    assert got["Responses"]["tab"]
    assert got["UnprocessedKeys"]["tab"]["Keys"] == keys[len(got["Responses"]["tab"]) :]


async def test_transactions_name_the_throttled_action() -> None:
    ddb = Calls()
    await make(ddb)
    await ddb("PutItem", TableName="tab", Item=item("big", 299 * 1024))
    actions = [{"Put": {"TableName": "tab", "Item": item("a")}}, {"Put": {"TableName": "tab", "Item": item("b")}}]
    with pytest.raises(AwsError) as caught:
        for _ in range(2):
            await ddb("TransactWriteItems", TransactItems=actions)
    codes = [reason["Code"] for reason in caught.value.members["CancellationReasons"]]
    assert "ProvisionedThroughputExceeded" in codes
    assert (await ddb("Scan", TableName="tab"))["Count"] in (1, 3)


async def test_maximums_on_demand() -> None:
    ddb = Calls()
    maximum = {"MaxReadRequestUnits": 5, "MaxWriteRequestUnits": 3}
    await make(ddb, BillingMode="PAY_PER_REQUEST", OnDemandThroughput=maximum)
    assert (await ddb("DescribeTable", TableName="tab"))["Table"]["OnDemandThroughput"] == maximum
    count, told = await until_throttled(ddb, "PutItem", TableName="tab", Item=item("a"))
    assert 3 <= count < 50
    assert told == ON_DEMAND
    ddb.node.clock.advance(10)
    await ddb("PutItem", TableName="tab", Item=item("a"))
    with pytest.raises(AwsError) as caught:
        for _ in range(10):
            await ddb("TransactWriteItems", TransactItems=[{"Put": {"TableName": "tab", "Item": item("a")}}])
    assert caught.value.members["CancellationReasons"][0]["Code"] == "ThrottlingError"
    await ddb(
        "UpdateTable", TableName="tab", OnDemandThroughput={"MaxReadRequestUnits": -1, "MaxWriteRequestUnits": -1}
    )
    assert "OnDemandThroughput" not in (await ddb("DescribeTable", TableName="tab"))["Table"]
    for _ in range(50):
        await ddb("PutItem", TableName="tab", Item=item("a"))
    update = {"IndexName": "by-g", "OnDemandThroughput": {"MaxWriteRequestUnits": 1}}
    await ddb("UpdateTable", TableName="tab", GlobalSecondaryIndexUpdates=[{"Update": update}])
    await ddb("PutItem", TableName="tab", Item=item("b", g={"S": "g"}, x={"S": "x" * 9999}))
    assert await ddb.error("PutItem", TableName="tab", Item=item("b", g={"S": "g"}, x={"S": "y" * 9999})) == ON_DEMAND


async def test_warm_throughput() -> None:
    ddb = Calls()
    warm = {"ReadUnitsPerSecond": 20000, "WriteUnitsPerSecond": 5000}
    await make(ddb, BillingMode="PAY_PER_REQUEST", WarmThroughput=warm)
    assert (await ddb("DescribeTable", TableName="tab"))["Table"]["WarmThroughput"] == {**warm, "Status": "ACTIVE"}
    error = await ddb.error("UpdateTable", TableName="tab", WarmThroughput={"ReadUnitsPerSecond": 15000})
    assert "decreasing WarmThroughput is not supported" in error
    await ddb("UpdateTable", TableName="tab", WarmThroughput={"ReadUnitsPerSecond": 30000})
    found = (await ddb("DescribeTable", TableName="tab"))["Table"]["WarmThroughput"]
    assert found == {"ReadUnitsPerSecond": 30000, "WriteUnitsPerSecond": 5000, "Status": "ACTIVE"}


async def test_decreases_and_switches_are_limited() -> None:
    ddb = Calls()
    await make(ddb, read=50, write=50)

    async def update(**params: Any) -> None:
        await ddb("UpdateTable", TableName="tab", **params)

    def units(read: int) -> dict[str, Any]:
        return {"ReadCapacityUnits": read, "WriteCapacityUnits": 50}

    for read in (49, 48, 47, 46):
        await update(ProvisionedThroughput=units(read))
    error = await ddb.error("UpdateTable", TableName="tab", ProvisionedThroughput=units(45))
    assert error.startswith(
        "LimitExceededException: Subscriber limit exceeded: Provisioned throughput decreases are limited"
    )
    assert "Number of decreases today: 4" in error
    await update(ProvisionedThroughput=units(60))
    ddb.node.clock.advance(86400)
    await update(ProvisionedThroughput=units(45))
    index = [{"Update": {"IndexName": "by-g", "ProvisionedThroughput": units(5)}}]
    for _ in range(4):
        await update(BillingMode="PAY_PER_REQUEST")
        error = await ddb.error(
            "UpdateTable", TableName="tab", BillingMode="PROVISIONED", ProvisionedThroughput=units(5)
        )
        assert "ProvisionedThroughput must be specified for index: by-g" in error
        await update(BillingMode="PROVISIONED", ProvisionedThroughput=units(5), GlobalSecondaryIndexUpdates=index)
    error = await ddb.error("UpdateTable", TableName="tab", BillingMode="PAY_PER_REQUEST")
    assert error.startswith(
        "LimitExceededException: Subscriber limit exceeded: Update to PayPerRequest mode are limited"
    )
