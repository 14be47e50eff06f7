"""How much a bucket holds, by AWS's names, measured anew each day."""

from __future__ import annotations

import re
import time
import urllib.request
from typing import Any

from served import Served


def told(server: Served, bucket: str) -> dict[tuple[str, str], float]:
    """(metric, storage type) -> value."""
    text = urllib.request.urlopen(f"{server.endpoint}/_penstock/metrics").read().decode()
    form = rf'penstock_s3_(\w+)\{{account="000000000000",bucket="{bucket}",region="(\S+)",storage_type="(\w+)"\}} (\S+)'
    return {(name, kind): float(value) for name, _, kind, value in re.findall(form, text)}


def next_day(server: Served) -> None:
    later = urllib.request.Request(f"{server.endpoint}/_penstock/clock", b'{"advance_s": 86400}', method="POST")
    urllib.request.urlopen(later)


def until(server: Served, bucket: str, expected: dict[tuple[str, str], float]) -> None:
    deadline = time.monotonic() + 30
    while (found := told(server, bucket)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_sizes_and_numbers(own_server: Served) -> None:
    s3: Any = own_server.client("s3")
    s3.create_bucket(Bucket="measured")
    s3.create_bucket(Bucket="empty")
    s3.put_bucket_versioning(Bucket="measured", VersioningConfiguration={"Status": "Enabled"})
    for i in range(700):
        s3.put_object(Bucket="measured", Key=f"k{i:04}", Body=b"12345")
    s3.put_object(Bucket="measured", Key="k0000", Body=b"1" * 100_000)  # a second version
    s3.put_object(Bucket="measured", Key="rare", Body=b"1234567", StorageClass="STANDARD_IA")
    s3.delete_object(Bucket="measured", Key="k0001")  # a marker
    upload = s3.create_multipart_upload(Bucket="measured", Key="u")["UploadId"]
    s3.upload_part(Bucket="measured", Key="u", UploadId=upload, PartNumber=1, Body=b"123")
    assert told(own_server, "measured") == {}
    next_day(own_server)
    expected = {
        ("bucket_size_bytes", "StandardStorage"): 700 * 5 + 100_000 + 3.0,
        ("bucket_size_bytes", "StandardIAStorage"): 7.0,
        ("number_of_objects", "AllStorageTypes"): 700 + 1 + 1 + 1 + 1.0,
    }
    until(own_server, "measured", expected)
    assert told(own_server, "empty") == {("number_of_objects", "AllStorageTypes"): 0}
    s3.delete_objects(
        Bucket="measured", Delete={"Objects": [{"Key": f"k{i:04}", "VersionId": "null"} for i in range(9)]}
    )
    s3.delete_bucket(Bucket="empty")
    own_server.restart()
    until(own_server, "measured", expected)
    s3.abort_multipart_upload(Bucket="measured", Key="u", UploadId=upload)
    next_day(own_server)
    expected[("bucket_size_bytes", "StandardStorage")] -= 3
    expected[("number_of_objects", "AllStorageTypes")] -= 1
    until(own_server, "measured", expected)
    until(own_server, "empty", {})
