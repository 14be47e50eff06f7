"""A global table on a real server: written in one region, read and streamed in another."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

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


def add_scaled_replica(server: Served, here: Any, name: str) -> None:
    """A provisioned table gets a replica once its writes are scaled; then those of the replica are too, until told not to."""
    add = {"TableName": name, "ReplicaUpdates": [{"Create": {"RegionName": "eu-west-1"}}]}
    with pytest.raises(ClientError, match="should either be Pay-Per-Request or AutoScaled"):
        here.update_table(**add)
    place = {
        "ServiceNamespace": "dynamodb", "ResourceId": f"table/{name}",
        "ScalableDimension": "dynamodb:table:WriteCapacityUnits",
    }  # fmt: skip
    server.client("application-autoscaling").register_scalable_target(**place, MinCapacity=4, MaxCapacity=40)
    here.update_table(**add)
    wait(lambda: here.describe_table(TableName=name)["Table"]["Replicas"][0]["ReplicaStatus"] == "ACTIVE")
    theirs = server.client("application-autoscaling", region="eu-west-1").describe_scalable_targets(
        ServiceNamespace="dynamodb", ResourceIds=[f"table/{name}"]
    )["ScalableTargets"]
    assert [(each["MinCapacity"], each["MaxCapacity"]) for each in theirs] == [(4, 40)]
    here.update_table_replica_auto_scaling(
        TableName=name, ProvisionedWriteCapacityAutoScalingUpdate={"AutoScalingDisabled": True}
    )


def test_auto_scaling_of_all_regions(server: Served) -> None:
    name = f"scaled-{time.time_ns()}"
    here, there = server.client("dynamodb"), server.client("dynamodb", region="eu-west-1")
    units = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5}
    here.create_table(
        TableName=name, ProvisionedThroughput=units, KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "k", "AttributeType": "S"}],
        GlobalSecondaryIndexes=[{
            "IndexName": "kinds", "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"}, "ProvisionedThroughput": units,
        }],
    )  # fmt: skip
    here.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    add_scaled_replica(server, here, name)

    def scaling(client: Any) -> dict[str, Any]:
        found = client.describe_table_replica_auto_scaling(TableName=name)["TableAutoScalingDescription"]
        return {each["RegionName"]: each for each in found["Replicas"]}

    write, read = (f"ReplicaProvisioned{kind}CapacityAutoScalingSettings" for kind in ("Write", "Read"))
    assert {each[write]["AutoScalingDisabled"] for each in scaling(here).values()} == {True}

    def kept(least: int, most: int, target: float) -> dict[str, Any]:
        return {
            "MinimumUnits": least, "MaximumUnits": most,
            "ScalingPolicyUpdate": {"TargetTrackingScalingPolicyConfiguration": {"TargetValue": target}},
        }  # fmt: skip

    answer = here.update_table_replica_auto_scaling(
        TableName=name,
        ProvisionedWriteCapacityAutoScalingUpdate=kept(5, 50, 70.0),
        GlobalSecondaryIndexUpdates=[
            {"IndexName": "kinds", "ProvisionedWriteCapacityAutoScalingUpdate": kept(2, 20, 60.0)}
        ],
        ReplicaUpdates=[
            {"RegionName": "eu-west-1", "ReplicaProvisionedReadCapacityAutoScalingUpdate": kept(3, 30, 50.0)}
        ],
    )
    assert answer["TableAutoScalingDescription"]["TableStatus"] == "UPDATING"
    for found in (scaling(here), scaling(there)):
        assert set(found) == {"us-east-1", "eu-west-1"}
        for each in found.values():
            assert (each[write]["MinimumUnits"], each[write]["MaximumUnits"]) == (5, 50)
            policy = each[write]["ScalingPolicies"][0]
            assert policy["PolicyName"] == f"DynamoDBWriteCapacityUtilization:table/{name}"
            assert policy["TargetTrackingScalingPolicyConfiguration"] == {"TargetValue": 70.0}
            index = each["GlobalSecondaryIndexes"][0]
            assert index["ProvisionedWriteCapacityAutoScalingSettings"]["MaximumUnits"] == 20
        assert found["eu-west-1"][read]["MaximumUnits"] == 30
        assert found["us-east-1"][read] == {"AutoScalingDisabled": True}
    here.update_table_replica_auto_scaling(
        TableName=name, ProvisionedWriteCapacityAutoScalingUpdate={"AutoScalingDisabled": True}
    )
    assert {each[write]["AutoScalingDisabled"] for each in scaling(here).values()} == {True}
    here.update_table(TableName=name, ReplicaUpdates=[{"Delete": {"RegionName": "eu-west-1"}}])
