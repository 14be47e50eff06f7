"""Callers who own neither the bucket nor the object, and requests that only hand-made clients send."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import botocore
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from served import Served

MINE, OTHER = "111111111111", "222222222222"


@pytest.fixture
def mine(server: Served) -> Any:
    return server.client("s3", access_key=MINE)


@pytest.fixture
def other(server: Served) -> Any:
    return server.client("s3", access_key=OTHER)


@pytest.fixture
def anonymous(server: Served) -> Any:
    return server.client("s3", signature_version=botocore.UNSIGNED)


@pytest.fixture
def public(mine: Any) -> str:
    """A bucket with lists, which anybody may read and write."""
    name = f"public-{uuid4().hex}"
    mine.create_bucket(Bucket=name, ObjectOwnership="ObjectWriter")
    mine.delete_public_access_block(Bucket=name)
    mine.put_bucket_acl(Bucket=name, ACL="public-read-write")
    return name


def code_of(call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return str(caught.value.response["Error"]["Code"])


def status_of(request: Request) -> int:
    try:
        return int(urlopen(request).status)
    except HTTPError as error:
        return error.code


def test_who_may_list_is_told_what_is_not_there(mine: Any, other: Any, anonymous: Any, public: str) -> None:
    mine.put_object(Bucket=public, Key="private", Body=b"x")
    assert code_of(anonymous.get_object, Bucket=public, Key="not") == "NoSuchKey"
    assert code_of(other.get_object, Bucket=public, Key="not") == "NoSuchKey"
    assert code_of(anonymous.get_object, Bucket=public, Key="private") == "AccessDenied"
    assert code_of(anonymous.get_object, Bucket=f"not-{uuid4().hex}", Key="not") == "NoSuchBucket"


def test_a_policy_for_a_prefix_tells_what_is_not_there_below_it(mine: Any, other: Any) -> None:
    name = f"prefix-{uuid4().hex}"
    mine.create_bucket(Bucket=name)
    about = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"}}
    statements = [
        {**about, "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"},
        {**about, "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{name}",
         "Condition": {"StringLike": {"s3:prefix": "shared/*"}}},
    ]  # fmt: skip
    mine.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    assert code_of(other.get_object, Bucket=name, Key="shared/not") == "NoSuchKey"
    assert code_of(other.get_object, Bucket=name, Key="private/not") == "AccessDenied"


def test_who_wrote_an_object_may_delete_it(mine: Any, other: Any, anonymous: Any, public: str) -> None:
    for client, key in ((mine, "mine"), (other, "others"), (anonymous, "nobodys")):
        client.put_object(Bucket=public, Key=key, Body=b"x")
    assert code_of(other.delete_object, Bucket=public, Key="mine") == "AccessDenied"
    assert code_of(anonymous.delete_object, Bucket=public, Key="others") == "AccessDenied"
    other.delete_object(Bucket=public, Key="others")
    wanted = {"Objects": [{"Key": "nobodys"}, {"Key": "mine"}]}
    done = anonymous.delete_objects(Bucket=public, Delete=wanted)
    assert [item["Key"] for item in done["Deleted"]] == ["nobodys"]
    assert [item["Code"] for item in done["Errors"]] == ["AccessDenied"]


def test_who_began_an_upload_may_abort_it(mine: Any, other: Any, public: str) -> None:
    ids = {c: c.create_multipart_upload(Bucket=public, Key="k")["UploadId"] for c in (mine, other)}
    assert code_of(other.abort_multipart_upload, Bucket=public, Key="k", UploadId=ids[mine]) == "AccessDenied"
    assert other.list_parts(Bucket=public, Key="k", UploadId=ids[other])["UploadId"] == ids[other]
    other.abort_multipart_upload(Bucket=public, Key="k", UploadId=ids[other])


def test_a_copy_of_what_a_list_lets_one_read(mine: Any, other: Any, public: str) -> None:
    mine.put_object(Bucket=public, Key="shown", Body=b"x", ACL="public-read")
    mine.put_object(Bucket=public, Key="hidden", Body=b"x")
    to = f"to-{uuid4().hex}"
    other.create_bucket(Bucket=to)
    other.copy_object(Bucket=to, Key="copy", CopySource=f"{public}/shown")
    assert code_of(other.copy_object, Bucket=to, Key="copy", CopySource=f"{public}/hidden") == "AccessDenied"


def test_policies_see_grants_and_that_nothing_is_said_of_metadata(mine: Any, other: Any) -> None:
    name, source = f"grants-{uuid4().hex}", f"source-{uuid4().hex}"
    for bucket in (name, source):
        mine.create_bucket(Bucket=bucket, ObjectOwnership="ObjectWriter")
    mine.put_object(Bucket=source, Key="k", Body=b"x")
    owner = "id=" + mine.list_buckets()["Owner"]["ID"]
    about = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"},
        "Resource": f"arn:aws:s3:::{name}/*",
    }
    put = {"s3:PutObject": {"s3:x-amz-grant-full-control": owner}}
    statements = [
        {**about, "Action": action, "Condition": {"StringEquals": condition}} for action, condition in put.items()
    ]
    mine.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    assert code_of(other.put_object, Bucket=name, Key="k") == "AccessDenied"
    other.put_object(Bucket=name, Key="k", GrantFullControl=owner)
    statements = [
        {**about, "Action": "s3:PutObject", "Condition": {"StringEquals": {"s3:x-amz-metadata-directive": "COPY"}}}
    ]
    mine.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    statements[0].pop("Condition")
    statements[0].update(Action="s3:GetObject", Resource=f"arn:aws:s3:::{source}/*")
    mine.put_bucket_policy(Bucket=source, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    params = {"Bucket": name, "Key": "copy", "CopySource": f"{source}/k"}
    assert code_of(other.copy_object, **params) == "AccessDenied"
    other.copy_object(**params, MetadataDirective="COPY")


def test_copy_sources_as_other_clients_write_them(server: Served) -> None:
    s3, bucket = server.client("s3"), f"plus-{uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a b+c", Body=b"x")
    for source in (f"{bucket}%2Fa+b%2Bc", f"/{bucket}/a%20b%2Bc", f"{server.endpoint}/{bucket}/a+b%2Bc"):
        request = Request(_presigned(server, f"/{bucket}/copy", {"x-amz-copy-source": source}), method="PUT")
        assert status_of(request) == 200, source


def _presigned(server: Served, path: str, query: dict[str, str]) -> str:
    """A URL whose query stands for headers."""
    request = AWSRequest("PUT", server.endpoint + path, params=query)
    S3SigV4QueryAuth(Credentials("test", "test"), "s3", "us-east-1", expires=60).add_auth(request)
    return str(request.url)


def test_conditions_in_a_presigned_url(server: Served) -> None:
    s3, bucket = server.client("s3"), f"presigned-{uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"].strip('"')
    for query, status in (({"If-Match": "0" * 32}, 412), ({"If-None-Match": "*"}, 412), ({"If-Match": etag}, 200)):
        request = Request(_presigned(server, f"/{bucket}/k", query), data=b"", method="PUT")
        assert status_of(request) == status, query


def test_a_post_that_is_no_form(server: Served) -> None:
    s3, bucket = server.client("s3"), f"form-{uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    request = Request(f"{server.endpoint}/{bucket}", data=b"x", headers={"Content-Type": "text/html"}, method="POST")
    assert status_of(request) == 412


def test_a_copy_onto_itself_that_only_decrypts(server: Served) -> None:
    s3, bucket = server.client("s3"), f"itself-{uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms")
    same = {"Bucket": bucket, "Key": "k", "CopySource": f"{bucket}/k"}
    assert s3.copy_object(**same)["ServerSideEncryption"] == "AES256"
    assert code_of(s3.copy_object, **same) == "InvalidRequest"


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_urls_of_every_kind(server: Served, version: str) -> None:
    s3, bucket = server.client("s3", signature_version=version), f"presigned-{uuid4().hex}"
    server.client("s3").create_bucket(Bucket=bucket)

    def ask(operation: str, method: str = "GET", data: bytes | None = None, **params: Any) -> tuple[int, bytes]:
        url = s3.generate_presigned_url(operation, Params={"Bucket": bucket, **params})
        headers = {"Content-Type": ""} if data is not None else {}
        answer = urlopen(Request(url, data=data, method=method, headers=headers))
        return answer.status, answer.read()

    assert ask("put_object", "PUT", b"hello", Key="a b+é")[0] == 200
    assert ask("get_object", Key="a b+é") == (200, b"hello")
    assert ask("get_object", Key="a b+é", ResponseContentType="text/x", VersionId="null") == (200, b"hello")
    assert ask("head_object", "HEAD", Key="a b+é") == (200, b"")
    for listing in ("list_objects", "list_objects_v2", "list_object_versions"):
        assert b"<Key>" in ask(listing, Prefix="a")[1], listing
    assert ask("head_bucket", "HEAD")[0] == 200
    assert b"LocationConstraint" in ask("get_bucket_location")[1]
    upload = ask("create_multipart_upload", "POST", b"", Key="m")[1].split(b"UploadId>")[1][:-2].decode()
    assert ask("upload_part", "PUT", b"part", Key="m", UploadId=upload, PartNumber=1)[0] == 200
    assert b"<PartNumber>1" in ask("list_parts", Key="m", UploadId=upload)[1]
    assert ask("abort_multipart_upload", "DELETE", Key="m", UploadId=upload)[0] == 204
    assert ask("delete_object", "DELETE", Key="a b+é")[0] == 204
    assert ask("delete_bucket", "DELETE")[0] == 204


def test_a_subresource_that_a_method_has_not_is_not_the_object(server: Served) -> None:
    """`PUT key?restore` must not overwrite the key, nor `DELETE key?acl` delete it."""
    s3, bucket = server.client("s3"), f"sub-{uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"kept")
    for method, query in (("PUT", "restore"), ("PUT", "uploads"), ("DELETE", "acl"), ("DELETE", "retention")):
        request = AWSRequest(method, f"{server.endpoint}/{bucket}/k", params={query: ""})
        S3SigV4QueryAuth(Credentials("test", "test"), "s3", "us-east-1", expires=60).add_auth(request)
        assert status_of(Request(str(request.url), data=b"" if method == "PUT" else None, method=method)) == 405, query
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"kept"


def test_nobody_begins_uploads_or_copies(mine: Any, anonymous: Any, public: str) -> None:
    """Whatever a policy allows them, who has not signed may neither, as on AWS."""
    both = [f"arn:aws:s3:::{public}", f"arn:aws:s3:::{public}/*"]
    everything = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": both}
    mine.put_bucket_policy(Bucket=public, Policy=json.dumps({"Version": "2012-10-17", "Statement": [everything]}))
    anonymous.put_object(Bucket=public, Key="k", Body=b"x")
    upload = {
        "Bucket": public,
        "Key": "m",
        "UploadId": mine.create_multipart_upload(Bucket=public, Key="m")["UploadId"],
    }
    for call, params, what in (
        (anonymous.create_multipart_upload, {"Bucket": public, "Key": "m"}, "initiate multipart uploads"),
        (anonymous.copy_object, {"Bucket": public, "Key": "c", "CopySource": f"{public}/k"}, "copy objects"),
        (anonymous.upload_part_copy, {**upload, "PartNumber": 1, "CopySource": f"{public}/k"}, "copy objects"),
    ):
        with pytest.raises(ClientError, match=f"Anonymous users cannot {what}.  Please authenticate."):
            call(**params)


def test_a_policy_is_its_buckets_owners(mine: Any, other: Any) -> None:
    name = f"policy-{uuid4().hex}"
    mine.create_bucket(Bucket=name)
    shared = {
        "Effect": "Allow", "Principal": {"AWS": OTHER}, "Action": ["s3:*BucketPolicy"], "Resource": f"arn:aws:s3:::{name}"
    }  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [shared]})
    assert code_of(other.get_bucket_policy, Bucket=name) == "AccessDenied"
    mine.put_bucket_policy(Bucket=name, Policy=policy)
    for call, params in (
        (other.get_bucket_policy, {}), (other.put_bucket_policy, {"Policy": policy}), (other.delete_bucket_policy, {}),
    ):  # fmt: skip
        assert code_of(call, Bucket=name, **params) == "MethodNotAllowed"


def test_only_one_way_to_authenticate(server: Served, mine: Any, public: str) -> None:
    mine.put_object(Bucket=public, Key="k", Body=b"x")
    for version in ("s3", "s3v4"):
        signer = server.client("s3", access_key=MINE, signature_version=version)
        url = signer.generate_presigned_url("get_object", Params={"Bucket": public, "Key": "k"})
        assert status_of(Request(url)) == 200
        assert status_of(Request(url, headers={"Authorization": "AWS4-HMAC-SHA256 Credential=x"})) == 400


def test_nobody_locks_himself_out_by_mistake(server: Served, mine: Any) -> None:
    """A policy that takes from its author that he may change it has to be confirmed."""
    name = f"locked-{uuid4().hex}"
    mine.create_bucket(Bucket=name)
    iam = server.client("iam", access_key=MINE)
    user = iam.create_user(UserName=name)["User"]
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="s3", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    his = server.client("s3", access_key=key["AccessKeyId"], secret_key=key["SecretAccessKey"])
    denial = {
        "Effect": "Deny", "Principal": {"AWS": user["Arn"]}, "Action": "s3:PutBucketPolicy", "Resource": f"arn:aws:s3:::{name}"
    }  # fmt: skip
    policy = {"Bucket": name, "Policy": json.dumps({"Version": "2012-10-17", "Statement": [denial]})}
    assert code_of(his.put_bucket_policy, **policy) == "AccessDenied"
    his.put_bucket_policy(**policy, ConfirmRemoveSelfBucketAccess=True)
    assert code_of(his.put_bucket_policy, **policy) == "AccessDenied"
    mine.put_bucket_policy(**policy)
