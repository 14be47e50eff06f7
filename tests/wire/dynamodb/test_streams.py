"""DynamoDB Streams as boto3 reads them: images, order, shards, iterators, a day's retention, permissions."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from served import Served

DAY_S = 86400


class Stream:
    """A table with a stream, and how to read it."""

    def __init__(self, server: Served, view: str = "NEW_AND_OLD_IMAGES", sort: bool = False) -> None:
        self.table = f"t{uuid.uuid4().hex}"
        self.dynamodb, self.streams = server.client("dynamodb"), server.client("dynamodbstreams")
        keys = [("pk", "HASH", "S")] + ([("sk", "RANGE", "N")] if sort else [])
        made = self.dynamodb.create_table(
            TableName=self.table, BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": n, "KeyType": k} for n, k, _ in keys],
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, _, t in keys],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": view},
        )["TableDescription"]  # fmt: skip
        self.arn: str = made["LatestStreamArn"]

    def put(self, key: str, value: str | None = None) -> None:
        item = {"pk": {"S": key}} | ({"v": {"S": value}} if value is not None else {})
        self.dynamodb.put_item(TableName=self.table, Item=item)

    def shards(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.streams.describe_stream(StreamArn=self.arn)["StreamDescription"]["Shards"]
        return found

    def iterator(self, kind: str = "TRIM_HORIZON", shard: str = "", **more: Any) -> str:
        shard = shard or self.shards()[-1]["ShardId"]
        found: str = self.streams.get_shard_iterator(
            StreamArn=self.arn, ShardId=shard, ShardIteratorType=kind, **more
        )["ShardIterator"]  # fmt: skip
        return found

    def read(self, shard: str = "", **more: Any) -> list[dict[str, Any]]:
        """All records of a shard; each page must bring some."""
        found: list[dict[str, Any]] = []
        iterator: str | None = self.iterator(shard=shard)
        while iterator:
            page = self.streams.get_records(ShardIterator=iterator, **more)
            found += page["Records"]
            iterator = page.get("NextShardIterator") if page["Records"] else None
        return found


def error(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def advance(server: Served, seconds: float) -> None:
    httpx.post(f"{server.endpoint}/_penstock/clock", content=json.dumps({"advance_s": seconds})).raise_for_status()


def test_records_tell_what_happened(server: Served) -> None:
    stream = Stream(server, sort=True)
    key = {"pk": {"S": "a"}, "sk": {"N": "1"}}
    call = stream.dynamodb
    call.put_item(TableName=stream.table, Item={**key, "b": {"B": b"\0\xff"}})
    call.update_item(
        TableName=stream.table,
        Key=key,
        UpdateExpression="SET n = :n REMOVE b",
        ExpressionAttributeValues={":n": {"N": "2"}},
    )
    call.delete_item(TableName=stream.table, Key=key)
    records = stream.read()
    assert [each["eventName"] for each in records] == ["INSERT", "MODIFY", "REMOVE"]
    first, second, third = (each["dynamodb"] for each in records)
    assert first["NewImage"] == {**key, "b": {"B": b"\0\xff"}} and "OldImage" not in first
    assert second["OldImage"] == first["NewImage"] and second["NewImage"] == {**key, "n": {"N": "2"}}
    assert third["OldImage"] == second["NewImage"] and "NewImage" not in third
    # keys 2+1+2+2 bytes; the first image has 1+2 more.
    assert [each["SizeBytes"] for each in (first, second, third)] == [7 + 10, 7 + 10 + 10, 7 + 10]
    for each in records:
        assert each["dynamodb"]["Keys"] == key and each["dynamodb"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
        assert (each["eventSource"], each["eventVersion"], each["awsRegion"]) == ("aws:dynamodb", "1.1", "us-east-1")
        assert "userIdentity" not in each
    numbers = [int(each["dynamodb"]["SequenceNumber"]) for each in records]
    assert numbers == sorted(set(numbers)) and len({each["eventID"] for each in records}) == 3


@pytest.mark.parametrize(
    ("view", "images"),
    [("KEYS_ONLY", set()), ("NEW_IMAGE", {"NewImage"}), ("OLD_IMAGE", {"OldImage"})],
)
def test_views(server: Served, view: str, images: set[str]) -> None:
    stream = Stream(server, view)
    stream.put("a", "1")
    stream.put("a", "2")
    found = stream.read()[1]["dynamodb"]
    assert found.keys() & {"NewImage", "OldImage"} == images and found["StreamViewType"] == view


def test_what_changes_nothing_is_not_told(server: Served) -> None:
    stream = Stream(server)
    call = stream.dynamodb
    call.put_item(TableName=stream.table, Item={"pk": {"S": "a"}, "s": {"SS": ["x", "y"]}, "n": {"N": "1"}})
    call.put_item(TableName=stream.table, Item={"n": {"N": "1.0"}, "pk": {"S": "a"}, "s": {"SS": ["y", "x"]}})
    call.update_item(
        TableName=stream.table,
        Key={"pk": {"S": "a"}},
        UpdateExpression="SET n = :n",
        ExpressionAttributeValues={":n": {"N": "1"}},
    )
    call.delete_item(TableName=stream.table, Key={"pk": {"S": "b"}})
    call.put_item(
        TableName=stream.table, Item={"pk": {"S": "a"}, "s": {"L": [{"S": "x"}, {"S": "y"}]}, "n": {"N": "1"}}
    )
    call.put_item(
        TableName=stream.table, Item={"pk": {"S": "a"}, "s": {"L": [{"S": "y"}, {"S": "x"}]}, "n": {"N": "1"}}
    )
    assert [each["eventName"] for each in stream.read()] == ["INSERT", "MODIFY", "MODIFY"]


def test_batches_and_transactions_are_told_in_order(server: Served) -> None:
    stream = Stream(server)
    call = stream.dynamodb
    items = [{"pk": {"S": f"k{number:02}"}, "v": {"S": "x" * 90_000}} for number in range(25)]
    call.batch_write_item(RequestItems={stream.table: [{"PutRequest": {"Item": each}} for each in items]})
    call.transact_write_items(
        TransactItems=[
            {"Delete": {"TableName": stream.table, "Key": {"pk": {"S": "k00"}}}},
            {"Put": {"TableName": stream.table, "Item": {"pk": {"S": "z"}, "v": {"S": "x" * 300_000}}}},
            {"ConditionCheck": {
                "TableName": stream.table, "Key": {"pk": {"S": "k01"}}, "ConditionExpression": "attribute_exists(pk)"
            }},
        ]
    )  # fmt: skip
    with pytest.raises(ClientError):
        call.put_item(TableName=stream.table, Item=items[1], ConditionExpression="attribute_not_exists(pk)")
    records = stream.read()
    keys = [each["dynamodb"]["Keys"]["pk"]["S"] for each in records]
    assert sorted(keys[:25]) == [each["pk"]["S"] for each in items] and keys[25:] == ["k00", "z"]
    assert records[-1]["dynamodb"]["NewImage"]["v"]["S"] == "x" * 300_000
    # A page is bounded by its bytes.
    page = stream.streams.get_records(ShardIterator=stream.iterator())
    assert 1 <= len(page["Records"]) <= 12


def test_iterators(server: Served) -> None:
    stream = Stream(server)
    latest = stream.iterator("LATEST")
    for number in range(5):
        stream.put(f"k{number}")
    get = stream.streams.get_records
    everything = stream.read()
    assert [r["eventID"] for r in get(ShardIterator=latest)["Records"]] == [r["eventID"] for r in everything]
    number = everything[2]["dynamodb"]["SequenceNumber"]
    at = get(ShardIterator=stream.iterator("AT_SEQUENCE_NUMBER", SequenceNumber=number), Limit=2)
    behind = get(ShardIterator=stream.iterator("AFTER_SEQUENCE_NUMBER", SequenceNumber=number))
    assert at["Records"] == everything[2:4] and behind["Records"] == everything[3:]
    assert get(ShardIterator=at["NextShardIterator"])["Records"] == everything[4:]
    assert get(ShardIterator=stream.iterator("LATEST"))["Records"] == []

    when = everything[-1]["dynamodb"]["ApproximateCreationDateTime"].timestamp()
    from_then_on = get(ShardIterator=stream.iterator("AT_TIMESTAMP", Timestamp=when))["Records"]
    assert from_then_on and from_then_on == everything[-len(from_then_on) :]
    assert get(ShardIterator=stream.iterator("AT_TIMESTAMP", Timestamp=when - 60))["Records"] == everything
    at_time = {"StreamArn": stream.arn, "ShardId": stream.shards()[0]["ShardId"], "ShardIteratorType": "AT_TIMESTAMP"}
    assert error(stream.streams.get_shard_iterator, **at_time, Timestamp=when + 600)[0] == "ValidationException"

    shard = stream.shards()[0]["ShardId"]
    ask = {"StreamArn": stream.arn, "ShardId": shard}
    make = stream.streams.get_shard_iterator
    assert error(make, **ask, ShardIteratorType="AT_SEQUENCE_NUMBER")[0] == "ValidationException"
    assert error(make, **ask, ShardIteratorType="LATEST", SequenceNumber=number)[0] == "ValidationException"
    assert (
        error(make, **ask, ShardIteratorType="AT_SEQUENCE_NUMBER", SequenceNumber="9" * 30)[0] == "ValidationException"
    )
    assert error(make, **ask | {"ShardId": shard + "0"}, ShardIteratorType="LATEST") == (
        "ResourceNotFoundException",
        f"Requested resource not found: Shard: {shard}0 in Stream: {stream.arn} not found",
    )
    assert error(get, ShardIterator="nonsense") == ("ValidationException", "Invalid ShardIterator")


def test_switching_on_and_off(server: Served) -> None:
    stream = Stream(server)
    call, table = stream.dynamodb, stream.table
    stream.put("a")
    on = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    assert error(call.update_table, TableName=table, StreamSpecification=on) == (
        "ValidationException", f"Table already has an enabled stream: TableName: {table}",
    )  # fmt: skip
    shown = call.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})["TableDescription"]
    assert shown["LatestStreamArn"] == stream.arn and "StreamSpecification" not in shown
    assert (
        error(call.update_table, TableName=table, StreamSpecification={"StreamEnabled": False})[0]
        == "ValidationException"
    )
    assert (
        error(call.update_table, TableName=table, StreamSpecification={"StreamEnabled": True})[0]
        == "ValidationException"
    )
    stream.put("b")
    described = stream.streams.describe_stream(StreamArn=stream.arn)["StreamDescription"]
    assert (described["StreamStatus"], described["TableName"]) == ("DISABLED", table)
    assert described["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}]
    numbers = described["Shards"][0]["SequenceNumberRange"]
    assert len(stream.read()) == 1
    page = stream.streams.get_records(ShardIterator=stream.iterator())
    assert page["Records"][0]["dynamodb"]["SequenceNumber"] == numbers["EndingSequenceNumber"]
    assert "NextShardIterator" not in page
    shown = call.update_table(TableName=table, StreamSpecification=on)["TableDescription"]
    assert shown["StreamSpecification"] == on and shown["LatestStreamArn"] != stream.arn
    listed = stream.streams.list_streams(TableName=table)["Streams"]
    assert [each["StreamArn"] for each in listed] == [stream.arn, shown["LatestStreamArn"]]
    first = stream.streams.list_streams(TableName=table, Limit=1)
    assert first["LastEvaluatedStreamArn"] == stream.arn
    rest = stream.streams.list_streams(TableName=table, ExclusiveStartStreamArn=stream.arn)
    assert first["Streams"] + rest["Streams"] == listed and "LastEvaluatedStreamArn" not in rest
    call.delete_table(TableName=table)
    assert [each["eventName"] for each in stream.read()] == ["INSERT"]
    gone = stream.arn[:-1] + ("1" if stream.arn[-1] != "1" else "2")
    assert error(stream.streams.describe_stream, StreamArn=gone) == (
        "ResourceNotFoundException", f"Requested resource not found: Stream: {gone} not found",
    )  # fmt: skip


def test_shards_roll_and_records_go_after_a_day(own_server: Served) -> None:
    stream = Stream(own_server)
    stream.put("a")
    stale = stream.iterator()
    first = stream.shards()[0]
    advance(own_server, 4 * 3600 + 61)
    shards = _until(stream.shards, lambda found: len(found) == 2)
    assert shards[1]["ParentShardId"] == first["ShardId"] and "EndingSequenceNumber" in shards[0]["SequenceNumberRange"]
    assert error(stream.streams.get_records, ShardIterator=stale)[0] == "ExpiredIteratorException"
    stream.put("b")
    parent, child = (stream.read(each["ShardId"]) for each in shards)
    assert [r["dynamodb"]["Keys"]["pk"]["S"] for r in parent + child] == ["a", "b"]
    begins, ends = (int(shards[i]["SequenceNumberRange"][name]) for i, name in (
        (1, "StartingSequenceNumber"), (0, "EndingSequenceNumber")
    ))  # fmt: skip
    assert ends < begins <= int(child[0]["dynamodb"]["SequenceNumber"])
    children = stream.streams.describe_stream(
        StreamArn=stream.arn, ShardFilter={"Type": "CHILD_SHARDS", "ShardId": first["ShardId"]}
    )["StreamDescription"]["Shards"]
    assert children == shards[1:]
    number = parent[0]["dynamodb"]["SequenceNumber"]
    advance(own_server, DAY_S - 4 * 3600)
    _until(lambda: stream.read(first["ShardId"]), lambda found: not found)
    stream.put("c")
    assert error(
        stream.streams.get_shard_iterator, StreamArn=stream.arn, ShardId=first["ShardId"],
        ShardIteratorType="AT_SEQUENCE_NUMBER", SequenceNumber=number,
    )[0] == "TrimmedDataAccessException"  # fmt: skip
    advance(own_server, DAY_S)
    shards = _until(stream.shards, lambda found: found[0]["ShardId"] != first["ShardId"])
    assert "ParentShardId" not in shards[0]
    stream.dynamodb.update_table(TableName=stream.table, StreamSpecification={"StreamEnabled": False})
    advance(own_server, DAY_S + 61)
    _until(lambda: stream.streams.list_streams()["Streams"], lambda found: not found)
    assert error(stream.streams.describe_stream, StreamArn=stream.arn)[0] == "ResourceNotFoundException"


def _until(look: Any, holds: Any) -> Any:
    for _ in range(100):
        found = look()
        if holds(found):
            return found
        threading.Event().wait(0.05)
    raise AssertionError(f"still {found}")


def test_many_writers_have_one_order(server: Served) -> None:
    stream = Stream(server)

    def count(client: Any) -> None:
        for _ in range(25):
            client.update_item(
                TableName=stream.table, Key={"pk": {"S": "n"}}, UpdateExpression="ADD n :one",
                ExpressionAttributeValues={":one": {"N": "1"}},
            )  # fmt: skip

    threads = [threading.Thread(target=count, args=(server.client("dynamodb"),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [int(each["dynamodb"]["NewImage"]["n"]["N"]) for each in stream.read(Limit=7)]
    assert told == list(range(1, 201))


def test_who_may_read(server: Served) -> None:
    stream = Stream(server)
    stream.put("a")
    iam, name = server.client("iam"), f"u{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    reader = server.client("dynamodbstreams", key["AccessKeyId"], key["SecretAccessKey"])
    assert error(reader.describe_stream, StreamArn=stream.arn)[0] == "AccessDeniedException"
    statement = {"Effect": "Allow", "Action": "dynamodb:GetRecords", "Resource": stream.arn}
    iam.put_user_policy(
        UserName=name, PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statement})
    )
    assert len(reader.get_records(ShardIterator=stream.iterator())["Records"]) == 1
    assert error(reader.describe_stream, StreamArn=stream.arn)[0] == "AccessDeniedException"
    other = Stream(server)
    assert error(reader.get_records, ShardIterator=other.iterator())[0] == "AccessDeniedException"
