"""A table with all that follows its items (indexes, vectors, stream, expiry) against a model, with SIGKILL as a step."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from dynamodb_tables import advance, now, wait
from served import Served

Item = dict[str, Any]
Key = tuple[str, int]
KEYS = st.tuples(st.sampled_from("ab"), st.integers(0, 2))
KINDS = st.sampled_from(["", "k", "l"])
SIZES = st.sampled_from([None, 1, 2])
TEXTS = st.sampled_from(["", "x", "y" * 120_000])
EXPIRES_IN_S = 3600
_running: list[Served] = []


def _schema(hash_name: str, range_name: str) -> list[dict[str, str]]:
    return [{"AttributeName": hash_name, "KeyType": "HASH"}, {"AttributeName": range_name, "KeyType": "RANGE"}]


def made(key: Key, kind: str, size: int | None, text: str) -> Item:
    item: Item = {"pk": {"S": key[0]}, "sk": {"N": str(key[1])}, "text": {"S": text}}
    if kind:
        item["kind"] = {"S": kind}
    if size is not None:
        item["size"] = {"N": str(size)}
    return item


def key_of(item: Item) -> Key:
    return item["pk"]["S"], int(item["sk"]["N"])


class Model(RuleBasedStateMachine):
    """items: what there is; told: the stream's records as (event, old, new); expired together: a set of them."""

    encrypted = False

    @initialize()
    def make(self) -> None:
        self.items: dict[Key, Item] = {}
        self.told: list[tuple[str, Item, Item]] = []
        self.table = f"followed-{uuid.uuid4().hex}"
        self.connect()
        sse = {"SSESpecification": {"Enabled": True}} if self.encrypted else {}
        self.client.create_table(
            TableName=self.table, BillingMode="PAY_PER_REQUEST", KeySchema=_schema("pk", "sk"),
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, t in (
                ("pk", "S"), ("sk", "N"), ("kind", "S"), ("size", "N"))],
            GlobalSecondaryIndexes=[
                {"IndexName": "all", "KeySchema": _schema("kind", "sk"), "Projection": {"ProjectionType": "ALL"}},
                {"IndexName": "some", "KeySchema": _schema("kind", "size"),
                 "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["text"]}},
            ],
            LocalSecondaryIndexes=[{
                "IndexName": "local", "KeySchema": _schema("pk", "size"), "Projection": {"ProjectionType": "KEYS_ONLY"},
            }],
            VectorIndexes=[{
                "IndexName": "near", "VectorAttribute": {"AttributeName": "v"}, "Dimensions": 2,
                "DistanceFunction": "EUCLIDEAN", "Projection": {"ProjectionType": "KEYS_ONLY"},
            }],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}, **sse,
        )  # fmt: skip
        self.client.update_time_to_live(
            TableName=self.table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "at"}
        )

    def connect(self) -> None:
        self.client = _running[0].client("dynamodb")
        self.streams = _running[0].client("dynamodbstreams")

    def change(self, key: Key, new: Item) -> None:
        """What a write does to the model; new: empty to delete."""
        old = self.items.get(key, {})
        if new:
            self.items[key] = new
        else:
            self.items.pop(key, None)
        if old != new:
            self.told.append(("INSERT" if not old else "MODIFY" if new else "REMOVE", old, new))

    @rule(key=KEYS, kind=KINDS, size=SIZES, text=TEXTS, expires=st.booleans(), vector=st.sampled_from([None, 3, 4]))
    def put(self, key: Key, kind: str, size: int | None, text: str, expires: bool, vector: int | None) -> None:
        item = made(key, kind, size, text)
        if vector:
            item["v"] = {"L": [{"N": str(vector)}, {"N": "0"}]}
        if expires:
            item["at"] = {"N": str(int(now(_running[0])) + EXPIRES_IN_S)}
        self.client.put_item(TableName=self.table, Item=item)
        self.change(key, item)

    @rule(keys=st.lists(KEYS, min_size=1, max_size=4, unique=True), kind=KINDS)
    def batch(self, keys: list[Key], kind: str) -> None:
        items = [made(key, kind, 1, "b") for key in keys]
        given = [{"PutRequest": {"Item": item}} for item in items]
        assert not self.client.batch_write_item(RequestItems={self.table: given})["UnprocessedItems"]
        for key, item in zip(keys, items, strict=True):
            self.change(key, item)

    @rule(keys=st.lists(KEYS, min_size=2, max_size=3, unique=True), size=SIZES, wanted=st.booleans())
    def transact(self, keys: list[Key], size: int | None, wanted: bool) -> None:
        """All or nothing, and once for a token that is sent twice."""
        *others, last = keys
        items = [made(key, "k", size, "t") for key in others]
        condition = "attribute_exists(pk)" if wanted else "attribute_not_exists(pk)"
        key = {name: made(last, "", None, "")[name] for name in ("pk", "sk")}
        actions: list[dict[str, Any]] = [{"Put": {"TableName": self.table, "Item": item}} for item in items]
        actions.append({"Delete": {"TableName": self.table, "Key": key, "ConditionExpression": condition}})
        token = uuid.uuid4().hex
        for _ in range(2):
            try:
                self.client.transact_write_items(TransactItems=actions, ClientRequestToken=token)
            except ClientError as error:
                assert error.response["Error"]["Code"] == "TransactionCanceledException"
                assert wanted != (last in self.items)
                return
        assert wanted == (last in self.items)
        for item in items:
            self.change(key_of(item), item)
        self.change(last, {})

    @rule(key=KEYS, kind=KINDS)
    def update(self, key: Key, kind: str) -> None:
        named = {name: made(key, "", None, "")[name] for name in ("pk", "sk")}
        how = {"UpdateExpression": "SET kind = :k", "ExpressionAttributeValues": {":k": {"S": kind}}} if kind else {
            "UpdateExpression": "REMOVE kind"}  # fmt: skip
        self.client.update_item(TableName=self.table, Key=named, **how)
        new = {**self.items.get(key, {}), **(named if kind else {})}
        new.pop("kind", None)
        self.change(key, {**new, "kind": {"S": kind}} if kind else new)

    @rule()
    def expire(self) -> None:
        due = {key: item for key, item in self.items.items() if "at" in item}
        advance(_running[0], EXPIRES_IN_S + 60)
        for key in due:
            del self.items[key]
        wait(lambda: self.client.scan(TableName=self.table, Select="COUNT")["Count"] == len(self.items))
        records = self.records()[len(self.told) :]
        assert {record["eventName"] for record in records} <= {"REMOVE"}
        assert all(record["userIdentity"]["PrincipalId"] == "dynamodb.amazonaws.com" for record in records)
        gone = [record["dynamodb"]["OldImage"] for record in records]
        assert sorted(map(key_of, gone)) == sorted(due)
        self.told += [("REMOVE", due[key_of(item)], {}) for item in gone]

    @rule(luck=st.integers(0, 2))
    def crash(self, luck: int) -> None:
        if luck == 2:
            _running[0].restart()
            self.connect()

    @rule()
    def look(self) -> None:
        """Everything that follows the items says what they say."""
        stored = {key_of(item): item for item in self.read()}
        assert stored == self.items
        with_kind = [item for item in self.items.values() if "kind" in item]
        assert by_key(self.read("all")) == by_key(with_kind)
        self.entries("some", [i for i in with_kind if "size" in i], {"pk", "sk", "kind", "size", "text"})
        self.entries("local", [i for i in self.items.values() if "size" in i], {"pk", "sk", "size"})
        near = self.client.search_vectors(
            TableName=self.table, IndexName="near", SearchVector=[{"N": "0"}, {"N": "0"}], TopK=50
        )["SearchResults"]
        vectors = {key: float(item["v"]["L"][0]["N"]) for key, item in self.items.items() if "v" in item}
        assert {key_of(each["Item"]): each["Score"] for each in near} == vectors
        told = [
            (record["eventName"], record["dynamodb"].get("OldImage", {}), record["dynamodb"].get("NewImage", {}))
            for record in self.records()
        ]
        assert told == self.told
        described = self.client.describe_table(TableName=self.table)["Table"]
        counts = {each["IndexName"]: each["ItemCount"] for each in described["GlobalSecondaryIndexes"]}
        assert described["ItemCount"] == len(self.items)
        assert counts == {"all": len(with_kind), "some": len([item for item in with_kind if "size" in item])}

    def entries(self, name: str, items: list[Item], projected: set[str]) -> None:
        wanted = [{n: value for n, value in item.items() if n in projected} for item in items]
        assert by_key(self.read(name)) == by_key(wanted)

    def read(self, index: str = "") -> list[Item]:
        more = {"IndexName": index} if index else {}
        pages = self.client.get_paginator("scan").paginate(TableName=self.table, **more)
        return [item for page in pages for item in page["Items"]]

    def records(self) -> list[dict[str, Any]]:
        arn = self.client.describe_table(TableName=self.table)["Table"]["LatestStreamArn"]
        found: list[dict[str, Any]] = []
        for shard in self.streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
            iterator = self.streams.get_shard_iterator(
                StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            while iterator:
                page = self.streams.get_records(ShardIterator=iterator)
                found += page["Records"]
                iterator = page.get("NextShardIterator") if page["Records"] else None
        return found

    def teardown(self) -> None:
        if hasattr(self, "table"):
            self.look()


class Encrypted(Model):
    """The same under a key of KMS."""

    encrypted = True


def by_key(items: list[Item]) -> list[Item]:
    return sorted(items, key=key_of)


@pytest.mark.parametrize("machine", [Model, Encrypted])
def test_what_follows_a_table_is_what_its_model_says(machine: type[Model]) -> None:
    _running.append(Served(Path(tempfile.mkdtemp(prefix="penstock-model-"))).start())
    try:
        TestCase = machine.TestCase
        TestCase.settings = settings(
            max_examples=5, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )  # fmt: skip
        TestCase("runTest").runTest()
    finally:
        _running.pop().kill()
