"""Disk space comes back while the server runs."""

from __future__ import annotations

import contextlib
import os
import time
import urllib.request

from botocore.exceptions import ClientError

from served import Served


def test_overwritten_and_deleted_bytes_leave_the_disk(own_server: Served) -> None:
    s3 = own_server.client("s3")
    s3.create_bucket(Bucket="space")
    for n in range(10):
        s3.put_object(Bucket="space", Key=f"k{n % 2}", Body=os.urandom(200_000))
    upload = s3.create_multipart_upload(Bucket="space", Key="never")["UploadId"]
    s3.upload_part(Bucket="space", Key="never", UploadId=upload, PartNumber=1, Body=os.urandom(200_000))
    s3.abort_multipart_upload(Bucket="space", Key="never", UploadId=upload)
    s3.delete_object(Bucket="space", Key="k0")
    later = urllib.request.Request(f"{own_server.endpoint}/_penstock/clock", b'{"advance_s": 300}', method="POST")
    urllib.request.urlopen(later)
    deadline = time.monotonic() + 60
    while (left := sum(path.is_file() for path in (own_server.data / "blobs" / "data").rglob("*"))) > 1:
        assert time.monotonic() < deadline, f"{left} files are left"
        time.sleep(0.5)
    assert len(s3.get_object(Bucket="space", Key="k1")["Body"].read()) == 200_000


def test_requests_that_are_over_keep_no_bytes_on_the_disk(own_server: Served) -> None:
    """What a request has found it holds; so it must be gone when it is over, however it ended, and not some time later."""
    s3 = own_server.client("s3")
    for bucket in ("space", "logs"):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_logging(
        Bucket="space", BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": "logs", "TargetPrefix": "x"}}
    )  # fmt: skip
    for key in ("a", "b"):
        s3.put_object(Bucket="space", Key=key, Body=os.urandom(200_000))
    for conditions in (
        {},
        {"Range": "bytes=5-10"},
        {"Range": "bytes=200000-"},
        {"IfMatch": '"no"'},
        {"VersionId": "no"},
    ):
        with contextlib.suppress(ClientError):
            s3.get_object(Bucket="space", Key="a", **conditions)["Body"].read()
        with contextlib.suppress(ClientError):
            s3.head_object(Bucket="space", Key="b", **conditions)
    s3.copy_object(Bucket="space", Key="c", CopySource="space/a", ServerSideEncryption="aws:kms")
    for key in ("a", "b", "c"):
        s3.delete_object(Bucket="space", Key=key)
    later = urllib.request.Request(f"{own_server.endpoint}/_penstock/clock", b'{"advance_s": 300}', method="POST")
    deadline = time.monotonic() + 30
    while left := sum(path.is_file() for path in (own_server.data / "blobs" / "data").rglob("*")):
        assert time.monotonic() < deadline, f"{left} files are left"
        urllib.request.urlopen(later)
        time.sleep(0.5)
