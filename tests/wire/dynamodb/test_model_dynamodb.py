"""A table against a model of it, with SIGKILL and restart as one of the steps."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from served import Served

PARTITIONS = st.sampled_from(["", "a", "\u00e9\0", "b" * 2000]).filter(bool)
NUMBERS = st.one_of(
    st.integers(-5, 5).map(Decimal),
    st.sampled_from(
        ["1E-130", "-1E-130", "0.1", "-0.25", "9.9E+125", "-9.9E+125", "12345678901234567890123456789012345678"]
    ).map(Decimal),
)
VALUES = st.recursive(
    st.one_of(st.text(max_size=8), NUMBERS, st.booleans(), st.none(), st.binary(max_size=8), st.just("x" * 120_000)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


class _Deserializer(TypeDeserializer):
    """boto3's refuses what DynamoDB itself sends for 9.9E+125: a plain number of more than 38 digits."""

    def _deserialize_n(self, value: str) -> Decimal:
        return Decimal(value)


serialize, deserialize = TypeSerializer().serialize, _Deserializer().deserialize
_shared: list[Served] = []


def served() -> Served:
    if not _shared:
        _shared.append(Served(Path(tempfile.mkdtemp(prefix="penstock-model-"))).start())
    return _shared[0]


class TableModel(RuleBasedStateMachine):
    """The model: {(partition, sort): item}."""

    made = 0

    @initialize()
    def make(self) -> None:
        TableModel.made += 1
        self.table = f"model{TableModel.made}"
        self.items: dict[tuple[str, Decimal], dict[str, Any]] = {}
        self.client = served().client("dynamodb")
        self.client.create_table(
            TableName=self.table, BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "N"},
            ],
        )  # fmt: skip

    def key(self, pk: str, sk: Decimal) -> dict[str, Any]:
        return {"pk": {"S": pk}, "sk": serialize(sk)}

    def plain(self, item: dict[str, Any]) -> dict[str, Any]:
        return {name: deserialize(value) for name, value in item.items()}

    @rule(pk=PARTITIONS, sk=NUMBERS, value=VALUES, only_new=st.booleans())
    def put(self, pk: str, sk: Decimal, value: Any, only_new: bool) -> None:
        item = {**self.key(pk, sk), "v": serialize(value)}
        condition = {"ConditionExpression": "attribute_not_exists(pk)"} if only_new else {}
        try:
            self.client.put_item(TableName=self.table, Item=item, **condition)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ConditionalCheckFailedException"
            assert only_new
            assert (pk, sk) in self.items
            return
        assert not (only_new and (pk, sk) in self.items)
        self.items[pk, sk] = self.plain(item)

    @rule(pk=PARTITIONS, sk=NUMBERS)
    def delete(self, pk: str, sk: Decimal) -> None:
        found = self.client.delete_item(TableName=self.table, Key=self.key(pk, sk), ReturnValues="ALL_OLD")
        gone = self.items.pop((pk, sk), None)
        assert self.plain(found["Attributes"]) == gone if gone else "Attributes" not in found

    @rule(pk=PARTITIONS, sk=NUMBERS)
    def count(self, pk: str, sk: Decimal) -> None:
        found = self.client.update_item(
            TableName=self.table, Key=self.key(pk, sk), UpdateExpression="SET n = if_not_exists(n, :zero) + "
             ":one REMOVE v",
            ExpressionAttributeValues={":zero": {"N": "0"}, ":one": {"N": "1"}}, ReturnValues="ALL_NEW",
        )  # fmt: skip
        item = self.items.setdefault((pk, sk), {"pk": pk, "sk": sk})
        item.pop("v", None)
        item["n"] = item.get("n", 0) + 1
        assert self.plain(found["Attributes"]) == item

    @rule(pk=PARTITIONS, low=NUMBERS, high=NUMBERS, limit=st.integers(1, 4), forward=st.booleans())
    def query(self, pk: str, low: Decimal, high: Decimal, limit: int, forward: bool) -> None:
        low, high = sorted((low, high))
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table, KeyConditionExpression="pk = :p AND sk BETWEEN :l AND :h", ScanIndexForward=forward,
            ExpressionAttributeValues={":p": {"S": pk}, ":l": serialize(low), ":h": serialize(high)},
            PaginationConfig={"PageSize": limit},
        )  # fmt: skip
        found = [self.plain(item) for page in pages for item in page["Items"]]
        wanted = [item for key, item in sorted(self.items.items()) if key[0] == pk and low <= key[1] <= high]
        assert found == (wanted if forward else wanted[::-1])

    @precondition(lambda self: self.items)
    @rule(data=st.data())
    def get(self, data: st.DataObject) -> None:
        pk, sk = data.draw(st.sampled_from(sorted(self.items)))
        found = self.client.get_item(TableName=self.table, Key=self.key(pk, sk))
        assert self.plain(found["Item"]) == self.items[pk, sk]

    @rule(segments=st.integers(1, 3))
    def scan(self, segments: int) -> None:
        found = []
        for segment in range(segments):
            pages = self.client.get_paginator("scan").paginate(
                TableName=self.table, Segment=segment, TotalSegments=segments
            )
            found += [self.plain(item) for page in pages for item in page["Items"]]
        assert sorted((item["pk"], item["sk"]) for item in found) == sorted(self.items)
        assert all(self.items[item["pk"], item["sk"]] == item for item in found)

    @rule(luck=st.integers(0, 4))
    def crash(self, luck: int) -> None:
        if luck == 4:
            served().restart()
            self.client = served().client("dynamodb")

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "items"):
            assert self.client.describe_table(TableName=self.table)["Table"]["ItemCount"] == len(self.items)


def test_a_table_is_what_its_model_says() -> None:
    try:
        TestCase = TableModel.TestCase
        TestCase.settings = settings(
            max_examples=12,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        TestCase("runTest").runTest()
    finally:
        for server in _shared:
            server.kill()
        _shared.clear()
