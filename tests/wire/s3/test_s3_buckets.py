"""Buckets and their settings over the wire: every document that boto3 sends and reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError

from served import Served


@pytest.fixture(scope="module")
def s3(server: Served) -> Any:
    return server.client("s3")


@pytest.fixture
def bucket(s3: Any) -> Iterator[str]:
    name = f"b-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    yield name


def error_of(call: Any, **params: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return dict(caught.value.response["Error"])


def test_tags(s3: Any, bucket: str) -> None:
    assert error_of(s3.get_bucket_tagging, Bucket=bucket)["Code"] == "NoSuchTagSet"
    tags = [{"Key": "a", "Value": "1"}, {"Key": "é <&>", "Value": ""}]
    with pytest.raises(ClientError):
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [*tags, tags[0]]})
    tags[1]["Key"] = "é"
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=bucket)
    assert error_of(s3.get_bucket_tagging, Bucket=bucket)["Code"] == "NoSuchTagSet"
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="x=y")
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tags
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []


def test_policies_and_the_public(server: Served, s3: Any, bucket: str) -> None:
    text = json.dumps({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}],
    })  # fmt: skip
    anyone = server.client("s3", signature_version=UNSIGNED)
    s3.put_object(Bucket=bucket, Key="k", Body=b"open")
    assert error_of(s3.put_bucket_policy, Bucket=bucket, Policy=text)["Code"] == "AccessDenied"
    assert error_of(s3.get_bucket_policy, Bucket=bucket)["Code"] == "NoSuchBucketPolicy"
    shut = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert all(shut.values())
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={**shut, "BlockPublicPolicy": False})
    assert s3.put_bucket_policy(Bucket=bucket, Policy=text)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == json.loads(text)
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True
    assert error_of(anyone.get_object, Bucket=bucket, Key="k")["Code"] == "AccessDenied"
    s3.delete_public_access_block(Bucket=bucket)
    assert anyone.get_object(Bucket=bucket, Key="k")["Body"].read() == b"open"
    assert error_of(anyone.get_object, Bucket=bucket, Key="absent")["Code"] == "AccessDenied"
    assert error_of(anyone.put_object, Bucket=bucket, Key="k", Body=b"")["Code"] == "AccessDenied"
    override = error_of(anyone.get_object, Bucket=bucket, Key="k", ResponseContentType="a/b")
    assert override["Code"] == "InvalidRequest"
    s3.delete_bucket_policy(Bucket=bucket)
    assert error_of(anyone.get_object, Bucket=bucket, Key="k")["Code"] == "AccessDenied"
    assert error_of(s3.put_bucket_policy, Bucket=bucket, Policy="{")["Code"] == "MalformedPolicy"


def test_a_user_may_what_its_policies_say(server: Served, s3: Any, bucket: str) -> None:
    iam, name = server.client("iam"), f"u-{uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    allowed = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/in/*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}",
         "Condition": {"StringLike": {"s3:prefix": "in/*"}}},
    ]}  # fmt: skip
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(allowed))
    user = server.client("s3", key["AccessKeyId"], key["SecretAccessKey"])
    user.put_object(Bucket=bucket, Key="in/k", Body=b"1")
    assert error_of(user.put_object, Bucket=bucket, Key="out/k", Body=b"1")["Code"] == "AccessDenied"
    assert error_of(user.get_object, Bucket=bucket, Key="in/k")["Code"] == "AccessDenied"
    assert user.list_objects_v2(Bucket=bucket, Prefix="in/")["KeyCount"] == 1
    assert error_of(user.list_objects_v2, Bucket=bucket)["Code"] == "AccessDenied"
    many = user.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "in/k"}]})
    assert [error["Code"] for error in many["Errors"]] == ["AccessDenied"]
    assert error_of(user.copy_object, Bucket=bucket, Key="in/c", CopySource=f"{bucket}/in/k")["Code"] == "AccessDenied"


def test_what_every_bucket_is(s3: Any, bucket: str) -> None:
    own = s3.list_buckets()["Owner"]["ID"]
    acl = s3.get_bucket_acl(Bucket=bucket)
    assert acl["Owner"]["ID"] == own
    assert [(g["Permission"], g["Grantee"]["ID"], g["Grantee"]["Type"]) for g in acl["Grants"]] == [
        ("FULL_CONTROL", own, "CanonicalUser")
    ]
    assert error_of(s3.put_bucket_acl, Bucket=bucket, ACL="public-read")["Code"] == "AccessControlListNotSupported"
    rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    for call, code in (
        (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
        (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
        (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
        (s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
        (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
    ):
        error = error_of(call, Bucket=bucket)
        assert (error["Code"], error["BucketName"]) == (code, bucket)


def test_what_is_not_there_is_refused(s3: Any, bucket: str) -> None:
    versioning = {"Status": "Enabled", "MFADelete": "Enabled"}
    error = error_of(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration=versioning, MFA="serial 123456")
    assert error["Code"] == "NotImplemented"
    error = error_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", StorageClass="GLACIER")
    assert error["Code"] == "NotImplemented"
    assert "StorageClass" in error["Message"]


def test_errors_say_what_they_are_about(s3: Any, bucket: str) -> None:
    absent = f"absent-{uuid4().hex}"
    error = error_of(s3.list_objects_v2, Bucket=absent)
    assert (error["Code"], error["BucketName"]) == ("NoSuchBucket", absent)
    assert error["Message"] == "The specified bucket does not exist"
    error = error_of(s3.get_object, Bucket=bucket, Key="a&b")
    assert (error["Code"], error["Key"], error["Message"]) == ("NoSuchKey", "a&b", "The specified key does not exist.")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert error_of(s3.delete_bucket, Bucket=bucket)["Code"] == "BucketNotEmpty"
    assert error_of(s3.create_bucket, Bucket="No_Good")["Code"] == "InvalidBucketName"
    error = error_of(s3.get_object, Bucket=bucket, Key="k", IfMatch='"x"')
    assert (error["Code"], error["Condition"]) == ("PreconditionFailed", "If-Match")
    assert error_of(s3.list_objects_v2, Bucket=bucket, ContinuationToken="nonsense")["Code"] == "InvalidArgument"
    assert error_of(s3.list_objects_v2, Bucket=bucket, MaxKeys=-1)["Code"] == "InvalidArgument"


def test_pages_of_buckets(server: Served) -> None:
    s3 = server.client("s3", "333333333333")
    names = sorted(f"page-{uuid4().hex}" for _ in range(5))
    for name in names:
        s3.create_bucket(Bucket=name)
    pages = list(s3.get_paginator("list_buckets").paginate(Prefix="page-", PaginationConfig={"PageSize": 2}))
    assert [b["Name"] for page in pages for b in page["Buckets"]] == names
    assert [len(page["Buckets"]) for page in pages] == [2, 2, 1]
    assert all(b["BucketRegion"] == "us-east-1" for page in pages for b in page["Buckets"])


def test_what_no_bucket_can_have(s3: Any, bucket: str) -> None:
    """Configurations that would do nothing here are refused; there are none to list, get or delete."""
    assert s3.list_bucket_inventory_configurations(Bucket=bucket).get("InventoryConfigurationList", []) == []
    assert s3.list_bucket_metrics_configurations(Bucket=bucket)["IsTruncated"] is False
    for kind in ("analytics", "intelligent_tiering", "inventory", "metrics"):
        get, delete = (
            getattr(s3, f"get_bucket_{kind}_configuration"),
            getattr(s3, f"delete_bucket_{kind}_configuration"),
        )
        for call in (get, delete):
            assert error_of(call, Bucket=bucket, Id="x")["Code"] == "NoSuchConfiguration"
    s3.delete_bucket_lifecycle(Bucket=bucket)
    s3.delete_bucket_replication(Bucket=bucket)
    rule = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    put = s3.put_bucket_lifecycle_configuration
    assert error_of(put, Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})["Code"] == "NotImplemented"
    metrics = {"Id": "x"}
    put = s3.put_bucket_metrics_configuration
    assert error_of(put, Bucket=bucket, Id="x", MetricsConfiguration=metrics)["Code"] == "NotImplemented"
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert (
        error_of(s3.restore_object, Bucket=bucket, Key="k", RestoreRequest={"Days": 1})["Code"] == "InvalidObjectState"
    )
