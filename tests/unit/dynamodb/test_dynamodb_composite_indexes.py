"""Global indexes whose keys have several attributes, against a model in plain Python."""

from __future__ import annotations

import asyncio
import base64
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamodb_calls import Calls

TYPES = {"pk": "S", "a": "S", "b": "N", "c": "S", "d": "N", "e": "B"}
HASHES, RANGES = ("a", "b"), ("c", "d", "e")
VALUES: dict[str, list[str]] = {
    "a": ["x", "x\0", "xy"], "b": ["1", "-1.5", "10"], "c": ["", "m", "ma", "n\0"], "d": ["-3", "0", "2", "20"],
    "e": ["AA==", "AAE=", "/w=="],
}  # fmt: skip
Item = dict[str, dict[str, str]]


def schema(hashes: tuple[str, ...], ranges: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"AttributeName": n, "KeyType": "HASH"} for n in hashes] + [
        {"AttributeName": n, "KeyType": "RANGE"} for n in ranges
    ]


async def make(call: Calls, projection: str = "ALL", **index: Any) -> None:
    await call(
        "CreateTable", TableName="tab", BillingMode="PAY_PER_REQUEST", KeySchema=schema(("pk",), ()),
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, t in TYPES.items()],
        GlobalSecondaryIndexes=[{
            "IndexName": "all", "KeySchema": schema(HASHES, RANGES), "Projection": {"ProjectionType": projection}, **index,
        }],
    )  # fmt: skip


def rank(name: str, text: str) -> Any:
    """What sorts as the value does."""
    if TYPES[name] == "N":
        return float(text)
    return text.encode() if TYPES[name] == "S" else base64.b64decode(text)


def compared(name: str, text: str, operator: str, operands: list[str]) -> bool:
    value, bounds = rank(name, text), [rank(name, each) for each in operands]
    match operator:
        case "=":
            return bool(value == bounds[0])
        case "<":
            return bool(value < bounds[0])
        case "<=":
            return bool(value <= bounds[0])
        case ">":
            return bool(value > bounds[0])
        case ">=":
            return bool(value >= bounds[0])
        case "begins_with":
            return bool(value.startswith(bounds[0]))
        case _:
            return bool(bounds[0] <= value <= bounds[1])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_against_a_model(seed: int) -> None:
    asyncio.run(_against_a_model(random.Random(seed)))


async def _against_a_model(rng: random.Random) -> None:
    call = Calls()
    await make(call, rng.choice(["ALL", "KEYS_ONLY"]))
    model: dict[str, Item] = {}
    for _ in range(rng.randrange(60)):
        key = f"k{rng.randrange(25)}"
        if rng.random() < 0.15:
            await call("DeleteItem", TableName="tab", Key={"pk": {"S": key}})
            model.pop(key, None)
            continue
        names = [name for name in (*HASHES, *RANGES) if rng.random() < 0.95]
        item = {name: {TYPES[name]: rng.choice([v for v in VALUES[name] if v])} for name in names}
        if rng.random() < 0.7:  # few partitions, so that there is something to find
            item.update({"a": {"S": "x"}, "b": {"N": "1"}})
        item["pk"] = {"S": key}
        await call("PutItem", TableName="tab", Item=item)
        model[key] = item
    whole = [item for item in model.values() if all(name in item for name in (*HASHES, *RANGES))]
    scanned = await call("Scan", TableName="tab", IndexName="all")
    assert sorted(each["pk"]["S"] for each in scanned["Items"]) == sorted(each["pk"]["S"] for each in whole)
    for _ in range(8):
        await _query(call, rng, whole)


async def _query(call: Calls, rng: random.Random, whole: list[Item]) -> None:
    wanted: list[tuple[str, str, list[str]]] = [("a", "=", ["x"]), ("b", "=", ["1"])]
    if rng.random() < 0.2:
        wanted = [(name, "=", [rng.choice(VALUES[name])]) for name in HASHES]
    count = rng.randrange(4)
    for name in RANGES[:count]:
        wanted.append((name, "=", [rng.choice([v for v in VALUES[name] if v])]))
    if count:
        name = RANGES[count - 1]
        operator = rng.choice(["=", "<", "<=", ">", ">=", "BETWEEN", *(["begins_with"] if TYPES[name] == "S" else [])])
        operands = sorted(
            rng.sample([v for v in VALUES[name] if v], 2 if operator == "BETWEEN" else 1), key=lambda v: rank(name, v)
        )
        wanted[-1] = (name, operator, operands)
    texts, values = [], {}
    for name, operator, operands in wanted:
        marks = [f":{name}{i}" for i in range(len(operands))]
        values.update({mark: {TYPES[name]: operand} for mark, operand in zip(marks, operands, strict=True)})
        if operator == "BETWEEN":
            texts.append(f"{name} BETWEEN {marks[0]} AND {marks[1]}")
        elif operator == "begins_with":
            texts.append(f"begins_with({name}, {marks[0]})")
        else:
            texts.append(f"{name} {operator} {marks[0]}")
    rng.shuffle(texts)
    expected = [
        item for item in whole if all(compared(n, item[n][TYPES[n]], op, operands) for n, op, operands in wanted)
    ]
    forward = rng.random() < 0.7
    found: list[Item] = []
    more: dict[str, Any] = {}
    while True:
        page = await call(
            "Query", TableName="tab", IndexName="all", KeyConditionExpression=" AND ".join(texts),
            ExpressionAttributeValues=values, ScanIndexForward=forward, Limit=rng.randrange(1, 6), **more,
        )  # fmt: skip
        found += page["Items"]
        if "LastEvaluatedKey" not in page:
            break
        more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert sorted(each["pk"]["S"] for each in found) == sorted(each["pk"]["S"] for each in expected)
    order = [tuple(rank(name, item[name][TYPES[name]]) for name in RANGES) for item in found]
    assert order == sorted(order, reverse=not forward)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("a = :s", "Query condition missed key schema element: b"),
        ("b = :n AND c = :s", "Query condition missed key schema element: a"),
        ("a = :s AND b > :n", "Query key condition not supported"),
        ("a = :s AND b = :n AND d = :n", "Query condition missed key schema element: c"),
        ("a = :s AND b = :n AND c > :s AND d = :n", "only the last one may be other than equality: c"),
        ("a = :s AND b = :s", "Condition parameter type does not match schema type"),
        ("a = :s AND b = :n AND pk = :s", "Query condition missed key schema element: c"),
        ("a = :s AND b = :n AND c = :s AND d = :n AND e = :b AND pk = :s", "Query key condition not supported"),
    ],
)
def test_queries_that_are_refused(expression: str, message: str) -> None:
    async def body() -> None:
        call = Calls()
        await make(call)
        values = {":s": {"S": "x"}, ":n": {"N": "1"}, ":b": {"B": "AA=="}}
        used = {mark: value for mark, value in values.items() if mark in expression}
        error = await call.error(
            "Query", TableName="tab", IndexName="all", KeyConditionExpression=expression, ExpressionAttributeValues=used
        )
        assert error.startswith("ValidationException: ")
        assert message in error

    asyncio.run(body())


def test_schemas() -> None:
    async def body() -> None:
        call = Calls()
        error = await call.error(
            "CreateTable", TableName="tab", BillingMode="PAY_PER_REQUEST", KeySchema=schema(("a",), ("c", "e")),
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": TYPES[n]} for n in ("a", "c", "e")],
        )  # fmt: skip
        assert error == (
            "ValidationException: 1 validation error detected: Value '[KeySchemaElement(attributeName=a, keyType=HASH), "
            "KeySchemaElement(attributeName=c, keyType=RANGE), KeySchemaElement(attributeName=e, keyType=RANGE)]' at "
            "'keySchema' failed to satisfy constraint: Member must have length less than or equal to 2"
        )
        await make(call)
        shown = (await call("DescribeTable", TableName="tab"))["Table"]
        assert shown["GlobalSecondaryIndexes"][0]["KeySchema"] == schema(HASHES, RANGES)
        await call("PutItem", TableName="tab", Item={"pk": {"S": "old"}, "e": {"B": "AA=="}, "c": {"S": "s"}})
        error = await call.error("PutItem", TableName="tab", Item={"pk": {"S": "k"}, "d": {"S": "no"}})
        assert "Type mismatch for Index Key d Expected: N Actual: S IndexName: all" in error
        long = {"pk": {"S": "k"}, "c": {"S": "c" * 1000}, "e": {"B": "AAAA" * 10}}
        assert "Aggregated size of all range keys" in await call.error("PutItem", TableName="tab", Item=long)
        for hashes, ranges, message in (
            (("a", "b", "c", "e", "pk"), (), "at most 4 HASH and 4 RANGE"),
            (("a", "a"), (), "Two elements have the same name"),
            (("a", "z"), (), "Some index key attributes are not defined"),
        ):
            update = {"Create": {
                "IndexName": "more", "KeySchema": schema(hashes, ranges), "Projection": {"ProjectionType": "ALL"},
            }}  # fmt: skip
            assert message in await call.error(
                "UpdateTable", TableName="tab", GlobalSecondaryIndexUpdates=[update], AttributeDefinitions=[]
            )
        found = await call("ExecuteStatement", Statement='SELECT pk FROM "tab"."all" WHERE a = \'x\' AND b = 1')
        assert found["Items"] == []
        await call("UpdateTable", TableName="tab", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "all"}}])
        shown = (await call("DescribeTable", TableName="tab"))["Table"]
        assert shown["AttributeDefinitions"] == [{"AttributeName": "pk", "AttributeType": "S"}]

    asyncio.run(body())
