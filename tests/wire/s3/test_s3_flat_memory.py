"""A gigabyte in by parts and out again, encrypted, in flat memory."""

from __future__ import annotations

import hashlib
import os

import psutil
import pytest

from served import Served

PART_BYTES = 32 * 1024**2
PARTS = 32
MOST_GROWTH_BYTES = 64 * 1024**2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_gigabyte_goes_through_flat_memory(own_server: Served) -> None:
    s3 = own_server.client("s3")
    s3.create_bucket(Bucket="flat")
    process = psutil.Process(own_server.pid)
    part = os.urandom(PART_BYTES)
    s3.put_object(Bucket="flat", Key="warm", Body=part)
    s3.get_object(Bucket="flat", Key="warm")["Body"].read()
    before, most = process.memory_info().rss, 0
    upload = s3.create_multipart_upload(Bucket="flat", Key="k")["UploadId"]
    parts = []
    for number in range(1, PARTS + 1):
        answer = s3.upload_part(Bucket="flat", Key="k", UploadId=upload, PartNumber=number, Body=part)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        most = max(most, process.memory_info().rss)
    s3.complete_multipart_upload(Bucket="flat", Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    digest, size = hashlib.sha1(), 0
    for piece in s3.get_object(Bucket="flat", Key="k")["Body"].iter_chunks(1024**2):
        digest.update(piece)
        size += len(piece)
        if size % (16 * 1024**2) < len(piece):
            most = max(most, process.memory_info().rss)
    expected = hashlib.sha1()
    for _ in range(PARTS):
        expected.update(part)
    assert size == PARTS * PART_BYTES
    assert digest.digest() == expected.digest()
    got = s3.get_object(Bucket="flat", Key="k", Range=f"bytes={PART_BYTES - 5}-{PART_BYTES + 4}")["Body"].read()
    assert got == part[-5:] + part[:5]
    print(f"grew by {(most - before) / 1024**2:.1f} MiB")
    assert most - before < MOST_GROWTH_BYTES
