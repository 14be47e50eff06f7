"""Vector indexes: kept by every kind of write, searched exactly, refused in AWS's words."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamodb_calls import Calls
from penstock.services.dynamodb.indexes import fill_some

V = "ValidationException: "
BAD = V + "One or more parameter values were invalid: "
TEXT = {"L": [{"N": "1"}, {"N": "0"}, {"N": "0"}]}


def index(name: str = "near", distance: str = "COSINE", *schema: str, **more: Any) -> dict[str, Any]:
    """schema: the partition's attribute, then those that are filtered by."""
    found: dict[str, Any] = {
        "IndexName": name, "VectorAttribute": {"AttributeName": "v"}, "Projection": {"ProjectionType": "ALL"},
        "Dimensions": 3, "DistanceFunction": distance, **more,
    }  # fmt: skip
    if schema:
        kinds = ["HASH", *(["INLINE_FILTER"] * (len(schema) - 1))]
        found["SearchSchema"] = [
            {"AttributeName": name, "SearchSchemaElementType": kind}
            for name, kind in zip(schema, kinds, strict=True)
            if name
        ]
    return found


def table(*vectors: dict[str, Any], **more: Any) -> dict[str, Any]:
    used = {each["AttributeName"] for given in vectors for each in given.get("SearchSchema", ())}
    return {
        "TableName": "tab", "BillingMode": "PAY_PER_REQUEST", "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", *sorted(used))],
        "VectorIndexes": list(vectors), **more,
    }  # fmt: skip


def numbers(*members: float) -> list[dict[str, str]]:
    return [{"N": repr(float(each))} for each in members]


def item(pk: str, *vector: float, **more: str) -> dict[str, Any]:
    found: dict[str, Any] = {"pk": {"S": pk}, **{name: {"S": value} for name, value in more.items()}}
    return {**found, "v": {"L": numbers(*vector)}} if vector else found


def search(*vector: float, top: int = 10, name: str = "near", **more: Any) -> dict[str, Any]:
    return {"TableName": "tab", "IndexName": name, "SearchVector": numbers(*vector), "TopK": top, **more}


async def found(ddb: Calls, *vector: float, **more: Any) -> dict[str, float]:
    results = (await ddb("SearchVectors", **search(*vector, **more)))["SearchResults"]
    return {each["Item"]["pk"]["S"]: each["Score"] for each in results}


async def test_the_nearest_come_first_by_each_distance() -> None:
    ddb = Calls()
    kinds = ("COSINE", "EUCLIDEAN", "DOT_PRODUCT")
    await ddb("CreateTable", **table(*(index(kind.lower(), kind) for kind in kinds)))
    vectors = {"same": (1, 0, 0), "long": (10, 0, 0), "side": (0, 1, 0), "back": (-1, 0, 0), "near": (1, 0.5, 0)}
    for pk, vector in vectors.items():
        await ddb("PutItem", TableName="tab", Item=item(pk, *vector))
    await ddb("PutItem", TableName="tab", Item=item("without"))
    cosine = await found(ddb, 1, 0, 0, name="cosine")
    assert list(cosine) in (["same", "long", "near", "side", "back"], ["long", "same", "near", "side", "back"])
    assert (cosine["same"], cosine["long"], cosine["side"], cosine["back"]) == (0.0, 0.0, 1.0, 2.0)
    euclidean = await found(ddb, 1, 0, 0, name="euclidean")
    assert list(euclidean) == ["same", "near", "side", "back", "long"]
    assert (euclidean["same"], euclidean["near"], euclidean["long"]) == (0.0, 0.5, 9.0)
    products = await found(ddb, 1, 0, 0, name="dot_product", top=3)
    assert next(iter(products)) == "long"
    assert products == {"long": 10.0, "same": 1.0, "near": 1.0}
    shown = (await ddb("DescribeTable", TableName="tab"))["Table"]["VectorIndexes"]
    assert {each["ItemCount"] for each in shown} == {5}
    assert {each["IndexStatus"] for each in shown} == {"ACTIVE"}
    assert shown[0]["IndexArn"].endswith(":table/tab/index/cosine")


async def test_partitions_filters_and_projections() -> None:
    ddb = Calls()
    projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["title"]}
    await ddb("CreateTable", **table(index("near", "EUCLIDEAN", "kind", "brand", Projection=projection)))
    await ddb("BatchWriteItem", RequestItems={"tab": [
        {"PutRequest": {"Item": item("a", 1, 0, 0, kind="x", brand="b", title="A", more="m")}},
        {"PutRequest": {"Item": item("b", 2, 0, 0, kind="x", title="B")}},
        {"PutRequest": {"Item": item("c", 1, 0, 0, kind="y", brand="b")}},
        {"PutRequest": {"Item": item("d", 1, 0, 0, brand="b")}},
    ]})  # fmt: skip

    def by(text: str, **values: str) -> dict[str, Any]:
        return {
            "SearchConditionExpression": text,
            "ExpressionAttributeValues": {f":{name}": {"S": value} for name, value in values.items()},
        }

    assert await found(ddb, 1, 0, 0, **by("kind = :k", k="x")) == {"a": 0.0, "b": 1.0}
    assert await found(ddb, 1, 0, 0, **by("kind = :k AND brand = :b", k="x", b="b")) == {"a": 0.0}
    assert await found(ddb, 1, 0, 0, **by("kind = :k", k="z")) == {}
    first = (await ddb("SearchVectors", **search(1, 0, 0, top=1), **by("kind = :k", k="x")))["SearchResults"][0]
    assert first["Item"] == {"pk": {"S": "a"}, "kind": {"S": "x"}, "brand": {"S": "b"}, "title": {"S": "A"}}
    asked = {"ProjectionExpression": "pk, v, more", "ReturnConsumedCapacity": "TOTAL"}
    reply = await ddb("SearchVectors", **search(1, 0, 0, top=1), **by("kind = :k", k="x"), **asked)
    assert reply["SearchResults"][0]["Item"] == {"pk": {"S": "a"}, "v": TEXT}
    assert reply["ConsumedCapacity"] == {"VectorSearchRequestBytes": 1024.0}
    # Moved to another partition, out of the index, back into it, and away.
    move = {"UpdateExpression": "SET kind = :k", "ExpressionAttributeValues": {":k": {"S": "y"}}}
    await ddb("UpdateItem", TableName="tab", Key={"pk": {"S": "a"}}, **move)
    assert set(await found(ddb, 1, 0, 0, **by("kind = :k", k="y"))) == {"a", "c"}
    await ddb("UpdateItem", TableName="tab", Key={"pk": {"S": "c"}}, UpdateExpression="REMOVE kind")
    await ddb("DeleteItem", TableName="tab", Key={"pk": {"S": "b"}})
    assert await found(ddb, 1, 0, 0, **by("kind = :k", k="x")) == {}
    shown = (await ddb("DescribeTable", TableName="tab"))["Table"]["VectorIndexes"][0]
    assert (shown["ItemCount"], shown["IndexSizeBytes"]) == (1, 12)
    for text, problem in (
        ("kind <> :k", "Invalid comparator used in SearchConditionExpression"),
        ("kind = :k OR kind = :k", "Invalid comparator used in SearchConditionExpression"),
        ("kind = :k AND title = :k", "Attribute title is not part of the SearchSchema"),
        ("kind =", "Syntax error"),
    ):
        error = await ddb.error("SearchVectors", **search(1, 0, 0), **by(text, k="x"))
        assert error.startswith(V + "Invalid SearchConditionExpression: ")
        assert problem in error
    error = await ddb.error("SearchVectors", **search(1, 0, 0))
    assert error == V + "SearchConditionExpression must be provided when SearchSchema has a HASH key"


async def test_an_index_is_added_filled_and_removed() -> None:
    ddb = Calls()
    made = table()
    del made["VectorIndexes"]
    await ddb("CreateTable", **made)
    for n in range(250):
        vector = (1, n, 0) if n % 2 else ()
        await ddb("PutItem", TableName="tab", Item=item(f"{n:03}", *vector))
    await ddb("PutItem", TableName="tab", Item={"pk": {"S": "odd"}, "v": {"S": "no vector"}})
    await ddb("PutItem", TableName="tab", Item={"pk": {"S": "short"}, "v": {"L": []}})
    create = {"VectorIndexUpdates": [{"Create": index()}]}
    await ddb("UpdateTable", TableName="tab", **create)
    assert await ddb.error("SearchVectors", **search(1, 0, 0)) == V + "Cannot search backfilling vector index: near"
    again = await ddb.error("UpdateTable", TableName="tab", VectorIndexUpdates=[{"Create": index("other")}])
    assert again.startswith("LimitExceededException: Subscriber limit exceeded: Only 1 online index")
    await ddb("DeleteItem", TableName="tab", Key={"pk": {"S": "249"}})
    while await ddb.node.store.transact(fill_some):
        pass
    assert list(await found(ddb, 1, 0, 0, top=3)) == ["001", "003", "005"]
    shown = (await ddb("DescribeTable", TableName="tab"))["Table"]["VectorIndexes"][0]
    assert (shown["ItemCount"], shown["IndexStatus"]) == (124, "ACTIVE")
    await ddb("PutItem", TableName="tab", Item=item("odd", 1, 0, 0))
    assert list(await found(ddb, 1, 0, 0, top=1)) == ["odd"]
    await ddb("UpdateTable", TableName="tab", VectorIndexUpdates=[{"Delete": {"IndexName": "near"}}])
    assert "VectorIndexes" not in (await ddb("DescribeTable", TableName="tab"))["Table"]
    error = await ddb.error("SearchVectors", **search(1, 0, 0))
    assert error == V + "The table does not have the specified index: near"


async def test_what_is_refused() -> None:
    ddb = Calls()
    units = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}
    for changes, problem in (
        (table(index(), BillingMode="PROVISIONED", ProvisionedThroughput=units), "PAY_PER_REQUEST"),
        (table(index(Dimensions=4097)), "Dimensions must be between 1 and 4096"),
        (table(*(index(f"near{n}") for n in range(6))), "exceeds the per-table limit of 5"),
        (table(index("one"), index("two", Dimensions=4)), "same number of dimensions"),
        (table(index("one"), index("one")), "Duplicate index name"),
        (
            table(
                index("near", "COSINE", "kind"), AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}]
            ),
            "One element in SearchSchema is not defined in attribute definitions",
        ),
    ):
        assert problem in await ddb.error("CreateTable", **changes)
    await ddb("CreateTable", **table(index("near", "COSINE", "kind")))
    for wrong, problem in (
        (item("a", 1, 2, kind="x"), "Invalid size for parameter v, Expected: 3, Actual: 2. IndexName: near"),
        ({"pk": {"S": "a"}, "v": {"NS": ["1", "1", "2"]}}, "Input collection contains duplicates"),
        ({"pk": {"S": "a"}, "v": {"NS": ["1", "2", "3"]}}, "Expected: L, Actual: NS"),
        ({"pk": {"S": "a"}, "v": {"L": [{"S": "1"}, {"N": "1"}, {"N": "1"}]}}, "must be a list of numbers"),
        (item("a", 1e100, 0, 0), "no 32-bit floating point number"),
        ({**item("a", 1, 0, 0), "kind": {"N": "1"}}, "Type mismatch for Index Key kind Expected: S Actual: N"),
        (item("a", 1, 0, 0, kind=""), "cannot contain an empty string value"),
    ):
        assert problem in await ddb.error("PutItem", TableName="tab", Item=wrong)
        put = [{"Put": {"TableName": "tab", "Item": wrong}}]
        assert "Validation" in await ddb.error("TransactWriteItems", TransactItems=put)
    condition = {"SearchConditionExpression": "kind = :k", "ExpressionAttributeValues": {":k": {"S": "x"}}}
    for asked, problem in (
        (
            search(1, 0, 0, top=101),
            "Provided TopK value '101' is out of valid range. The value must be between 1 and 100",
        ),
        (search(1, 0), "Input search vector dimension 2 does not match vector index dimension 3"),
        (search(1, 0, 0, name="none"), "The table does not have the specified index: none"),
    ):
        assert problem in await ddb.error("SearchVectors", **asked, **condition)
    error = await ddb.error("Scan", TableName="tab", IndexName="near")
    assert error == V + "Scan operation not supported on this index type."
    error = await ddb.error("UpdateTable", TableName="tab", BillingMode="PROVISIONED", ProvisionedThroughput=units)
    assert "PAY_PER_REQUEST" in error


FLOATS = st.floats(-100, 100, width=32)
VECTORS = st.tuples(FLOATS, FLOATS, FLOATS)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), VECTORS, max_size=12), VECTORS, st.integers(1, 5))
def test_nothing_nearer_is_left_out(vectors: dict[str, tuple[float, ...]], wanted: tuple[float, ...], top: int) -> None:
    async def body() -> None:
        ddb = Calls()
        await ddb("CreateTable", **table(index("near", "EUCLIDEAN")))
        for pk, vector in vectors.items():
            await ddb("PutItem", TableName="tab", Item=item(pk, *vector))
        nearest = sorted(math.dist(vector, wanted) for vector in vectors.values())[:top]
        assert list((await found(ddb, *wanted, top=top)).values()) == pytest.approx(nearest, abs=1e-4)

    asyncio.run(body())
