"""Every checksum, in a header and in a trailer, right and wrong, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import awscrt.checksums
import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from served import Served

DATA = b"what is summed up " * 20_000


def _number(value: int, size: int) -> str:
    return base64.b64encode(value.to_bytes(size, "big")).decode()


SUMS: dict[str, Callable[[bytes], str]] = {
    "crc32": lambda data: _number(zlib.crc32(data), 4),
    "crc32c": lambda data: _number(awscrt.checksums.crc32c(data), 4),
    "crc64nvme": lambda data: _number(awscrt.checksums.crc64nvme(data), 8),
    "sha1": lambda data: base64.b64encode(hashlib.sha1(data).digest()).decode(),
    "sha256": lambda data: base64.b64encode(hashlib.sha256(data).digest()).decode(),
}


class _Signer(S3SigV4Auth):
    """Signs what x-amz-content-sha256 is to say."""

    def __init__(self, said: str) -> None:
        super().__init__(Credentials("test", "test"), "s3", "us-east-1")
        self.said = said

    def payload(self, request: Any) -> str:
        return self.said


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def http(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    second = request.param == "HTTP/2"
    with httpx.Client(http1=not second, http2=second, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def bucket(server: Served) -> str:
    name = f"sums-{uuid4().hex}"
    server.client("s3").create_bucket(Bucket=name)
    return name


def send(http: httpx.Client, method: str, url: str, body: bytes, said: str, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    signed = AWSRequest(method, url, data=body, headers=given)
    _Signer(said).add_auth(signed)
    return http.request(method, url, content=body, headers=dict(signed.headers.items()))


def code_of(answer: httpx.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


@pytest.mark.parametrize("size", [0, 100, len(DATA)])
@pytest.mark.parametrize("algorithm", SUMS)
def test_in_a_header(server: Served, bucket: str, http: httpx.Client, algorithm: str, size: int) -> None:
    data, url = DATA[:size], f"{server.endpoint}/{bucket}/h-{uuid4().hex}"
    name = f"x_amz_checksum_{algorithm}"
    answer = send(http, "PUT", url, data, "UNSIGNED-PAYLOAD", **{name: SUMS[algorithm](data + b"x")})
    assert (answer.status_code, code_of(answer)) == (400, "BadDigest")
    right = SUMS[algorithm](data)
    answer = send(http, "PUT", url, data, "UNSIGNED-PAYLOAD", **{name: right})
    assert (answer.status_code, answer.headers[name.replace("_", "-")]) == (200, right)
    answer = send(http, "GET", url, b"", "UNSIGNED-PAYLOAD", x_amz_checksum_mode="ENABLED")
    assert (answer.content == data, answer.headers[name.replace("_", "-")]) == (True, right)


@pytest.mark.parametrize("size", [0, 100, len(DATA)])
@pytest.mark.parametrize("algorithm", SUMS)
def test_in_a_trailer(server: Served, bucket: str, http: httpx.Client, algorithm: str, size: int) -> None:
    data, url = DATA[:size], f"{server.endpoint}/{bucket}/t-{uuid4().hex}"
    name = f"x-amz-checksum-{algorithm}"
    for summed, status in ((data + b"x", 400), (data, 200)):
        body = (
            b"%x\r\n%b\r\n" % (size, data) if size else b""
        ) + f"0\r\n{name}:{SUMS[algorithm](summed)}\r\n\r\n".encode()
        answer = send(
            http, "PUT", url, body, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", Content_Encoding="aws-chunked",
            x_amz_decoded_content_length=str(size), x_amz_trailer=name,
        )  # fmt: skip
        assert answer.status_code == status, answer.text
    answer = send(http, "GET", url, b"", "UNSIGNED-PAYLOAD", x_amz_checksum_mode="ENABLED")
    assert (answer.content == data, answer.headers[name]) == (True, SUMS[algorithm](data))


@pytest.mark.parametrize("size", [0, 100, len(DATA)])
def test_content_md5_and_the_signed_hash(server: Served, bucket: str, http: httpx.Client, size: int) -> None:
    data, url = DATA[:size], f"{server.endpoint}/{bucket}/m-{uuid4().hex}"
    wrong, right = (base64.b64encode(hashlib.md5(each).digest()).decode() for each in (data + b"x", data))
    answer = send(http, "PUT", url, data, "UNSIGNED-PAYLOAD", Content_MD5=wrong)
    assert (answer.status_code, code_of(answer)) == (400, "BadDigest")
    answer = send(http, "PUT", url, data, hashlib.sha256(data + b"x").hexdigest())
    assert (answer.status_code, code_of(answer)) == (400, "XAmzContentSHA256Mismatch")
    answer = send(http, "PUT", url, data, hashlib.sha256(data).hexdigest(), Content_MD5=right)
    assert (answer.status_code, answer.headers["etag"]) == (200, f'"{hashlib.md5(data).hexdigest()}"')
