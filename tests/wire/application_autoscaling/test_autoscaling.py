"""Application Auto Scaling on a real server: capacity follows what is consumed, and the clock."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynamodb_tables import advance, make_table, now, wait
from served import Served

READS = {"ServiceNamespace": "dynamodb", "ScalableDimension": "dynamodb:table:ReadCapacityUnits"}
WRITES = {"ServiceNamespace": "dynamodb", "ScalableDimension": "dynamodb:table:WriteCapacityUnits"}
INDEX_WRITES = {"ServiceNamespace": "dynamodb", "ScalableDimension": "dynamodb:index:WriteCapacityUnits"}
UNITS = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5}


def provisioned(client: Any) -> str:
    name = f"scaled-{time.time_ns()}"
    client.create_table(
        TableName=name, ProvisionedThroughput=UNITS, KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "kind", "AttributeType": "S"}],
        GlobalSecondaryIndexes=[{
            "IndexName": "kinds", "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"}, "ProvisionedThroughput": UNITS,
        }],
    )  # fmt: skip
    return name


def tracking(value: float, metric: str, **more: Any) -> dict[str, Any]:
    return {
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": value, "PredefinedMetricSpecification": {"PredefinedMetricType": metric}, **more,
        },
    }  # fmt: skip


def units(client: Any, name: str) -> tuple[int, int, int]:
    """Read and write units of the table, write units of the index."""
    shown = client.describe_table(TableName=name)["Table"]
    of_index = shown["GlobalSecondaryIndexes"][0]["ProvisionedThroughput"]["WriteCapacityUnits"]
    own = shown["ProvisionedThroughput"]
    return own["ReadCapacityUnits"], own["WriteCapacityUnits"], of_index


def next_minute(server: Served) -> None:
    advance(server, 60 - now(server) % 60 + 1)


def test_capacity_follows_consumption(own_server: Served) -> None:
    client, scaling = own_server.client("dynamodb"), own_server.client("application-autoscaling")
    name = provisioned(client)
    for what, resource, metric in (
        (READS, f"table/{name}", "DynamoDBReadCapacityUtilization"),
        (WRITES, f"table/{name}", "DynamoDBWriteCapacityUtilization"),
        (INDEX_WRITES, f"table/{name}/index/kinds", "DynamoDBWriteCapacityUtilization"),
    ):
        scaling.register_scalable_target(**what, ResourceId=resource, MinCapacity=2, MaxCapacity=12)
        scaling.put_scaling_policy(**what, ResourceId=resource, PolicyName="track", **tracking(50.0, metric))
    next_minute(own_server)
    # 5 units of 60 seconds, half of it wanted: more than 150 a minute. Large items take many units at once.
    for _ in range(2):
        for n in range(4):
            client.put_item(
                TableName=name, Item={"pk": {"S": str(n)}, "kind": {"S": "k" * 1000}, "v": {"S": "x" * 60_000}}
            )
        next_minute(own_server)
    advance(own_server, 15)
    wait(lambda: units(client, name)[1] > 5)
    # 4 items of 60 KB are 240 units a minute: 4 a second, twice that for half of it.
    assert units(client, name)[1] == 8
    assert units(client, name)[2] == 5  # the index took no more than 16 units
    activities = scaling.describe_scaling_activities(ServiceNamespace="dynamodb", ResourceId=f"table/{name}")[
        "ScalingActivities"
    ]
    assert [each["StatusCode"] for each in activities] == ["Successful"]
    assert activities[0]["Description"] == "Setting write capacity units to 8."
    own_server.restart()
    for _ in range(17):
        next_minute(own_server)
    wait(lambda: units(client, name) == (2, 2, 2))


def test_scheduled_actions(own_server: Served) -> None:
    client, scaling = own_server.client("dynamodb"), own_server.client("application-autoscaling")
    name = provisioned(client)
    what = {**READS, "ResourceId": f"table/{name}"}
    scaling.register_scalable_target(**what, MinCapacity=2, MaxCapacity=50)
    due = datetime.fromtimestamp(now(own_server) + 7200, UTC)
    scaling.put_scheduled_action(
        **what, ScheduledActionName="night", Schedule=f"cron({due.minute} {due.hour} * * ? *)",
        ScalableTargetAction={"MinCapacity": 20, "MaxCapacity": 40},
    )  # fmt: skip
    advance(own_server, 3600)
    time.sleep(0.3)
    assert units(client, name)[0] == 5
    advance(own_server, 3600 + 15)
    wait(lambda: units(client, name)[0] == 20)
    target = scaling.describe_scalable_targets(ServiceNamespace="dynamodb")["ScalableTargets"][0]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (20, 40)
    client.update_table(TableName=name, ProvisionedThroughput=UNITS)
    advance(own_server, 86400)
    wait(lambda: units(client, name)[0] == 20)
    scaling.put_scheduled_action(
        **what, ScheduledActionName="night", Schedule="rate(2 minutes)", ScalableTargetAction={"MaxCapacity": 7}
    )
    shown = scaling.describe_scheduled_actions(ServiceNamespace="dynamodb")["ScheduledActions"]
    assert [(each["ScheduledActionName"], each["ScalableTargetAction"]) for each in shown] == [
        ("night", {"MaxCapacity": 7})
    ]
    advance(own_server, 150)
    wait(lambda: units(client, name)[0] == 7)
    scaling.delete_scheduled_action(**what, ScheduledActionName="night")
    with pytest.raises(scaling.exceptions.ObjectNotFoundException):
        scaling.delete_scheduled_action(**what, ScheduledActionName="night")


def test_nouns(server: Served) -> None:
    client, scaling = server.client("dynamodb"), server.client("application-autoscaling")
    name = provisioned(client)
    what = {**READS, "ResourceId": f"table/{name}"}
    with pytest.raises(ClientError, match="Both MinCapacity and MaxCapacity"):
        scaling.register_scalable_target(**what, MinCapacity=5)
    arn = scaling.register_scalable_target(**what, MinCapacity=5, MaxCapacity=9, Tags={"team": "a"})[
        "ScalableTargetARN"
    ]
    assert scaling.register_scalable_target(**what, MaxCapacity=10)["ScalableTargetARN"] == arn
    found = scaling.describe_scalable_targets(ServiceNamespace="dynamodb", ResourceIds=[what["ResourceId"]])[
        "ScalableTargets"
    ]
    assert [(each["MinCapacity"], each["MaxCapacity"]) for each in found] == [(5, 10)]
    assert found[0]["RoleARN"].endswith("/AWSServiceRoleForApplicationAutoScaling_DynamoDBTable")
    assert server.client("iam").get_role(RoleName="AWSServiceRoleForApplicationAutoScaling_DynamoDBTable")
    scaling.tag_resource(ResourceARN=arn, Tags={"stage": "b"})
    scaling.untag_resource(ResourceARN=arn, TagKeys=["team"])
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"stage": "b"}
    policy = tracking(70.0, "DynamoDBReadCapacityUtilization", ScaleInCooldown=60)
    made = scaling.put_scaling_policy(**what, PolicyName="p", **policy)
    assert made["PolicyARN"].endswith(f":resource/dynamodb/table/{name}:policyName/p")
    shown = scaling.describe_scaling_policies(ServiceNamespace="dynamodb", ResourceId=what["ResourceId"])[
        "ScalingPolicies"
    ]
    assert shown[0]["TargetTrackingScalingPolicyConfiguration"] == policy["TargetTrackingScalingPolicyConfiguration"]
    for wrong in (
        tracking(10.0, "DynamoDBReadCapacityUtilization"),
        tracking(70.0, "DynamoDBWriteCapacityUtilization"),
        {"PolicyType": "StepScaling", "StepScalingPolicyConfiguration": {}},
    ):
        with pytest.raises(scaling.exceptions.ValidationException):
            scaling.put_scaling_policy(**what, PolicyName="q", **wrong)
    with pytest.raises(scaling.exceptions.ObjectNotFoundException, match="No scalable target registered"):
        scaling.put_scaling_policy(
            **WRITES, ResourceId=f"table/{name}", PolicyName="q", **tracking(70.0, "DynamoDBWriteCapacityUtilization")
        )
    with pytest.raises(ClientError, match="Invalid schedule"):
        scaling.put_scheduled_action(
            **what, ScheduledActionName="s", Schedule="x", ScalableTargetAction={"MinCapacity": 1}
        )
    scaling.delete_scaling_policy(**what, PolicyName="p")
    scaling.deregister_scalable_target(**what)
    with pytest.raises(scaling.exceptions.ObjectNotFoundException):
        scaling.deregister_scalable_target(**what)


def test_pages(server: Served) -> None:
    client, scaling = server.client("dynamodb"), server.client("application-autoscaling")
    names = {f"table/{make_table(client)}" for _ in range(3)}
    for resource in names:
        scaling.register_scalable_target(**WRITES, ResourceId=resource, MinCapacity=1, MaxCapacity=2)
    pages = scaling.get_paginator("describe_scalable_targets").paginate(
        ServiceNamespace="dynamodb", ResourceIds=sorted(names), PaginationConfig={"PageSize": 1}
    )
    found = [[each["ResourceId"] for each in page["ScalableTargets"]] for page in pages]
    assert sorted(each for page in found for each in page) == sorted(names)
    assert all(len(page) <= 1 for page in found)
    with pytest.raises(scaling.exceptions.InvalidNextTokenException):
        scaling.describe_scalable_targets(ServiceNamespace="dynamodb", NextToken="x")


def test_permissions(server: Served) -> None:
    iam = server.client("iam")
    user = f"scaler-{time.time_ns()}"
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    limited = server.client("application-autoscaling", key["AccessKeyId"], key["SecretAccessKey"])
    with pytest.raises(ClientError) as error:
        limited.describe_scalable_targets(ServiceNamespace="dynamodb")
    assert error.value.response["Error"]["Code"] == "AccessDeniedException"
    allowed = {"Effect": "Allow", "Action": "application-autoscaling:Describe*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=policy)
    assert "ScalableTargets" in limited.describe_scalable_targets(ServiceNamespace="dynamodb")
