"""Query, Scan and the batches: ranges, order, pages, segments, and what AWS refuses."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamodb_calls import Calls

V = "ValidationException: "
KEYS = "pk = :p AND sk "


@pytest.fixture
async def ddb() -> Calls:
    calls = Calls()
    await calls.table("tab", range_type="N")
    await calls.table("flat")
    for number in range(-5, 5):
        item = {"pk": {"S": "a"}, "sk": {"N": str(number)}, "odd": {"BOOL": number % 2 == 1}, "x": {"S": "y"}}
        await calls("PutItem", TableName="tab", Item=item)
    await calls("PutItem", TableName="tab", Item={"pk": {"S": "ab"}, "sk": {"N": "0"}})
    return calls


async def found(ddb: Calls, condition: str, *values: int, **more: Any) -> list[int]:
    bound = {":p": {"S": "a"}, **{f":{i}": {"N": str(value)} for i, value in enumerate(values)}}
    result = await ddb(
        "Query", TableName="tab", KeyConditionExpression=condition, ExpressionAttributeValues=bound, **more
    )
    assert result["Count"] == len(result["Items"])
    return [int(item["sk"]["N"]) for item in result["Items"]]


@pytest.mark.parametrize(
    ("condition", "values", "numbers"),
    [
        ("pk = :p", [], range(-5, 5)),
        (":p = pk", [], range(-5, 5)),
        (KEYS + "= :0", [2], [2]),
        (KEYS + "= :0", [7], []),
        (KEYS + "< :0", [-3], [-5, -4]),
        (KEYS + "<= :0", [-3], [-5, -4, -3]),
        (KEYS + "> :0", [2], [3, 4]),
        (":0 < sk AND (pk = :p)", [2], [3, 4]),
        (KEYS + ">= :0", [2], [2, 3, 4]),
        (KEYS + "BETWEEN :0 AND :1", [-1, 1], [-1, 0, 1]),
        (KEYS + "BETWEEN :0 AND :1", [9, 10], []),
    ],
)
async def test_key_conditions(ddb: Calls, condition: str, values: list[int], numbers: Any) -> None:
    assert await found(ddb, condition, *values) == list(numbers)
    assert await found(ddb, condition, *values, ScanIndexForward=False) == list(numbers)[::-1]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("sk = :0", V + "Query condition missed key schema element: pk"),
        ("pk = :p AND x = :0", V + "Query condition missed key schema element: sk"),
        ("pk > :p AND sk = :0", V + "Query key condition not supported"),
        ("pk = :0 AND sk = :p", V + "One or more parameter values were invalid: Condition parameter type does "
         "not match schema type"),
        ("pk = :p OR sk = :0", V + "Invalid operator used in KeyConditionExpression: OR"),
        ("pk = :p AND NOT sk = :0", V + "Invalid operator used in KeyConditionExpression: NOT"),
        ("pk = :p AND sk <> :0", V + "Invalid operator used in KeyConditionExpression: <>"),
        ("pk = :p AND sk IN (:0)", V + "Invalid operator used in KeyConditionExpression: IN"),
        ("pk = :p AND contains(sk, :0)", V + "Invalid operator used in KeyConditionExpression: contains"),
        ("pk = :p AND sk > :0 AND sk < :0", V + "KeyConditionExpressions must only contain one condition per key"),
        ("pk = :p AND sk.x = :0", V + "KeyConditionExpressions cannot have conditions on nested attributes"),
        ("pk = :p AND size(sk) = :0", V + "KeyConditionExpressions cannot contain nested operations"),
        ("pk = :p AND :0 = :0", V + "Invalid condition in KeyConditionExpression: No key attribute specified"),
        ("pk = :p AND sk BETWEEN :0 AND x", V + "Invalid condition in KeyConditionExpression: Multiple "
         "attribute names used in one condition"),
        ("", V + "Invalid KeyConditionExpression: The expression can not be empty;"),
        (None, V + "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request."),
    ],
)  # fmt: skip
async def test_key_conditions_that_are_refused(ddb: Calls, condition: str | None, message: str) -> None:
    values = {name: value for name, value in ((":p", {"S": "a"}), (":0", {"N": "0"})) if name in (condition or "")}
    params: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
    if condition is not None:
        params["KeyConditionExpression"] = condition
    assert await ddb.error("Query", TableName="tab", **params) == message


async def test_filters_come_after_limits(ddb: Calls) -> None:
    params = {"TableName": "tab", "KeyConditionExpression": "pk = :p", "FilterExpression": "odd = :t", "Limit": 3}
    values = {":p": {"S": "a"}, ":t": {"BOOL": True}}
    page = await ddb("Query", **params, ExpressionAttributeValues=values)
    assert (page["Count"], page["ScannedCount"]) == (2, 3)
    assert page["LastEvaluatedKey"] == {"pk": {"S": "a"}, "sk": {"N": "-3"}}
    count = await ddb("Query", **params, ExpressionAttributeValues=values, Select="COUNT")
    assert count == {name: page[name] for name in ("Count", "ScannedCount", "LastEvaluatedKey")}
    said = await ddb.error("Query", **{**params, "FilterExpression": "pk = :t"}, ExpressionAttributeValues=values)
    assert said == V + "Filter Expression can only contain non-primary key attributes: Primary key attribute: pk"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"Select": "SPECIFIC_ATTRIBUTES"},
         "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES"),
        ({"Select": "COUNT", "ProjectionExpression": "a"},
         "Cannot specify the ProjectionExpression when choosing to get only the Count"),
        ({"IndexName": "other"}, "The table does not have the specified index: other"),
        ({"Segment": 1}, "The TotalSegments parameter is required but was not present in the request when "
         "Segment parameter "
         "is present"),
        ({"TotalSegments": 2}, "The Segment parameter is required but was not present in the request when parameter "
         "TotalSegments is present"),
        ({"Segment": 2, "TotalSegments": 2}, "The Segment parameter is zero-based and must be less than parameter "
         "TotalSegments: Segment: 2 is not less than TotalSegments: 2"),
        ({"ExclusiveStartKey": {"pk": {"S": "a"}}},
         "The provided starting key is invalid: The provided key element does not match the schema"),
        ({"ProjectionExpression": "a, a.b"}, "Invalid ProjectionExpression: Two document paths overlap with "
         "each other; "
         "must remove or rewrite one of these paths; path one: [a], path two: [a, b]"),
        ({"ProjectionExpression": "a, b-c"}, 'Invalid ProjectionExpression: Syntax error; token: "-", near: "b-c"'),
    ],
)  # fmt: skip
async def test_scans_that_are_refused(ddb: Calls, params: dict[str, Any], message: str) -> None:
    assert await ddb.error("Scan", TableName="tab", **params) == V + message


async def test_start_keys_must_be_of_the_query(ddb: Calls) -> None:
    async def refused(condition: str, pk: str, sk: int) -> str:
        return await ddb.error(
            "Query", TableName="tab", KeyConditionExpression=condition,
            ExpressionAttributeValues={":p": {"S": "a"}, **({":0": {"N": "0"}} if ":0" in condition else {})},
            ExclusiveStartKey={"pk": {"S": pk}, "sk": {"N": str(sk)}},
        )  # fmt: skip

    assert "outside query boundaries" in await refused("pk = :p", "b", 0)
    assert "does not match the range key predicate" in await refused(KEYS + "> :0", "a", 0)


async def test_pages_of_one_megabyte(ddb: Calls) -> None:
    for number in range(30):
        await ddb("PutItem", TableName="flat", Item={"pk": {"S": str(number)}, "d": {"S": "x" * 60_000}})
    seen, pages, start = [], 0, {}
    while True:
        page = await ddb("Scan", TableName="flat", **start, ReturnConsumedCapacity="TOTAL")
        assert page["Count"] <= 18
        seen += [item["pk"]["S"] for item in page["Items"]]
        pages += 1
        if "LastEvaluatedKey" not in page:
            break
        assert page["ConsumedCapacity"]["CapacityUnits"] == 132
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert pages == 2
    assert sorted(seen, key=int) == [str(number) for number in range(30)]


@pytest.mark.parametrize("total", [1, 2, 3, 7, 64])
async def test_segments_share_the_table_out(ddb: Calls, total: int) -> None:
    for number in range(100):
        await ddb("PutItem", TableName="flat", Item={"pk": {"S": f"key{number}"}})
    parts = []
    for segment in range(total):
        start: dict[str, Any] = {}
        while True:
            page = await ddb("Scan", TableName="flat", Segment=segment, TotalSegments=total, Limit=9, **start)
            parts += [item["pk"]["S"] for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                break
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert len(parts) == 100
    assert set(parts) == {f"key{number}" for number in range(100)}


@settings(max_examples=20, deadline=None)
@given(st.sets(st.binary(min_size=1, max_size=4), min_size=1, max_size=12), st.binary(max_size=2), st.data())
async def test_binary_sort_keys_sort_as_bytes(keys: set[bytes], prefix: bytes, data: st.DataObject) -> None:
    ddb = Calls()
    await ddb.table("bin", hash_type="B", range_type="B")

    def b(raw: bytes) -> dict[str, str]:
        return {"B": base64.b64encode(raw).decode()}

    for key in keys:
        await ddb("PutItem", TableName="bin", Item={"pk": b(b"\0\xff"), "sk": b(key)})
    pivot = data.draw(st.sampled_from(sorted(keys)))

    async def query(condition: str, operand: bytes) -> list[bytes]:
        result = await ddb(
            "Query", TableName="bin", KeyConditionExpression="pk = :p AND " + condition,
            ExpressionAttributeValues={":p": b(b"\0\xff"), ":v": b(operand)},
        )  # fmt: skip
        return [base64.b64decode(item["sk"]["B"]) for item in result["Items"]]

    assert await query("sk < :v", pivot) == sorted(key for key in keys if key < pivot)
    assert await query("sk >= :v", pivot) == sorted(key for key in keys if key >= pivot)
    assert await query("begins_with(sk, :v)", prefix) == sorted(key for key in keys if key.startswith(prefix))


async def test_batches(ddb: Calls) -> None:
    puts = [{"PutRequest": {"Item": {"pk": {"S": f"{i}"}, "n": {"N": "1"}}}} for i in range(20)]
    more = [{"DeleteRequest": {"Key": {"pk": {"S": "a"}, "sk": {"N": str(i)}}}} for i in range(5)]
    result = await ddb("BatchWriteItem", RequestItems={"flat": puts, "tab": more}, ReturnConsumedCapacity="TOTAL")
    assert result["UnprocessedItems"] == {}
    assert result["ConsumedCapacity"] == [
        {"TableName": "flat", "CapacityUnits": 20.0},
        {"TableName": "tab", "CapacityUnits": 5.0},
    ]
    wanted = {"Keys": [{"pk": {"S": "1"}}, {"pk": {"S": "none"}}], "ProjectionExpression": "n"}
    result = await ddb("BatchGetItem", RequestItems={"flat": wanted})
    assert result == {"Responses": {"flat": [{"n": {"N": "1"}}]}, "UnprocessedKeys": {}}
    assert (await ddb("Query", TableName="tab", KeyConditionExpression="pk = :p", Select="COUNT",
                      ExpressionAttributeValues={":p": {"S": "a"}}))["Count"] == 5  # fmt: skip


async def test_batches_that_are_refused_write_nothing(ddb: Calls) -> None:
    one = {"PutRequest": {"Item": {"pk": {"S": "1"}}}}
    gone = {"DeleteRequest": {"Key": {"pk": {"S": "1"}}}}
    for requests, message in (
        ([one, gone], V + "Provided list of item keys contains duplicates"),
        ([one, {"PutRequest": {"Item": {"no": {"S": "1"}}}}], V + "One or more parameter values were invalid: "
         "Missing the key pk in the item"),
        ([one, {}], V + "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the "
         "supported datatypes"),
        ([{"PutRequest": {"Item": {"pk": {"S": str(i)}}}} for i in range(26)],
         V + "Too many items requested for the BatchWriteItem call"),
    ):  # fmt: skip
        assert await ddb.error("BatchWriteItem", RequestItems={"flat": requests}) == message
    assert (await ddb("Scan", TableName="flat"))["Items"] == []
    key = {"pk": {"S": "1"}}
    said = await ddb.error("BatchGetItem", RequestItems={"flat": {"Keys": [key, key]}})
    assert said == V + "Provided list of item keys contains duplicates"
    said = await ddb.error("BatchGetItem", RequestItems={"flat": {"Keys": [{"pk": {"S": str(i)}} for i in range(101)]}})
    assert said == V + "Too many items requested for the BatchGetItem call"


async def test_a_batch_of_ten_megabytes_and_its_reading(ddb: Calls) -> None:
    big = {"S": "x" * 400_000}
    for turn in range(2):
        requests = [{"PutRequest": {"Item": {"pk": {"S": f"{turn}.{i}"}, "d": big}}} for i in range(25)]
        await ddb("BatchWriteItem", RequestItems={"flat": requests})
    keys = [{"pk": {"S": f"{turn}.{i}"}} for turn in range(2) for i in range(25)]
    result = await ddb("BatchGetItem", RequestItems={"flat": {"Keys": keys}})
    assert len(result["Responses"]["flat"]) == 41
    left = result["UnprocessedKeys"]["flat"]["Keys"]
    assert left == keys[41:]
