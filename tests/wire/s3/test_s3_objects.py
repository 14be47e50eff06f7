"""Objects over the wire: what boto3 sends, what hostile clients send, and many clients at once."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import io
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from served import Served

BIG = os.urandom(1_500_000)


@pytest.fixture(scope="module")
def s3(server: Served) -> Any:
    return server.client("s3")


@pytest.fixture
def bucket(s3: Any) -> Iterator[str]:
    name = f"o-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    yield name


def error_of(call: Any, **params: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    response = caught.value.response
    return str(response["Error"]["Code"]), int(response["ResponseMetadata"]["HTTPStatusCode"])


class Signer(S3SigV4Auth):
    """Signs what x-amz-content-sha256 says, whatever the body is."""

    def __init__(self, said: str) -> None:
        super().__init__(Credentials("test", "test"), "s3", "us-east-1")
        self.said = said

    def payload(self, request: Any) -> str:
        return self.said


def raw(url: str, method: str, body: bytes, said: str = "UNSIGNED-PAYLOAD", **headers: str) -> tuple[int, bytes]:
    """A signed request with any body and headers."""
    signed = AWSRequest(method, url, data=body, headers={"Content-Type": "", **headers})
    Signer(said).add_auth(signed)
    request = urllib.request.Request(url, body, method=method, headers=dict(signed.headers.items()))
    try:
        with urllib.request.urlopen(request) as got:
            return got.status, got.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
@pytest.mark.parametrize("data", [b"", b"small", BIG], ids=len)
def test_bodies_with_every_checksum(s3: Any, bucket: str, algorithm: str, data: bytes) -> None:
    """A file object is sent by boto3 as aws-chunked with a trailer over TLS, and by header over plain HTTP."""
    for body in (data, io.BytesIO(data)):
        put = s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm=algorithm)
        got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert got["Body"].read() == data
        assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
        assert got["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'


@pytest.mark.parametrize("size", [10, 200_000])
def test_trailers(server: Served, s3: Any, bucket: str, size: int) -> None:
    """STREAMING-UNSIGNED-PAYLOAD-TRAILER, as SDKs send it: the trailing checksum is verified and kept."""
    data = BIG[:size]
    said = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    for key, summed in (("good", data), ("bad", data + b"x")):
        crc = base64.b64encode(zlib.crc32(summed).to_bytes(4, "big")).decode()
        coded = b"%x\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (len(data), data, crc.encode())
        headers = {
            "Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(data)),
            "x-amz-trailer": "x-amz-checksum-crc32",
        }  # fmt: skip
        status, answer = raw(f"{server.endpoint}/{bucket}/{key}", "PUT", coded, said, **headers)
        assert status == (200 if key == "good" else 400), answer
        if key == "good":
            got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
            assert got["Body"].read() == data
            assert got["ChecksumCRC32"] == crc
            assert "ContentEncoding" not in got
        else:
            assert error_of(s3.head_object, Bucket=bucket, Key=key) == ("404", 404)


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_urls(server: Served, bucket: str, version: str) -> None:
    s3 = boto3.client(
        "s3", endpoint_url=server.endpoint, region_name="us-east-1", aws_access_key_id="test",
        aws_secret_access_key="test", config=Config(signature_version=version),
    )  # fmt: skip
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "p/é ?&=+"})
    request = urllib.request.Request(put, BIG, method="PUT", headers={"Content-Type": ""})
    assert urllib.request.urlopen(request).status == 200
    params = {"Bucket": bucket, "Key": "p/é ?&=+", "ResponseContentDisposition": "attachment; filename=x"}
    got = urllib.request.urlopen(s3.generate_presigned_url("get_object", Params=params))
    assert got.read() == BIG
    assert got.headers["Content-Disposition"] == "attachment; filename=x"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(s3.generate_presigned_url("get_object", Params=params).replace("filename", "filenamf"))
    assert caught.value.code == 403


def test_put_if_absent_from_many_clients(server: Served, s3: Any, bucket: str) -> None:
    """Exactly one of many wins, whatever the bodies' size; so does exactly one of many swaps."""
    clients = [server.client("s3") for _ in range(8)]

    def put(i: int, **condition: str) -> str | None:
        try:
            return str(
                clients[i % 8].put_object(Bucket=bucket, Key="k", Body=BIG[: 100 + i % 2 * 100_000 + i], **condition)[
                    "ETag"
                ]
            )
        except ClientError as error:
            assert error.response["Error"]["Code"] == "PreconditionFailed", error
            return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        won = [etag for etag in pool.map(lambda i: put(i, IfNoneMatch="*"), range(32)) if etag]
        assert len(won) == 1
        assert s3.head_object(Bucket=bucket, Key="k")["ETag"] == won[0]
        swapped = [etag for etag in pool.map(lambda i: put(i + 40, IfMatch=won[0]), range(32)) if etag]
        assert len(swapped) == 1
        assert s3.head_object(Bucket=bucket, Key="k")["ETag"] == swapped[0]


def test_readers_see_whole_objects_while_writers_replace_them(server: Served, s3: Any, bucket: str) -> None:
    bodies = [bytes([i]) * (50_000 + 400_000 * (i % 3)) for i in range(6)]
    s3.put_object(Bucket=bucket, Key="k", Body=bodies[0])
    clients = [server.client("s3") for _ in range(6)]

    def write(i: int) -> None:
        for _ in range(5):
            clients[i].put_object(Bucket=bucket, Key="k", Body=bodies[i])

    def read(i: int) -> None:
        for _ in range(8):
            got = clients[i].get_object(Bucket=bucket, Key="k")
            data = got["Body"].read()
            assert len(data) == got["ContentLength"]
            assert f'"{hashlib.md5(data).hexdigest()}"' == got["ETag"]

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(write, i) for i in range(3)] + [pool.submit(read, i) for i in range(3, 6)]:
            done.result()


HOSTILE_KEYS = [
    "../../etc/passwd", "..", "./.", "/", "//", "/a//b/", "a\\b", "%2e%2e%2f", "a b+c", "é", "\U0001f600", "#?&=;:@,!$'()*~",
    "<>&\"'", "line\nbreak\r\t", "x" * 1024, "é" * 512, "a%00b", "?versions", "key?uploads", "\u200b\ufeff", "a]]>b",
]  # fmt: skip


@pytest.mark.parametrize("key", HOSTILE_KEYS, ids=range(len(HOSTILE_KEYS)))
def test_hostile_keys(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert [c["Key"] for c in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    assert (
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}, {"Key": "copy"}]})["Deleted"][0]["Key"]
        == key
    )
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_keys_that_xml_cannot_hold(s3: Any, bucket: str) -> None:
    """boto3 asks for encoding-type=url in listings, so that they can be told."""
    for key in ("a\x01b", "nul\0", "\x7f\x1f"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"
    assert {c["Key"] for c in s3.list_objects_v2(Bucket=bucket)["Contents"]} == {"a\x01b", "nul\0", "\x7f\x1f"}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<", b"not xml", b"<Delete>", b"<Other/>", b"\xff\xfe\0", b"<Delete><Object></Delete>",
        b'<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&e;</Key></Object></Delete>',
        b'<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>',
        b"<Delete>" + b"<a>" * 10_000 + b"</a>" * 10_000 + b"</Delete>",
        b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>",
    ],
    ids=range(11),
)  # fmt: skip
def test_hostile_xml(server: Served, s3: Any, bucket: str, body: bytes) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    status, answer = raw(f"{server.endpoint}/{bucket}?delete", "POST", body, **{"Content-MD5": md5})
    assert status == 400, answer
    assert b"root:" not in answer
    s3.head_object(Bucket=bucket, Key="k")


def test_truncated_uploads_leave_nothing(server: Served, s3: Any, bucket: str) -> None:
    import socket

    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "cut"})
    path = url.split(server.endpoint)[1]
    for size in (100, 2_000_000):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {size}\r\n\r\n"
            connection.sendall(head.encode() + b"x" * (size // 2))
    assert error_of(s3.head_object, Bucket=bucket, Key="cut") == ("404", 404)


def test_accounts_and_regions(server: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"mine")

    def client(account: str, region: str = "us-east-1") -> Any:
        return boto3.client(
            "s3", endpoint_url=server.endpoint, region_name=region, aws_access_key_id=account, aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 1}),
        )  # fmt: skip

    stranger = client("222222222222")
    assert error_of(stranger.get_object, Bucket=bucket, Key="k") == ("AccessDenied", 403)
    assert error_of(stranger.head_object, Bucket=bucket, Key="k") == ("403", 403)
    assert error_of(stranger.list_objects_v2, Bucket=bucket) == ("AccessDenied", 403)
    assert error_of(stranger.create_bucket, Bucket=bucket) == ("BucketAlreadyExists", 409)
    assert bucket not in [b["Name"] for b in stranger.list_buckets()["Buckets"]]
    west = client("222222222222", "eu-west-1")
    name = f"west-{uuid4().hex}"
    assert error_of(west.create_bucket, Bucket=name)[0] == "IllegalLocationConstraintException"
    west.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert west.get_bucket_location(Bucket=name)["LocationConstraint"] == "eu-west-1"
    assert stranger.head_bucket(Bucket=name)["BucketRegion"] == "eu-west-1"


def test_virtual_hosts(server: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"virtual")
    virtual = boto3.client(
        "s3", endpoint_url=f"http://localhost:{server.port}", region_name="us-east-1", aws_access_key_id="test",
        aws_secret_access_key="test", config=Config(s3={"addressing_style": "virtual"}),
    )  # fmt: skip
    url = virtual.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a/b"})
    host, _, path = url.removeprefix("http://").partition("/")
    assert host == f"{bucket}.localhost:{server.port}"
    request = urllib.request.Request(f"{server.endpoint}/{path}", headers={"Host": host})
    assert urllib.request.urlopen(request).read() == b"virtual"


def test_listings_of_many_keys(s3: Any, bucket: str) -> None:
    keys = [f"{a}/{b}/{c}" for a in "ab" for b in range(10) for c in range(60)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket))
    assert [len(page["Contents"]) for page in pages] == [1000, 200]
    assert [c["Key"] for page in pages for c in page["Contents"]] == sorted(keys)
    got = s3.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="a/")
    assert [p["Prefix"] for p in got["CommonPrefixes"]] == [f"a/{i}/" for i in range(10)]
    versions = [
        v for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket) for v in page["Versions"]
    ]
    assert len(versions) == 1200
    objects = [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in versions]
    for at in (0, 1000):
        assert len(s3.delete_objects(Bucket=bucket, Delete={"Objects": objects[at : at + 1000]})["Deleted"]) > 100
    s3.delete_bucket(Bucket=bucket)


def test_documents_are_held_to_their_checksums(server: Served, s3: Any, bucket: str) -> None:
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    url = f"{server.endpoint}/{bucket}?delete"
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    other = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    for headers, code in (
        ({}, b"InvalidRequest"),
        ({"Content-MD5": other}, b"BadDigest"),
        ({"Content-MD5": "nonsense"}, b"InvalidDigest"),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, b"BadDigest"),
    ):
        status, answer = raw(url, "POST", body, **headers)
        assert status == 400
        assert code in answer
    s3.head_object(Bucket=bucket, Key="k")
    right = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    assert raw(url, "POST", body, **{"x-amz-checksum-crc32": right})[0] == 200
    assert error_of(s3.head_object, Bucket=bucket, Key="k") == ("404", 404)


def test_keys_with_every_byte(server: Served, s3: Any, bucket: str) -> None:
    """Every byte that UTF-8 text can have comes back; bytes that are no UTF-8 are refused."""
    keys = ["".join(chr(i) for i in range(at, at + 32)) for at in range(0, 256, 32)] + [
        "".join(map(chr, range(0x2000, 0x2100)))
    ]
    for key in keys:
        url = f"{server.endpoint}/{bucket}/{quote(key, safe='')}"
        assert raw(url, "PUT", key.encode())[0] == 200
        assert raw(url, "GET", b"") == (200, key.encode())
    listed = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted(keys, key=str.encode)
    status, answer = raw(f"{server.endpoint}/{bucket}?list-type=2", "GET", b"")
    assert status == 200
    assert b"&#x1;" in answer
    assert b"\x01" not in answer
    for bad in ("%ff", "%c3%28", "a%80", "%ed%a0%80"):
        assert raw(f"{server.endpoint}/{bucket}/{bad}", "PUT", b"x")[0] in (400, 403)
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == len(keys)
