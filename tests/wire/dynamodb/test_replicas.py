"""A global table on a real server: written in one region, read and streamed in another."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from served import Served


def wait(done: Callable[[], bool], seconds: float = 20) -> None:
    """Until it is so."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def streamed(server: Served, region: str, arn: str) -> list[dict[str, Any]]:
    client = server.client("dynamodbstreams", region=region)
    found = []
    for shard in client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = client.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]  # fmt: skip
        found += client.get_records(ShardIterator=iterator)["Records"]
    return found


def test_two_regions(server: Served) -> None:
    name = f"global-{time.time_ns()}"
    here, there = server.client("dynamodb"), server.client("dynamodb", region="eu-west-1")
    here.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "k", "AttributeType": "S"}],
        GlobalSecondaryIndexes=[{
            "IndexName": "kinds", "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }],
    )  # fmt: skip
    here.put_item(TableName=name, Item={"pk": {"S": "a"}, "k": {"S": "old"}})
    here.update_table(TableName=name, ReplicaUpdates=[{"Create": {"RegionName": "eu-west-1"}}])
    wait(lambda: here.describe_table(TableName=name)["Table"]["Replicas"][0]["ReplicaStatus"] == "ACTIVE")
    shown = there.describe_table(TableName=name)["Table"]
    assert shown["TableStatus"] == "ACTIVE"
    arn = here.describe_table(TableName=name)["Table"]["TableArn"]
    assert shown["Replicas"] == [{"RegionName": "us-east-1", "ReplicaStatus": "ACTIVE", "ReplicaArn": arn}]
    assert shown["MultiRegionConsistency"] == "EVENTUAL"
    assert shown["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert shown["TableArn"].split(":")[3] == "eu-west-1"
    assert there.get_item(TableName=name, Key={"pk": {"S": "a"}})["Item"] == {"pk": {"S": "a"}, "k": {"S": "old"}}

    here.put_item(TableName=name, Item={"pk": {"S": "b"}, "k": {"S": "new"}})
    there.put_item(TableName=name, Item={"pk": {"S": "c"}, "k": {"S": "new"}})
    there.delete_item(TableName=name, Key={"pk": {"S": "a"}})

    def both(client: Any) -> bool:
        found = client.query(
            TableName=name, IndexName="kinds", KeyConditionExpression="k = :k", ExpressionAttributeValues={":k": {"S": "new"}}
        )["Items"]  # fmt: skip
        return {item["pk"]["S"] for item in found} == {"b", "c"} and client.scan(TableName=name)["Count"] == 2

    wait(lambda: both(here) and both(there))
    for region, client in (("us-east-1", here), ("eu-west-1", there)):
        arn = client.describe_table(TableName=name)["Table"]["LatestStreamArn"]
        told = sorted((r["eventName"], r["dynamodb"]["Keys"]["pk"]["S"]) for r in streamed(server, region, arn))
        assert told == [("INSERT", "b"), ("INSERT", "c"), ("REMOVE", "a")]
        assert not any("userIdentity" in record for record in streamed(server, region, arn))
    there.put_item(TableName=name, Item={"pk": {"S": "last"}})
    assert there.delete_table(TableName=name)["TableDescription"]["TableStatus"] == "DELETING"
    wait(lambda: "Replicas" not in here.describe_table(TableName=name)["Table"])
    assert "Item" in here.get_item(TableName=name, Key={"pk": {"S": "last"}})
    assert name not in there.list_tables()["TableNames"]
