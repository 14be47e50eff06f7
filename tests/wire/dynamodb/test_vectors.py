"""Vector search over the wire: permissions, encryption, crash, backups, replicas."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynamodb_tables import back_up, wait, wait_active
from served import Served

NEAR = {
    "IndexName": "near", "VectorAttribute": {"AttributeName": "v"}, "Projection": {"ProjectionType": "KEYS_ONLY"},
    "Dimensions": 64, "DistanceFunction": "COSINE",
    "SearchSchema": [{"AttributeName": "kind", "SearchSchemaElementType": "INLINE_FILTER"}],
}  # fmt: skip


def vector(n: int) -> list[dict[str, str]]:
    return [{"N": str(1 if at in (n % 64, 0) else 0)} for at in range(64)]


def make(client: Any, **more: Any) -> str:
    name = f"vectors-{uuid.uuid4().hex}"
    client.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "kind")],
        VectorIndexes=[NEAR], **more,
    )  # fmt: skip
    for begin in range(0, 50, 25):
        puts = [
            {"PutRequest": {"Item": {"pk": {"S": f"{n}"}, "kind": {"S": f"k{n % 2}"}, "v": {"L": vector(n)}}}}
            for n in range(begin, begin + 25)
        ]
        client.batch_write_item(RequestItems={name: puts})
    return name


def nearest(client: Any, name: str, n: int, top: int = 1, **more: Any) -> list[str]:
    found = client.search_vectors(TableName=name, IndexName="near", SearchVector=vector(n), TopK=top, **more)
    return [each["Item"]["pk"]["S"] for each in found["SearchResults"]]


@pytest.mark.parametrize("more", [{}, {"SSESpecification": {"Enabled": True}}])
def test_an_index_survives_crashes_backups_and_travels(own_server: Served, more: dict[str, Any]) -> None:
    client = own_server.client("dynamodb")
    name = make(client, **more)
    assert nearest(client, name, 7) == ["7"]
    by = {"SearchConditionExpression": "kind = :k", "ExpressionAttributeValues": {":k": {"S": "k0"}}}
    assert "7" not in nearest(client, name, 7, 25, **by)
    own_server.restart()
    client, there = own_server.client("dynamodb"), own_server.client("dynamodb", region="eu-west-1")
    assert nearest(client, name, 7) == ["7"]
    arn = back_up(client, name)
    described = client.describe_backup(BackupArn=arn)["BackupDescription"]
    assert described["SourceTableFeatureDetails"]["VectorIndexes"] == [NEAR]
    client.restore_table_from_backup(TargetTableName=f"{name}-2", BackupArn=arn)
    wait_active(client, f"{name}-2")
    assert nearest(client, f"{name}-2", 9) == ["9"]
    client.update_table(TableName=name, ReplicaUpdates=[{"Create": {"RegionName": "eu-west-1"}}])
    wait(lambda: client.describe_table(TableName=name)["Table"]["Replicas"][0]["ReplicaStatus"] == "ACTIVE")
    assert nearest(there, name, 9) == ["9"]
    there.delete_item(TableName=name, Key={"pk": {"S": "9"}})
    wait(lambda: nearest(client, name, 9) != ["9"])


def test_permissions_are_of_the_index(server: Served) -> None:
    client, iam = server.client("dynamodb"), server.client("iam")
    name, user = make(client), f"u{uuid.uuid4().hex}"
    arn = client.describe_table(TableName=name)["Table"]["VectorIndexes"][0]["IndexArn"]
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    theirs = server.client("dynamodb", key["AccessKeyId"], key["SecretAccessKey"])

    def allow(resource: str) -> None:
        statement = {"Effect": "Allow", "Action": "dynamodb:SearchVectors", "Resource": resource}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document)

    allow(arn.rpartition("/index/")[0])
    with pytest.raises(ClientError, match="AccessDenied"):
        nearest(theirs, name, 3)
    allow(arn)

    def allowed() -> bool:
        try:
            return nearest(theirs, name, 3) == ["3"]
        except ClientError:
            return False

    wait(allowed)


def test_items_from_before_an_index_stay_out_of_it_wherever_they_go(server: Served) -> None:
    """What does not fit an index that was added later is restored and replicated all the same."""
    client, there = server.client("dynamodb"), server.client("dynamodb", region="eu-west-1")
    name = f"before-{uuid.uuid4().hex}"
    client.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )  # fmt: skip
    client.put_item(TableName=name, Item={"pk": {"S": "odd"}, "v": {"S": "no vector"}, "kind": {"N": "1"}})
    client.put_item(TableName=name, Item={"pk": {"S": "fit"}, "v": {"L": vector(1)}, "kind": {"S": "k"}})
    kinds = {
        "IndexName": "kinds", "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }  # fmt: skip
    new = {
        "AttributeDefinitions": [{"AttributeName": "kind", "AttributeType": "S"}],
        "GlobalSecondaryIndexUpdates": [{"Create": kinds}],
    }

    def active(index: str) -> bool:
        table = client.describe_table(TableName=name)["Table"]
        found = [*table.get("GlobalSecondaryIndexes", ()), *table.get("VectorIndexes", ())]
        return any(each["IndexName"] == index and each["IndexStatus"] == "ACTIVE" for each in found)

    client.update_table(TableName=name, **new)
    wait(lambda: active("kinds"))
    client.update_table(TableName=name, VectorIndexUpdates=[{"Create": NEAR}])
    wait(lambda: active("near"))
    assert nearest(client, name, 1, 10) == ["fit"]
    client.restore_table_from_backup(TargetTableName=f"{name}-2", BackupArn=back_up(client, name))
    wait_active(client, f"{name}-2")
    client.update_table(TableName=name, ReplicaUpdates=[{"Create": {"RegionName": "eu-west-1"}}])
    wait(lambda: client.describe_table(TableName=name)["Table"]["Replicas"][0]["ReplicaStatus"] == "ACTIVE")
    for at, table in ((client, f"{name}-2"), (there, name)):
        assert at.scan(TableName=table)["Count"] == 2
        assert at.scan(TableName=table, IndexName="kinds")["Count"] == 1
        assert nearest(at, table, 1, 10) == ["fit"]
