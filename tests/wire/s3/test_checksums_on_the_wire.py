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
from awscrt.checksums import XXHash
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

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
    "sha512": lambda data: base64.b64encode(hashlib.sha512(data).digest()).decode(),
    "md5": lambda data: base64.b64encode(hashlib.md5(data).digest()).decode(),
    "xxhash64": lambda data: base64.b64encode(XXHash.compute_xxhash64(data)).decode(),
    "xxhash3": lambda data: base64.b64encode(XXHash.compute_xxhash3_64(data)).decode(),
    "xxhash128": lambda data: base64.b64encode(XXHash.compute_xxhash3_128(data)).decode(),
}
COMPOSITE_ONLY = ("sha1", "sha256", "sha512", "md5", "xxhash64", "xxhash3", "xxhash128")


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


@pytest.mark.parametrize("algorithm", COMPOSITE_ONLY)
def test_multipart_uploads(server: Served, bucket: str, algorithm: str) -> None:
    """Of what cannot be combined, the whole has the checksum of its parts' checksums."""
    s3, name, key = server.client("s3"), algorithm.upper(), f"mp-{algorithm}"
    member, summed = f"Checksum{name}", SUMS[algorithm]
    wanted = {"Bucket": bucket, "Key": key, "ChecksumAlgorithm": name}
    with pytest.raises(ClientError, match="checksum type cannot be used"):
        s3.create_multipart_upload(**wanted, ChecksumType="FULL_OBJECT")
    begun = s3.create_multipart_upload(**wanted)
    assert begun["ChecksumType"] == "COMPOSITE"
    upload = {"Bucket": bucket, "Key": key, "UploadId": begun["UploadId"]}
    bodies, parts = [b"1" * 5 * 1024**2, b"the end"], []
    for number, body in enumerate(bodies, 1):
        part: dict[str, Any] = {"PartNumber": number, "Body": body}
        with pytest.raises(ClientError, match="BadDigest"):
            s3.upload_part(**upload, **part, **{member: summed(body + b"x")})
        done = s3.upload_part(**upload, **part, **{member: summed(body)})
        assert done[member] == summed(body)
        parts.append({"PartNumber": number, "ETag": done["ETag"], member: done[member]})
    assert [part[member] for part in s3.list_parts(**upload)["Parts"]] == [summed(body) for body in bodies]
    raw = b"".join(base64.b64decode(summed(body)) for body in bodies)
    whole = summed(raw)
    with pytest.raises(ClientError, match="BadDigest"):
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **{member: summed(b"other") + "-2"})
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **{member: whole + "-2"})
    assert (done[member], done["ChecksumType"]) == (f"{whole}-2", "COMPOSITE")
    told = s3.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=["Checksum", "ObjectParts"])
    assert told["Checksum"] == {member: whole, "ChecksumType": "COMPOSITE"}
    assert [part[member] for part in told["ObjectParts"]["Parts"]] == [summed(body) for body in bodies]
    assert s3.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"][0]["ChecksumAlgorithm"] == [name]
    copied = s3.copy_object(Bucket=bucket, Key=f"{key}-copy", CopySource=f"{bucket}/{key}")["CopyObjectResult"]
    assert (copied[member], copied["ChecksumType"]) == (summed(b"".join(bodies)), "FULL_OBJECT")
    again = s3.copy_object(Bucket=bucket, Key=key, CopySource=f"{bucket}/{key}-copy", ChecksumAlgorithm="CRC32")
    assert again["CopyObjectResult"]["ChecksumCRC32"] == SUMS["crc32"](b"".join(bodies))


@pytest.mark.parametrize("algorithm", ["SHA512", "XXHASH64", "XXHASH3", "XXHASH128"])
def test_what_boto3_computes(server: Served, bucket: str, algorithm: str) -> None:
    s3 = server.client("s3")
    for key, size in (("small", 10), ("large", len(DATA))):
        put = s3.put_object(Bucket=bucket, Key=key, Body=DATA[:size], ChecksumAlgorithm=algorithm)
        got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        assert got["Body"].read() == DATA[:size]
        assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"] == SUMS[algorithm.lower()](DATA[:size])
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "small"}]}, ChecksumAlgorithm=algorithm)
    assert [item["Key"] for item in gone["Deleted"]] == ["small"]


def test_an_algorithm_alone_says_nothing(server: Served, bucket: str, http: httpx.Client) -> None:
    url = f"{server.endpoint}/{bucket}/alone"
    for size in (100, len(DATA)):
        answer = send(http, "PUT", url, DATA[:size], "UNSIGNED-PAYLOAD", x_amz_sdk_checksum_algorithm="SHA1")
        assert (answer.status_code, code_of(answer)) == (400, "InvalidRequest")
        assert "no corresponding x-amz-checksum-* or x-amz-trailer headers were found" in answer.text


def test_what_is_locked_comes_with_a_checksum(server: Served, http: httpx.Client) -> None:
    s3, name = server.client("s3"), f"locks-{uuid4().hex}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    url, plain = f"{server.endpoint}/{name}/k", "UNSIGNED-PAYLOAD"
    lock = {"x_amz_object_lock_mode": "GOVERNANCE", "x_amz_object_lock_retain_until_date": "2040-01-01T00:00:00Z"}
    needed = "Content-MD5 OR x-amz-checksum- HTTP header is required for {} requests with Object Lock parameters"
    assert send(http, "PUT", url, b"x", plain).status_code == 200
    for given in (lock, {"x_amz_object_lock_legal_hold": "ON"}):
        answer = send(http, "PUT", url, b"x", plain, **given)
        assert (answer.status_code, needed.format("Put Object") in answer.text) == (400, True)
    assert send(http, "PUT", url, b"x", plain, **lock, x_amz_checksum_sha1=SUMS["sha1"](b"x")).status_code == 200
    md5 = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    assert send(http, "PUT", url, b"x", plain, **lock, Content_MD5=md5).status_code == 200
    body = f"1\r\nx\r\n0\r\nx-amz-checksum-crc32:{SUMS['crc32'](b'x')}\r\n\r\n".encode()
    trailed = {
        "Content_Encoding": "aws-chunked", "x_amz_decoded_content_length": "1", "x_amz_trailer": "x-amz-checksum-crc32",
    }  # fmt: skip
    answer = send(http, "PUT", url, body, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", **lock, **trailed)
    assert answer.status_code == 200, answer.text
    retention = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    s3.put_object_lock_configuration(
        Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention}
    )
    assert needed.format("Put Object") in send(http, "PUT", url, b"x", plain).text
    upload = s3.create_multipart_upload(Bucket=name, Key="k")["UploadId"]
    part = f"{url}?partNumber=1&uploadId={upload}"
    assert needed.format("Put Part") in send(http, "PUT", part, b"x", plain).text
    assert send(http, "PUT", part, b"x", plain, Content_MD5=md5).status_code == 200
