"""Condition keys by how a request came: signature, its age, TLS. A Deny on one of them must hold."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from served import Served

PAYLOAD = "s3:x-amz-content-sha256"


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running = Served(tmp_path_factory.mktemp("keys"), "--tls-port", "0").start()
    yield running
    running.kill()


@pytest.fixture(scope="module")
def user(encrypted: Served) -> dict[str, str]:
    """Keys of a user who may do everything with S3."""
    iam = encrypted.client("iam")
    iam.create_user(UserName="u")
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    iam.put_user_policy(
        UserName="u", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": allow})
    )
    made = iam.create_access_key(UserName="u")["AccessKey"]
    return {"access_key": made["AccessKeyId"], "secret_key": made["SecretAccessKey"]}


def denying(server: Served, **condition: Any) -> str:
    """A bucket with an object, whose policy denies reading under the condition."""
    root, name = server.client("s3"), f"b-{uuid4().hex}"
    root.create_bucket(Bucket=name)
    root.put_object(Bucket=name, Key="k", Body=b"v")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}
    document = {"Version": "2012-10-17", "Statement": {**deny, "Condition": condition}}
    root.put_bucket_policy(Bucket=name, Policy=json.dumps(document))
    return name


def header(server: Served, user: dict[str, str], bucket: str) -> bool:
    """Whether the object can be read by a signature in the header."""
    try:
        server.client("s3", **user).get_object(Bucket=bucket, Key="k")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDenied"
        return False
    return True


def presigned(server: Served, user: dict[str, str], bucket: str, version: str = "s3v4") -> bool:
    """The same by a presigned URL."""
    client = server.client("s3", signature_version=version, **user)
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    try:
        return urllib.request.urlopen(url).read() == b"v"
    except urllib.error.HTTPError as error:
        assert error.code == 403
        return False


def test_form_and_version_of_the_signature(encrypted: Served, user: dict[str, str]) -> None:
    by_header = denying(encrypted, StringEquals={"s3:authType": "REST-HEADER"})
    assert (header(encrypted, user, by_header), presigned(encrypted, user, by_header)) == (False, True)
    by_query = denying(encrypted, StringNotEquals={"s3:authType": "REST-HEADER"})
    assert (header(encrypted, user, by_query), presigned(encrypted, user, by_query)) == (True, False)
    old = denying(encrypted, StringEquals={"s3:signatureversion": "AWS"})
    assert presigned(encrypted, user, old) and header(encrypted, user, old)
    assert not presigned(encrypted, user, old, "s3")
    new = denying(encrypted, StringEquals={"s3:signatureversion": "AWS4-HMAC-SHA256"})
    assert presigned(encrypted, user, new, "s3")
    assert not presigned(encrypted, user, new) and not header(encrypted, user, new)


def test_age_of_the_signature(encrypted: Served, user: dict[str, str]) -> None:
    young = denying(encrypted, NumericGreaterThan={"s3:signatureAge": "600000"})
    assert header(encrypted, user, young) and presigned(encrypted, user, young)
    stale = denying(encrypted, NumericGreaterThanEquals={"s3:signatureAge": "0"})
    assert not header(encrypted, user, stale) and not presigned(encrypted, user, stale)


def test_payloads_that_are_not_signed(encrypted: Served, user: dict[str, str]) -> None:
    unsigned = denying(encrypted, StringEquals={PAYLOAD: "UNSIGNED-PAYLOAD"})
    assert (header(encrypted, user, unsigned), presigned(encrypted, user, unsigned)) == (True, False)


def test_whose_the_bucket_is(encrypted: Served, user: dict[str, str]) -> None:
    assert not header(encrypted, user, denying(encrypted, StringEquals={"s3:ResourceAccount": "000000000000"}))
    assert header(encrypted, user, denying(encrypted, StringEquals={"s3:ResourceAccount": "111111111111"}))


def test_versions_of_tls(encrypted: Served, user: dict[str, str]) -> None:
    old = denying(encrypted, NumericLessThan={"s3:TlsVersion": "1.2"})
    current = denying(encrypted, NumericGreaterThanEquals={"s3:TlsVersion": "1.2"})
    line = next(line for line in encrypted.log if " and https://" in line)
    port = line.split(" and https://127.0.0.1:")[1].split()[0]
    secure = boto3.client(
        "s3", endpoint_url=f"https://localhost:{port}", region_name="us-east-1", aws_access_key_id=user["access_key"],
        aws_secret_access_key=user["secret_key"], verify=str(encrypted.data / "tls" / "certificate.pem"),
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1, "mode": "standard"}),
    )  # fmt: skip
    assert secure.get_object(Bucket=old, Key="k")["Body"].read() == b"v"
    with pytest.raises(ClientError, match="AccessDenied"):
        secure.get_object(Bucket=current, Key="k")
    assert header(encrypted, user, current), "a plain connection has no version"
