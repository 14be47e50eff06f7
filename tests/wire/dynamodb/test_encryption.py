"""Tables encrypted under keys of KMS: nothing of their items lies plain on disk, and who may not use the key gets nothing."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynamodb_tables import advance, back_up, items_of, make_table, now, wait, wait_active
from served import Served

STREAM = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
LARGE = 200_000


def secret() -> str:
    return f"secret-{uuid.uuid4().hex}"


def lies_plain(server: Served, *texts: str) -> bool:
    """Whether any of the texts is in a file of the data directory as it is."""
    files = [path.read_bytes() for path in Path(server.data).rglob("*") if path.is_file()]
    return any(text.encode() in data for text in texts for data in files)


def put(client: Any, name: str, n: int, text: str, **more: Any) -> dict[str, Any]:
    item = {
        "pk": {"S": f"p{n % 3}"}, "sk": {"N": str(n)}, "kind": {"S": f"k{n % 2}"}, "size": {"N": str(n)},
        "text": {"S": text}, **more,
    }  # fmt: skip
    client.put_item(TableName=name, Item=item)
    return item


def streamed(server: Served, name: str) -> list[dict[str, Any]]:
    client = server.client("dynamodbstreams")
    arn = server.client("dynamodb").describe_table(TableName=name)["Table"]["LatestStreamArn"]
    shard = client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
    iterator = client.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    records: list[dict[str, Any]] = client.get_records(ShardIterator=iterator["ShardIterator"])["Records"]
    return records


def test_nothing_lies_plain_and_everything_works(own_server: Served) -> None:
    server = own_server
    client, kms = server.client("dynamodb"), server.client("kms")
    key_arn = kms.create_key()["KeyMetadata"]["Arn"]
    control = make_table(client)
    seen = secret()
    put(client, control, 1, seen)
    specification = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key_arn}
    name = make_table(client, SSESpecification=specification, StreamSpecification=STREAM)
    described = client.describe_table(TableName=name)["Table"]["SSEDescription"]
    assert described == {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": key_arn}
    client.update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    old, new, large = secret(), secret(), secret()
    first = put(client, name, 1, old)
    put(client, name, 2, old)
    at = now(server)
    advance(server, 2)
    put(client, name, 1, new)
    put(client, name, 3, large * (LARGE // len(large)))
    assert client.get_item(TableName=name, Key={k: first[k] for k in ("pk", "sk")})["Item"]["text"]["S"] == new
    found = client.query(
        TableName=name, IndexName="kinds", KeyConditionExpression="kind = :k",
        ExpressionAttributeValues={":k": {"S": "k1"}},
    )["Items"]  # fmt: skip
    assert sorted(each["sk"]["N"] for each in found) == ["1", "3"]
    updated = client.update_item(
        TableName=name, Key={k: first[k] for k in ("pk", "sk")}, UpdateExpression="SET extra = :x",
        ConditionExpression="#t = :t", ExpressionAttributeNames={"#t": "text"},
        ExpressionAttributeValues={":x": {"S": new}, ":t": {"S": new}}, ReturnValues="ALL_OLD",
    )  # fmt: skip
    assert updated["Attributes"]["text"]["S"] == new
    client.transact_write_items(TransactItems=[
        {"Delete": {"TableName": name, "Key": {"pk": {"S": "p2"}, "sk": {"N": "2"}}}},
        {"Put": {"TableName": name, "Item": {"pk": {"S": "p1"}, "sk": {"N": "4"}, "text": {"S": new}}}},
    ])  # fmt: skip
    told = streamed(server, name)
    assert [each["eventName"] for each in told] == [
        "INSERT",
        "INSERT",
        "MODIFY",
        "INSERT",
        "MODIFY",
        "REMOVE",
        "INSERT",
    ]
    assert told[2]["dynamodb"]["OldImage"]["text"]["S"] == old
    backup = back_up(client, name)
    expected = items_of(client, name)
    for target, restore in (
        ("from-backup", lambda t: client.restore_table_from_backup(TargetTableName=t, BackupArn=backup)),
        ("to-time", lambda t: client.restore_table_to_point_in_time(
            TargetTableName=t, SourceTableName=name, RestoreDateTime=at)),
    ):  # fmt: skip
        restore(target)
        shown = wait_active(client, target)
        assert shown["SSEDescription"]["KMSMasterKeyArn"] == key_arn
        restored = items_of(client, target)
        assert restored == expected if target == "from-backup" else restored[("p1", 1)]["text"]["S"] == old
    server.restart()
    client = server.client("dynamodb")
    assert items_of(client, name) == expected
    assert lies_plain(server, seen), "the control shows that looking for texts finds them"
    assert not lies_plain(server, old, new, large)


def test_a_key_that_is_disabled_shuts_the_table(own_server: Served) -> None:
    server = own_server
    client, kms = server.client("dynamodb"), server.client("kms")
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    name = make_table(client, SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key_id})
    item = put(client, name, 1, "x")
    wanted = {"TableName": name, "Key": {k: item[k] for k in ("pk", "sk")}}
    kms.disable_key(KeyId=key_id)
    assert client.get_item(**wanted)["Item"] == item, "an answer of KMS counts for five minutes"
    advance(server, 301)
    with pytest.raises(ClientError, match=r"AccessDeniedException.*KMS key access denied error"):
        client.get_item(**wanted)
    shown = client.describe_table(TableName=name)["Table"]
    assert shown["TableStatus"] == "INACCESSIBLE_ENCRYPTION_CREDENTIALS"
    assert "InaccessibleEncryptionDateTime" in shown["SSEDescription"]
    kms.enable_key(KeyId=key_id)
    assert client.get_item(**wanted)["Item"] == item
    advance(server, 61)
    wait(lambda: client.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE")
    for bad in ("alias/none", str(uuid.uuid4())):
        with pytest.raises(ClientError, match="KMS validation error"):
            make_table(client, SSESpecification={"Enabled": True, "KMSMasterKeyId": bad})
    with pytest.raises(ClientError, match=r"cannot be specified when SSESpecification\.Enabled is false"):
        make_table(client, SSESpecification={"Enabled": False, "KMSMasterKeyId": key_id})


def test_each_caller_needs_the_key(server: Served) -> None:
    client, kms, iam = server.client("dynamodb"), server.client("kms"), server.client("iam")
    key_arn = kms.create_key()["KeyMetadata"]["Arn"]
    name = make_table(client, SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key_arn})
    item = put(client, name, 1, "x")
    user = f"u{uuid.uuid4().hex}"
    iam.create_user(UserName=user)

    def allow(*statements: dict[str, Any]) -> None:
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **each} for each in statements]}
        iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=json.dumps(document))

    access = iam.create_access_key(UserName=user)["AccessKey"]
    theirs = server.client("dynamodb", access["AccessKeyId"], access["SecretAccessKey"])
    wanted = {"TableName": name, "Key": {k: item[k] for k in ("pk", "sk")}}
    of_table = {"Action": "dynamodb:*", "Resource": "*"}
    allow(of_table)
    with pytest.raises(ClientError, match=r"AccessDeniedException.*kms:Decrypt"):
        theirs.get_item(**wanted)
    with pytest.raises(ClientError, match="AccessDeniedException"):
        theirs.batch_execute_statement(Statements=[{"Statement": f"SELECT * FROM \"{name}\" WHERE pk='p1' AND sk=1"}])
    assert client.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE"
    via = {"StringEquals": {"kms:ViaService": "dynamodb.us-east-1.amazonaws.com"}}
    allow(of_table, {"Action": "kms:Decrypt", "Resource": key_arn, "Condition": via})
    wait(lambda: allowed(theirs, wanted) == item)


def allowed(client: Any, wanted: dict[str, Any]) -> Any:
    try:
        return client.get_item(**wanted)["Item"]
    except ClientError:
        return None


def test_a_table_with_items_is_encrypted_later_and_its_key_replaced(own_server: Served) -> None:
    server = own_server
    client, kms = server.client("dynamodb"), server.client("kms")
    name = make_table(client, StreamSpecification=STREAM)
    before = {(f"p{n % 3}", n): put(client, name, n, f"text {n}") for n in range(300)}
    client.update_table(TableName=name, SSESpecification={"Enabled": True})
    server.restart()  # the job goes on
    client, kms = server.client("dynamodb"), server.client("kms")
    put(client, name, 5, "changed")
    before[("p2", 5)]["text"]["S"] = "changed"

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = client.describe_table(TableName=name)["Table"].get("SSEDescription", {})
        return found

    wait(lambda: shown()["Status"] == "ENABLED")
    managed = kms.describe_key(KeyId="alias/aws/dynamodb")["KeyMetadata"]
    assert managed["KeyManager"] == "AWS"
    assert shown()["KMSMasterKeyArn"] == managed["Arn"]
    assert items_of(client, name) == before
    own = kms.create_key()["KeyMetadata"]["Arn"]
    other = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": own}
    client.update_table(TableName=name, SSESpecification=other)
    with pytest.raises(ClientError, match="already encrypted by given KMSMasterKeyId"):
        client.update_table(TableName=name, SSESpecification=other)
    server.restart()
    client = server.client("dynamodb")
    assert shown()["KMSMasterKeyArn"] == own
    assert items_of(client, name) == before
    assert len(streamed(server, name)) == 301
    client.update_table(TableName=name, SSESpecification={"Enabled": False})
    assert shown() == {}
    server.restart()
    client = server.client("dynamodb")
    assert items_of(client, name) == before


def test_what_runs_by_itself_opens_tables_too(own_server: Served) -> None:
    server = own_server
    client, there = server.client("dynamodb"), server.client("dynamodb", region="eu-west-1")
    theirs = server.client("kms", region="eu-west-1").create_key()["KeyMetadata"]["Arn"]
    own = server.client("kms").create_key()["KeyMetadata"]["Arn"]
    name = f"global-{time.time_ns()}"
    client.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": own},
    )  # fmt: skip
    client.put_item(TableName=name, Item={"pk": {"S": "a"}, "at": {"N": str(int(now(server)) + 60)}})
    add = {"RegionName": "eu-west-1"}
    with pytest.raises(ClientError, match="KMSMasterKeyId must be specified"):
        client.update_table(TableName=name, ReplicaUpdates=[{"Create": add}])
    server.restart()  # nobody has asked for the key since
    client, there = server.client("dynamodb"), server.client("dynamodb", region="eu-west-1")
    client.update_table(TableName=name, ReplicaUpdates=[{"Create": {**add, "KMSMasterKeyId": theirs}}])
    wait(lambda: client.describe_table(TableName=name)["Table"]["Replicas"][0]["ReplicaStatus"] == "ACTIVE")
    assert client.describe_table(TableName=name)["Table"]["Replicas"][0]["KMSMasterKeyId"] == theirs
    assert there.describe_table(TableName=name)["Table"]["SSEDescription"]["KMSMasterKeyArn"] == theirs
    there.put_item(TableName=name, Item={"pk": {"S": "b"}})
    wait(lambda: client.scan(TableName=name)["Count"] == 2)
    update = {
        "IndexName": "times", "KeySchema": [{"AttributeName": "at", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }  # fmt: skip
    client.update_table(
        TableName=name, AttributeDefinitions=[{"AttributeName": "at", "AttributeType": "N"}],
        GlobalSecondaryIndexUpdates=[{"Create": update}],
    )  # fmt: skip
    wait(lambda: client.describe_table(TableName=name)["Table"]["GlobalSecondaryIndexes"][0]["IndexStatus"] == "ACTIVE")
    assert client.scan(TableName=name, IndexName="times")["Count"] == 1
    client.update_time_to_live(TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "at"})
    server.restart()
    client = server.client("dynamodb")
    advance(server, 120)
    wait(lambda: [each["pk"]["S"] for each in client.scan(TableName=name)["Items"]] == ["b"])


def test_imports_exports_and_deleted_tables(own_server: Served) -> None:
    server = own_server
    client, s3 = server.client("dynamodb"), server.client("s3")
    s3.create_bucket(Bucket="source")
    lines = [json.dumps({"Item": {"pk": {"S": f"{n}"}, "text": {"S": "x" * 100}}}) for n in range(300)]
    s3.put_object(Bucket="source", Key="in/items.json", Body="\n".join(lines).encode())
    imported = client.import_table(
        S3BucketSource={"S3Bucket": "source", "S3KeyPrefix": "in/"}, InputFormat="DYNAMODB_JSON",
        TableCreationParameters={
            "TableName": "imported", "BillingMode": "PAY_PER_REQUEST", "SSESpecification": {"Enabled": True},
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        },
    )["ImportTableDescription"]["ImportArn"]  # fmt: skip

    def status(arn: str) -> str:
        return str(client.describe_import(ImportArn=arn)["ImportTableDescription"]["ImportStatus"])

    wait(lambda: status(imported) == "COMPLETED")
    shown = client.describe_table(TableName="imported")["Table"]
    assert (shown["ItemCount"], shown["SSEDescription"]["Status"]) == (300, "ENABLED")
    client.update_continuous_backups(
        TableName="imported", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    server.restart()
    client = server.client("dynamodb")
    arn = client.export_table_to_point_in_time(TableArn=shown["TableArn"], S3Bucket="source", S3Prefix="out")
    arn = arn["ExportDescription"]["ExportArn"]
    wait(lambda: client.describe_export(ExportArn=arn)["ExportDescription"]["ExportStatus"] == "COMPLETED")
    assert client.describe_export(ExportArn=arn)["ExportDescription"]["ItemCount"] == 300
    statement = {"Statement": "SELECT * FROM imported WHERE pk = '7'"}
    assert client.batch_execute_statement(Statements=[statement])["Responses"][0]["Item"]["pk"] == {"S": "7"}
    client.delete_table(TableName="imported")

    def kept() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.list_backups(BackupType="SYSTEM")["BackupSummaries"]
        return [each for each in found if each["BackupStatus"] == "AVAILABLE"]

    wait(lambda: bool(kept()))
    server.restart()
    client = server.client("dynamodb")
    client.restore_table_from_backup(TargetTableName="restored", BackupArn=kept()[0]["BackupArn"])
    assert wait_active(client, "restored")["SSEDescription"]["Status"] == "ENABLED"
    assert client.scan(TableName="restored", Select="COUNT")["Count"] == 300
