"""Directory buckets by boto3, whose S3 Express sessions it makes itself."""

from __future__ import annotations

import datetime
import json
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from penstock.blobs.checksums import CRC64NVME, digest, encode
from served import Served

ZONE = "use1-az4"


def client(server: Served, service: str = "s3", key: str = "test", secret: str = "test", **config: Any) -> Any:
    return boto3.session.Session().client(
        service, endpoint_url=server.endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1, "mode": "standard"}, **config),
    )  # fmt: skip


@pytest.fixture(scope="module")
def s3(server: Served) -> Any:
    return client(server)


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"d-{uuid4().hex[:20]}--{ZONE}--x-s3"
    configuration = {
        "Location": {"Type": "AvailabilityZone", "Name": ZONE},
        "Bucket": {"Type": "Directory", "DataRedundancy": "SingleAvailabilityZone"},
    }
    s3.create_bucket(Bucket=name, CreateBucketConfiguration=configuration)
    return name


def code_of(call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return str(caught.value.response["Error"]["Code"])


def test_names_and_lists(s3: Any, bucket: str) -> None:
    assert bucket in [item["Name"] for item in s3.list_directory_buckets()["Buckets"]]
    assert bucket not in [item["Name"] for item in s3.list_buckets()["Buckets"]]
    names, token = [], {}
    while True:
        page = s3.list_directory_buckets(MaxDirectoryBuckets=1, **token)
        names += [item["Name"] for item in page["Buckets"]]
        if "ContinuationToken" not in page:
            break
        token = {"ContinuationToken": page["ContinuationToken"]}
    assert bucket in names
    directory = {"Type": "Directory", "DataRedundancy": "SingleAvailabilityZone"}
    wrong = {"Location": {"Type": "AvailabilityZone", "Name": "use1-az5"}, "Bucket": directory}
    assert code_of(s3.create_bucket, Bucket=f"x--{ZONE}--x-s3", CreateBucketConfiguration=wrong) == "InvalidBucketName"
    s3.delete_bucket(Bucket=bucket)


def test_what_is_told_of_a_bucket(s3: Any, bucket: str) -> None:
    told = s3.head_bucket(Bucket=bucket)
    assert told["BucketArn"] == f"arn:aws:s3express:us-east-1:000000000000:bucket/{bucket}"
    assert (told["BucketLocationType"], told["BucketLocationName"]) == ("AvailabilityZone", ZONE)


def test_objects_through_sessions(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="folder/a", Body=b"one")
    s3.put_object(Bucket=bucket, Key="b", Body=b"y" * 300_000)
    got = s3.get_object(Bucket=bucket, Key="folder/a")
    assert (got["Body"].read(), got["StorageClass"], got["ServerSideEncryption"]) == (
        b"one",
        "EXPRESS_ONEZONE",
        "AES256",
    )
    listed = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [item["Key"] for item in listed["Contents"]] == ["b"]
    assert listed["CommonPrefixes"] == [{"Prefix": "folder/"}]
    assert listed["Contents"][0]["StorageClass"] == "EXPRESS_ONEZONE"
    assert code_of(s3.list_objects_v2, Bucket=bucket, Prefix="fold") == "InvalidRequest"
    s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/b")
    assert s3.get_object(Bucket=bucket, Key="c")["Body"].read() == b"y" * 300_000
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload, MultipartUpload=parts)
    assert s3.get_object(Bucket=bucket, Key="m")["Body"].read() == b"part"
    assert code_of(s3.get_bucket_versioning, Bucket=bucket) == "MethodNotAllowed"
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", ServerSideEncryption="aws:kms") == "NotImplemented"
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", StorageClass="STANDARD_IA") == "InvalidStorageClass"


def test_appending(s3: Any, bucket: str) -> None:
    expected = b""
    for piece in (b"first ", b"second ", b"z" * 100_000, b"", b"last"):
        answer = s3.put_object(Bucket=bucket, Key="log", Body=piece, WriteOffsetBytes=len(expected))
        expected += piece
        assert s3.get_object(Bucket=bucket, Key="log")["Body"].read() == expected
    assert answer["Size"] == len(expected)
    attributes = s3.head_object(Bucket=bucket, Key="log", ChecksumMode="ENABLED")
    if "ChecksumCRC64NVME" in attributes:
        assert attributes["ChecksumCRC64NVME"] == encode(digest(CRC64NVME, expected))
    assert code_of(s3.put_object, Bucket=bucket, Key="log", Body=b"x", WriteOffsetBytes=3) == "InvalidWriteOffset"
    got = s3.get_object(Bucket=bucket, Key="log", Range="bytes=4-20")["Body"].read()
    assert got == expected[4:21]


def test_renaming(s3: Any, bucket: str) -> None:
    for size in (10, 200_000):
        s3.put_object(Bucket=bucket, Key="old name", Body=b"r" * size, Metadata={"k": "v"})
        s3.rename_object(Bucket=bucket, Key="new", RenameSource="old%20name")
        got = s3.get_object(Bucket=bucket, Key="new")
        assert (got["Body"].read(), got["Metadata"]) == (b"r" * size, {"k": "v"})
        assert code_of(s3.get_object, Bucket=bucket, Key="old name") == "NoSuchKey"
    s3.put_object(Bucket=bucket, Key="one", Body=b"1")
    for _ in range(2):
        s3.rename_object(Bucket=bucket, Key="two", RenameSource="one", ClientToken="the same")
    s3.put_object(Bucket=bucket, Key="third", Body=b"")
    taken = {"RenameSource": "third", "DestinationIfNoneMatch": "*"}
    assert code_of(s3.rename_object, Bucket=bucket, Key="new", **taken) == "PreconditionFailed"
    assert code_of(s3.rename_object, Bucket=bucket, Key="x", RenameSource="none") == "NoSuchKey"


def test_a_session_is_good_for_its_bucket_and_mode(server: Served, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    session = s3.create_session(Bucket=bucket, SessionMode="ReadOnly")["Credentials"]
    as_session = boto3.session.Session().client(
        "s3", endpoint_url=server.endpoint, aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"], aws_session_token=session["SessionToken"], region_name="us-east-1",
        config=Config(s3={"disable_s3_express_session_auth": True}),
    )  # fmt: skip
    assert as_session.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"
    assert code_of(as_session.put_object, Bucket=bucket, Key="k", Body=b"w") == "AccessDenied"
    assert code_of(as_session.list_buckets) == "AccessDenied"
    other = f"g-{uuid4().hex}"
    s3.create_bucket(Bucket=other)
    assert code_of(as_session.list_objects_v2, Bucket=other) == "AccessDenied"


def test_users_need_create_session(server: Served, s3: Any, bucket: str) -> None:
    iam = client(server, "iam")
    name = f"u-{uuid4().hex[:12]}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    user = client(server, key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    assert code_of(user.put_object, Bucket=bucket, Key="k", Body=b"v") == "AccessDenied"
    statement = {
        "Effect": "Allow", "Action": "s3express:CreateSession",
        "Resource": f"arn:aws:s3express:us-east-1:000000000000:bucket/{bucket}",
    }  # fmt: skip
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
    user = client(server, key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    user.put_object(Bucket=bucket, Key="k", Body=b"v")
    assert user.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v"


def test_conditions_of_deletes(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"123")
    at = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    for wrong in ({"IfMatchSize": 4}, {"IfMatchLastModifiedTime": "2020-01-01T00:00:00Z"}, {"IfMatch": '"0"'}):
        assert code_of(s3.delete_object, Bucket=bucket, Key="k", **wrong) == "PreconditionFailed"
    item = {"Key": "k", "Size": 4}
    [error] = s3.delete_objects(Bucket=bucket, Delete={"Objects": [item]})["Errors"]
    assert error["Code"] == "PreconditionFailed"
    s3.delete_object(Bucket=bucket, Key="k", IfMatchSize=3, IfMatchLastModifiedTime=at)
    assert code_of(s3.head_object, Bucket=bucket, Key="k") == "404"


def test_other_accounts_need_the_buckets_policy(server: Served, s3: Any, bucket: str) -> None:
    other = client(server, key="111111111111", secret="test")
    s3.put_object(Bucket=bucket, Key="k", Body=b"mine")
    for call, params in (
        (other.create_session, {}), (other.put_object, {"Key": "k", "Body": b"x"}), (other.get_object, {"Key": "k"}),
        (other.list_objects_v2, {}), (other.delete_object, {"Key": "k"}), (other.delete_bucket, {}),
        (other.get_bucket_policy, {}), (other.head_bucket, {}),
    ):  # fmt: skip
        assert code_of(call, Bucket=bucket, **params) in ("AccessDenied", "403")
    arn = f"arn:aws:s3express:us-east-1:000000000000:bucket/{bucket}"
    statement = {
        "Effect": "Allow", "Principal": {"AWS": "111111111111"}, "Action": "s3express:CreateSession", "Resource": arn,
    }  # fmt: skip
    for wrong in ({"Action": "s3:GetObject"}, {"Resource": f"arn:aws:s3:::{bucket}"}, {"Resource": f"{arn}x"}):
        policy = {"Version": "2012-10-17", "Statement": [{**statement, **wrong}]}
        assert code_of(s3.put_bucket_policy, Bucket=bucket, Policy=json.dumps(policy)) == "MalformedPolicy"
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == policy
    other.put_object(Bucket=bucket, Key="theirs", Body=b"theirs")
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"mine"
    assert code_of(other.delete_bucket, Bucket=bucket) == "AccessDenied"
    s3.delete_bucket_policy(Bucket=bucket)
    late = client(server, key="111111111111", secret="test")
    assert code_of(late.get_object, Bucket=bucket, Key="k") == "AccessDenied"


def test_a_session_from_before_is_no_way_into_anothers_bucket(server: Served, s3: Any) -> None:
    """SDKs make one before they create the bucket, so anybody may; it is good for a bucket of his own."""
    name = f"d-{uuid4().hex[:20]}--{ZONE}--x-s3"
    other = client(server, key="111111111111", secret="test")
    early = other.create_session(Bucket=name)["Credentials"]
    configuration = {
        "Location": {"Type": "AvailabilityZone", "Name": ZONE},
        "Bucket": {"Type": "Directory", "DataRedundancy": "SingleAvailabilityZone"},
    }
    s3.create_bucket(Bucket=name, CreateBucketConfiguration=configuration)
    s3.put_object(Bucket=name, Key="k", Body=b"mine")
    thief = boto3.session.Session().client(
        "s3", endpoint_url=server.endpoint, region_name="us-east-1", aws_access_key_id=early["AccessKeyId"],
        aws_secret_access_key=early["SecretAccessKey"], aws_session_token=early["SessionToken"],
        config=Config(s3={"disable_s3_express_session_auth": True}, retries={"total_max_attempts": 1}),
    )  # fmt: skip
    for call, params in ((thief.get_object, {}), (thief.put_object, {"Body": b"theirs"}), (thief.delete_object, {})):
        assert code_of(call, Bucket=name, Key="k", **params) == "AccessDenied"
    assert s3.get_object(Bucket=name, Key="k")["Body"].read() == b"mine"


def test_aborting_what_was_begun_then(s3: Any, bucket: str) -> None:
    upload = {"Bucket": bucket, "Key": "m", "UploadId": s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]}
    begun = s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["Initiated"]
    before = begun - datetime.timedelta(seconds=1)
    assert code_of(s3.abort_multipart_upload, **upload, IfMatchInitiatedTime=before) == "PreconditionFailed"
    s3.abort_multipart_upload(**upload, IfMatchInitiatedTime=begun)
    assert code_of(s3.list_parts, **upload) == "NoSuchUpload"
