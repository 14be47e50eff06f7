"""Global tables of version 2017.11.29: tables that are there already become one, keep their own settings, and leave again."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynamodb_tables import wait
from served import Served

REGIONS = ("us-east-1", "eu-west-1", "ap-northeast-1")


def make(client: Any, name: str, *, stream: bool = True, **more: Any) -> None:
    view = {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}} if stream else {}
    client.create_table(
        TableName=name, KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        **{
            "BillingMode": "PAY_PER_REQUEST", "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            **view, **more,
        },
    )  # fmt: skip


def keys(client: Any, name: str) -> list[str]:
    return sorted(each["pk"]["S"] for each in client.scan(TableName=name)["Items"])


def group(*regions: str) -> list[dict[str, str]]:
    return [{"RegionName": region} for region in regions]


def test_tables_become_one_and_leave_again(server: Served) -> None:
    name = f"group-{time.time_ns()}"
    clients = {region: server.client("dynamodb", region=region) for region in REGIONS}
    here, there, far = clients.values()
    for client in clients.values():
        make(client, name)
    made = here.create_global_table(GlobalTableName=name, ReplicationGroup=group(*REGIONS[:2]))[
        "GlobalTableDescription"
    ]
    assert made["GlobalTableStatus"] == "CREATING"
    assert made["GlobalTableArn"] == f"arn:aws:dynamodb::000000000000:global-table/{name}"
    shown = there.describe_global_table(GlobalTableName=name)["GlobalTableDescription"]
    assert shown["GlobalTableStatus"] == "ACTIVE"
    assert [each["RegionName"] for each in shown["ReplicationGroup"]] == ["eu-west-1", "us-east-1"]
    assert "GlobalTableVersion" not in here.describe_table(TableName=name)["Table"]
    update = [{"Create": {"RegionName": REGIONS[2]}}]
    shown = here.update_global_table(GlobalTableName=name, ReplicaUpdates=update)["GlobalTableDescription"]
    assert len(shown["ReplicationGroup"]) == 3
    for region, client in clients.items():
        client.put_item(TableName=name, Item={"pk": {"S": region}})
    for client in clients.values():
        wait(lambda client=client: keys(client, name) == sorted(REGIONS))  # type: ignore[misc]

    # A table's settings are its own.
    here.update_table(TableName=name, DeletionProtectionEnabled=True)
    here.update_time_to_live(TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "at"})
    assert there.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED"

    far.put_item(TableName=name, Item={"pk": {"S": "last"}})
    update = [{"Delete": {"RegionName": REGIONS[2]}}]
    shown = here.update_global_table(GlobalTableName=name, ReplicaUpdates=update)["GlobalTableDescription"]
    assert len(shown["ReplicationGroup"]) == 2
    assert keys(here, name) == keys(there, name) == keys(far, name) == sorted([*REGIONS, "last"])
    far.put_item(TableName=name, Item={"pk": {"S": "alone"}})
    there.delete_item(TableName=name, Key={"pk": {"S": "last"}})
    wait(lambda: "last" not in keys(here, name))
    assert {"alone", "last"} <= set(keys(far, name))
    assert "alone" not in keys(here, name)

    listed = [*here.list_global_tables()["GlobalTables"]]
    assert {"GlobalTableName": name, "ReplicationGroup": group("eu-west-1", "us-east-1")} in listed
    assert name not in [each["GlobalTableName"] for each in far.list_global_tables()["GlobalTables"]]
    there.delete_table(TableName=name)
    wait(
        lambda: len(here.describe_global_table(GlobalTableName=name)["GlobalTableDescription"]["ReplicationGroup"]) == 1
    )


def test_what_is_refused(server: Served) -> None:
    name = f"refused-{time.time_ns()}"
    clients = {region: server.client("dynamodb", region=region) for region in REGIONS}
    here, there, far = clients.values()
    make(here, name)

    def refused(match: str, operation: str = "create_global_table", client: Any = here, **params: Any) -> None:
        with pytest.raises(ClientError, match=match):
            getattr(client, operation)(**{"GlobalTableName": name, **params})

    both = group(*REGIONS[:2])
    refused("TableNotFoundException", ReplicationGroup=both)
    make(there, name, stream=False)
    refused("must have DynamoDB Streams enabled", ReplicationGroup=both)
    there.update_table(
        TableName=name, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    )
    there.put_item(TableName=name, Item={"pk": {"S": "x"}})
    refused("contains data", ReplicationGroup=both)
    there.delete_item(TableName=name, Key={"pk": {"S": "x"}})
    refused("GlobalTableNotFoundException", "describe_global_table")
    here.create_global_table(GlobalTableName=name, ReplicationGroup=both)
    refused("GlobalTableAlreadyExistsException", ReplicationGroup=both)
    refused("ReplicaAlreadyExistsException", "update_global_table", ReplicaUpdates=[{"Create": both[1]}])
    refused("ReplicaNotFoundException", "update_global_table", ReplicaUpdates=[{"Delete": {"RegionName": REGIONS[2]}}])
    refused("TableNotFoundException", "update_global_table", ReplicaUpdates=[{"Create": {"RegionName": REGIONS[2]}}])
    make(far, name, AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "N"}])
    refused("key schema", "update_global_table", ReplicaUpdates=[{"Create": {"RegionName": REGIONS[2]}}])
    with pytest.raises(ClientError, match="UpdateGlobalTable"):
        here.update_table(TableName=name, ReplicaUpdates=[{"Create": {"RegionName": "sa-east-1"}}])


def test_settings_of_all_regions(server: Served) -> None:
    name = f"settings-{time.time_ns()}"
    here, there = (server.client("dynamodb", region=region) for region in REGIONS[:2])
    units = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6}
    for client in (here, there):
        make(client, name, BillingMode="PROVISIONED", ProvisionedThroughput=units)
    here.create_global_table(GlobalTableName=name, ReplicationGroup=group(*REGIONS[:2]))
    target = {"TargetTrackingScalingPolicyConfiguration": {"TargetValue": 60.0}}
    changed = here.update_global_table_settings(
        GlobalTableName=name, GlobalTableProvisionedWriteCapacityUnits=9,
        ReplicaSettingsUpdate=[{
            "RegionName": REGIONS[1], "ReplicaProvisionedReadCapacityUnits": 7,
            "ReplicaTableClass": "STANDARD_INFREQUENT_ACCESS",
            "ReplicaProvisionedReadCapacityAutoScalingSettingsUpdate": {
                "MinimumUnits": 2, "MaximumUnits": 20, "ScalingPolicyUpdate": target,
            },
        }],
    )  # fmt: skip
    assert {each["ReplicaStatus"] for each in changed["ReplicaSettings"]} == {"UPDATING"}
    shown = {
        each["RegionName"]: each
        for each in there.describe_global_table_settings(GlobalTableName=name)["ReplicaSettings"]
    }
    reads = {region: each["ReplicaProvisionedReadCapacityUnits"] for region, each in shown.items()}
    assert reads == {REGIONS[0]: 5, REGIONS[1]: 7}
    assert {each["ReplicaProvisionedWriteCapacityUnits"] for each in shown.values()} == {9}
    assert shown[REGIONS[1]]["ReplicaTableClassSummary"]["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    scaled = shown[REGIONS[1]]["ReplicaProvisionedReadCapacityAutoScalingSettings"]
    assert (scaled["MinimumUnits"], scaled["MaximumUnits"]) == (2, 20)
    assert shown[REGIONS[0]]["ReplicaProvisionedReadCapacityAutoScalingSettings"] == {"AutoScalingDisabled": True}
    here.update_global_table_settings(GlobalTableName=name, GlobalTableBillingMode="PAY_PER_REQUEST")
    for client in (here, there):
        assert client.describe_table(TableName=name)["Table"]["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    for match, params in (
        ("ReplicaNotFoundException", {"ReplicaSettingsUpdate": [{"RegionName": "sa-east-1"}]}),
        ("IndexNotFoundException", {"GlobalTableGlobalSecondaryIndexSettingsUpdate": [{"IndexName": "none"}]}),
        ("At least one setting", {}),
    ):
        with pytest.raises(ClientError, match=match):
            here.update_global_table_settings(GlobalTableName=name, **params)
