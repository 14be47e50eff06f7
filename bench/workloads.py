"""What `script/bench` drives: pools of signed requests. Signatures are made before the clock starts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Protocol

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

POOL = 1500
ITEM = {"pk": {"S": ""}, "data": {"S": "x" * 900}, "n": {"N": "1"}, "flag": {"BOOL": True}}


class Server(Protocol):
    """What a workload needs of the server."""

    port: int

    def client(self, service: str) -> Any: ...


def signed(port: int, service: str, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """A whole request as bytes, signed by botocore."""
    request = AWSRequest(method, f"http://127.0.0.1:{port}{path}", headers=headers, data=body)
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    kind(Credentials("test", "test"), service, "us-east-1").add_auth(request)
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}"]
    lines += [f"{k}: {v}" for k, v in request.headers.items() if k.lower() not in ("host", "content-length")]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def dynamodb(port: int, operation: str, body: dict[str, Any]) -> bytes:
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"DynamoDB_20120810.{operation}"}
    return signed(port, "dynamodb", "POST", "/", headers, json.dumps(body, separators=(",", ":")).encode())


def prepare(server: Server) -> None:
    """The tables, the bucket and what is read."""
    client = server.client("dynamodb")

    def table(name: str, **more: Any) -> None:
        given = {
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        }
        client.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **{**given, **more})

    table("bench")
    table("batch")
    sort = {"AttributeName": "sk", "AttributeType": "N"}
    table(
        "rows",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}, sort],
    )
    indexed = [f"i{number}" for number in range(5)]
    table(
        "indexed",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", *indexed)],
        GlobalSecondaryIndexes=[
            {
                "IndexName": f"by_{name}",
                "KeySchema": [{"AttributeName": name, "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
            for name in indexed
        ],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    for partition in range(50):
        rows = [{**ITEM, "pk": {"S": f"p{partition}"}, "sk": {"N": str(number)}} for number in range(20)]
        client.batch_write_item(RequestItems={"rows": [{"PutRequest": {"Item": row}} for row in rows]})
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bench")
    for number in range(1000):
        s3.put_object(Bucket="bench", Key=f"list/{number:04}", Body=b"")


def put_item(server: Server) -> list[bytes]:
    items = [{**ITEM, "pk": {"S": f"k{i}"}} for i in range(POOL)]
    return [dynamodb(server.port, "PutItem", {"TableName": "bench", "Item": item}) for item in items]


def get_item(server: Server) -> list[bytes]:
    keys = [{"pk": {"S": f"k{i}"}} for i in range(POOL)]
    return [dynamodb(server.port, "GetItem", {"TableName": "bench", "Key": key}) for key in keys]


def update_item(server: Server) -> list[bytes]:
    change = {"UpdateExpression": "SET n = n + :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}
    keys = [{"pk": {"S": f"k{i}"}} for i in range(POOL)]
    return [dynamodb(server.port, "UpdateItem", {"TableName": "bench", "Key": key, **change}) for key in keys]


def put_object(server: Server) -> list[bytes]:
    return [signed(server.port, "s3", "PUT", f"/bench/k{i}", {}, os.urandom(4096)) for i in range(POOL)]


def get_object(server: Server) -> list[bytes]:
    return [signed(server.port, "s3", "GET", f"/bench/k{i}", {}, b"") for i in range(POOL)]


def query(server: Server) -> list[bytes]:
    ask = {"TableName": "rows", "KeyConditionExpression": "pk = :p", "Limit": 10}
    values = [{":p": {"S": f"p{number % 50}"}} for number in range(POOL)]
    return [dynamodb(server.port, "Query", {**ask, "ExpressionAttributeValues": each}) for each in values]


def batch_write(server: Server) -> list[bytes]:
    item = {"data": {"S": "x" * 200}, "n": {"N": "1"}}
    batches = [
        [{"PutRequest": {"Item": {"pk": {"S": f"{batch}-{number}"}, **item}}} for number in range(25)]
        for batch in range(POOL // 10)
    ]
    return [dynamodb(server.port, "BatchWriteItem", {"RequestItems": {"batch": each}}) for each in batches]


def transact_write(server: Server) -> list[bytes]:
    puts = [
        [{"Put": {"TableName": "bench", "Item": {**ITEM, "pk": {"S": f"t{batch}-{number}"}}}} for number in range(4)]
        for batch in range(POOL // 4)
    ]
    return [dynamodb(server.port, "TransactWriteItems", {"TransactItems": each}) for each in puts]


def put_indexed(server: Server) -> list[bytes]:
    """Three items a key in turn, so that each write changes all five entries and is told by the stream."""
    return [
        dynamodb(
            server.port,
            "PutItem",
            {
                "TableName": "indexed",
                "Item": {
                    **ITEM,
                    "pk": {"S": f"k{i % 500}"},
                    **{f"i{n}": {"S": f"v{os.urandom(2).hex()}"} for n in range(5)},
                },
            },
        )
        for i in range(POOL)
    ]


def list_objects(server: Server) -> list[bytes]:
    return [signed(server.port, "s3", "GET", "/bench?list-type=2&prefix=list%2F", {}, b"")] * 10


def put_megabyte(server: Server) -> list[bytes]:
    return [signed(server.port, "s3", "PUT", f"/bench/m{i}", {}, os.urandom(1 << 20)) for i in range(40)]


def get_megabyte(server: Server) -> list[bytes]:
    return [signed(server.port, "s3", "GET", f"/bench/m{i}", {}, b"") for i in range(40)]


WORKLOADS: dict[str, tuple[Callable[[Server], list[bytes]], int]] = {
    "PutItem 1 KB, 16 connections": (put_item, 16),
    "GetItem 1 KB, 16 connections": (get_item, 16),
    "UpdateItem counter, 16 connections": (update_item, 16),
    "Query of 10, 16 connections": (query, 16),
    "BatchWriteItem of 25, 16 connections": (batch_write, 16),
    "TransactWriteItems of 4, 16 connections": (transact_write, 16),
    "PutItem with 5 indexes and a stream": (put_indexed, 16),
    "PutObject 4 KB, 16 connections": (put_object, 16),
    "GetObject 4 KB, 16 connections": (get_object, 16),
    "PutObject 1 MB, 16 connections": (put_megabyte, 16),
    "GetObject 1 MB, 16 connections": (get_megabyte, 16),
    "ListObjectsV2 of 1000, 4 connections": (list_objects, 4),
}
