"""What the request path costs: microseconds of CPU for parse (with validation), serialize and match, for many operations;
then every stage of two requests (`edge`: route, authenticate, parse, authorize, serialize), and authorization for a role
with ten policies (`authz`). No sockets. It is what the budget in docs/performance.md is measured by.

    PYTHONPATH=src python bench/wire.py

Each figure is CPU time, the best of seven rounds. Figures of one machine at one time compare; across machines they do not.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import penstock.services
from penstock.wire import uris
from penstock.wire.codec import codec
from penstock.wire.message import Request

ITEM = {f"field{i:02d}": {"S": "x" * 20} if i % 3 else {"N": str(i * 1000)} for i in range(22)}
STORED = msgspec.Raw(json.dumps(ITEM).encode())
PUT_HEADERS = {
    "host": "localhost:4566", "accept-encoding": "identity", "content-length": "4096", "user-agent": "Boto3/1.44",
    "content-type": "text/plain", "x-amz-meta-owner": "me", "x-amz-sdk-checksum-algorithm": "CRC32",
    "x-amz-checksum-crc32": "AAAAAA==", "x-amz-date": "20260101T000000Z", "x-amz-content-sha256": "0" * 64,
    "authorization": "AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...",
}  # fmt: skip
OBJECT = {
    "Body": b"x" * 4096, "ContentType": "text/plain", "ETag": '"0123"', "LastModified": 1.7e9, "AcceptRanges": "bytes",
    "Metadata": {"owner": "me"},
}  # fmt: skip
KEYS = [
    {"Key": f"some/prefix/{i:08d}.json", "LastModified": 1.7e9 + i, "ETag": '"0123456789abcdef"', "Size": i,
     "StorageClass": "STANDARD"}
    for i in range(1000)
]  # fmt: skip
DELETE = "".join(f"<Object><Key>some/prefix/{i:08d}.json</Key></Object>" for i in range(1000))


def best_us(function: Callable[[], Any], rounds: int = 7, round_s: float = 0.1) -> float:
    """Microseconds a call, in the best round."""
    count, best = 1, float("inf")
    while True:
        began = time.process_time()
        for _ in range(count):
            function()
        took = time.process_time() - began
        if took < round_s / 4:
            count *= 4
            continue
        best = min(best, took / count)
        rounds -= 1
        if rounds == 0:
            return best * 1e6


def request(body: Any = b"", method: str = "POST", headers: dict[str, str] | None = None, query: str = "") -> Request:
    return Request(method, "/", query, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def cases() -> dict[str, Callable[[], Any]]:
    """What is measured, by name."""
    key = {"Bucket": "bucket", "Key": "some/key"}
    put_item = request({"TableName": "table", "Item": ITEM, "ReturnValues": "NONE"})
    get_item = request({"TableName": "table", "Key": {"pk": {"S": "x"}}, "ConsistentRead": True})
    broken = request({"TableName": "", "Item": ITEM})
    record = {"Data": base64.b64encode(b"x" * 100).decode(), "PartitionKey": "key"}
    records = request({"StreamName": "stream", "Records": [record] * 500})
    reply = {"FailedRecordCount": 0, "Records": [{"SequenceNumber": "4" * 56, "ShardId": "shardId-000000000000"}] * 500}
    put = request(b"x" * 4096, "PUT", PUT_HEADERS)
    get = request(b"", "GET", {k: v for k, v in PUT_HEADERS.items() if "meta" not in k})
    delete = request(f"<Delete>{DELETE}</Delete>".encode(), query="delete")
    listing = {"Name": "bucket", "KeyCount": 1000, "MaxKeys": 1000, "IsTruncated": False, "Contents": KEYS}
    role = request(b"Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument=%7B%7D&Tags.member.1.Key=a"
                   b"&Tags.member.1.Value=b")  # fmt: skip
    dynamodb = {name: codec("dynamodb", name, "json") for name in ("PutItem", "GetItem")}
    kinesis = codec("kinesis", "PutRecords", "json")
    s3 = {n: codec("s3", n, "rest-xml") for n in ("PutObject", "GetObject", "ListObjectsV2", "DeleteObjects")}
    iam = codec("iam", "CreateRole", "query")
    return {
        "PutItem of 22 fields: parse": lambda: dynamodb["PutItem"].parse(put_item, {}),
        "GetItem: parse": lambda: dynamodb["GetItem"].parse(get_item, {}),
        "GetItem: serialize a spliced item": lambda: dynamodb["GetItem"].serialize({"Item": STORED}, "id"),
        "PutItem, broken: parse to an error": lambda: _refused(dynamodb["PutItem"].parse, broken),
        "PutRecords of 500: parse": lambda: kinesis.parse(records, {}),
        "PutRecords of 500: serialize": lambda: kinesis.serialize(reply, "id"),
        "PUT object: match": lambda: uris.match("s3", "PUT", "/bucket/some/key", "", PUT_HEADERS),
        "PUT object: parse": lambda: s3["PutObject"].parse(put, key),
        "PUT object: serialize": lambda: s3["PutObject"].serialize({"ETag": '"0123"', "ChecksumCRC32": "A="}, "id"),
        "GET object: parse": lambda: s3["GetObject"].parse(get, key),
        "GET object: serialize": lambda: s3["GetObject"].serialize(OBJECT, "id"),
        "List of 1,000 keys: match": lambda: uris.match("s3", "GET", "/bucket", "list-type=2&prefix=some%2F", {}),
        "List of 1,000 keys: serialize": lambda: s3["ListObjectsV2"].serialize(listing, "id"),
        "Delete of 1,000 keys: parse": lambda: s3["DeleteObjects"].parse(delete, {"Bucket": "bucket"}),
        "CreateRole: parse": lambda: iam.parse(role, {}),
    }


def _refused(parse: Callable[..., Any], broken: Request) -> None:
    try:
        parse(broken, {})
    except Exception:
        return
    raise AssertionError("was not refused")


if __name__ == "__main__":
    penstock.services.load()
    for name, function in cases().items():
        print(f"{name:42} {best_us(function):10.2f} us")
    for part in ("edge", "authz"):
        print(flush=True)
        subprocess.run([sys.executable, str(Path(__file__).with_name(f"{part}.py"))], check=True)
