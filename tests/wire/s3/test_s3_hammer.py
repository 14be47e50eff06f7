"""Many clients at the same keys at once: what is decided inside the writing transaction is decided once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from served import Served

CLIENTS = 12


@pytest.fixture(scope="module")
def s3(server: Served) -> Any:
    return server.client("s3", max_pool_connections=CLIENTS)


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"hammer-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def at_once(one: Callable[[int], Any], times: int = CLIENTS) -> list[Any]:
    """What each of them gets: an answer, or the code of its error."""

    def attempt(number: int) -> Any:
        try:
            return one(number)
        except ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(attempt, range(times)))


def versions(s3: Any, bucket: str, key: str) -> list[str]:
    return [v["VersionId"] for v in s3.list_object_versions(Bucket=bucket, Prefix=key).get("Versions", [])]


@pytest.mark.parametrize("size", [10, 100_000])
def test_one_writer_of_an_absent_key_wins(s3: Any, bucket: str, size: int) -> None:
    for key in ("a", "b", "c"):
        done = at_once(
            lambda n, key=key: s3.put_object(Bucket=bucket, Key=key, Body=bytes([n]) * size, IfNoneMatch="*")
        )
        [winner] = [n for n, answer in enumerate(done) if isinstance(answer, dict)]
        assert {answer for answer in done if isinstance(answer, str)} == {"PreconditionFailed"}
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == bytes([winner]) * size
        assert versions(s3, bucket, key) == [done[winner]["VersionId"]]


def test_compare_and_swap_loses_no_update(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="n", Body=b"0")

    def increment(_: int) -> int:
        tries = 0
        while True:
            tries += 1
            now = s3.get_object(Bucket=bucket, Key="n")
            body = str(int(now["Body"].read()) + 1).encode()
            try:
                s3.put_object(Bucket=bucket, Key="n", Body=body, IfMatch=now["ETag"])
            except ClientError as error:
                assert error.response["Error"]["Code"] == "PreconditionFailed"
            else:
                return tries

    tries = at_once(increment, 36)
    assert all(isinstance(n, int) for n in tries), tries
    assert s3.get_object(Bucket=bucket, Key="n")["Body"].read() == b"36"
    assert len(versions(s3, bucket, "n")) == 37


def begun(s3: Any, bucket: str, key: str, body: bytes) -> dict[str, Any]:
    to = {"Bucket": bucket, "Key": key}
    to["UploadId"] = s3.create_multipart_upload(**to)["UploadId"]
    etag = s3.upload_part(**to, PartNumber=1, Body=body)["ETag"]
    return {**to, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": etag}]}}


def test_an_upload_completed_by_many_is_one_version(s3: Any, bucket: str) -> None:
    params = begun(s3, bucket, "k", b"x" * 100_000)
    done = at_once(lambda _: s3.complete_multipart_upload(**params))
    assert {(answer["ETag"], answer["VersionId"]) for answer in done} == {(done[0]["ETag"], done[0]["VersionId"])}
    assert versions(s3, bucket, "k") == [done[0]["VersionId"]]


def test_of_many_uploads_of_an_absent_key_one_wins(s3: Any, bucket: str) -> None:
    uploads = [begun(s3, bucket, "k", bytes([n]) * 1000) for n in range(6)]
    done = at_once(lambda n: s3.complete_multipart_upload(**uploads[n], IfNoneMatch="*"), 6)
    [winner] = [n for n, answer in enumerate(done) if isinstance(answer, dict)]
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == bytes([winner]) * 1000
    assert len(s3.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 5, "the others may yet be completed or aborted"


def test_a_completion_and_an_abort_exclude_each_other(s3: Any, bucket: str) -> None:
    for n in range(6):
        params = begun(s3, bucket, f"k{n}", b"x")
        to = {name: params[name] for name in ("Bucket", "Key", "UploadId")}
        calls = (lambda p=params: s3.complete_multipart_upload(**p), lambda to=to: s3.abort_multipart_upload(**to))
        completed, aborted = at_once(lambda which, calls=calls: calls[which](), 2)
        assert "NoSuchUpload" in (completed, aborted)
        assert len(versions(s3, bucket, f"k{n}")) == isinstance(completed, dict)
    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
