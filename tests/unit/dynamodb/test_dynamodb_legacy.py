"""The parameters before expressions: Expected, AttributeUpdates, filters, KeyConditions, AttributesToGet."""

from __future__ import annotations

from typing import Any

import pytest

from dynamodb_calls import Calls

V = "ValidationException: "
BAD = V + "One or more parameter values were invalid: "
KEY = {"pk": {"S": "k"}, "sk": {"N": "1"}}
ITEM = {**KEY, "a": {"N": "5"}, "s": {"S": "hello"}, "set": {"SS": ["x", "y"]}, "list": {"L": [{"N": "1"}]}}


@pytest.fixture
async def ddb() -> Calls:
    calls = Calls()
    await calls.table("tab", range_type="N")
    await calls("PutItem", TableName="tab", Item=ITEM)
    return calls


def is_(operator: str, *values: Any) -> dict[str, Any]:
    return {"ComparisonOperator": operator, "AttributeValueList": list(values)}


@pytest.mark.parametrize(
    ("name", "expected", "holds"),
    [
        ("a", {"Value": {"N": "5.0"}}, True),
        ("a", {"Value": {"N": "6"}}, False),
        ("none", {"Exists": False}, True),
        ("a", {"Exists": False}, False),
        ("a", {"Exists": True, "Value": {"N": "5"}}, True),
        ("a", {"ComparisonOperator": "EQ", "Value": {"N": "5"}}, True),
        ("a", is_("NE", {"N": "5"}), False),
        ("a", is_("LT", {"N": "6"}), True),
        ("a", is_("GE", {"N": "6"}), False),
        ("a", is_("BETWEEN", {"N": "1"}, {"N": "5"}), True),
        ("a", is_("IN", {"N": "1"}, {"N": "5"}), True),
        ("a", {"ComparisonOperator": "NULL"}, False),
        ("a", {"ComparisonOperator": "NOT_NULL"}, True),
        ("s", is_("BEGINS_WITH", {"S": "he"}), True),
        ("s", is_("CONTAINS", {"S": "ll"}), True),
        ("set", is_("CONTAINS", {"S": "x"}), True),
        ("set", is_("NOT_CONTAINS", {"S": "x"}), False),
    ],
)
async def test_expected_and_filters_mean_the_same(ddb: Calls, name: str, expected: dict[str, Any], holds: bool) -> None:
    put = {"TableName": "tab", "Item": ITEM, "Expected": {name: expected}}
    if holds:
        assert await ddb("PutItem", **put) == {}
    else:
        assert (await ddb.error("PutItem", **put)).startswith("ConditionalCheckFailedException")
    if "ComparisonOperator" in expected and "Value" not in expected:
        found = await ddb("Scan", TableName="tab", ScanFilter={name: expected})
        assert found["Count"] == holds


async def test_operators_join_conditions(ddb: Calls) -> None:
    both = {"a": is_("EQ", {"N": "5"}), "s": is_("EQ", {"S": "no"})}
    assert (await ddb("Scan", TableName="tab", ScanFilter=both))["Count"] == 0
    assert (await ddb("Scan", TableName="tab", ScanFilter=both, ConditionalOperator="OR"))["Count"] == 1
    said = await ddb.error("Scan", TableName="tab", ConditionalOperator="OR")
    assert said == V + "ConditionalOperator cannot be used without Filter or Expected"


@pytest.mark.parametrize(
    ("updates", "after"),
    [
        ({"a": {"Value": {"S": "new"}}}, {"a": {"S": "new"}}),
        ({"a": {"Action": "ADD", "Value": {"N": "1"}}}, {"a": {"N": "6"}}),
        ({"set": {"Action": "ADD", "Value": {"SS": ["z"]}}}, {"set": {"SS": ["x", "y", "z"]}}),
        ({"list": {"Action": "ADD", "Value": {"L": [{"N": "2"}]}}}, {"list": {"L": [{"N": "1"}, {"N": "2"}]}}),
        ({"set": {"Action": "DELETE", "Value": {"SS": ["x"]}}}, {"set": {"SS": ["y"]}}),
        ({"s": {"Action": "DELETE"}, "#odd.name": {"Value": {"N": "1"}}}, {"s": None, "#odd.name": {"N": "1"}}),
    ],
)
async def test_attribute_updates(ddb: Calls, updates: dict[str, Any], after: dict[str, Any]) -> None:
    found = await ddb("UpdateItem", TableName="tab", Key=KEY, AttributeUpdates=updates, ReturnValues="ALL_NEW")
    assert found["Attributes"] == {name: value for name, value in {**ITEM, **after}.items() if value is not None}


@pytest.mark.parametrize(
    ("operation", "params", "message"),
    [
        ("UpdateItem", {"Key": KEY, "AttributeUpdates": {"a": {"Action": "ADD", "Value": {"SS": ["x"]}}}},
         V + "Type mismatch for attribute to update"),
        ("UpdateItem", {"Key": KEY, "AttributeUpdates": {"a": {"Action": "PUT"}}},
         BAD + "Only DELETE action is allowed when no attribute value is specified"),
        ("UpdateItem", {"Key": KEY, "AttributeUpdates": {"sk": {"Value": {"N": "2"}}}},
         BAD + "Cannot update attribute sk. This attribute is part of the key"),
        ("UpdateItem", {"Key": KEY, "AttributeUpdates": {}, "UpdateExpression": "REMOVE a"},
         V + "Can not use both expression and non-expression parameters in the same request: "
         "Non-expression parameters: {AttributeUpdates} Expression parameters: {UpdateExpression}"),
        ("PutItem", {"Item": KEY, "Expected": {"a": {"Exists": True}}},
         BAD + "Value must be provided when Exists is true for Attribute: a"),
        ("PutItem", {"Item": KEY, "Expected": {"a": is_("EQ", {"N": "1"}, {"N": "2"})}},
         BAD + "Invalid number of argument(s) for the EQ ComparisonOperator"),
        ("Scan", {"ScanFilter": {"a": is_("LT", {"SS": ["1"]})}},
         BAD + "ComparisonOperator LT is not valid for SS AttributeValue type"),
        ("Query", {"KeyConditions": {"pk": is_("EQ", {"S": "k"})}, "QueryFilter": {"sk": is_("EQ", {"N": "1"})}},
         V + "QueryFilter can only contain non-primary key attributes: Primary key attribute: sk"),
        ("Query", {"KeyConditions": {"pk": is_("NE", {"S": "k"})}},
         V + "Attempted conditional constraint is not an indexable operation"),
        ("Query", {"KeyConditions": {}}, V + "Conditions can be of length 1 or 2 only"),
        ("GetItem", {"Key": KEY, "AttributesToGet": ["a", "a"]}, BAD + "Duplicate value in attribute name: a"),
    ],
)  # fmt: skip
async def test_refusals(ddb: Calls, operation: str, params: dict[str, Any], message: str) -> None:
    assert await ddb.error(operation, TableName="tab", **params) == message


async def test_key_conditions_and_attributes_to_get(ddb: Calls) -> None:
    conditions = {"pk": is_("EQ", {"S": "k"}), "sk": is_("BETWEEN", {"N": "0"}, {"N": "3"})}
    query = {"TableName": "tab", "KeyConditions": conditions, "AttributesToGet": ["a", "none"]}
    assert (await ddb("Query", **query))["Items"] == [{"a": {"N": "5"}}]
    found = await ddb(
        "Query", TableName="tab", KeyConditions=conditions, FilterExpression="a > :v",
        ExpressionAttributeValues={":v": {"N": "7"}},
    )  # fmt: skip
    assert (found["Count"], found["ScannedCount"]) == (0, 1)
    wanted = {"tab": {"Keys": [KEY], "AttributesToGet": ["s"]}}
    assert (await ddb("BatchGetItem", RequestItems=wanted))["Responses"] == {"tab": [{"s": {"S": "hello"}}]}
    assert (await ddb("GetItem", TableName="tab", Key=KEY, AttributesToGet=["s"]))["Item"] == {"s": {"S": "hello"}}
