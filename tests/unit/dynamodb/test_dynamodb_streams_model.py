"""Whatever writes an item, the stream tells it once and in order: its records make the table again, change by change."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamodb_calls import Calls
from penstock.core.identity import root
from penstock.services.dynamodb import streams, time_to_live
from penstock.wire.errors import AwsError

Items = dict[str, dict[str, Any]]


class Reader:
    """Reads a stream from its beginning, shard by shard, as a client does."""

    def __init__(self, call: Calls, arn: str) -> None:
        self.call, self.arn = call, arn
        self.last: dict[str, str] = {}
        """The last sequence number that was read of each shard."""
        self.records: list[dict[str, Any]] = []

    async def ask(self, operation: str, **params: Any) -> dict[str, Any]:
        found = await self.call.node.call(
            "dynamodbstreams", operation, params,
            principal=root(self.call.account), account=self.call.account, region=self.call.region,
        )  # fmt: skip
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
        return plain

    async def catch_up(self, rng: random.Random) -> None:
        shards = (await self.ask("DescribeStream", StreamArn=self.arn))["StreamDescription"]["Shards"]
        for shard in shards:
            id = shard["ShardId"]
            if id not in self.last:
                assert shard.get("ParentShardId") in (None, *self.last)
                self.last[id] = ""
            # A new one each time: those of before may be older than a quarter of an hour.
            where = {"ShardIteratorType": "TRIM_HORIZON"}
            if self.last[id]:
                where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": self.last[id]}
            asked = await self.ask("GetShardIterator", StreamArn=self.arn, ShardId=id, **where)
            iterator: str | None = asked["ShardIterator"]
            while iterator is not None:
                page = await self.ask("GetRecords", ShardIterator=iterator, Limit=rng.randrange(1, 8))
                iterator = page.get("NextShardIterator")
                self.records += page["Records"]
                if not page["Records"]:
                    break
                self.last[id] = page["Records"][-1]["dynamodb"]["SequenceNumber"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_records_make_the_table(seed: int) -> None:
    asyncio.run(_records_make_the_table(random.Random(seed)))


async def _records_make_the_table(rng: random.Random) -> None:
    call = Calls()
    await call.table()
    view = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    await call("UpdateTable", TableName="tab", StreamSpecification=view)
    ttl = {"AttributeName": "ends", "Enabled": True}
    await call("UpdateTimeToLive", TableName="tab", TimeToLiveSpecification=ttl)
    arn = (await call("DescribeTable", TableName="tab"))["Table"]["LatestStreamArn"]
    reader = Reader(call, arn)
    expired = 0
    hours = 20.0
    for _ in range(rng.randrange(60)):
        if rng.random() < 0.1 and hours > 0:
            passing = rng.choice([0.001, 1, 5])
            hours -= passing
            call.node.clock.advance(3600 * passing)
            await streams.tend(call.node)
        elif rng.random() < 0.1:
            expired += await _expire(call)
        else:
            await _write(call, rng)
        if rng.random() < 0.3:
            await reader.catch_up(rng)
    await reader.catch_up(rng)
    replayed = _replay(reader.records)
    scanned = (await call("Scan", TableName="tab"))["Items"]
    assert replayed == {item["pk"]["S"]: item for item in scanned}
    assert sum("userIdentity" in record for record in reader.records) == expired
    numbers = [int(record["dynamodb"]["SequenceNumber"]) for record in reader.records]
    assert numbers == sorted(set(numbers))


async def _expire(call: Calls) -> int:
    """Take away what is due; how many items that were."""
    before = (await call("Scan", TableName="tab", Select="COUNT"))["Count"]
    await time_to_live.expire(call.node)
    return int(before - (await call("Scan", TableName="tab", Select="COUNT"))["Count"])


def _replay(records: list[dict[str, Any]]) -> Items:
    there: Items = {}
    for record in records:
        told = record["dynamodb"]
        key = told["Keys"]["pk"]["S"]
        assert told.get("OldImage") == there.get(key)
        assert record["eventName"] == ("REMOVE" if "NewImage" not in told else "MODIFY" if key in there else "INSERT")
        assert told.get("NewImage") != there.get(key)
        if "NewImage" in told:
            there[key] = told["NewImage"]
        else:
            del there[key]
        if "userIdentity" in record:
            assert record["userIdentity"] == {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
            assert record["eventName"] == "REMOVE"
    return there


async def _write(call: Calls, rng: random.Random) -> None:
    def item() -> dict[str, Any]:
        made: dict[str, Any] = {"pk": {"S": rng.choice("abcde")}, "v": {"N": str(rng.randrange(3))}}
        if rng.random() < 0.3:
            made["ends"] = {"N": str(int(call.node.clock.now()) + rng.choice([-10, 100, 4000]))}
        if rng.random() < 0.3:
            made["set"] = {"SS": rng.sample(["p", "q", "r"], 2)}
        return made

    def key() -> dict[str, Any]:
        return {"pk": {"S": rng.choice("abcde")}}

    update = {"UpdateExpression": "SET v = :v REMOVE ends", "ExpressionAttributeValues": {":v": {"N": "1"}}}
    distinct = [{**item(), "pk": {"S": name}} for name in rng.sample("abcde", 3)]
    try:
        match rng.randrange(8):
            case 0 | 1:
                await call("PutItem", TableName="tab", Item=item())
            case 2:
                await call("DeleteItem", TableName="tab", Key=key())
            case 3:
                await call("UpdateItem", TableName="tab", Key=key(), **update)
            case 4:
                requests: list[dict[str, Any]] = [{"PutRequest": {"Item": each}} for each in distinct[:2]]
                requests.append({"DeleteRequest": {"Key": {"pk": distinct[2]["pk"]}}})
                await call("BatchWriteItem", RequestItems={"tab": requests})
            case 5:
                await call("TransactWriteItems", TransactItems=[
                    {"Put": {"TableName": "tab", "Item": distinct[0]}},
                    {"Delete": {"TableName": "tab", "Key": {"pk": distinct[1]["pk"]}}},
                    {"Update": {"TableName": "tab", "Key": {"pk": distinct[2]["pk"]}, **update,
                                "ConditionExpression": "attribute_exists(pk)"}},
                ])  # fmt: skip
            case 6:
                name = rng.choice("abcde")
                await call("ExecuteStatement", Statement=f"UPDATE tab SET v = {rng.randrange(3)} WHERE pk = '{name}'")
            case _:
                await call(
                    "PutItem", TableName="tab", Item=item(), ConditionExpression="attribute_not_exists(pk)"
                )  # fmt: skip
    except AwsError as error:
        assert error.code in ("ConditionalCheckFailedException", "TransactionCanceledException"), error
