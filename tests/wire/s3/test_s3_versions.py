"""Versions over the wire: the headers, and permissions that speak of versions."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from served import Served


@pytest.fixture
def s3(server: Served) -> Any:
    return server.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"v-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def test_headers(s3: Any, bucket: str) -> None:
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    assert s3.head_object(Bucket=bucket, Key="k")["VersionId"] == version
    gone = s3.delete_object(Bucket=bucket, Key="k")
    marker = gone["VersionId"]
    assert gone["DeleteMarker"] is True
    for call in (s3.get_object, s3.head_object):
        with pytest.raises(ClientError) as caught:
            call(Bucket=bucket, Key="k")
        headers = caught.value.response["ResponseMetadata"]["HTTPHeaders"]
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
        assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker)
        with pytest.raises(ClientError) as caught:
            call(Bucket=bucket, Key="k", VersionId=marker)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 405
        assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["allow"] == "DELETE"
    listed = s3.list_object_versions(Bucket=bucket)
    assert [item["VersionId"] for item in listed["Versions"]] == [version]
    assert [item["VersionId"] for item in listed["DeleteMarkers"]] == [marker]
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"


def test_a_multipart_upload_makes_a_version(s3: Any, bucket: str) -> None:
    old = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"22")
    done = s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=old)["Body"].read() == b"1"
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=done["VersionId"])["Body"].read() == b"22"


def test_a_policy_may_speak_of_versions(server: Served, s3: Any, bucket: str) -> None:
    old = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    new = s3.put_object(Bucket=bucket, Key="k", Body=b"2")["VersionId"]
    iam = server.client("iam")
    name = f"u{uuid4().hex[:10]}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    reader = server.client("s3", key["AccessKeyId"], key["SecretAccessKey"])

    def allow(**statement: Any) -> None:
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", **statement}]}
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))

    allow(Action="s3:GetObject")
    assert reader.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    with pytest.raises(ClientError, match="s3:GetObjectVersion"):
        reader.get_object(Bucket=bucket, Key="k", VersionId=new)
    allow(Action=["s3:GetObjectVersion", "s3:DeleteObject"], Condition={"StringEquals": {"s3:VersionId": old}})
    assert reader.get_object(Bucket=bucket, Key="k", VersionId=old)["Body"].read() == b"1"
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.get_object(Bucket=bucket, Key="k", VersionId=new)
    with pytest.raises(ClientError, match="s3:DeleteObjectVersion"):
        reader.delete_object(Bucket=bucket, Key="k", VersionId=old)


def test_a_marker_is_no_source_of_a_copy(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    source = {"Bucket": bucket, "Key": "k", "VersionId": marker}
    with pytest.raises(ClientError, match="may not specifically refer to a delete marker by version id"):
        s3.copy_object(Bucket=bucket, Key="c", CopySource=source)
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "k"})


def test_listings_may_ask_for_restore_status(s3: Any, bucket: str) -> None:
    """Only what is archived has one, and nothing is."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    asked = {"Bucket": bucket, "OptionalObjectAttributes": ["RestoreStatus"]}
    assert [item["Key"] for item in s3.list_objects_v2(**asked)["Contents"]] == ["k"]
    assert [item["Key"] for item in s3.list_objects(**asked)["Contents"]] == ["k"]
    assert [item["Key"] for item in s3.list_object_versions(**asked)["Versions"]] == ["k"]
