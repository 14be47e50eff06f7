"""Secondary indexes: kept by every kind of write, read in order, added to tables with data, refused in AWS's "
"words."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dynamodb_calls import Calls
from penstock.services.dynamodb.attributes import check_item
from penstock.services.dynamodb.indexes import fill_some

V = "ValidationException: "
BAD = V + "One or more parameter values were invalid: "


def schema(hash_key: str, range_key: str = "") -> list[dict[str, str]]:
    found = [{"AttributeName": hash_key, "KeyType": "HASH"}]
    return [*found, {"AttributeName": range_key, "KeyType": "RANGE"}] if range_key else found


def index(name: str, keys: list[dict[str, str]], projection: str = "ALL", *more: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"ProjectionType": projection}
    if more:
        shown["NonKeyAttributes"] = list(more)
    return {"IndexName": name, "KeySchema": keys, "Projection": shown}


TABLE: dict[str, Any] = {
    "TableName": "tab",
    "BillingMode": "PAY_PER_REQUEST",
    "KeySchema": schema("pk", "sk"),
    "AttributeDefinitions": [
        {"AttributeName": n, "AttributeType": t} for n, t in (("pk", "S"), ("sk", "N"), ("g", "S"), ("n", "N"))
    ],
    "LocalSecondaryIndexes": [index("local", schema("pk", "n"), "INCLUDE", "x")],
    "GlobalSecondaryIndexes": [index("all", schema("g", "n")), index("keys", schema("g"), "KEYS_ONLY")],
}  # fmt: skip


@pytest.fixture
async def ddb() -> Calls:
    calls = Calls()
    await calls("CreateTable", **TABLE)
    return calls


def item(pk: str, sk: int, **more: Any) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"N": str(sk)}, **more}


async def entries(ddb: Calls, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    start: dict[str, Any] = {}
    while True:
        page = await ddb("Scan", TableName="tab", IndexName=name, Limit=3, **start)
        found += page["Items"]
        if "LastEvaluatedKey" not in page:
            return found
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


async def test_queries_on_indexes(ddb: Calls) -> None:
    for sk in range(6):
        await ddb(
            "PutItem", TableName="tab", Item=item("a", sk, g={"S": "G"}, n={"N": str(-sk)}, x={"S": "x"}, y={"S": "y"})
        )
    await ddb("PutItem", TableName="tab", Item=item("a", 9))
    query = {"TableName": "tab", "ExpressionAttributeValues": {":v": {"S": "G"}, ":n": {"N": "-3"}}}
    found = await ddb("Query", **query, IndexName="all", KeyConditionExpression="g = :v AND n >= :n", Limit=2)
    assert [each["sk"]["N"] for each in found["Items"]] == ["3", "2"]
    assert found["LastEvaluatedKey"] == item("a", 2, g={"S": "G"}, n={"N": "-2"})
    found = await ddb(
        "Query", **query, IndexName="all", KeyConditionExpression="g = :v AND n >= :n",
        ExclusiveStartKey=found["LastEvaluatedKey"],
    )  # fmt: skip
    assert [each["sk"]["N"] for each in found["Items"]] == ["1", "0"]
    assert found["Items"][0]["y"] == {"S": "y"}
    values = {":v": {"S": "a"}}
    local = {
        "TableName": "tab", "IndexName": "local", "KeyConditionExpression": "pk = "
         ":v", "ExpressionAttributeValues": values,
    }  # fmt: skip
    found = await ddb("Query", **local, ScanIndexForward=False, ReturnConsumedCapacity="INDEXES")
    assert [each["sk"]["N"] for each in found["Items"]] == ["0", "1", "2", "3", "4", "5"]
    assert found["Items"][0] == item("a", 0, n={"N": "0"}, x={"S": "x"})
    assert found["ConsumedCapacity"]["LocalSecondaryIndexes"] == {"local": {"CapacityUnits": 0.5}}
    found = await ddb("Query", **local, ProjectionExpression="y", Limit=1)
    assert found["Items"] == [{"y": {"S": "y"}}]
    found = await ddb("Query", **local, Select="ALL_ATTRIBUTES", Limit=1)
    assert found["Items"][0]["y"] == {"S": "y"}
    assert sorted(each["sk"]["N"] for each in await entries(ddb, "keys")) == ["0", "1", "2", "3", "4", "5"]
    assert (await entries(ddb, "keys"))[0].keys() == {"pk", "sk", "g"}


async def test_indexes_follow_every_kind_of_write(ddb: Calls) -> None:
    """Against a model, over random puts, updates, deletes, batches and transactions; then added once more with "
    "data."""
    chance = random.Random(7)
    model: dict[tuple[str, int], dict[str, Any]] = {}
    big = {"S": "b" * 110_000}
    for turn in range(300):
        pk, sk = chance.choice("ab"), chance.randrange(6)
        key, new = item(pk, sk), item(pk, sk)
        for name, value in (
            ("g", {"S": chance.choice("GH")}),
            ("n", {"N": str(chance.randrange(3))}),
            ("x", {"S": "x"}),
        ):
            if chance.random() < 0.7:
                new[name] = value
        if turn % 37 == 0:
            new["x"] = big
        match chance.randrange(6):
            case 0 | 1:
                await ddb("PutItem", TableName="tab", Item=new)
                model[pk, sk] = new
            case 2:
                await ddb("DeleteItem", TableName="tab", Key=key)
                model.pop((pk, sk), None)
            case 3:
                names = [name for name in ("g", "n", "x") if name in new]
                gone = [name for name in ("g", "n", "x") if name not in new]
                text = ("SET " + ", ".join(f"{name} = :{name}" for name in names) if names else "") + (
                    " REMOVE " + ", ".join(gone) if gone else ""
                )
                values = {"ExpressionAttributeValues": {f":{name}": new[name] for name in names}} if names else {}
                await ddb("UpdateItem", TableName="tab", Key=key, UpdateExpression=text, **values)
                if names or (pk, sk) in model:
                    model[pk, sk] = new
            case 4:
                await ddb("BatchWriteItem", RequestItems={"tab": [{"PutRequest": {"Item": new}}]})
                model[pk, sk] = new
            case 5:
                await ddb("TransactWriteItems", TransactItems=[{"Put": {"TableName": "tab", "Item": new}}])
                model[pk, sk] = new
    await check(ddb, model)
    for name in ("all", "keys"):
        await ddb("UpdateTable", TableName="tab", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": name}}])
    assert not [key for key in ddb.node.store.data if b"\x02index\0" in key and b"local" in key]  # type: ignore[attr-defined]
    for each in TABLE["GlobalSecondaryIndexes"]:
        await ddb(
            "UpdateTable", TableName="tab", AttributeDefinitions=TABLE["AttributeDefinitions"],
            GlobalSecondaryIndexUpdates=[{"Create": each}],
        )  # fmt: skip
        found = (await ddb("DescribeTable", TableName="tab"))["Table"]["GlobalSecondaryIndexes"][-1]
        assert (found["IndexStatus"], found["Backfilling"]) == ("CREATING", True)
        assert "backfilling" in await ddb.error("Scan", TableName="tab", IndexName=each["IndexName"])
        await ddb("PutItem", TableName="tab", Item=item("a", 100, g={"S": "G"}, n={"N": "1"}))
        while await ddb.node.store.transact(fill_some):
            pass
        await ddb("DeleteItem", TableName="tab", Key=item("a", 100))
    await check(ddb, model)
    await ddb("DeleteTable", TableName="tab")
    assert [key for key in ddb.node.store.data if b"backfills" not in key] == []  # type: ignore[attr-defined]


async def check(ddb: Calls, model: dict[tuple[str, int], dict[str, Any]]) -> None:
    def order(each: dict[str, Any]) -> Any:
        return each["pk"]["S"], each["sk"]["N"]

    in_all = [each for each in model.values() if "g" in each and "n" in each]
    assert sorted(await entries(ddb, "all"), key=order) == sorted(in_all, key=order)
    in_keys = [{name: each[name] for name in ("pk", "sk", "g")} for each in model.values() if "g" in each]
    assert sorted(await entries(ddb, "keys"), key=order) == sorted(in_keys, key=order)
    in_local = [{n: v for n, v in each.items() if n != "g"} for each in model.values() if "n" in each]
    assert sorted(await entries(ddb, "local"), key=order) == sorted(in_local, key=order)
    found = (await ddb("DescribeTable", TableName="tab"))["Table"]
    counts = {
        each["IndexName"]: each["ItemCount"]
        for each in found["GlobalSecondaryIndexes"] + found["LocalSecondaryIndexes"]
    }
    assert counts == {"all": len(in_all), "keys": len(in_keys), "local": len(in_local)}
    for name, wanted in (("all", in_all), ("keys", in_keys), ("local", in_local)):
        shown = next(
            each
            for each in found["GlobalSecondaryIndexes"] + found["LocalSecondaryIndexes"]
            if each["IndexName"] == name
        )
        assert shown["IndexSizeBytes"] == sum(map(check_item, wanted))
    assert found["ItemCount"] == len(model)


@pytest.mark.parametrize(
    ("operation", "params", "message"),
    [
        ("PutItem", {"Item": item("a", 1, g={"N": "1"})},
         BAD + "Type mismatch for Index Key g Expected: S Actual: N IndexName: all"),
        ("PutItem", {"Item": item("a", 1, g={"S": ""})},
         V + "One or more parameter values are not valid. A value specified for a secondary index key is not "
          "supported. "
         "The AttributeValue for a key attribute cannot contain an empty string value. IndexName: all, IndexKey: g"),
        ("Query", {"IndexName": "all", "ConsistentRead": True, "KeyConditionExpression": "g = :v",
                   "ExpressionAttributeValues": {":v": {"S": "x"}}},
         V + "Consistent reads are not supported on global secondary indexes"),
        ("Scan", {"IndexName": "nosuch"}, V + "The table does not have the specified index: nosuch"),
        ("Scan", {"IndexName": "keys", "Select": "ALL_ATTRIBUTES"},
         BAD + "Select type ALL_ATTRIBUTES is not supported for global secondary index keys because its "
          "projection type is "
         "not ALL"),
        ("Scan", {"IndexName": "keys", "ProjectionExpression": "g, y"},
         BAD + "Global secondary index keys does not project [y]"),
        ("UpdateTable", {"GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "all"}}, {"Delete": {"IndexName": "keys"}}]},
         "LimitExceededException: Subscriber limit exceeded: Only 1 online index can be created or deleted "
          "simultaneously "
         "per table"),
        ("UpdateTable", {"GlobalSecondaryIndexUpdates": [{"Create": index("all", schema("g"))}]},
         V + "Attempting to create an index which already exists: all"),
        ("UpdateTable", {"GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "nosuch"}}]},
         "ResourceNotFoundException: Requested resource not found: Index: nosuch of table tab not found"),
    ],
)  # fmt: skip
async def test_refusals(ddb: Calls, operation: str, params: dict[str, Any], message: str) -> None:
    assert await ddb.error(operation, TableName="tab", **params) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"LocalSecondaryIndexes": []}, BAD + "List of LocalSecondaryIndexes is empty"),
        ({"LocalSecondaryIndexes": [index("one", schema("g", "n"))]},
         BAD + "Index KeySchema does not have the same leading hash key as table KeySchema for index: one. "
         "index hash key: g, table hash key: pk"),
        ({"LocalSecondaryIndexes": [index("one", schema("pk"))]},
         BAD + "Index KeySchema does not have a range key for index: one"),
        ({"LocalSecondaryIndexes": [index("all", schema("pk", "n"))]}, BAD + "Duplicate index name: all"),
        ({"GlobalSecondaryIndexes": [index("one", schema("z"))]},
         BAD + "Some index key attributes are not defined in AttributeDefinitions. Keys: [z], AttributeDefinitions: "
         "[pk, sk, g, n]"),
        ({"GlobalSecondaryIndexes": [index("one", schema("pk"), "ALL", "x")]},
         BAD + "ProjectionType is ALL, but NonKeyAttributes is specified"),
        ({"GlobalSecondaryIndexes": [index("one", schema("n"))]},
         BAD + "Some AttributeDefinitions are not used. AttributeDefinitions: [pk, sk, g, n], keys used: [pk, "
          "sk, n]"),
    ],
)  # fmt: skip
async def test_indexes_that_are_refused(changes: dict[str, Any], message: str) -> None:
    assert await Calls().error("CreateTable", **{**TABLE, **changes}) == message


async def test_write_capacity_of_indexes(ddb: Calls) -> None:
    first = await ddb(
        "PutItem", TableName="tab", Item=item("a", 1, g={"S": "G"}, n={"N": "1"}), ReturnConsumedCapacity="INDEXES"
    )
    assert first["ConsumedCapacity"] == {
        "TableName": "tab", "CapacityUnits": 4.0, "Table": {"CapacityUnits": 1.0},
        "LocalSecondaryIndexes": {"local": {"CapacityUnits": 1.0}},
        "GlobalSecondaryIndexes": {"all": {"CapacityUnits": 1.0}, "keys": {"CapacityUnits": 1.0}},
    }  # fmt: skip
    moved = await ddb(
        "PutItem", TableName="tab", Item=item("a", 1, g={"S": "H"}, n={"N": "1"}), ReturnConsumedCapacity="INDEXES"
    )
    assert moved["ConsumedCapacity"]["GlobalSecondaryIndexes"] == {
        "all": {"CapacityUnits": 2.0}, "keys": {"CapacityUnits": 2.0},
    }  # fmt: skip
    assert "LocalSecondaryIndexes" not in moved["ConsumedCapacity"]


async def test_item_collections_are_measured(ddb: Calls) -> None:
    half = {"S": "x" * 100}
    found = await ddb("PutItem", TableName="tab", Item=item("a", 1, x=half), ReturnItemCollectionMetrics="SIZE")
    assert found["ItemCollectionMetrics"] == {
        "ItemCollectionKey": {"pk": {"S": "a"}},
        "SizeEstimateRangeGB": [0.0, 1.0],
    }
    requests = [{"PutRequest": {"Item": item("a", i)}} for i in range(3)] + [{"PutRequest": {"Item": item("b", 1)}}]
    found = await ddb("BatchWriteItem", RequestItems={"tab": requests}, ReturnItemCollectionMetrics="SIZE")
    assert [each["ItemCollectionKey"]["pk"]["S"] for each in found["ItemCollectionMetrics"]["tab"]] == ["a", "b"]
    for sk in range(3):
        await ddb("DeleteItem", TableName="tab", Key=item("a", sk))
    sizes = [value for key, value in ddb.node.store.data.items() if b"collection" in key]  # type: ignore[attr-defined]
    assert sorted(int.from_bytes(value, "little") for value in sizes) == [0, 7]


async def test_writes_before_an_index_is_filled_do_not_upset_its_counts(ddb: Calls) -> None:
    g = {"S": "G"}
    model = {("a", sk): item("a", sk, g=g, n={"N": "1"}) for sk in range(4)}
    await ddb("UpdateTable", TableName="tab", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "all"}}])
    for each in model.values():
        await ddb("PutItem", TableName="tab", Item=each)
    await ddb(
        "UpdateTable", TableName="tab", AttributeDefinitions=TABLE["AttributeDefinitions"],
        GlobalSecondaryIndexUpdates=[{"Create": TABLE["GlobalSecondaryIndexes"][0]}],
    )  # fmt: skip
    await ddb("DeleteItem", TableName="tab", Key=item("a", 0))
    del model["a", 0]
    model["a", 1] = item("a", 1, g=g, n={"N": "1"}, x={"S": "longer"})
    model["a", 2] = item("a", 2, g={"S": "H"}, n={"N": "2"})
    for sk in (1, 2):
        await ddb("PutItem", TableName="tab", Item=model["a", sk])
    while await ddb.node.store.transact(fill_some):
        pass
    await check(ddb, model)
