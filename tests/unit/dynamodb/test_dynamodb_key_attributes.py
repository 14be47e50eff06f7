"""Global indexes whose partition key and sort key have several attributes, against a plain search."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dynamodb_calls import Calls

HASHES, RANGES = ("h1", "h2"), ("r1", "r2", "r3")
TYPES = {"h1": "S", "h2": "N", "r1": "S", "r2": "N", "r3": "S"}
TEXTS, NUMBERS = ("a", "a\0b", "ab", "b"), ("-1", "0", "2.5", "10")


def schema(*names: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": "HASH" if name in HASHES else "RANGE"} for name in names]


async def make(projection: str = "ALL") -> Calls:
    ddb = Calls()
    await ddb(
        "CreateTable", TableName="tab", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, t in [("pk", "S"), *TYPES.items()]],
        GlobalSecondaryIndexes=[{
            "IndexName": "several", "KeySchema": schema(*HASHES, *RANGES), "Projection": {"ProjectionType": projection},
        }],
    )  # fmt: skip
    return ddb


def value(name: str, number: int) -> dict[str, str]:
    return {"S": TEXTS[number]} if TYPES[name] == "S" else {"N": NUMBERS[number]}


PLACES = st.tuples(*[st.integers(0, 1)] * 2, *[st.integers(0, 3)] * 3)


@example([(0, 0, 0, 0, 0), (0, 0, 1, 0, 0)], 2, ">", (0, 0, 0, 0, 0), False, "ALL")
@example(
    [(0, 0, 0, 0, 0), (0, 0, 1, 0, 0)], 1, "=", (0, 0, 0, 0, 0), False, "ALL"
)  # "a" is not what "a\0b" begins with
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(PLACES, max_size=25), st.integers(0, 3), st.sampled_from(["=", "<", "<=", ">", ">=", "BETWEEN", "begins_with"]),
    PLACES, st.booleans(), st.sampled_from(["ALL", "KEYS_ONLY"]),
)  # fmt: skip
async def test_queries_find_what_a_search_finds(
    places: list[tuple[int, ...]], named: int, operator: str, wanted: tuple[int, ...], reverse: bool, projection: str
) -> None:
    ddb = await make(projection)
    names = (*HASHES, *RANGES)
    for number, place in enumerate(places):
        item = {"pk": {"S": str(number)}, **{name: value(name, at) for name, at in zip(names, place, strict=True)}}
        await ddb("PutItem", TableName="tab", Item=item)
    last = names[1 + named]
    if named == 0 or (operator == "begins_with" and TYPES[last] == "N"):
        operator = "="
    condition = " AND ".join(f"{name} = :{name}" for name in names[: 1 + named])
    condition = f"{condition} AND " if condition else ""
    values = {f":{name}": value(name, at) for name, at in zip(names[: 2 + named], wanted, strict=False)}
    match operator:
        case "BETWEEN":
            condition += f"{last} BETWEEN :{last} AND :high"
            values[":high"] = value(last, 3)
        case "begins_with":
            condition += f"begins_with({last}, :{last})"
        case _:
            condition += f"{last} {operator} :{last}"
    found: list[Any] = []
    start: dict[str, Any] = {}
    while True:
        page = await ddb(
            "Query", TableName="tab", IndexName="several", KeyConditionExpression=condition,
            ExpressionAttributeValues=values, ScanIndexForward=not reverse, Limit=3, **start,
        )  # fmt: skip
        found += [int(item["pk"]["S"]) for item in page["Items"]]
        if "LastEvaluatedKey" not in page:
            break
        assert page["LastEvaluatedKey"].keys() == {"pk", *names}
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def fits(place: tuple[int, ...]) -> bool:
        if place[: 1 + named] != wanted[: 1 + named]:
            return False
        own, asked = place[1 + named], wanted[1 + named]
        return {
            "=": own == asked, "<": own < asked, "<=": own <= asked, ">": own > asked, ">=": own >= asked,
            "BETWEEN": asked <= own <= 3, "begins_with": TEXTS[own].startswith(TEXTS[asked]),
        }[operator]  # fmt: skip

    expected = [number for number, place in enumerate(places) if fits(place)]
    assert sorted(found) == expected
    in_order = [places[number][2:] for number in found]
    assert in_order == sorted(in_order, reverse=reverse)


async def test_sparse_updates_and_description() -> None:
    ddb = await make()
    item = {name: value(name, 1) for name in TYPES}
    for left_out in TYPES:
        await ddb(
            "PutItem", TableName="tab", Item={"pk": {"S": left_out}, **{n: v for n, v in item.items() if n != left_out}}
        )
    found = (await ddb("DescribeTable", TableName="tab"))["Table"]["GlobalSecondaryIndexes"][0]
    assert (found["ItemCount"], found["KeySchema"]) == (0, schema(*HASHES, *RANGES))
    put = {"TableName": "tab", "Item": {"pk": {"S": "whole"}, **item}}
    await ddb("PutItem", **put)
    assert (await ddb("Scan", TableName="tab", IndexName="several"))["Items"] == [put["Item"]]
    update = {"TableName": "tab", "Key": {"pk": {"S": "whole"}}, "UpdateExpression": "REMOVE r2"}
    await ddb("UpdateItem", **update)
    assert (await ddb("Scan", TableName="tab", IndexName="several"))["Count"] == 0
    wrong = {**put, "Item": {**put["Item"], "r3": {"N": "1"}}}
    assert "Type mismatch for Index Key r3 Expected: S Actual: N" in await ddb.error("PutItem", **wrong)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("h1 = :s", "Query condition missed key schema element: h2"),
        ("h1 = :s AND h2 = :n AND r2 = :n", "Query condition missed key schema element: r1"),
        ("h1 = :s AND h2 = :n AND r1 > :s AND r2 = :n", "Query key condition not supported"),
        ("h1 = :s AND h2 > :n", "Query key condition not supported"),
        ("h1 = :s AND h2 = :n AND r1 = :n", "One or more parameter values were invalid: Condition parameter type"),
    ],
)
async def test_conditions_that_cannot_be(condition: str, message: str) -> None:
    ddb = await make()
    values = {f":{kind}": v for kind, v in (("s", {"S": "a"}), ("n", {"N": "1"})) if f":{kind}" in condition}
    error = await ddb.error(
        "Query",
        TableName="tab",
        IndexName="several",
        KeyConditionExpression=condition,
        ExpressionAttributeValues=values,
    )
    assert error.startswith(f"ValidationException: {message}")


async def test_partiql_and_an_index_that_is_added_later() -> None:
    ddb = await make()
    for number, (r1, r2) in enumerate(itertools.product(range(4), range(4))):
        places = (0, 0, r1, r2, 0)
        names = (*HASHES, *RANGES)
        item = {"pk": {"S": str(number)}, **{name: value(name, at) for name, at in zip(names, places, strict=True)}}
        await ddb("PutItem", TableName="tab", Item=item)
    statement = "SELECT pk FROM tab.several WHERE h1 = 'a' AND h2 = -1 AND r1 = 'ab' AND r2 >= 0 ORDER BY r2 DESC"
    found = await ddb("ExecuteStatement", Statement=statement, ReturnConsumedCapacity="TOTAL")
    assert [item["pk"]["S"] for item in found["Items"]] == ["11", "10", "9"]
    everything = await ddb("ExecuteStatement", Statement="SELECT pk FROM tab.several WHERE h1 = 'a' AND r1 = 'ab'")
    assert len(everything["Items"]) == 4
    more = {"IndexName": "later", "KeySchema": schema("h1", "r2", "r1"), "Projection": {"ProjectionType": "KEYS_ONLY"}}
    await ddb("UpdateTable", TableName="tab", GlobalSecondaryIndexUpdates=[{"Create": more}])
    described = (await ddb("DescribeTable", TableName="tab"))["Table"]["GlobalSecondaryIndexes"]
    assert described[1]["KeySchema"] == more["KeySchema"]


@pytest.mark.parametrize(
    "key_schema",
    [
        [*schema("r1"), *schema("h1")],
        [*schema("h1", "r1"), *schema("h2")],
        schema("h1", "h1", "r1"),
        [{"AttributeName": name, "KeyType": "HASH"} for name in TYPES],
        [*schema("h1", "r1"), {"AttributeName": "undefined", "KeyType": "RANGE"}],
    ],
    ids=["range first", "mixed", "twice", "five", "undefined"],
)
async def test_key_schemas_that_cannot_be(key_schema: list[dict[str, str]]) -> None:
    ddb = await make()
    create = {"IndexName": "bad", "KeySchema": key_schema, "Projection": {"ProjectionType": "ALL"}}
    error = await ddb.error("UpdateTable", TableName="tab", GlobalSecondaryIndexUpdates=[{"Create": create}])
    assert error.startswith("ValidationException")
