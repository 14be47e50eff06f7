"""Multipart uploads and copies, with boto3 against a real server."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from penstock.blobs.checksums import digest, encode
from served import Served

MIB = 1024 * 1024
PART = os.urandom(5 * MIB)
TAIL = os.urandom(1000)


@pytest.fixture(scope="module")
def s3(server: Served) -> Any:
    return server.client("s3")


@pytest.fixture
def bucket(s3: Any) -> Iterator[str]:
    name = f"mp-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    yield name


def code_of(call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return str(caught.value.response["Error"]["Code"])


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def upload(s3: Any, bucket: str, key: str, bodies: list[bytes], **created: Any) -> tuple[str, list[dict[str, Any]]]:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key, **created)["UploadId"]
    given = {"ChecksumAlgorithm": created["ChecksumAlgorithm"]} if "ChecksumAlgorithm" in created else {}
    parts = []
    for number, body in enumerate(bodies, 1):
        put = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body, **given)
        checksums = {k: v for k, v in put.items() if given and k.startswith("Checksum") and "Type" not in k}
        parts.append({"PartNumber": number, "ETag": put["ETag"], **checksums})
    return upload_id, parts


def test_an_upload_becomes_an_object(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(
        s3, bucket, "k é", [PART, TAIL], Metadata={"a": "b"}, ContentType="text/x", Tagging="t=1",
        ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT",
    )  # fmt: skip
    assert code_of(s3.get_object, Bucket=bucket, Key="k é") == "NoSuchKey"
    listed = s3.list_parts(Bucket=bucket, Key="k é", UploadId=upload_id)
    assert [(p["PartNumber"], p["Size"]) for p in listed["Parts"]] == [(1, len(PART)), (2, len(TAIL))]
    [pending] = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert (pending["Key"], pending["UploadId"]) == ("k é", upload_id)
    params = {"Bucket": bucket, "Key": "k é", "UploadId": upload_id, "MultipartUpload": {"Parts": parts}}
    done = s3.complete_multipart_upload(**params)
    md5s = hashlib.md5(PART).digest() + hashlib.md5(TAIL).digest()
    assert done["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-2"'
    assert done["ChecksumCRC32"] == b64(zlib.crc32(PART + TAIL).to_bytes(4, "big"))
    again = s3.complete_multipart_upload(**params)
    assert again["ETag"] == done["ETag"]
    got = s3.get_object(Bucket=bucket, Key="k é")
    assert got["Body"].read() == PART + TAIL
    assert (got["Metadata"], got["ContentType"], got["TagCount"]) == ({"a": "b"}, "text/x", 1)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    part = s3.get_object(Bucket=bucket, Key="k é", PartNumber=2)
    assert part["Body"].read() == TAIL
    assert part["PartsCount"] == 2
    assert part["ContentRange"] == f"bytes {len(PART)}-{len(PART) + len(TAIL) - 1}/{len(PART) + len(TAIL)}"
    assert code_of(s3.get_object, Bucket=bucket, Key="k é", PartNumber=3) == "InvalidPartNumber"
    begin, end = len(PART) - 10, len(PART) + 10
    got = s3.get_object(Bucket=bucket, Key="k é", Range=f"bytes={begin}-{end}")
    assert got["Body"].read() == (PART + TAIL)[begin : end + 1]


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_composite_checksums(s3: Any, bucket: str, algorithm: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", [PART, TAIL], ChecksumAlgorithm=algorithm, ChecksumType="COMPOSITE")
    bare = [{"PartNumber": p["PartNumber"], "ETag": p["ETag"]} for p in parts]
    params = {"Bucket": bucket, "Key": "k", "UploadId": upload_id}
    assert code_of(s3.complete_multipart_upload, **params, MultipartUpload={"Parts": bare}) == "InvalidRequest"
    done = s3.complete_multipart_upload(**params, MultipartUpload={"Parts": parts})
    assert done["ChecksumType"] == "COMPOSITE"
    assert done[f"Checksum{algorithm}"].endswith("-2")
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectParts", "ObjectSize"])
    assert told["ObjectParts"]["TotalPartsCount"] == 2
    member = f"Checksum{algorithm}"
    assert [p[member] for p in told["ObjectParts"]["Parts"]] == [p[member] for p in parts]
    if algorithm == "SHA256":
        digests = hashlib.sha256(PART).digest() + hashlib.sha256(TAIL).digest()
        assert done["ChecksumSHA256"] == b64(hashlib.sha256(digests).digest()) + "-2"
    assert s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read() == PART + TAIL


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC64NVME"])
def test_the_whole_objects_checksum_is_compared(s3: Any, bucket: str, algorithm: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", [PART, TAIL], ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")
    member = f"Checksum{algorithm}"
    params = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "MultipartUpload": {"Parts": parts}}
    wrong, right = (encode(digest(algorithm, data)) for data in (PART, PART + TAIL))
    assert code_of(s3.complete_multipart_upload, **params, **{member: wrong}) == "BadDigest"
    assert code_of(s3.complete_multipart_upload, **params, MpuObjectSize=5) == "InvalidRequest"
    if algorithm == "CRC32":  # which may be composite, and is taken so where nothing is said
        assert code_of(s3.complete_multipart_upload, **params, **{member: right}) == "BadDigest"
        params["ChecksumType"] = "FULL_OBJECT"
        assert code_of(s3.complete_multipart_upload, **params, **{member: wrong}) == "BadDigest"
    done = s3.complete_multipart_upload(**params, **{member: right}, MpuObjectSize=len(PART + TAIL))
    assert done[member] == right


def test_what_cannot_be_completed(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", [TAIL, PART])
    complete = s3.complete_multipart_upload
    params = {"Bucket": bucket, "Key": "k", "UploadId": upload_id}
    assert code_of(complete, **params, MultipartUpload={"Parts": parts}) == "EntityTooSmall"
    assert code_of(complete, **params, MultipartUpload={"Parts": parts[::-1]}) == "InvalidPartOrder"
    assert code_of(complete, **params, MultipartUpload={"Parts": []}) == "InvalidRequest"
    wrong = [{"PartNumber": 1, "ETag": '"0"'}]
    assert code_of(complete, **params, MultipartUpload={"Parts": wrong}) == "InvalidPart"
    missing = [{"PartNumber": 7, "ETag": parts[0]["ETag"]}]
    assert code_of(complete, **params, MultipartUpload={"Parts": missing}) == "InvalidPart"
    assert code_of(complete, **{**params, "UploadId": "x"}, MultipartUpload={"Parts": parts}) == "NoSuchUpload"
    assert code_of(s3.upload_part, **params, PartNumber=10001, Body=b"") == "InvalidArgument"
    assert code_of(s3.upload_part, **params, PartNumber=0, Body=b"") == "InvalidArgument"
    s3.abort_multipart_upload(**params)
    assert code_of(s3.abort_multipart_upload, **params) == "NoSuchUpload"
    assert code_of(s3.upload_part, **params, PartNumber=1, Body=b"") == "NoSuchUpload"
    assert code_of(s3.list_parts, **params) == "NoSuchUpload"


def test_a_part_may_be_sent_again_and_unnamed_parts_are_dropped(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", [PART, TAIL, TAIL])
    put = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=2, Body=b"other")
    named = [parts[0], {"PartNumber": 2, "ETag": put["ETag"]}]
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": named})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == PART + b"other"


def test_parts_copied_from_objects(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="big", Body=PART + TAIL)
    s3.put_object(Bucket=bucket, Key="small", Body=TAIL)
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32")["UploadId"]
    parts = []
    sources = (("big", f"bytes=10-{5 * MIB + 9}"), ("big", None), ("small", "bytes=1-3"))
    to = {"Bucket": bucket, "Key": "k", "UploadId": upload_id}
    for number, (source, copied) in enumerate(sources, 1):
        given = {"CopySourceRange": copied} if copied else {}
        got = s3.upload_part_copy(**to, PartNumber=number, CopySource={"Bucket": bucket, "Key": source}, **given)
        told = got["CopyPartResult"]
        parts.append({"PartNumber": number, "ETag": told["ETag"], "ChecksumCRC32": told["ChecksumCRC32"]})
    for bad in ("bytes=5-1", "bytes=0-99999999", "5-6"):
        code = code_of(s3.upload_part_copy, **to, PartNumber=9, CopySource=f"{bucket}/big", CopySourceRange=bad)
        assert code == "InvalidArgument"
    s3.complete_multipart_upload(**to, MultipartUpload={"Parts": parts})
    s3.delete_object(Bucket=bucket, Key="big")
    whole = PART + TAIL
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == whole[10 : 5 * MIB + 10] + whole + TAIL[1:4]


def test_many_parts(s3: Any, bucket: str) -> None:
    """More than fit into the object's own record."""
    s3.put_object(Bucket=bucket, Key="src", Body=PART)
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    parts = []
    for number in range(2, 142, 2):
        got = s3.upload_part_copy(
            Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, CopySource=f"{bucket}/src"
        )
        parts.append({"PartNumber": number, "ETag": got["CopyPartResult"]["ETag"]})
    paginator = s3.get_paginator("list_parts")
    pages = paginator.paginate(Bucket=bucket, Key="k", UploadId=upload_id, PaginationConfig={"PageSize": 30})
    assert [p["PartNumber"] for page in pages for p in page["Parts"]] == [p["PartNumber"] for p in parts]
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": parts})
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 70 * len(PART)
    got = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={67 * len(PART) - 5}-{67 * len(PART) + 4}")
    assert got["Body"].read() == PART[-5:] + PART[:5]
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"])["ObjectParts"]
    assert told["TotalPartsCount"] == 70
    s3.copy_object(Bucket=bucket, Key="k2", CopySource=f"{bucket}/k")
    s3.delete_object(Bucket=bucket, Key="k")
    head = s3.head_object(Bucket=bucket, Key="k2")
    assert "-" not in head["ETag"]
    assert head["ContentLength"] == 70 * len(PART)


def test_uploads_are_listed_in_order_and_in_pages(s3: Any, bucket: str) -> None:
    keys = ["a/1", "a/2", "a!b", "b", "b", "c/x"]
    ids = [s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"] for key in keys]
    paginator = s3.get_paginator("list_multipart_uploads")
    pages = list(paginator.paginate(Bucket=bucket, PaginationConfig={"PageSize": 2}))
    assert [len(p["Uploads"]) for p in pages] == [2, 2, 2]
    listed = [(u["Key"], u["UploadId"]) for p in pages for u in p["Uploads"]]
    assert [key for key, _ in listed] == sorted(keys, key=str.encode)
    assert {upload_id for _, upload_id in listed} == set(ids)
    listed = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [p["Prefix"] for p in listed["CommonPrefixes"]] == ["a/", "c/"]
    assert [u["Key"] for u in listed["Uploads"]] == ["a!b", "b", "b"]
    first = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/", MaxUploads=2)
    rest = s3.list_multipart_uploads(
        Bucket=bucket, Delimiter="/", KeyMarker=first["NextKeyMarker"], UploadIdMarker=first["NextUploadIdMarker"]
    )
    assert [u["Key"] for u in first["Uploads"] + rest["Uploads"]] == ["a!b", "b", "b"]
    assert s3.list_multipart_uploads(Bucket=bucket, Prefix="a")["Uploads"][0]["Key"] == "a!b"


def test_conditional_completion(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", [PART])
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    params = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "MultipartUpload": {"Parts": parts}}
    assert code_of(s3.complete_multipart_upload, **params, IfNoneMatch="*") == "PreconditionFailed"
    s3.delete_object(Bucket=bucket, Key="k")
    assert code_of(s3.complete_multipart_upload, **params, IfNoneMatch="*") == "ConditionalRequestConflict"
    s3.complete_multipart_upload(**params)


def test_a_bucket_with_uploads_in_progress_can_be_deleted(s3: Any, bucket: str) -> None:
    upload_id, _ = upload(s3, bucket, "k", [PART])
    s3.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    assert code_of(s3.list_parts, Bucket=bucket, Key="k", UploadId=upload_id) == "NoSuchUpload"


def test_transfers(s3: Any, bucket: str, tmp_path: Path) -> None:
    data = os.urandom(30 * MIB + 123)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(data)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    s3.upload_file(str(source), bucket, "file", Config=config, ExtraArgs={"Metadata": {"x": "y"}})
    s3.download_file(bucket, "file", str(target), Config=config)
    assert target.read_bytes() == data
    s3.copy({"Bucket": bucket, "Key": "file"}, bucket, "copy", Config=config)
    into = io.BytesIO()
    s3.download_fileobj(bucket, "copy", into)
    assert into.getvalue() == data
    s3.upload_fileobj(io.BytesIO(data), bucket, "obj", ExtraArgs={"ChecksumAlgorithm": "SHA256"}, Config=config)
    assert s3.head_object(Bucket=bucket, Key="obj", ChecksumMode="ENABLED")["ChecksumSHA256"].endswith("-7")


def test_copies(s3: Any, bucket: str) -> None:
    copy = s3.copy_object
    s3.put_object(
        Bucket=bucket,
        Key="a+b é",
        Body=PART,
        Metadata={"m": "1"},
        ContentType="text/x",
        Tagging="t=1",
        CacheControl="no",
    )
    copied = copy(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "a+b é"})["CopyObjectResult"]
    assert copied["ETag"] == f'"{hashlib.md5(PART).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="c")
    assert got["Body"].read() == PART
    told = (got["Metadata"], got["ContentType"], got["CacheControl"], got["TagCount"])
    assert told == ({"m": "1"}, "text/x", "no", 1)
    copy(
        Bucket=bucket, Key="d", CopySource=f"{bucket}/c", MetadataDirective="REPLACE", Metadata={"n": "2"},
        TaggingDirective="REPLACE", Tagging="u=2&v=3", ChecksumAlgorithm="SHA256",
    )  # fmt: skip
    got = s3.head_object(Bucket=bucket, Key="d", ChecksumMode="ENABLED")
    assert (got["Metadata"], got["ContentType"]) == ({"n": "2"}, "binary/octet-stream")
    assert s3.get_object_tagging(Bucket=bucket, Key="d")["TagSet"][1] == {"Key": "v", "Value": "3"}
    assert got["ChecksumSHA256"] == b64(hashlib.sha256(PART).digest())
    assert code_of(copy, Bucket=bucket, Key="c", CopySource=f"{bucket}/c") == "InvalidRequest"
    copy(Bucket=bucket, Key="c", CopySource=f"{bucket}/c", MetadataDirective="REPLACE", Metadata={"o": "3"})
    assert s3.head_object(Bucket=bucket, Key="c")["Metadata"] == {"o": "3"}
    for key in ("a+b é", "c"):
        s3.delete_object(Bucket=bucket, Key=key)
    assert s3.get_object(Bucket=bucket, Key="d")["Body"].read() == PART
    assert code_of(copy, Bucket=bucket, Key="x", CopySource=f"{bucket}/absent") == "NoSuchKey"
    assert code_of(copy, Bucket=bucket, Key="x", CopySource="no-such-bucket-here/absent") == "NoSuchBucket"
    for bad in ({"CopySourceIfMatch": '"x"'}, {"CopySourceIfNoneMatch": copied["ETag"]}):
        assert code_of(copy, Bucket=bucket, Key="x", CopySource=f"{bucket}/d", **bad) == "PreconditionFailed"
    put = {"Bucket": bucket, "Key": "d", "CopySource": f"{bucket}/d", "MetadataDirective": "REPLACE"}
    assert code_of(copy, **put, IfNoneMatch="*") == "PreconditionFailed"


def test_checksums_of_an_upload_that_has_no_algorithm(s3: Any, bucket: str) -> None:
    """As AWS's recorded answers: parts may not be named with checksums, nor is there a type to complete it with."""
    upload_id, parts = upload(s3, bucket, "k", [TAIL])
    to = {"Bucket": bucket, "Key": "k", "UploadId": upload_id}
    complete = s3.complete_multipart_upload
    value = b64(hashlib.sha256(TAIL).digest())
    assert code_of(complete, **to, MultipartUpload={"Parts": [{**parts[0], "ChecksumSHA256": value}]}) == "InvalidPart"
    assert code_of(complete, **to, MultipartUpload={"Parts": parts}, ChecksumType="FULL_OBJECT") == "InvalidRequest"
    complete(**to, MultipartUpload={"Parts": parts})
    wanted = ["ObjectParts", "Checksum"]
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=wanted)
    assert told["ObjectParts"] == {"TotalPartsCount": 1}, "parts are told of composite checksums only"
    assert told["Checksum"]["ChecksumType"] == "FULL_OBJECT"


def test_a_part_named_with_another_algorithm(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", [TAIL], ChecksumAlgorithm="CRC32")
    value = b64(hashlib.sha256(TAIL).digest())
    named = [{"PartNumber": 1, "ETag": parts[0]["ETag"], "ChecksumSHA256": value}]
    params = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "MultipartUpload": {"Parts": named}}
    assert code_of(s3.complete_multipart_upload, **params) == "BadDigest"
