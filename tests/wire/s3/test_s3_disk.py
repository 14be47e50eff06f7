"""Disk space comes back while the server runs."""

from __future__ import annotations

import os
import time
import urllib.request

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
