"""Backups of a real server's tables: made while writes go on, restored, surviving their table and a crash."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from dynamodb_tables import advance, back_up, fill, item, items_of, make_table, status, wait, wait_active
from served import Served


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_a_backup_survives_its_table(server: Served) -> None:
    client = server.client("dynamodb")
    name = make_table(client)
    fill(client, name, 120)
    client.put_item(TableName=name, Item=item(1000, big={"S": "x" * 300_000}))
    before = items_of(client, name)
    arn = back_up(client, name)
    assert f":table/{name}/backup/" in arn
    client.delete_table(TableName=name)
    shown = client.describe_backup(BackupArn=arn)["BackupDescription"]
    assert shown["SourceTableDetails"]["ItemCount"] == 121
    assert shown["SourceTableDetails"]["TableName"] == name
    assert shown["SourceTableDetails"]["BillingMode"] == "PAY_PER_REQUEST"
    assert [each["IndexName"] for each in shown["SourceTableFeatureDetails"]["GlobalSecondaryIndexes"]] == ["kinds"]
    target = name + "-restored"
    made = client.restore_table_from_backup(TargetTableName=target, BackupArn=arn)["TableDescription"]
    assert made["TableStatus"] == "CREATING"
    assert made["RestoreSummary"]["RestoreInProgress"] is True
    assert made["RestoreSummary"]["SourceBackupArn"] == arn
    described = wait_active(client, target)
    assert described["RestoreSummary"]["RestoreInProgress"] is False
    assert described["ItemCount"] == 121
    assert described["TableSizeBytes"] == shown["BackupDetails"]["BackupSizeBytes"]
    assert items_of(client, target) == before
    of_kind = client.query(
        TableName=target,
        IndexName="kinds",
        KeyConditionExpression="kind = :k",
        ExpressionAttributeValues={":k": {"S": "k1"}},
    )
    assert of_kind["Count"] == sum(each["kind"]["S"] == "k1" for each in before.values())
    client.delete_backup(BackupArn=arn)
    with pytest.raises(client.exceptions.BackupNotFoundException, match="Backup not found: "):
        client.describe_backup(BackupArn=arn)


def test_a_backup_is_of_one_moment(server: Served) -> None:
    """Writers move a counter along all items in order, so each state of the table tells when it was."""
    client = server.client("dynamodb")
    name = make_table(client)
    fill(client, name, 400)
    stop = threading.Event()

    def write() -> None:
        own, turn = server.client("dynamodb"), 0
        while not stop.is_set():
            turn += 1
            at = [0, 399] if turn % 2 else [399, 0]
            own.transact_write_items(TransactItems=[
                {"Update": {
                    "TableName": name, "Key": {"pk": {"S": f"p{n % 7}"}, "sk": {"N": str(n)}},
                    "UpdateExpression": "SET turn = :t", "ExpressionAttributeValues": {":t": {"N": str(turn)}},
                }} for n in at
            ])  # fmt: skip
            n = turn % 400
            own.delete_item(TableName=name, Key={"pk": {"S": f"p{n % 7}"}, "sk": {"N": str(n)}}) if n % 399 else None

    writer = threading.Thread(target=write)
    writer.start()
    try:
        arns = [back_up(client, name, f"backup{n}") for n in range(3)]
    finally:
        stop.set()
        writer.join()
    for number, arn in enumerate(arns):
        target = f"{name}-{number}"
        client.restore_table_from_backup(TargetTableName=target, BackupArn=arn)
        wait_active(client, target)
        found = items_of(client, target)
        assert found["p0", 0].get("turn") == found["p0", 399].get("turn")
        shown = client.describe_backup(BackupArn=arn)["BackupDescription"]
        assert len(found) == shown["SourceTableDetails"]["ItemCount"]


def test_overrides(server: Served) -> None:
    client = server.client("dynamodb")
    name = make_table(client)
    fill(client, name, 30)
    arn = back_up(client, name)
    target = name + "-bare"
    client.restore_table_from_backup(
        TargetTableName=target, BackupArn=arn, BillingModeOverride="PROVISIONED", GlobalSecondaryIndexOverride=[],
        ProvisionedThroughputOverride={"ReadCapacityUnits": 7, "WriteCapacityUnits": 8}, LocalSecondaryIndexOverride=[],
    )  # fmt: skip
    described = wait_active(client, target)
    assert described["ProvisionedThroughput"]["ReadCapacityUnits"] == 7
    assert "GlobalSecondaryIndexes" not in described
    assert "LocalSecondaryIndexes" not in described
    assert {each["AttributeName"] for each in described["AttributeDefinitions"]} == {"pk", "sk"}
    assert len(items_of(client, target)) == 30
    unknown = [
        {
            "IndexName": "kinds", "KeySchema": [{"AttributeName": "size", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }
    ]  # fmt: skip
    with pytest.raises(ClientError, match="Index override does not match"):
        client.restore_table_from_backup(
            TargetTableName=name + "-x", BackupArn=arn, GlobalSecondaryIndexOverride=unknown
        )
    bounded = {"MaxReadRequestUnits": 30, "MaxWriteRequestUnits": 40}
    client.restore_table_from_backup(TargetTableName=name + "-most", BackupArn=arn, OnDemandThroughputOverride=bounded)
    assert wait_active(client, name + "-most")["OnDemandThroughput"] == bounded
    with pytest.raises(client.exceptions.TableAlreadyExistsException, match=f"Table already exists: {name}"):
        client.restore_table_from_backup(TargetTableName=name, BackupArn=arn)
    with pytest.raises(ClientError, match="must both be specified"):
        client.restore_table_from_backup(TargetTableName=name + "-x", BackupArn=arn, BillingModeOverride="PROVISIONED")


def test_lists(server: Served) -> None:
    client = server.client("dynamodb")
    name, other = make_table(client), make_table(client)
    arns = [back_up(client, name, f"number{n}") for n in range(5)]
    elsewhere = back_up(client, other)
    first = client.list_backups(TableName=name, Limit=3)
    assert [each["BackupArn"] for each in first["BackupSummaries"]] == arns[:3]
    assert first["LastEvaluatedBackupArn"] == arns[2]
    rest = client.list_backups(TableName=name, Limit=3, ExclusiveStartBackupArn=arns[2])
    assert [each["BackupArn"] for each in rest["BackupSummaries"]] == arns[3:]
    assert "LastEvaluatedBackupArn" not in rest
    listed = client.list_backups()["BackupSummaries"]
    assert {elsewhere, *arns} <= {each["BackupArn"] for each in listed}
    assert not client.list_backups(TableName=name, BackupType="SYSTEM")["BackupSummaries"]
    at = next(each for each in listed if each["BackupArn"] == elsewhere)["BackupCreationDateTime"]
    assert not client.list_backups(TableName=name, TimeRangeLowerBound=at)["BackupSummaries"]
    early = client.list_backups(TableName=name, TimeRangeUpperBound=at)["BackupSummaries"]
    assert len(early) in (4, 5)


def test_refusals(server: Served) -> None:
    client = server.client("dynamodb")
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/none/backup/{1:014d}-abcdefgh"
    for act in (client.describe_backup, client.delete_backup):
        with pytest.raises(client.exceptions.BackupNotFoundException):
            act(BackupArn=arn)
    with pytest.raises(client.exceptions.BackupNotFoundException):
        client.restore_table_from_backup(TargetTableName="other", BackupArn=arn)
    with pytest.raises(client.exceptions.TableNotFoundException, match="Table not found: none"):
        client.create_backup(TableName="none", BackupName="name")
    with pytest.raises(ClientError) as error:
        client.create_backup(TableName="none", BackupName="a b")
    assert code_of(error) == "ValidationException"


def _begin(server: Served, operation: str, **params: Any) -> None:
    """Call without waiting for the answer, which a crash may take away."""

    def call() -> None:
        with contextlib.suppress(BotoCoreError, ClientError):
            getattr(server.client("dynamodb"), operation)(**params)

    threading.Thread(target=call, daemon=True).start()


def test_jobs_go_on_after_a_crash(own_server: Served) -> None:
    client = own_server.client("dynamodb")
    name = make_table(client)
    fill(client, name, 3000)
    before = items_of(client, name)
    _begin(own_server, "create_backup", TableName=name, BackupName="crash")
    wait(lambda: bool(client.list_backups()["BackupSummaries"]))
    arn = client.list_backups()["BackupSummaries"][0]["BackupArn"]
    own_server.restart()
    client.put_item(TableName=name, Item=item(5, text={"S": "later"}))
    wait(lambda: status(client, arn) == "AVAILABLE")
    _begin(own_server, "restore_table_from_backup", TargetTableName="restored", BackupArn=arn)
    wait(lambda: "restored" in client.list_tables()["TableNames"])
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_item(TableName="restored", Key={"pk": {"S": "p0"}, "sk": {"N": "0"}})
    own_server.restart()
    described = wait_active(client, "restored")
    assert described["ItemCount"] == 3000
    assert items_of(client, "restored") == before
    assert client.describe_table(TableName=name)["Table"]["ItemCount"] == 3000
    client.delete_table(TableName=name)


def test_a_deleted_table_is_kept(own_server: Served) -> None:
    """A table with point-in-time recovery becomes a backup of the system when it is deleted, for 35 days."""
    client = own_server.client("dynamodb")
    name = make_table(client)
    on = {"PointInTimeRecoveryEnabled": True}
    client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=on)
    fill(client, name, 50)
    before = items_of(client, name)
    client.delete_table(TableName=name)
    summary = client.list_backups(BackupType="ALL")["BackupSummaries"][0]
    assert summary["BackupType"] == "SYSTEM"
    kept = summary["BackupExpiryDateTime"] - summary["BackupCreationDateTime"]
    assert kept.total_seconds() == pytest.approx(35 * 86400, abs=2)
    make_again = client.create_table
    make_again(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )  # fmt: skip
    wait(lambda: status(client, summary["BackupArn"]) == "AVAILABLE")
    client.restore_table_from_backup(TargetTableName="again", BackupArn=summary["BackupArn"])
    wait_active(client, "again")
    assert items_of(client, "again") == before
    advance(own_server, 36 * 86400)
    wait(lambda: not client.list_backups(BackupType="ALL")["BackupSummaries"])


def test_a_table_is_restored_to_a_moment(server: Served) -> None:
    client = server.client("dynamodb")
    name = make_table(client)
    on = {"PointInTimeRecoveryEnabled": True, "RecoveryPeriodInDays": 7}
    described = client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=on)
    shown = described["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert (shown["PointInTimeRecoveryStatus"], shown["RecoveryPeriodInDays"]) == ("ENABLED", 7)
    fill(client, name, 40)
    before = items_of(client, name)
    client.restore_table_to_point_in_time(
        SourceTableName=name, TargetTableName=name + "-copy", UseLatestRestorableTime=True
    )
    fill(client, name, 80)
    copy = wait_active(client, name + "-copy")
    assert copy["RestoreSummary"]["SourceTableArn"].endswith(name)
    assert items_of(client, name + "-copy") == before
    with pytest.raises(client.exceptions.InvalidRestoreTimeException):
        client.restore_table_to_point_in_time(SourceTableName=name, TargetTableName="x" + name, RestoreDateTime=1)


def test_restores_cross_regions_and_not_accounts(server: Served) -> None:
    client, far = server.client("dynamodb"), server.client("dynamodb", region="eu-west-1")
    name = make_table(client)
    on = {"PointInTimeRecoveryEnabled": True}
    client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=on)
    fill(client, name, 20)
    arn, before = back_up(client, name), items_of(client, name)
    table_arn = client.describe_table(TableName=name)["Table"]["TableArn"]
    far.restore_table_from_backup(TargetTableName=name, BackupArn=arn)
    far.restore_table_to_point_in_time(
        SourceTableArn=table_arn, TargetTableName=name + "-copy", UseLatestRestorableTime=True
    )
    for target in (name, name + "-copy"):
        assert ":eu-west-1:" in wait_active(far, target)["TableArn"]
        assert items_of(far, target) == before
    with pytest.raises(far.exceptions.BackupNotFoundException):
        far.describe_backup(BackupArn=arn)
    stranger = server.client("dynamodb", access_key="111122223333")
    with pytest.raises(ClientError):
        stranger.describe_backup(BackupArn=arn)
    with pytest.raises(ClientError):
        stranger.restore_table_from_backup(TargetTableName=name, BackupArn=arn)
    client.delete_backup(BackupArn=arn)


def test_indexes_by_several_attributes_are_restored(server: Served) -> None:
    client = server.client("dynamodb")
    name = make_table(client)
    keys = [{"AttributeName": each, "KeyType": "HASH"} for each in ("kind", "text")]
    several = {"IndexName": "both", "KeySchema": keys, "Projection": {"ProjectionType": "ALL"}}
    client.update_table(
        TableName=name, AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("kind", "text")],
        GlobalSecondaryIndexUpdates=[{"Create": several}],
    )  # fmt: skip
    fill(client, name, 20)
    arn = back_up(client, name)
    client.restore_table_from_backup(
        TargetTableName=name + "-copy",
        BackupArn=arn,
        GlobalSecondaryIndexOverride=[several],
        LocalSecondaryIndexOverride=[],
    )
    indexes = wait_active(client, name + "-copy")["GlobalSecondaryIndexes"]
    assert [each["KeySchema"] for each in indexes] == [keys]
    found = client.query(
        TableName=name + "-copy", IndexName="both", KeyConditionExpression="kind = :k AND #t = :t",
        ExpressionAttributeNames={"#t": "text"}, ExpressionAttributeValues={":k": {"S": "k1"}, ":t": {"S": "text 4"}},
    )  # fmt: skip
    assert [each["sk"]["N"] for each in found["Items"]] == ["4"]
