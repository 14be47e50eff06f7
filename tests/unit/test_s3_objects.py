"""S3's buckets and objects, by their operations on the memory store."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from penstock.blobs.checksums import CRC64NVME, digest, encode
from penstock.services.s3.encryption import opening
from penstock.wire.errors import AwsError
from s3_node import S3, Arriving, left_behind, whole

BIG = bytes(range(256)) * 5000


@pytest.fixture
async def s3(tmp_path: Path) -> S3:
    node = S3(tmp_path)
    await node("CreateBucket", Bucket="bucket")
    return node


async def refused(awaitable, code: str, status: int = 0) -> AwsError:  # type: ignore[no-untyped-def]
    with pytest.raises(AwsError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value
    if status:
        assert caught.value.status == status
    return caught.value


def etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


@pytest.mark.parametrize("data", [b"", b"hello", BIG[:65536], BIG[:65537], BIG])
@pytest.mark.parametrize("streamed", [False, True])
async def test_put_and_get(s3: S3, data: bytes, streamed: bool) -> None:
    put = await s3(
        "PutObject", Bucket="bucket", Key="a/é", Body=Arriving(data) if streamed else data, Metadata={"k": "v"}
    )
    assert put["ETag"] == etag(data)
    assert put["ChecksumCRC64NVME"] == encode(digest(CRC64NVME, data))
    got = await s3("GetObject", Bucket="bucket", Key="a/é", ChecksumMode="ENABLED")
    assert await whole(got.pop("Body")) == data
    assert got["ContentLength"] == len(data)
    assert got["Metadata"] == {"k": "v"}
    assert got["ContentType"] == "binary/octet-stream"
    assert got["ChecksumCRC64NVME"] == put["ChecksumCRC64NVME"]
    assert "StatusCode" not in got
    head = await s3("HeadObject", Bucket="bucket", Key="a/é", ChecksumMode="ENABLED")
    assert head == got


@pytest.mark.parametrize("size", [10, 1_000_000])
@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=2-5", 2, 6),
        ("bytes=4-", 4, None),
        ("bytes=-3", -3, None),
        ("bytes=5-99999999", 5, None),
    ],
)
async def test_ranges(s3: S3, size: int, text: str, begin: int, end: int | None) -> None:
    data = BIG[:size]
    await s3("PutObject", Bucket="bucket", Key="k", Body=data)
    got = await s3("GetObject", Bucket="bucket", Key="k", Range=text)
    expected = data[begin:end]
    assert await whole(got["Body"]) == expected
    first = begin if begin >= 0 else size + begin
    assert got["ContentRange"] == f"bytes {first}-{first + len(expected) - 1}/{size}"
    assert got["StatusCode"] == 206


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=-0", "bytes=10-20"])
async def test_unsatisfiable_ranges(s3: S3, text: str) -> None:
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"0123456789")
    error = await refused(s3("GetObject", Bucket="bucket", Key="k", Range=text), "InvalidRange", 416)
    assert error.members == {"RangeRequested": text, "ActualObjectSize": "10"}


@pytest.mark.parametrize("text", ["bytes=5-2", "lines=1-2", "bytes=0-1,3-4", "bytes=a-b"])
async def test_what_is_no_range_is_ignored(s3: S3, text: str) -> None:
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"0123456789")
    got = await s3("GetObject", Bucket="bucket", Key="k", Range=text)
    assert got["Body"] == b"0123456789" and "ContentRange" not in got


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
@pytest.mark.parametrize("size", [100, 300_000])
async def test_checksums_are_verified_stored_and_told(s3: S3, algorithm: str, size: int) -> None:
    data = BIG[:size]
    right = encode(digest(algorithm, data))
    wrong = encode(digest(algorithm, data + b"x"))
    member = f"Checksum{algorithm}"
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=Arriving(data), **{member: wrong}), "BadDigest")
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=data, **{member: "AAAA"}), "InvalidRequest")
    await refused(s3("GetObject", Bucket="bucket", Key="k"), "NoSuchKey", 404)
    put = await s3("PutObject", Bucket="bucket", Key="k", Body=Arriving(data), **{member: right})
    assert put[member] == right and put["ChecksumType"] == "FULL_OBJECT"
    head = await s3("HeadObject", Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert head[member] == right
    assert member not in await s3("HeadObject", Bucket="bucket", Key="k")
    trailing = Arriving(data, trailers={f"x-amz-checksum-{algorithm.lower()}": right})
    put = await s3("PutObject", Bucket="bucket", Key="t", Body=trailing)
    assert put[member] == right
    assert not [p for p in (s3.blobs.root / "data").rglob("*") if p.is_file()] or size > 65536


async def test_content_md5(s3: S3) -> None:
    right = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"x", ContentMD5=right)
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"y", ContentMD5=right), "BadDigest", 400)
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"y", ContentMD5="nonsense"), "InvalidDigest", 400)


async def test_conditional_writes(s3: S3) -> None:
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"1", IfMatch=etag(b"0")), "NoSuchKey", 404)
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"1", IfNoneMatch="*")
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"2", IfNoneMatch="*"), "PreconditionFailed", 412)
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=BIG, IfMatch=etag(b"9")), "PreconditionFailed", 412)
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"2", IfMatch=etag(b"1"))
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"2", IfNoneMatch='"abc"'), "NotImplemented", 501)
    assert await s3.get("bucket", "k") == b"2"
    await refused(s3("DeleteObject", Bucket="bucket", Key="k", IfMatch=etag(b"1")), "PreconditionFailed", 412)
    await s3("DeleteObject", Bucket="bucket", Key="k", IfMatch=etag(b"2"))


async def test_conditional_reads(s3: S3) -> None:
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"1")
    now = s3.clock.now()
    for operation in ("GetObject", "HeadObject"):
        for good in (
            {"IfMatch": etag(b"1")}, {"IfMatch": "*"}, {"IfNoneMatch": etag(b"2")}, {"IfModifiedSince": now - 100},
            {"IfUnmodifiedSince": now + 100}, {"IfMatch": etag(b"1"), "IfUnmodifiedSince": now - 100},
            {"IfNoneMatch": etag(b"2"), "IfModifiedSince": now + 100},
        ):  # fmt: skip
            await s3(operation, Bucket="bucket", Key="k", **good)
        for condition in ({"IfMatch": etag(b"2")}, {"IfUnmodifiedSince": now - 100}):
            await refused(s3(operation, Bucket="bucket", Key="k", **condition), "PreconditionFailed", 412)
        for condition in ({"IfNoneMatch": etag(b"1")}, {"IfModifiedSince": now}):
            await refused(s3(operation, Bucket="bucket", Key="k", **condition), "NotModified", 304)


async def test_overwriting_and_deleting_give_the_bytes_back(s3: S3) -> None:
    for data in (BIG, b"small", BIG[1:], BIG[2:], b""):
        await s3("PutObject", Bucket="bucket", Key="k", Body=data)
        assert await s3.get("bucket", "k") == data
    await s3("PutObject", Bucket="bucket", Key="k", Body=BIG)
    await s3("DeleteObject", Bucket="bucket", Key="k")
    await s3("DeleteObject", Bucket="bucket", Key="k")
    await s3("DeleteBucket", Bucket="bucket")
    s3.clock.advance(3600)
    assert await s3.blobs.sweep() == 4
    assert left_behind(s3.store) == []


async def test_a_damaged_body_is_not_handed_out(s3: S3) -> None:
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"small")
    store = s3.store
    for key in list(store.data):  # type: ignore[attr-defined]
        if b"\x02s3\x00\x02b\x00" in key:
            store.data[key] = store.data[key][:-1] + b"?"  # type: ignore[attr-defined]
    await refused(s3("GetObject", Bucket="bucket", Key="k"), "InternalError", 500)
    await s3("PutObject", Bucket="bucket", Key="k", Body=BIG)
    for path in (s3.blobs.root / "data").rglob("*"):
        if path.is_file():
            raw = bytearray(path.read_bytes())
            raw[1_000_000] ^= 8
            path.write_bytes(raw)
    got = await s3("GetObject", Bucket="bucket", Key="k", Range="bytes=0-10")
    assert await whole(got["Body"]) == BIG[:11]
    await refused(s3("GetObject", Bucket="bucket", Key="k", Range="bytes=1000000-"), "InternalError", 500)
    with pytest.raises(AwsError):
        await s3.get("bucket", "k")


async def test_what_was_found_is_there_until_it_has_been_read(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of overwritten objects are written again at once, but not under a read that has come as far as its key."""
    asked = opening.data_key

    async def slow(*args: Any) -> Any:
        monkeypatch.undo()
        for n in range(5):
            await s3("PutObject", Bucket="bucket", Key="k", Body=bytes([n]) * len(BIG))
            s3.clock.advance(0.01)
            await s3.blobs.sweep(quick=n > 0)
        return await asked(*args)

    await s3("PutObject", Bucket="bucket", Key="k", Body=BIG)
    monkeypatch.setattr(opening, "known", lambda *args: None)
    monkeypatch.setattr(opening, "data_key", slow)
    assert await s3.get("bucket", "k") == BIG
    assert await s3.get("bucket", "k") == bytes([4]) * len(BIG)
    assert len([path for path in (s3.blobs.root / "data").rglob("*") if path.is_file()]) <= 3, "others were used again"


async def test_what_is_not_carried_out_is_refused(s3: S3) -> None:
    for params in (
        {"StorageClass": "GLACIER"}, {"ServerSideEncryption": "aws:fsx"},
        {"WriteOffsetBytes": 1}, {"ObjectLockEventHold": "ON"},
    ):  # fmt: skip
        await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"", **params), "NotImplemented", 501)
    await refused(
        s3("PutObject", Bucket="bucket", Key="k", Body=b"", ACL="public-read"), "AccessControlListNotSupported", 400
    )
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"", ACL="bucket-owner-full-control", StorageClass="STANDARD")
    await refused(s3("GetObject", Bucket="bucket", Key="k", VersionId="abc"), "InvalidArgument", 400)
    await s3("GetObject", Bucket="bucket", Key="k", VersionId="null")


async def test_limits(s3: S3) -> None:
    await s3("PutObject", Bucket="bucket", Key="é" * 512, Body=b"")
    await refused(s3("PutObject", Bucket="bucket", Key="é" * 513, Body=b""), "KeyTooLongError", 400)
    for operation in ("GetObject", "HeadObject", "DeleteObject", "GetObjectTagging", "CreateMultipartUpload"):
        await refused(s3(operation, Bucket="bucket", Key="x" * 20_000), "KeyTooLongError", 400)
    await refused(s3("ListParts", Bucket="bucket", Key="x" * 20_000, UploadId="x"), "KeyTooLongError", 400)
    long = await s3("DeleteObjects", Bucket="bucket", Delete={"Objects": [{"Key": "x" * 20_000}]})
    assert long["Errors"][0]["Code"] == "KeyTooLongError"
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"", Metadata={"k": "v" * 2047})
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"", Metadata={"k": "v" * 2048}), "MetadataTooLarge")
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=Arriving(b"", length=5 * 2**30 + 1)), "EntityTooLarge")


async def test_headers_come_back_and_can_be_overridden(s3: S3) -> None:
    sent = {
        "CacheControl": "no-cache", "ContentDisposition": "inline", "ContentEncoding": "aws-chunked,gzip",
        "ContentLanguage": "en", "ContentType": "text/csv", "Expires": "whenever", "WebsiteRedirectLocation": "/x",
    }  # fmt: skip
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"", **sent)
    got = await s3("HeadObject", Bucket="bucket", Key="k")
    assert {k: got[k] for k in sent} == {**sent, "ContentEncoding": "gzip"}
    got = await s3("GetObject", Bucket="bucket", Key="k", ResponseContentType="a/b", ResponseExpires="0")
    assert (got["ContentType"], got["Expires"]) == ("a/b", "0")


async def test_tags(s3: S3) -> None:
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"", Tagging="a=1&b=%C3%A9&c")
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"", Tagging="a=1&b=%C3%A9")
    assert (await s3("GetObjectTagging", Bucket="bucket", Key="k"))["TagSet"] == [
        {"Key": "a", "Value": "1"},
        {"Key": "b", "Value": "é"},
    ]
    assert (await s3("HeadObject", Bucket="bucket", Key="k"))["TagCount"] == 2
    await s3("PutObjectTagging", Bucket="bucket", Key="k", Tagging={"TagSet": [{"Key": "c", "Value": ""}]})
    assert (await s3("GetObjectTagging", Bucket="bucket", Key="k"))["TagSet"] == [{"Key": "c", "Value": ""}]
    await s3("DeleteObjectTagging", Bucket="bucket", Key="k")
    assert (await s3("GetObjectTagging", Bucket="bucket", Key="k"))["TagSet"] == []
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"", Tagging="a=1&a=2"), "InvalidArgument")
    eleven = "&".join(f"k{i}=v" for i in range(11))
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"", Tagging=eleven), "BadRequest")
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"", Tagging="aws:x=1"), "InvalidTag")
    await refused(s3("GetBucketTagging", Bucket="bucket"), "NoSuchTagSet", 404)
    await s3("PutBucketTagging", Bucket="bucket", Tagging={"TagSet": [{"Key": "c", "Value": "d"}]})
    assert (await s3("GetBucketTagging", Bucket="bucket"))["TagSet"] == [{"Key": "c", "Value": "d"}]
    await s3("DeleteBucketTagging", Bucket="bucket")


async def test_delete_many(s3: S3) -> None:
    for i in range(250):
        await s3("PutObject", Bucket="bucket", Key=f"k{i}", Body=b"")
    objects = [{"Key": f"k{i}"} for i in range(249)] + [{"Key": "absent"}, {"Key": "k249", "ETag": '"x"'}]
    got = await s3("DeleteObjects", Bucket="bucket", Delete={"Objects": objects})
    assert len(got["Deleted"]) == 250
    assert [(e["Key"], e["Code"]) for e in got["Errors"]] == [("k249", "PreconditionFailed")]
    assert await s3("DeleteObjects", Bucket="bucket", Delete={"Objects": [{"Key": "k249"}], "Quiet": True}) == {}
    await refused(s3("DeleteObjects", Bucket="bucket", Delete={"Objects": [{"Key": "k"}] * 1001}), "MalformedXML", 400)


async def test_accounts_are_apart(s3: S3) -> None:
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"mine")
    for operation in ("GetObject", "HeadObject", "DeleteObject", "GetObjectTagging"):
        await refused(s3(operation, account="222222222222", Bucket="bucket", Key="k"), "AccessDenied", 403)
    for operation in ("HeadBucket", "ListObjectsV2", "DeleteBucket", "GetBucketAcl", "GetBucketLocation"):
        await refused(s3(operation, account="222222222222", Bucket="bucket"), "AccessDenied", 403)
    await refused(s3("CreateBucket", account="222222222222", Bucket="bucket"), "BucketAlreadyExists", 409)
    many = await s3("DeleteObjects", account="222222222222", Bucket="bucket", Delete={"Objects": [{"Key": "k"}]})
    assert [error["Code"] for error in many["Errors"]] == ["AccessDenied"] and "Deleted" not in many
    await refused(s3("GetObject", Bucket="bucket", Key="k", ExpectedBucketOwner="222222222222"), "AccessDenied", 403)
    assert await s3.get("bucket", "k") == b"mine"


async def test_creating_a_bucket_again(s3: S3) -> None:
    await s3("CreateBucket", Bucket="bucket")
    west = {"LocationConstraint": "eu-west-1"}
    await s3("CreateBucket", Bucket="west", CreateBucketConfiguration=west)
    await refused(s3("CreateBucket", Bucket="west", CreateBucketConfiguration=west), "BucketAlreadyOwnedByYou", 409)
    assert await s3("GetBucketLocation", Bucket="bucket") == {}
    assert await s3("GetBucketLocation", Bucket="west") == west
    await refused(s3("CreateBucket", region="eu-west-1", Bucket="x-1"), "IllegalLocationConstraintException")
    await refused(
        s3("CreateBucket", region="eu-west-2", Bucket="x-1", CreateBucketConfiguration=west),
        "IllegalLocationConstraintException",
    )
    for name in ("us-east-1", "nowhere"):
        await refused(
            s3("CreateBucket", Bucket="x-1", CreateBucketConfiguration={"LocationConstraint": name}),
            "InvalidLocationConstraint",
        )


@pytest.mark.parametrize(
    "name", ["ab", "a" * 64, "Upper", "a..b", "-a-", "1.2.3.4", "xn--abc", "sthree-a", "abc-s3alias", "a_b_c", "a\0b"]
)
async def test_bucket_names(s3: S3, name: str) -> None:
    await refused(s3("CreateBucket", Bucket=name), "InvalidBucketName", 400)


async def test_listing_buckets(s3: S3) -> None:
    for i in range(5):
        await s3("CreateBucket", Bucket=f"list-{i}")
    await s3("CreateBucket", account="222222222222", Bucket="list-x")
    listed = await s3("ListBuckets")
    assert [b["Name"] for b in listed["Buckets"]] == ["bucket", *(f"list-{i}" for i in range(5))]
    names: list[str] = []
    token = {}
    while True:
        page = await s3("ListBuckets", MaxBuckets=2, Prefix="list-", **token)
        names += [b["Name"] for b in page["Buckets"]]
        if "ContinuationToken" not in page:
            break
        token = {"ContinuationToken": page["ContinuationToken"]}
    assert names == [f"list-{i}" for i in range(5)]


async def test_a_bucket_with_objects_is_not_deleted(s3: S3) -> None:
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"")
    await refused(s3("DeleteBucket", Bucket="bucket"), "BucketNotEmpty", 409)
    await s3("DeleteObject", Bucket="bucket", Key="k")
    await s3("PutBucketTagging", Bucket="bucket", Tagging={"TagSet": [{"Key": "c", "Value": "d"}]})
    await s3("DeleteBucket", Bucket="bucket")
    error = await refused(s3("PutObject", Bucket="bucket", Key="k", Body=BIG), "NoSuchBucket", 404)
    assert error.members == {"BucketName": "bucket"}
    await s3("CreateBucket", account="222222222222", Bucket="bucket")
    await refused(s3("GetBucketTagging", account="222222222222", Bucket="bucket"), "NoSuchTagSet")
