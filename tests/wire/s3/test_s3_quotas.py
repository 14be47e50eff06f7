"""How many buckets an account may have, which the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served


def directory(name: str) -> dict[str, Any]:
    info = {"Type": "Directory", "DataRedundancy": "SingleAvailabilityZone"}
    location = {"Type": "AvailabilityZone", "Name": "use1-az4"}
    return {
        "Bucket": f"{name}--use1-az4--x-s3", "CreateBucketConfiguration": {"Location": location, "Bucket": info},
    }  # fmt: skip


def test_quotas_of_buckets(tmp_path: Path) -> None:
    server = Served(tmp_path, "--s3-buckets", "2", "--s3-directory-buckets", "1").start()
    try:
        s3, other = server.client("s3"), server.client("s3", access_key="111111111111")
        west = server.client("s3", region="us-west-2")
        s3.create_bucket(Bucket="one-bucket")
        s3.create_bucket(**directory("one"))
        s3.create_bucket(Bucket="two-buckets")
        for wanted in ({"Bucket": "three-buckets"}, directory("two")):
            with pytest.raises(ClientError, match="TooManyBuckets"):
                s3.create_bucket(**wanted)
        west.create_bucket(**directory("west"))
        other.create_bucket(Bucket="three-buckets")
        s3.create_bucket(Bucket="two-buckets")  # once more is no more
        s3.delete_bucket(Bucket="one-bucket")
        s3.create_bucket(Bucket="another-bucket")
    finally:
        server.kill()
