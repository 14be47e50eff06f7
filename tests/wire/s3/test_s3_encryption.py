"""Encryption over the wire, and a search of the whole data directory for what was written."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from served import Served

KEY = bytes(range(32))
CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY}
WORDS = b"a marked passage that must not be found "
PART = WORDS * 140_000


def found_in(folder: Path, words: bytes) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and words in path.read_bytes()]


def test_nothing_plain_is_on_the_disk(own_server: Served) -> None:
    """Files, RocksDB's tables and log, and what an unfinished upload leaves."""
    s3 = own_server.client("s3")
    s3.create_bucket(Bucket="bbb")
    # What is not a body is not encrypted: a name is found, so the search works.
    s3.put_object(Bucket="bbb", Key="marker-in-a-name", Body=b"")
    for i, way in enumerate(
        ({}, {"ServerSideEncryption": "aws:kms"}, {"ServerSideEncryption": "aws:kms:dsse"}, CUSTOMER)
    ):
        s3.put_object(Bucket="bbb", Key=f"small-{i}", Body=WORDS, **way)
        s3.put_object(Bucket="bbb", Key=f"large-{i}", Body=WORDS * 20_000, **way)
        upload = s3.create_multipart_upload(Bucket="bbb", Key=f"parts-{i}", **way)["UploadId"]
        customer = CUSTOMER if way is CUSTOMER else {}
        s3.upload_part(Bucket="bbb", Key=f"parts-{i}", UploadId=upload, PartNumber=1, Body=PART, **customer)
    own_server.kill()
    assert found_in(own_server.data, b"marker-in-a-name")
    assert found_in(own_server.data, WORDS[:20]) == []
    assert found_in(own_server.data, base64.b64encode(KEY)) == []
    assert found_in(own_server.data, KEY) == []
    own_server.start()
    s3 = own_server.client("s3")
    for i in range(4):
        customer = CUSTOMER if i == 3 else {}
        assert s3.get_object(Bucket="bbb", Key=f"small-{i}", **customer)["Body"].read() == WORDS
        got = s3.get_object(Bucket="bbb", Key=f"large-{i}", Range="bytes=600000-700000", **customer)
        assert got["Body"].read() == (WORDS * 20_000)[600_000:700_001]


@pytest.fixture(scope="module")
def s3(server: Served) -> Any:
    return server.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"e-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name


def test_a_policy_that_demands_encryption(s3: Any, bucket: str) -> None:
    policy = """{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::%s/*", "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}}]}"""
    s3.put_bucket_policy(Bucket=bucket, Policy=policy % bucket)
    for params in ({}, {"ServerSideEncryption": "AES256"}):
        with pytest.raises(ClientError) as caught:
            s3.put_object(Bucket=bucket, Key="k", Body=b"", **params)
        assert caught.value.response["Error"]["Code"] == "AccessDenied"
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ServerSideEncryption="aws:kms")


def test_a_customer_s_key_by_managed_transfer(s3: Any, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(os.urandom(20 * 1024**2))
    s3.upload_file(str(tmp_path / "up"), bucket, "k", ExtraArgs=CUSTOMER)
    s3.download_file(bucket, "k", str(tmp_path / "down"), ExtraArgs=CUSTOMER)
    assert (tmp_path / "up").read_bytes() == (tmp_path / "down").read_bytes()
    head = s3.head_object(Bucket=bucket, Key="k", **CUSTOMER)
    assert head["SSECustomerKeyMD5"] == base64.b64encode(hashlib.md5(KEY).digest()).decode()
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="k", SSECustomerAlgorithm="AES256", SSECustomerKey=bytes(32))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
