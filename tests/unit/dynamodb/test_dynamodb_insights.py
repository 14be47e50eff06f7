"""Contributor Insights: which keys are asked for most, over a restart and for as long as AWS keeps it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dynamodb_calls import Calls
from penstock.services.dynamodb import contributors, keys, numbers, table
from penstock.services.dynamodb.table import Table


async def enable(call: Calls, **more: Any) -> dict[str, Any]:
    return await call("UpdateContributorInsights", TableName="tab", ContributorInsightsAction="ENABLE", **more)


async def loaded(call: Calls) -> Table:
    key = keys.table(call.account, call.region, "tab")
    return await call.node.store.transact(lambda txn: table.decode(txn.get(key) or b""), read_only=True)


async def top(call: Calls, *, whole_keys: bool, throttled: bool = False, since_s: float = 3600) -> list[dict[str, Any]]:
    await contributors.flush(call.node)
    found = await loaded(call)
    now = call.node.clock.now()
    minute = await call.node.store.transact(
        lambda txn: contributors.read(txn, (found.id, 0, throttled), now - since_s, now), read_only=True
    )
    return contributors.top(found, minute, whole_keys=whole_keys, most=10)[0]


def test_what_is_asked_for_most() -> None:
    async def body() -> None:
        call = Calls()
        await call.table(range_type="N")
        await call("PutItem", TableName="tab", Item={"pk": {"S": "unseen"}, "sk": {"N": "0"}})
        answered = await enable(call)
        assert answered["ContributorInsightsStatus"] == "ENABLING"
        for n in (1, -2.5, 0):
            item = {"pk": {"S": "a\0b"}, "sk": {"N": str(n)}, "text": {"S": "x" * 1500}}
            await call("PutItem", TableName="tab", Item=item)
        for _ in range(4):
            await call(
                "GetItem", TableName="tab", Key={"pk": {"S": "c"}, "sk": {"N": "1"}}, ConsistentRead=True
            )  # fmt: skip
        await contributors.flush(call.node)
        call.node.clock.advance(120)
        await call(
            "Query", TableName="tab", KeyConditionExpression="pk = :p",
            ExpressionAttributeValues={":p": {"S": "c"}}, ConsistentRead=True,
        )  # fmt: skip
        assert await top(call, whole_keys=False) == [
            {"Keys": ["a\0b"], "ApproximateAggregateValue": 6.0}, {"Keys": ["c"], "ApproximateAggregateValue": 5.0},
        ]  # fmt: skip
        assert await top(call, whole_keys=True) == [
            {"Keys": ["c", "1"], "ApproximateAggregateValue": 4.0},
            {"Keys": ["a\0b", "-2.5"], "ApproximateAggregateValue": 2.0},
            {"Keys": ["a\0b", "0"], "ApproximateAggregateValue": 2.0},
            {"Keys": ["a\0b", "1"], "ApproximateAggregateValue": 2.0},
        ]
        assert await top(call, whole_keys=False, since_s=30) == [{"Keys": ["c"], "ApproximateAggregateValue": 1.0}]
        call.node.clock.advance(contributors.KEPT_S)
        await contributors.flush(call.node)
        begin, end = keys.contributors_before(1 << 40)
        left = await call.node.store.transact(lambda txn: list(txn.scan(begin, end)), read_only=True)
        assert len(left) <= 1

    asyncio.run(body())


def test_throttled_keys() -> None:
    async def body() -> None:
        call = Calls()
        await call(
            "CreateTable", TableName="tab", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
        )  # fmt: skip
        await enable(call, ContributorInsightsMode="THROTTLED_KEYS")
        item = {"pk": {"S": "large"}, "text": {"S": "x" * 310_000}}
        await call("PutItem", TableName="tab", Item=item)
        for _ in range(3):
            error = await call.error("PutItem", TableName="tab", Item={"pk": {"S": "next"}})
            assert error.startswith("ProvisionedThroughputExceededException")
        assert await top(call, whole_keys=False) == []
        assert await top(call, whole_keys=False, throttled=True) == [
            {"Keys": ["next"], "ApproximateAggregateValue": 3.0}
        ]
        shown = await call("DescribeContributorInsights", TableName="tab")
        assert [rule.split("-")[1] for rule in shown["ContributorInsightsRuleList"]] == ["PKT"]

    asyncio.run(body())


def test_settings() -> None:
    async def body() -> None:
        call = Calls()
        for name in ("tab", "tac", "tad"):
            await call(
                "CreateTable", TableName=name, BillingMode="PAY_PER_REQUEST",
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "x", "y")],
                GlobalSecondaryIndexes=[{
                    "IndexName": "xs", "Projection": {"ProjectionType": "ALL"},
                    "KeySchema": [{"AttributeName": "x", "KeyType": "HASH"}, {"AttributeName": "y", "KeyType": "RANGE"}],
                }],
            )  # fmt: skip
        shown = await call("DescribeContributorInsights", TableName="tab")
        assert shown == {"TableName": "tab", "ContributorInsightsStatus": "DISABLED"}
        for name in ("tab", "tac"):
            for index in ({}, {"IndexName": "xs"}):
                await call("UpdateContributorInsights", TableName=name, ContributorInsightsAction="ENABLE", **index)
        shown = await call("DescribeContributorInsights", TableName="tab", IndexName="xs")
        assert shown["ContributorInsightsStatus"] == "ENABLED"
        assert shown["ContributorInsightsMode"] == "ACCESSED_AND_THROTTLED_KEYS"
        assert [rule.rpartition("-")[0] for rule in shown["ContributorInsightsRuleList"]] == [
            f"DynamoDBContributorInsights-{kind}-tab-xs" for kind in ("PKC", "SKC", "PKT", "SKT")
        ]
        listed, more = [], {}
        while True:
            page = await call("ListContributorInsights", MaxResults=1, **more)
            listed += [(each["TableName"], each.get("IndexName")) for each in page["ContributorInsightsSummaries"]]
            if "NextToken" not in page:
                break
            more = {"NextToken": page["NextToken"]}
        assert listed == [("tab", None), ("tab", "xs"), ("tac", None), ("tac", "xs")]
        await call("UpdateContributorInsights", TableName="tab", ContributorInsightsAction="DISABLE")
        page = await call("ListContributorInsights", TableName="tab")
        assert [each["IndexName"] for each in page["ContributorInsightsSummaries"]] == ["xs"]
        for refused in ({"TableName": "none"}, {"TableName": "tab", "IndexName": "none"}):
            error = await call.error("UpdateContributorInsights", ContributorInsightsAction="ENABLE", **refused)
            assert error.startswith("ResourceNotFoundException")

    asyncio.run(body())


def test_rare_keys_give_way() -> None:
    call = Calls()
    counted = call.node.own(contributors.Contributors)
    slot = (b"t" * 16, 0, False)
    for n in range(20_000):
        counted.add(slot, b"%d" % n, 1.0)
        counted.add(slot, b"hot", 1.0)
    minute = counted.minutes[slot]
    assert minute.total == 40_000
    assert minute.keys[b"hot"] == 20_000
    assert len(minute.keys) <= 4 * contributors.MOST_KEYS


@pytest.mark.parametrize(("kind", "text"), [("S", "a\0\0\xffé"), ("N", "-12.5"), ("B", "AAH/AA==")])
def test_values_of_places(kind: str, text: str) -> None:
    text = numbers.canonical(text) if kind == "N" else text
    encoded = keys.ENCODERS[kind](text)
    place = keys.partition(b"", encoded) + keys.element(keys.ENCODERS["N"]("7"))
    assert keys.values_of(place, (kind,), ("N",)) == (text, "7")
    assert keys.values_of(keys.partition(b"", encoded), (kind,), ("N",)) == (text,)
