"""Requests that no SDK makes: what they ask for is refused in AWS's words, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from served import Served

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def bucket(server: Served) -> str:
    name = f"odd-{uuid4().hex}"
    server.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def ask(server: Served, bucket: str) -> Ask:
    def send(method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str, str]:
        """(status, code, message)."""
        url = f"{server.endpoint}/{bucket}/{path}"
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        signed = AWSRequest(method, url, data=body, headers=given)
        S3SigV4Auth(Credentials("test", "test"), "s3", "us-east-1").add_auth(signed)
        answer = httpx.request(method, url, content=body, headers=dict(signed.headers.items()))
        parts = [answer.text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0] for tag in ("Code", "Message")]
        return answer.status_code, parts[0], parts[1]

    return send


def test_a_part_without_its_upload_is_no_object(server: Served, bucket: str, ask: Ask) -> None:
    s3 = server.client("s3")
    s3.put_object(Bucket=bucket, Key="whole", Body=b"whole")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="whole")["UploadId"]
    for headers in ({}, {"x_amz_copy_source": f"{bucket}/whole"}):
        body = b"" if headers else b"part"
        found = ask("PUT", "whole?partNumber=1", body, **headers)
        assert found == (400, "InvalidArgument", "This operation does not accept partNumber without uploadId")
        assert ask("PUT", f"whole?uploadId={upload}", body, **headers)[:2] == (405, "MethodNotAllowed")
    assert s3.get_object(Bucket=bucket, Key="whole")["Body"].read() == b"whole"
    assert ask("PUT", f"whole?partNumber=1&uploadId={upload}", b"part")[0] == 200
    document = (
        b"<CompleteMultipartUpload><Part><PartNumber>0</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"
    )
    found = ask("POST", f"whole?uploadId={upload}", document)
    assert found == (400, "InvalidArgument", "PartNumber must be &gt;= 1")


def test_sources_of_copies(bucket: str, ask: Ask) -> None:
    assert ask("PUT", "k", x_amz_copy_source="")[1:] == ("InvalidArgument", "Invalid copy source bucket name")
    assert ask("PUT", "k", x_amz_copy_source=bucket)[1:] == ("InvalidArgument", "Invalid copy source object key")


def test_no_attributes(server: Served, bucket: str, ask: Ask) -> None:
    server.client("s3").put_object(Bucket=bucket, Key="k", Body=b"")
    why = "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty"
    assert ask("GET", "k?attributes") == (400, "InvalidRequest", why)
    assert ask("GET", "k?attributes", x_amz_object_attributes="") == (400, "InvalidRequest", why)
    found = ask("GET", "k?attributes", x_amz_object_attributes="ETag,Foo")
    assert found == (400, "InvalidArgument", "Invalid attribute name specified.")
