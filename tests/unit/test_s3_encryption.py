"""Encryption at rest, by operations on the memory store: what is told, who may read, and what lies on the disk."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import penstock.services.kms  # noqa: F401  (S3 asks KMS for data keys)
from penstock.services.s3.encryption.kms_keys import parse_context
from penstock.services.s3.encryption.service_keys import ServiceKeys
from penstock.wire.errors import AwsError
from s3_node import ACCOUNT, S3, Arriving, whole

BIG = bytes(range(256)) * 5000
PART = 5 * 1024**2
KEY = bytes(range(32))
CUSTOMER = {
    "SSECustomerAlgorithm": "AES256",
    "SSECustomerKey": base64.b64encode(KEY).decode(),
    "SSECustomerKeyMD5": base64.b64encode(hashlib.md5(KEY).digest()).decode(),
}
OTHER_KEY = bytes(32)
OTHER = {
    **CUSTOMER,
    "SSECustomerKey": base64.b64encode(OTHER_KEY).decode(),
    "SSECustomerKeyMD5": base64.b64encode(hashlib.md5(OTHER_KEY).digest()).decode(),
}
SOURCE = {f"CopySource{name}": value for name, value in CUSTOMER.items()}
WAYS: list[dict[str, Any]] = [
    {},
    {"ServerSideEncryption": "AES256"},
    {"ServerSideEncryption": "aws:kms"},
    {"ServerSideEncryption": "aws:kms", "BucketKeyEnabled": True},
    {"ServerSideEncryption": "aws:kms:dsse"},
    CUSTOMER,
]


@pytest.fixture
async def s3(tmp_path: Path) -> S3:
    node = S3(tmp_path)
    await node("CreateBucket", Bucket="bucket")
    return node


async def kms(s3: S3, operation: str, **params: Any) -> dict[str, Any]:
    from penstock.core.identity import root

    return await s3.node.call("kms", operation, params, principal=root(ACCOUNT), account=ACCOUNT, region=s3.region)


async def refused(awaitable: Any, code: str, status: int) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await awaitable
    assert (caught.value.code, caught.value.status) == (code, status), caught.value
    return caught.value


def told(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in result if name.startswith(("ServerSide", "SSE", "BucketKey"))}


def reading(way: dict[str, Any]) -> dict[str, Any]:
    return way if "SSECustomerKey" in way else {}


def at_rest(s3: S3) -> bytes:
    """Every byte that the store and the folder of blobs hold."""
    store: Any = s3.store
    files = [path.read_bytes() for path in s3.blobs.root.rglob("*") if path.is_file()]
    return b"".join([*store.data.values(), *files])


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("size", [0, 10, 70_000, 1_000_000])
async def test_what_is_put_comes_back_and_is_nowhere_plain(s3: S3, way: dict[str, Any], size: int) -> None:
    data = (b"the quick brown fox. " * 50_000)[:size]
    for body in (data, Arriving(data)):
        put = await s3("PutObject", Bucket="bucket", Key="k", Body=body, **way)
        assert await s3.get("bucket", "k", **reading(way)) == data
    if size > 10:
        part = await s3("GetObject", Bucket="bucket", Key="k", Range=f"bytes=5-{size - 5}", **reading(way))
        assert await whole(part["Body"]) == data[5 : size - 4]
    head = await s3("HeadObject", Bucket="bucket", Key="k", **reading(way))
    assert told(head) == told(put)
    is_md5 = put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    assert is_md5 == (way in WAYS[:2])
    if size > 10:
        assert b"the quick brown fox" not in at_rest(s3)


async def test_sse_s3_is_the_default_and_its_key_is_rotated(s3: S3) -> None:
    assert told(await s3("PutObject", Bucket="bucket", Key="old", Body=b"x")) == {"ServerSideEncryption": "AES256"}
    keys = s3.node.own(ServiceKeys)
    first = (await keys.for_new()).record.service_key
    assert not await keys.rotate()
    s3.clock.advance(366 * 86400)
    assert await keys.rotate()
    assert (await keys.for_new()).record.service_key != first
    await s3("PutObject", Bucket="bucket", Key="new", Body=BIG)
    s3.node._own.clear()
    assert await s3.get("bucket", "old") == b"x"
    assert await s3.get("bucket", "new") == BIG


async def test_a_body_is_bound_to_its_object(s3: S3) -> None:
    for key in ("a", "b"):
        await s3("PutObject", Bucket="bucket", Key=key, Body=b"from " + key.encode())
    data = s3.store.data  # type: ignore[attr-defined]
    a, b = ([k for k in data if k.endswith(b"bucket\0" + key)] for key in (b"a", b"b"))
    for left, right in zip(sorted(a), sorted(b), strict=True):
        data[left], data[right] = data[right], data[left]
    await refused(s3("GetObject", Bucket="bucket", Key="a"), "InternalError", 500)


async def test_default_encryption_of_a_bucket(s3: S3) -> None:
    async def rules() -> Any:
        return (await s3("GetBucketEncryption", Bucket="bucket"))["ServerSideEncryptionConfiguration"]["Rules"]

    def rule(**default: Any) -> dict[str, Any]:
        return {"ApplyServerSideEncryptionByDefault": default}

    async def put(*given: Any) -> None:
        await s3("PutBucketEncryption", Bucket="bucket", ServerSideEncryptionConfiguration={"Rules": list(given)})

    assert await rules() == [{**rule(SSEAlgorithm="AES256"), "BucketKeyEnabled": False}]
    key = (await kms(s3, "CreateKey"))["KeyMetadata"]
    wanted = {**rule(SSEAlgorithm="aws:kms", KMSMasterKeyID=key["KeyId"]), "BucketKeyEnabled": True}
    await put(wanted)
    assert await rules() == [wanted]
    put_kms = await s3("PutObject", Bucket="bucket", Key="k", Body=b"x")
    expected = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key["Arn"], "BucketKeyEnabled": True}
    assert told(put_kms) == expected
    assert told(await s3("GetObject", Bucket="bucket", Key="k")) == expected
    plain = await s3("PutObject", Bucket="bucket", Key="k", Body=b"x", ServerSideEncryption="AES256")
    assert told(plain) == {"ServerSideEncryption": "AES256"}
    await refused(put(), "MalformedXML", 400)
    await refused(put(wanted, wanted), "MalformedXML", 400)
    await refused(put(rule(SSEAlgorithm="AES256", KMSMasterKeyID="x")), "InvalidArgument", 400)
    await put({**rule(SSEAlgorithm="AES256"), "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]}})
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"x", **CUSTOMER), "AccessDenied", 403)
    await s3("DeleteBucketEncryption", Bucket="bucket")
    assert await rules() == [{**rule(SSEAlgorithm="AES256"), "BucketKeyEnabled": False}]
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"x", **CUSTOMER)


async def test_kms_keys_by_any_name_and_their_state(s3: S3) -> None:
    key = (await kms(s3, "CreateKey"))["KeyMetadata"]
    await kms(s3, "CreateAlias", AliasName="alias/mine", TargetKeyId=key["KeyId"])
    context = base64.b64encode(json.dumps({"team": "blue"}).encode()).decode()
    way: dict[str, Any] = {"Bucket": "bucket", "Key": "k", "Body": b"x", "ServerSideEncryption": "aws:kms"}
    for name in (key["KeyId"], key["Arn"], "alias/mine", f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/mine"):
        put = await s3("PutObject", **way, SSEKMSKeyId=name, SSEKMSEncryptionContext=context)
        assert (put["SSEKMSKeyId"], put["SSEKMSEncryptionContext"]) == (key["Arn"], context)
        assert await s3.get("bucket", "k") == b"x"
    wrong = await refused(s3("PutObject", **way, SSEKMSKeyId="fake-key-id"), "KMS.NotFoundException", 400)
    assert wrong.message == "Invalid keyId 'fake-key-id'"
    elsewhere = key["Arn"].replace("us-east-1", "eu-west-1")
    wrong = await refused(s3("PutObject", **way, SSEKMSKeyId=elsewhere), "KMS.NotFoundException", 400)
    assert wrong.message == "Invalid arn eu-west-1"
    await kms(s3, "DisableKey", KeyId=key["KeyId"])
    for call in (s3("GetObject", Bucket="bucket", Key="k"), s3("PutObject", **way, SSEKMSKeyId=key["KeyId"])):
        wrong = await refused(call, "KMS.DisabledException", 400)
        assert wrong.message == f"{key['Arn']} is disabled."
    await s3("HeadObject", Bucket="bucket", Key="k")
    await kms(s3, "ScheduleKeyDeletion", KeyId=key["KeyId"])
    wrong = await refused(s3("GetObject", Bucket="bucket", Key="k"), "KMS.KMSInvalidStateException", 400)
    assert wrong.message == f"{key['Arn']} is pending deletion."
    managed = await s3("PutObject", **way)
    described = await kms(s3, "DescribeKey", KeyId="alias/aws/s3")
    assert described["KeyMetadata"]["Arn"] == managed["SSEKMSKeyId"]


async def test_headers_that_do_not_go_together(s3: S3) -> None:
    for params in (
        {"SSEKMSKeyId": "x"}, {"SSEKMSKeyId": "x", "ServerSideEncryption": "AES256"},
        {**CUSTOMER, "ServerSideEncryption": "AES256"},
        {"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": "e30"},
        {"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": base64.b64encode(b'{"a":1}').decode()},
    ):  # fmt: skip
        await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"", **params), "InvalidArgument", 400)
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"")
    for params in ({"ServerSideEncryption": "AES256"},):
        await refused(s3("GetObject", Bucket="bucket", Key="k", **params), "InvalidArgument", 400)


async def test_customer_keys(s3: S3) -> None:
    where = {"Bucket": "bucket", "Key": "k"}
    for missing, code in (
        ("SSECustomerAlgorithm", "InvalidArgument"), ("SSECustomerKey", "InvalidArgument"),
        ("SSECustomerKeyMD5", "InvalidArgument"),
    ):  # fmt: skip
        part = {name: value for name, value in CUSTOMER.items() if name != missing}
        await refused(s3("PutObject", **where, Body=b"x", **part), code, 400)
    bad = {**CUSTOMER, "SSECustomerKeyMD5": OTHER["SSECustomerKeyMD5"]}
    await refused(s3("PutObject", **where, Body=b"x", **bad), "InvalidArgument", 400)
    other = {**CUSTOMER, "SSECustomerAlgorithm": "KMS"}
    await refused(s3("PutObject", **where, Body=b"x", **other), "InvalidEncryptionAlgorithmError", 400)
    put = await s3("PutObject", **where, Body=b"x", **CUSTOMER)
    md5 = CUSTOMER["SSECustomerKeyMD5"]
    assert told(put) == {"SSECustomerAlgorithm": "AES256", "SSECustomerKeyMD5": md5}
    for operation in ("GetObject", "HeadObject"):
        await refused(s3(operation, **where), "InvalidRequest", 400)
        await refused(s3(operation, **where, **OTHER), "AccessDenied", 403)
    attributes = {**where, "ObjectAttributes": ["ETag"]}
    await refused(s3("GetObjectAttributes", **attributes), "InvalidRequest", 400)
    await s3("GetObjectAttributes", **attributes, **CUSTOMER)
    await s3("PutObject", **where, Body=b"x")
    await refused(s3("GetObject", **where, **CUSTOMER), "InvalidRequest", 400)
    assert KEY not in at_rest(s3)
    assert hashlib.md5(KEY).digest() not in at_rest(s3)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("to", WAYS, ids=str)
async def test_copies_between_all_ways(s3: S3, way: dict[str, Any], to: dict[str, Any]) -> None:
    source = SOURCE if way is CUSTOMER else {}
    for size in (100, 300_000):
        data = (b"the quick brown fox. " * 50_000)[:size]
        await s3("PutObject", Bucket="bucket", Key="from", Body=data, **way)
        copied = await s3("CopyObject", Bucket="bucket", Key="to", CopySource="bucket/from", **source, **to)
        assert await s3.get("bucket", "to", **reading(to)) == data
        head = await s3("HeadObject", Bucket="bucket", Key="to", **reading(to))
        assert told(copied) == told(head)
        assert head["ETag"] == copied["CopyObjectResult"]["ETag"]
        await s3("DeleteObject", Bucket="bucket", Key="from")
        assert await s3.get("bucket", "to", **reading(to)) == data
        assert b"the quick brown fox" not in at_rest(s3)


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_multipart_uploads(s3: S3, way: dict[str, Any]) -> None:
    data = (b"the quick brown fox. " * 300_000)[:PART]
    await s3("PutObject", Bucket="bucket", Key="source", Body=data[:200_000])
    upload = await s3("CreateMultipartUpload", Bucket="bucket", Key="k", **way)
    where = {"Bucket": "bucket", "Key": "k", "UploadId": upload["UploadId"]}
    first = await s3("UploadPart", **where, PartNumber=1, Body=Arriving(data), **reading(way))
    assert b"the quick brown fox" not in at_rest(s3), "in the middle of an upload"
    copied = await s3("UploadPartCopy", **where, PartNumber=2, CopySource="bucket/source", **reading(way))
    assert told(first) == told(copied)
    parts = [
        {"PartNumber": 1, "ETag": first["ETag"]}, {"PartNumber": 2, "ETag": copied["CopyPartResult"]["ETag"]},
    ]  # fmt: skip
    if way is not CUSTOMER:
        assert told(first).get("SSEKMSKeyId") == upload.get("SSEKMSKeyId")
        await refused(s3("UploadPart", **where, PartNumber=3, Body=b"", **CUSTOMER), "InvalidRequest", 400)
    else:
        await refused(s3("UploadPart", **where, PartNumber=3, Body=b""), "InvalidRequest", 400)
        await refused(s3("UploadPart", **where, PartNumber=3, Body=b"", **OTHER), "InvalidRequest", 400)
    done = await s3("CompleteMultipartUpload", **where, MultipartUpload={"Parts": parts})
    whole_object = data + data[:200_000]
    assert await s3.get("bucket", "k", **reading(way)) == whole_object
    assert await s3.get("bucket", "k", Range="bytes=5242000-5443000", **reading(way)) == whole_object[5242000:5443001]
    head = await s3("HeadObject", Bucket="bucket", Key="k", **reading(way))
    assert head["ETag"] == done["ETag"]
    assert b"the quick brown fox" not in at_rest(s3)
    source = SOURCE if way is CUSTOMER else {}
    await s3("CopyObject", Bucket="bucket", Key="c", CopySource="bucket/k", **source, ServerSideEncryption="AES256")
    assert await s3.get("bucket", "c") == whole_object


@pytest.mark.parametrize(
    "text", ["x", "AAAA", base64.b64encode(b"[]").decode(), base64.b64encode(b"[" * 5000).decode()]
)
def test_an_encryption_context_that_is_no_map_of_strings_is_refused(text: str) -> None:
    with pytest.raises(AwsError, match="InvalidArgument"):
        parse_context(text)
