"""Items through the operations: what is written is what is read, and what AWS refuses is refused in its words."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from dynamodb_calls import Calls

KEY = {"pk": {"S": "k"}}
V = "ValidationException: "
BAD = V + "One or more parameter values were invalid: "
COUNT = "1 validation error detected: "
ONE_TYPE = "must contain exactly one of the supported datatypes"


@pytest.fixture
async def ddb() -> Calls:
    calls = Calls()
    await calls.table("tab")
    await calls.table("sorted", range_type="N")
    return calls


async def test_all_types_come_back(ddb: Calls) -> None:
    binary = base64.b64encode(bytes(range(256))).decode()
    item: dict[str, Any] = {
        **KEY, "s": {"S": "\u00e9\U0001f600\0"}, "e": {"S": ""}, "n": {"N": "-12.50"}, "b": {"B": binary},
        "eb": {"B": ""},
        "ss": {"SS": ["b", "a"]}, "ns": {"NS": ["2", "1e0"]}, "bs": {"BS": ["YQ==", binary]}, "t": {"BOOL": False},
        "nul": {"NULL": True}, "m": {"M": {"": {"L": [{"M": {}}, {"L": []}]}}},
    }  # fmt: skip
    await ddb("PutItem", TableName="tab", Item=item)
    item["n"] = {"N": "-12.5"}
    item["ss"]["SS"].sort()
    item["ns"] = {"NS": ["1", "2"]}
    item["bs"]["BS"] = [binary, "YQ=="]
    assert (await ddb("GetItem", TableName="tab", Key=KEY))["Item"] == item
    assert await ddb("GetItem", TableName="tab", Key={"pk": {"S": "none"}}) == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, V + "Supplied AttributeValue is empty, " + ONE_TYPE),
        ({"X": 1}, V + "Supplied AttributeValue is empty, " + ONE_TYPE),
        ({"S": "a", "N": "1"}, V + "Supplied AttributeValue has more than one datatypes set, " + ONE_TYPE),
        ({"SS": []}, V + COUNT + BAD.removeprefix(V) + "An string set  may not be empty"),
        ({"NS": []}, V + COUNT + BAD.removeprefix(V) + "An number set  may not be empty"),
        ({"BS": []}, V + COUNT + BAD.removeprefix(V) + "Binary sets should not be empty"),
        ({"SS": ["a", "a"]}, BAD + "Input collection [a, a] contains duplicates."),
        ({"NS": ["1", "1.0"]}, "ValidationException: Input collection contains duplicates"),
        ({"BS": ["YQ==", "YQ=="]}, BAD + "Input collection [YQ==, YQ==]of type BS contains duplicates."),
        ({"NULL": False}, BAD + "Null attribute value types must have the value of true"),
        ({"N": "x"}, "ValidationException: The parameter cannot be converted to a numeric value: x"),
        ({"N": 1}, "SerializationException: NUMBER_VALUE cannot be converted to String"),
        ({"S": True}, "SerializationException: TRUE_VALUE cannot be converted to String"),
        ({"BOOL": "true"}, "SerializationException: STRING_VALUE cannot be converted to Boolean"),
        ({"B": "YQ"}, "SerializationException: Base64 encoded length is expected a multiple of 4 bytes but found: 2"),
        ({"L": {}}, "SerializationException: Start of structure or map found where not expected"),
        ("x", "SerializationException: Unexpected value type in payload"),
    ],
)  # fmt: skip
async def test_values_that_are_refused(ddb: Calls, value: Any, message: str) -> None:
    assert await ddb.error("PutItem", TableName="tab", Item={**KEY, "a": value}) == message
    assert await ddb.error("PutItem", TableName="tab", Item={**KEY, "a": {"L": [{"M": {"x": value}}]}}) == message
    assert await ddb("GetItem", TableName="tab", Key=KEY) == {}


async def test_nesting_stops_at_32(ddb: Calls) -> None:
    def nested(depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {"S": "x"}
        for _ in range(depth):
            value = {"L": [value]}
        return value

    await ddb("PutItem", TableName="tab", Item={**KEY, "a": nested(32)})
    assert "Nesting Levels have exceeded" in await ddb.error("PutItem", TableName="tab", Item={**KEY, "a": nested(33)})


async def test_sizes_up_to_400_kb(ddb: Calls) -> None:
    room = 400 * 1024 - len("pk") - len("k") - len("data")
    for size in (99_990, 100_000, 250_000, room):
        item = {**KEY, "data": {"S": "x" * size}}
        await ddb("PutItem", TableName="tab", Item=item)
        assert (await ddb("GetItem", TableName="tab", Key=KEY))["Item"] == item
        assert (await ddb("Scan", TableName="tab"))["Items"] == [item]
    found = (await ddb("DescribeTable", TableName="tab"))["Table"]
    assert (found["ItemCount"], found["TableSizeBytes"]) == (1, 400 * 1024)
    said = await ddb.error("PutItem", TableName="tab", Item={**KEY, "data": {"S": "x" * (room + 1)}})
    assert said == "ValidationException: Item size has exceeded the maximum allowed size"
    said = await ddb.error(
        "UpdateItem",
        TableName="tab",
        Key=KEY,
        UpdateExpression="SET a = :a",
        ExpressionAttributeValues={":a": {"S": ""}},
    )
    assert said == "ValidationException: Item size to update has exceeded the maximum allowed size"
    await ddb("PutItem", TableName="tab", Item=KEY)
    await ddb("DeleteItem", TableName="tab", Key=KEY)
    found = (await ddb("DescribeTable", TableName="tab"))["Table"]
    assert (found["ItemCount"], found["TableSizeBytes"]) == (0, 0)
    leftovers = [key for key in ddb.node.store.data if b"large" in key or b"chunks" in key]  # type: ignore[attr-defined]
    assert leftovers == []


MISMATCH = "ValidationException: The provided key element does not match the schema"


@pytest.mark.parametrize(
    ("operation", "params", "message"),
    [
        ("PutItem", {"Item": {"pk": {"S": "a"}}}, BAD + "Missing the key sk in the item"),
        ("PutItem", {"Item": {"sk": {"N": "1"}}}, BAD + "Missing the key pk in the item"),
        ("PutItem", {"Item": {"pk": {"N": "1"}, "sk": {"N": "1"}}},
         BAD + "Type mismatch for key pk expected: S actual: N"),
        ("PutItem", {"Item": {"pk": {"S": ""}, "sk": {"N": "1"}}},
         V + "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an "
         "empty string value. Key: pk"),
        ("PutItem", {"Item": {"pk": {"S": "x" * 2049}, "sk": {"N": "1"}}},
         BAD + "Size of hashkey has exceeded the maximum size limit of2048 bytes"),
        ("GetItem", {"Key": {"pk": {"S": "a"}}}, MISMATCH),
        ("GetItem", {"Key": {"pk": {"S": "a"}, "sk": {"S": "1"}}}, MISMATCH),
        ("DeleteItem", {"Key": {"pk": {"S": "a"}, "sk": {"N": "1"}, "x": {"N": "1"}}}, MISMATCH),
        ("UpdateItem", {"Key": {"pk": {"S": "a"}, "x": {"N": "1"}}}, MISMATCH),
        ("UpdateItem", {"Key": {"pk": {"S": "a"}, "sk": {"N": "1"}}, "UpdateExpression": "REMOVE sk"},
         BAD + "Cannot update attribute sk. This attribute is part of the key"),
        ("UpdateItem", {"Key": {"pk": {"S": "a"}, "sk": {"N": "1"}}, "UpdateExpression": "REMOVE sk.x"},
         V + "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed"
         ": Key: sk"),
        ("GetItem", {"Key": {"pk": {"S": "a"}, "sk": {"N": "1"}}, "ProjectionExpression": "a, pk[1]"},
         V + "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed"
         ": Key: pk"),
        ("PutItem", {"Item": {"pk": {"S": "a"}}, "ReturnValues": "ALL_NEW"},
         V + "ReturnValues can only be ALL_OLD or NONE"),
        ("PutItem", {"Item": {"pk": {"S": "a"}}, "ExpressionAttributeValues": {":a": {"S": "x"}}},
         V + "ExpressionAttributeValues can only be specified when using expressions: "
         "ConditionExpression is null"),
        ("UpdateItem", {"Key": {"pk": {"S": "a"}}, "ExpressionAttributeNames": {"#a": "x"}},
         V + "ExpressionAttributeNames can only be specified when using expressions"),
        ("GetItem", {"TableName": "nosuch", "Key": {"pk": {"S": "a"}}},
         "ResourceNotFoundException: Requested resource not found"),
        ("DescribeTable", {"TableName": "nosuch"},
         "ResourceNotFoundException: Requested resource not found: Table: nosuch not found"),
    ],
)  # fmt: skip
async def test_requests_that_are_refused(ddb: Calls, operation: str, params: dict[str, Any], message: str) -> None:
    assert await ddb.error(operation, **{"TableName": "sorted", **params}) == message


async def test_return_values(ddb: Calls) -> None:
    first, second = {**KEY, "a": {"N": "1"}}, {**KEY, "a": {"N": "2"}, "b": {"S": "x"}}
    assert await ddb("PutItem", TableName="tab", Item=first, ReturnValues="ALL_OLD") == {}
    assert await ddb("PutItem", TableName="tab", Item=second, ReturnValues="ALL_OLD") == {"Attributes": first}
    text = {"UpdateExpression": "ADD a :one SET c = :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}
    expected = {
        "NONE": {}, "ALL_OLD": {"Attributes": second}, "UPDATED_OLD": {"Attributes": {"a": {"N": "2"}}},
        "ALL_NEW": {"Attributes": {**KEY, "a": {"N": "3"}, "b": {"S": "x"}, "c": {"N": "1"}}},
        "UPDATED_NEW": {"Attributes": {"a": {"N": "3"}, "c": {"N": "1"}}},
    }  # fmt: skip
    for wanted, result in expected.items():
        await ddb("PutItem", TableName="tab", Item=second)
        assert await ddb("UpdateItem", TableName="tab", Key=KEY, ReturnValues=wanted, **text) == result
    deleted = await ddb("DeleteItem", TableName="tab", Key=KEY, ReturnValues="ALL_OLD")
    assert deleted["Attributes"]["a"] == {"N": "3"}
    assert await ddb("DeleteItem", TableName="tab", Key=KEY, ReturnValues="ALL_OLD") == {}


async def test_updates_make_items_but_removals_do_not(ddb: Calls) -> None:
    await ddb("UpdateItem", TableName="tab", Key=KEY, UpdateExpression="REMOVE a")
    assert await ddb("GetItem", TableName="tab", Key=KEY) == {}
    await ddb("UpdateItem", TableName="tab", Key=KEY)
    assert await ddb("GetItem", TableName="tab", Key=KEY) == {"Item": KEY}


async def test_conditions_are_checked_against_the_stored_item(ddb: Calls) -> None:
    await ddb("PutItem", TableName="tab", Item={**KEY, "a": {"N": "1"}}, ConditionExpression="attribute_not_exists(pk)")
    said = await ddb.error("PutItem", TableName="tab", Item=KEY, ConditionExpression="attribute_not_exists(pk)")
    assert said == "ConditionalCheckFailedException: The conditional request failed"
    for operation in ("DeleteItem", "UpdateItem"):
        said = await ddb.error(
            operation,
            TableName="tab",
            Key=KEY,
            ConditionExpression="a > :v",
            ExpressionAttributeValues={":v": {"N": "1"}},
        )
        assert said.startswith("ConditionalCheckFailedException")
    await ddb(
        "DeleteItem",
        TableName="tab",
        Key=KEY,
        ConditionExpression="a = :v",
        ExpressionAttributeValues={":v": {"N": "1.0"}},
    )
    assert await ddb("GetItem", TableName="tab", Key=KEY) == {}


@pytest.mark.parametrize(
    ("size", "consistent", "read", "write"),
    [(1000, True, 1, 1), (1000, False, 0.5, 1), (5000, True, 2, 5), (5000, False, 1, 5), (4096, True, 1, 4)],
)
async def test_consumed_capacity(ddb: Calls, size: int, consistent: bool, read: float, write: float) -> None:
    item = {**KEY, "d": {"S": "x" * (size - 4)}}
    found = await ddb("PutItem", TableName="tab", Item=item, ReturnConsumedCapacity="TOTAL")
    assert found["ConsumedCapacity"] == {"TableName": "tab", "CapacityUnits": write}
    found = await ddb("GetItem", TableName="tab", Key=KEY, ConsistentRead=consistent, ReturnConsumedCapacity="INDEXES")
    assert found["ConsumedCapacity"] == {"TableName": "tab", "CapacityUnits": read, "Table": {"CapacityUnits": read}}
    found = await ddb("DeleteItem", TableName="tab", Key=KEY, ReturnConsumedCapacity="TOTAL")
    assert found["ConsumedCapacity"]["CapacityUnits"] == write


async def test_counters_and_put_if_absent_hold_under_many_clients(ddb: Calls) -> None:
    async def client(number: int) -> int:
        won = 0
        for turn in range(20):
            await ddb(
                "UpdateItem", TableName="tab", Key=KEY,
                UpdateExpression="ADD a :one SET b = if_not_exists(b, :zero) + :one",
                ExpressionAttributeValues={":one": {"N": "1"}, ":zero": {"N": "0"}},
            )  # fmt: skip
            said = await asyncio.gather(
                ddb(
                    "PutItem", TableName="tab", Item={"pk": {"S": f"turn{turn}"}, "by": {"N": str(number)}},
                    ConditionExpression="attribute_not_exists(pk)",
                ),
                return_exceptions=True,
            )  # fmt: skip
            won += said == [{}]
        return won

    won = await asyncio.gather(*(client(number) for number in range(20)))
    assert sum(won) == 20
    item = (await ddb("GetItem", TableName="tab", Key=KEY))["Item"]
    assert item == {**KEY, "a": {"N": "400"}, "b": {"N": "400"}}


async def test_accounts_and_regions_are_apart(ddb: Calls) -> None:
    other = Calls(ddb.node.store, region="eu-west-1")
    assert (await other("ListTables"))["TableNames"] == []
    await other.table("tab")
    await ddb("PutItem", TableName="tab", Item=KEY)
    assert (await other("Scan", TableName="tab"))["Items"] == []
    arn = (await ddb("DescribeTable", TableName="tab"))["Table"]["TableArn"]
    assert (await ddb("GetItem", TableName=arn, Key=KEY))["Item"] == KEY
    assert (await other.error("GetItem", TableName=arn, Key=KEY)).startswith("AccessDeniedException")


@pytest.mark.parametrize("operation", ["PutItem", "DeleteItem", "UpdateItem"])
async def test_writes_of_one_item_count_some_mistakes(ddb: Calls, operation: str) -> None:
    """As AWS does in these operations only: unused placeholders are counted, broken syntax is not."""
    params = {"TableName": "tab", "Item" if operation == "PutItem" else "Key": KEY}
    unused = await ddb.error(
        operation, **params, ConditionExpression="attribute_exists(a)", ExpressionAttributeNames={"#b": "b"}
    )
    assert unused == V + COUNT + "Value provided in ExpressionAttributeNames unused in expressions: keys: {#b}"
    assert (await ddb.error(operation, **params, ConditionExpression="a =")).startswith(
        V + "Invalid ConditionExpression"
    )
    said = await ddb.error("Scan", TableName="tab", ProjectionExpression="a", ExpressionAttributeNames={"#b": "b"})
    assert said == unused.replace(COUNT, "")
