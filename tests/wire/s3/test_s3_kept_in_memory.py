"""Objects that are read again and again come from memory, after every check that any read meets."""

from __future__ import annotations

import os
import re
import urllib.request

import pytest
from botocore.exceptions import ClientError

from served import Served

SIZE = 300_000
CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": bytes(range(32))}


def figure(server: Served, name: str) -> int:
    with urllib.request.urlopen(f"{server.endpoint}/_penstock/metrics") as answer:
        found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.M)
    assert found
    return int(float(found[1]))


def test_it_is_what_was_written_whole_and_in_ranges(own_server: Served) -> None:
    s3, body = own_server.client("s3"), os.urandom(SIZE)
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="k", Body=body)
    for _ in range(4):
        assert s3.get_object(Bucket="kept", Key="k")["Body"].read() == body
        part = s3.get_object(Bucket="kept", Key="k", Range="bytes=1000-262999")
        assert part["Body"].read() == body[1000:263000]
        assert part["ContentRange"] == f"bytes 1000-262999/{SIZE}"
    assert figure(own_server, "penstock_blob_cache_hits") >= 4
    assert figure(own_server, "penstock_blob_cache_hit_bytes") >= SIZE
    assert figure(own_server, "penstock_blob_cache_bytes") == SIZE
    s3.put_object(Bucket="kept", Key="k", Body=body[::-1])
    assert s3.get_object(Bucket="kept", Key="k")["Body"].read() == body[::-1]
    s3.delete_object(Bucket="kept", Key="k")
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="kept", Key="k")


def test_permissions_and_keys_are_asked_each_time(own_server: Served) -> None:
    s3, kms = own_server.client("s3"), own_server.client("kms")
    s3.create_bucket(Bucket="kept")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    s3.put_object(
        Bucket="kept", Key="k", Body=os.urandom(SIZE), ServerSideEncryption="aws:kms", SSEKMSKeyId=key
    )  # fmt: skip
    for _ in range(3):
        s3.get_object(Bucket="kept", Key="k")["Body"].read()
    assert figure(own_server, "penstock_blob_cache_hits") >= 1
    kms.disable_key(KeyId=key)
    with pytest.raises(ClientError, match=r"KMS\.Disabled"):
        s3.get_object(Bucket="kept", Key="k")
    kms.enable_key(KeyId=key)
    assert len(s3.get_object(Bucket="kept", Key="k")["Body"].read()) == SIZE


def test_what_is_under_a_customers_key_is_not_kept(own_server: Served) -> None:
    s3 = own_server.client("s3")
    s3.create_bucket(Bucket="kept")
    s3.put_bucket_encryption(
        Bucket="kept",
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )
    s3.put_object(Bucket="kept", Key="k", Body=os.urandom(SIZE), **CUSTOMER)
    for _ in range(5):
        assert len(s3.get_object(Bucket="kept", Key="k", **CUSTOMER)["Body"].read()) == SIZE
    assert figure(own_server, "penstock_blob_cache_bytes") == 0
    assert figure(own_server, "penstock_blob_cache_hits") == 0
    with pytest.raises(ClientError):
        s3.get_object(Bucket="kept", Key="k")


def test_a_file_that_changed_behind_our_back_is_refused(own_server: Served) -> None:
    s3 = own_server.client("s3")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="k", Body=os.urandom(SIZE))
    for _ in range(3):
        s3.get_object(Bucket="kept", Key="k")["Body"].read()
    [path] = [path for path in (own_server.data / "blobs" / "data").rglob("*") if path.is_file()]
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"not what was written")
    own = own_server.client("s3")
    own.meta.config.retries["total_max_attempts"] = 1
    with pytest.raises(ClientError, match="InternalError"):
        own.get_object(Bucket="kept", Key="k")
