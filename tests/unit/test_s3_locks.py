"""S3's Object Lock: what stays, until when, and who may take it away all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.wire.errors import AwsError
from s3_node import S3

DAY = 86_400.0


@pytest.fixture
async def s3(tmp_path: Path) -> S3:
    node = S3(tmp_path)
    await node("CreateBucket", Bucket="bucket", ObjectLockEnabledForBucket=True)
    return node


async def refused(s3: S3, operation: str, code: str, **params: Any) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await s3(operation, Bucket="bucket", **params)
    assert caught.value.code == code, caught.value
    return caught.value


async def put(s3: S3, **params: Any) -> str:
    return str((await s3("PutObject", Bucket="bucket", Key="k", Body=b"x", **params))["VersionId"])


async def default(s3: S3, mode: str, **period: int) -> None:
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, **period}}}
    await s3("PutObjectLockConfiguration", Bucket="bucket", ObjectLockConfiguration=configuration)
    got = await s3("GetObjectLockConfiguration", Bucket="bucket")
    assert got["ObjectLockConfiguration"] == configuration


async def test_a_locked_bucket_keeps_versions(s3: S3) -> None:
    assert await s3("GetBucketVersioning", Bucket="bucket") == {"Status": "Enabled"}
    await refused(s3, "PutBucketVersioning", "InvalidBucketState", VersioningConfiguration={"Status": "Suspended"})
    await s3("CreateBucket", Bucket="plain")
    with pytest.raises(AwsError, match="ObjectLockConfigurationNotFoundError"):
        await s3("GetObjectLockConfiguration", Bucket="plain")
    with pytest.raises(AwsError, match="InvalidBucketState"):
        await s3("PutObjectLockConfiguration", Bucket="plain", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
async def test_retention(s3: S3, mode: str) -> None:
    until = s3.clock.now() + DAY
    version = await put(s3, ObjectLockMode=mode, ObjectLockRetainUntilDate=until)
    head = await s3("HeadObject", Bucket="bucket", Key="k")
    assert (head["ObjectLockMode"], round(head["ObjectLockRetainUntilDate"])) == (mode, round(until))
    await refused(s3, "DeleteObject", "AccessDenied", Key="k", VersionId=version)
    shorter = {"Mode": mode, "RetainUntilDate": until - 60}
    await refused(s3, "PutObjectRetention", "AccessDenied", Key="k", Retention=shorter)
    longer = {"Mode": mode, "RetainUntilDate": until + DAY}
    await s3("PutObjectRetention", Bucket="bucket", Key="k", Retention=longer)
    marker = await s3("DeleteObject", Bucket="bucket", Key="k")
    await s3("DeleteObject", Bucket="bucket", Key="k", VersionId=marker["VersionId"])
    bypass = {"Key": "k", "VersionId": version, "BypassGovernanceRetention": True}
    if mode == "COMPLIANCE":
        await refused(s3, "DeleteObject", "AccessDenied", **bypass)
        s3.clock.advance(2 * DAY + 1)
        await s3("DeleteObject", Bucket="bucket", Key="k", VersionId=version)
    else:
        await s3("DeleteObject", Bucket="bucket", **bypass)
    await refused(s3, "GetObject", "NoSuchVersion", Key="k", VersionId=version)


async def test_legal_hold(s3: S3) -> None:
    version = await put(s3)
    await refused(s3, "GetObjectLegalHold", "NoSuchObjectLockConfiguration", Key="k")
    await s3("PutObjectLegalHold", Bucket="bucket", Key="k", LegalHold={"Status": "ON"})
    assert (await s3("GetObjectLegalHold", Bucket="bucket", Key="k"))["LegalHold"] == {"Status": "ON"}
    batch = {"Objects": [{"Key": "k", "VersionId": version}]}
    done = await s3("DeleteObjects", Bucket="bucket", Delete=batch, BypassGovernanceRetention=True)
    assert done["Errors"][0]["Message"] == "Access Denied because object protected by object lock."
    await s3("PutObjectLegalHold", Bucket="bucket", Key="k", LegalHold={"Status": "OFF"})
    await s3("DeleteObject", Bucket="bucket", Key="k", VersionId=version)


async def test_default_retention_holds_for_every_way_to_write(s3: S3) -> None:
    await default(s3, "GOVERNANCE", Days=3)
    await put(s3)
    await s3("CopyObject", Bucket="bucket", Key="copy", CopySource="bucket/k")
    upload = (await s3("CreateMultipartUpload", Bucket="bucket", Key="parts"))["UploadId"]
    part = await s3("UploadPart", Bucket="bucket", Key="parts", UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    await s3("CompleteMultipartUpload", Bucket="bucket", Key="parts", UploadId=upload, MultipartUpload=parts)
    for key in ("k", "copy", "parts"):
        got = (await s3("GetObjectRetention", Bucket="bucket", Key=key))["Retention"]
        assert got["Mode"] == "GOVERNANCE"
        assert abs(got["RetainUntilDate"] - s3.clock.now() - 3 * DAY) < 60
    await default(s3, "COMPLIANCE", Years=1)
    await put(s3)
    assert (await s3("GetObjectRetention", Bucket="bucket", Key="k"))["Retention"]["Mode"] == "COMPLIANCE"


async def test_what_is_refused(s3: S3) -> None:
    await refused(s3, "PutObject", "InvalidArgument", Key="k", Body=b"", ObjectLockMode="GOVERNANCE")
    past = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": s3.clock.now() - 1}
    await refused(s3, "PutObject", "InvalidArgument", Key="k", Body=b"", **past)
    for retention in ({"Mode": "GOVERNANCE"}, {"Mode": "GOVERNANCE", "Days": 1, "Years": 1}, {"Mode": "x", "Days": 1}):
        configuration = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
        await refused(s3, "PutObjectLockConfiguration", "MalformedXML", ObjectLockConfiguration=configuration)
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 0}}}
    await refused(s3, "PutObjectLockConfiguration", "InvalidRetentionPeriod", ObjectLockConfiguration=configuration)
    await s3("CreateBucket", Bucket="plain")
    with pytest.raises(AwsError, match="Bucket is missing Object Lock Configuration"):
        await s3("PutObject", Bucket="plain", Key="k", Body=b"", ObjectLockLegalHoldStatus="ON")
