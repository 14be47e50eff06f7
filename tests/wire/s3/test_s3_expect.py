"""Expect: 100-continue: who may not write is told so before the body is asked for, as on AWS."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import socket
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from served import Served

BODY = b"what is to be stored"
UNSIGNED, TRAILER = "UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


class _Signer(S3SigV4Auth):
    def __init__(self, secret: str, said: str) -> None:
        super().__init__(Credentials("test", secret), "s3", "us-east-1")
        self.said = said

    def payload(self, request: Any) -> str:
        return self.said


@pytest.fixture(scope="module")
def bucket(server: Served) -> str:
    name = f"expects-{uuid4().hex}"
    server.client("s3").create_bucket(Bucket=name)
    return name


class Asked:
    """A request whose head alone was sent."""

    def __init__(
        self, url: str, size: int, said: str = UNSIGNED, secret: str = "test", method: str = "PUT", **headers: str
    ) -> None:
        given = {"Content-Length": str(size), "Expect": "100-continue"}
        given.update({name.replace("_", "-"): value for name, value in headers.items()})
        signed = AWSRequest(method, url, headers=given)
        _Signer(secret, said).add_auth(signed)
        target = urlsplit(url)
        path = target.path + (f"?{target.query}" if target.query else "")
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**signed.headers, "Host": target.netloc}.items())
        self.socket = socket.create_connection((target.hostname or "", target.port or 80), timeout=20)
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())

    def goes_on(self) -> bool:
        """Whether the body is asked for."""
        first = self.socket.recv(25, socket.MSG_PEEK)
        if first.startswith(b"HTTP/1.1 100"):
            assert self.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            return True
        return False

    def answer(self, body: bytes = b"") -> tuple[int, bytes]:
        if body:
            self.socket.sendall(body)
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        try:
            return response.status, response.read()
        finally:
            self.socket.close()


@pytest.fixture(params=[5, 100_000, 1_000_000])
def size(request: pytest.FixtureRequest) -> Iterator[int]:
    yield request.param


@pytest.mark.parametrize("said", ["hash", UNSIGNED, TRAILER])
def test_only_who_may_write_is_asked_for_the_body(server: Served, bucket: str, said: str, size: int) -> None:
    data = (BODY * 50_001)[:size]
    key, sent, headers = f"k-{uuid4().hex}", data, {}
    if said == "hash":
        said = hashlib.sha256(data).hexdigest()
    if said == TRAILER:
        crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))
        sent = b"%x\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (size, data, crc)
        headers = {
            "Content_Encoding": "aws-chunked", "x_amz_decoded_content_length": str(size),
            "x_amz_trailer": "x-amz-checksum-crc32",
        }  # fmt: skip
    url = f"{server.endpoint}/{bucket}/{key}"
    asked = Asked(url, len(sent), said, "wrong", **headers)
    assert not asked.goes_on()
    status, text = asked.answer()
    assert (status, b"SignatureDoesNotMatch" in text) == (403, True)
    asked = Asked(f"{server.endpoint}/{bucket}-not/{key}", len(sent), said, **headers)
    assert not asked.goes_on()
    assert asked.answer()[0] == 404
    asked = Asked(url, len(sent), said, **headers)
    assert asked.goes_on()
    assert asked.answer(sent)[0] == 200
    assert server.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read() == data
    asked = Asked(url, len(sent), said, **headers, If_None_Match="*")
    assert not asked.goes_on()
    assert asked.answer()[0] == 412


def test_documents(server: Served, bucket: str) -> None:
    s3 = server.client("s3")
    s3.put_object(Bucket=bucket, Key="gone", Body=b"")
    url = f"{server.endpoint}/{bucket}?delete="
    document = b"<Delete><Object><Key>gone</Key></Object></Delete>"
    md5 = base64.b64encode(hashlib.md5(document).digest()).decode()
    asked = Asked(url, len(document), UNSIGNED, "wrong", "POST", Content_MD5=md5)
    assert not asked.goes_on()
    assert asked.answer()[0] == 403
    for said in (UNSIGNED, hashlib.sha256(document).hexdigest()):
        asked = Asked(url, len(document), said, method="POST", Content_MD5=md5)
        assert asked.goes_on()
        status, text = asked.answer(document)
        assert (status, b"<Key>gone</Key>" in text) == (200, True)
    asked = Asked(url, len(document), hashlib.sha256(b"other").hexdigest(), method="POST", Content_MD5=md5)
    assert asked.goes_on()
    status, text = asked.answer(document)
    assert (status, b"XAmzContentSHA256Mismatch" in text) == (400, True)


def test_boto3_goes_on_after_a_refusal(server: Served, bucket: str) -> None:
    """botocore says it wants to be asked with every file; the connection it was refused on is not used again."""
    s3 = server.client("s3")
    for i in range(5):
        with pytest.raises(s3.exceptions.NoSuchBucket):
            s3.put_object(Bucket=f"{bucket}-not", Key="k", Body=io.BytesIO(BODY))
        s3.put_object(Bucket=bucket, Key=f"after-{i}", Body=io.BytesIO(BODY * i))
        assert s3.get_object(Bucket=bucket, Key=f"after-{i}")["Body"].read() == BODY * i
