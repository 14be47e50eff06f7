"""Emptying a server while it runs: nothing is left, and everything works again at once."""

from __future__ import annotations

import datetime
import json
import urllib.request

from served import Served

LARGE = b"x" * 3_000_000


def post(server: Served, path: str) -> int:
    request = urllib.request.Request(server.endpoint + path, data=b"", method="POST")
    with urllib.request.urlopen(request) as response:
        return int(response.status)


def test_reset_empties_the_server(own_server: Served) -> None:
    s3, dynamodb, iam = own_server.client("s3"), own_server.client("dynamodb"), own_server.client("iam")
    for _ in range(2):
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="small", Body=b"x")
        s3.put_object(Bucket="bucket", Key="large", Body=LARGE)
        assert s3.get_object(Bucket="bucket", Key="large")["Body"].read() == LARGE
        dynamodb.create_table(
            TableName="table",
            KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        iam.create_user(UserName="user")
        assert post(own_server, "/_penstock/reset") == 200
        assert s3.list_buckets()["Buckets"] == []
        assert dynamodb.list_tables()["TableNames"] == []
        assert iam.list_users()["Users"] == []


def test_many_keys(own_server: Served) -> None:
    s3 = own_server.client("s3")
    s3.create_bucket(Bucket="bucket")
    for i in range(40):
        s3.put_object(Bucket="bucket", Key=f"large-{i}", Body=LARGE[:200_000])
    for i in range(1200):
        s3.put_object(Bucket="bucket", Key=f"{i}", Body=b"x")
    assert post(own_server, "/_localstack/state/reset") == 200
    s3.create_bucket(Bucket="bucket")
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")


def test_time_does_not_go_back(own_server: Served) -> None:
    """The process keeps a clock that was moved, so the store must, or the next start would be in the past."""
    moved = urllib.request.Request(
        own_server.endpoint + "/_penstock/clock", data=json.dumps({"advance_s": 90_000}).encode(), method="POST"
    )
    urllib.request.urlopen(moved).close()
    assert post(own_server, "/_penstock/reset") == 200
    own_server.restart()
    s3 = own_server.client("s3")
    s3.create_bucket(Bucket="later")
    made = s3.list_buckets()["Buckets"][0]["CreationDate"]
    assert made > datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=80_000)
