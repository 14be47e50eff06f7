"""Conditional writes that something else gets in the way of: 409, and the upload has to be begun again."""

from __future__ import annotations

import http.client
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from served import Served


@pytest.fixture
def bucket(server: Served) -> str:
    name = f"conflicts-{uuid4().hex}"
    server.client("s3").create_bucket(Bucket=name)
    return name


def conflict_of(call: Any, **params: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error.get("Condition", ""), caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize("versioning", ["", "Enabled", "Suspended"])
def test_a_delete_during_an_upload(server: Served, bucket: str, versioning: str) -> None:
    s3 = server.client("s3")
    if versioning:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": versioning})

    def begun() -> dict[str, Any]:
        at = {"Bucket": bucket, "Key": "k"}
        at["UploadId"] = s3.create_multipart_upload(**at)["UploadId"]
        part = s3.upload_part(**at, PartNumber=1, Body=b"a part")
        return {**at, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}}

    other = s3.create_multipart_upload(Bucket=bucket, Key="k/2")["UploadId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    upload = begun()
    complete = s3.complete_multipart_upload
    assert conflict_of(complete, **upload, IfNoneMatch="*")[::2] == ("PreconditionFailed", 412)
    s3.delete_object(Bucket=bucket, Key="k")
    wanted = ("ConditionalRequestConflict", "If-None-Match", 409)
    assert conflict_of(complete, **upload, IfNoneMatch="*") == wanted
    server.restart()
    assert conflict_of(complete, **upload, IfNoneMatch="*") == wanted
    assert complete(**begun(), IfNoneMatch="*")["ETag"]
    if versioning == "Enabled":  # what is current goes with its version, too
        late = begun()
        s3.delete_object(Bucket=bucket, Key="k", VersionId=s3.head_object(Bucket=bucket, Key="k")["VersionId"])
        assert conflict_of(complete, **late, IfNoneMatch="*") == wanted
    s3.put_object(Bucket=bucket, Key="k", Body=b"again")
    late = begun()
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}, {"Key": "none"}]})
    assert conflict_of(complete, **late, IfNoneMatch="*") == wanted
    assert complete(**upload)["ETag"], "without a condition nothing is in the way"
    part = s3.upload_part(Bucket=bucket, Key="k/2", UploadId=other, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    assert complete(Bucket=bucket, Key="k/2", UploadId=other, MultipartUpload=parts, IfNoneMatch="*")["ETag"]


def test_a_write_during_a_put(server: Served, bucket: str) -> None:
    """The same bytes again are another object, though the ETag is the same."""
    s3 = server.client("s3")
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"there")["ETag"]
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k", "IfMatch": etag})
    size = 1024 * 1024
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.netloc, timeout=20)
    connection.putrequest("PUT", f"{target.path}?{target.query}")
    connection.putheader("Content-Length", str(size))
    connection.putheader("If-Match", etag)
    connection.endheaders(b"x" * (size // 2))
    for _ in range(3):  # the loop has turned: the condition has been looked at
        s3.get_object(Bucket=bucket, Key="k")["Body"].read()
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"there")["ETag"] == etag
    connection.send(b"x" * (size // 2))
    answer = connection.getresponse()
    assert (answer.status, b"ConditionalRequestConflict" in answer.read()) == (409, True)


def test_regions_of_listed_buckets(server: Served, bucket: str) -> None:
    """us-east-1 may be asked for any Region's buckets, another one for its own."""
    s3, there = server.client("s3"), server.client("s3", region="eu-central-1")
    there.create_bucket(Bucket=f"{bucket}-eu", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

    def names(client: Any, region: str) -> list[str]:
        return [item["Name"] for item in client.list_buckets(BucketRegion=region, Prefix=bucket)["Buckets"]]

    assert names(s3, "us-east-1") == [bucket]
    assert names(s3, "eu-central-1") == names(there, "eu-central-1") == [f"{bucket}-eu"]
    with pytest.raises(ClientError, match="Argument value eu-east-1 is not a valid AWS Region"):
        names(s3, "eu-east-1")
    with pytest.raises(ClientError, match="must be made to the corresponding regional endpoint"):
        names(there, "us-east-1")
    for unknown in ("eu-east-1", "us-east-1", "nowhere"):
        with pytest.raises(ClientError, match="InvalidLocationConstraint"):
            s3.create_bucket(Bucket=f"{bucket}-x", CreateBucketConfiguration={"LocationConstraint": unknown})
