"""What a forger can try against a real server, in each protocol's own words: AWS's code and status, and nothing carried out."""

from __future__ import annotations

import datetime
import http.client
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from served import Served


class Asked(NamedTuple):
    """A request that the well-known key may make. signing: the service in its scope."""

    signing: str
    method: str
    target: str
    body: bytes
    headers: dict[str, str]


ASKED = {
    "s3": Asked("s3", "PUT", "/forged-bucket", b"", {}),
    "json": Asked("dynamodb", "POST", "/", b'{"Limit":1}', {"X-Amz-Target": "DynamoDB_20120810.ListTables"}),
    "rest-json": Asked("lambda", "GET", "/2015-03-31/functions", b"", {}),
    "query": Asked(
        "iam",
        "POST",
        "/",
        b"Action=ListUsers&Version=2010-05-08",
        {"Content-Type": "application/x-www-form-urlencoded"},
    ),
}
MISMATCH = {
    "s3": (403, "SignatureDoesNotMatch"), "json": (400, "InvalidSignatureException"),
    "rest-json": (403, "InvalidSignatureException"), "query": (403, "SignatureDoesNotMatch"),
}  # fmt: skip
"""Where AWS does not tell forgeries apart by their code."""
MALFORMED = (400, "AuthorizationHeaderMalformed")


def signed(
    server: Served, asked: Asked, *, secret: str = "test", key: str = "test", region: str = "us-east-1", signing: str = "",
    host: str = "", signer: type[Any] | None = None, **more: Any,
) -> tuple[str, dict[str, str]]:  # fmt: skip
    """(target, headers) as botocore signs them."""
    is_s3 = asked.signing == "s3"
    request = AWSRequest(
        asked.method,
        f"http://{host or f'127.0.0.1:{server.port}'}{asked.target}",
        data=asked.body,
        headers=asked.headers,
    )
    make = signer or (auth.S3SigV4Auth if is_s3 else auth.SigV4Auth)
    make(Credentials(key, secret), signing or asked.signing, region, **more).add_auth(request)
    prepared = request.prepare()
    headers = {k: v.decode() if isinstance(v, bytes) else str(v) for k, v in prepared.headers.items()}
    headers.pop("Content-Length", None)
    headers["Host"] = host or f"127.0.0.1:{server.port}"
    return "/" + prepared.url.split("/", 3)[3], headers


def send(server: Served, asked: Asked, target: str, headers: dict[str, str]) -> tuple[int, str, str]:
    """(status, code, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(asked.method, target, body=asked.body, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    in_header = (answer.headers.get("x-amzn-errortype") or "").partition(":")[0]
    found = re.search(r"<Code>(\w+)</Code>", body) or re.search(r'"__type":\s*"(?:[^"]*#)?(\w+)"', body)
    return answer.status, found.group(1) if found else in_header, body


def refused(
    server: Served, asked: Asked, change: Callable[[Asked], Asked] | None = None, **how: Any
) -> tuple[int, str]:
    target, headers = signed(server, asked, **how)
    status, code, _ = send(server, change(asked) if change else asked, target, headers)
    return status, code


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sign as if it were so many seconds ago."""

    def go(seconds: float) -> None:
        then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
        monkeypatch.setattr(auth, "get_current_datetime", lambda *_, **__: then)

    return go


@pytest.fixture(autouse=True, scope="module")
def _nothing_was_carried_out(server: Served) -> Any:
    yield
    assert "forged-bucket" not in [bucket["Name"] for bucket in server.client("s3").list_buckets()["Buckets"]]


@pytest.mark.parametrize("family", ASKED)
def test_a_wrong_secret(server: Served, family: str) -> None:
    assert refused(server, ASKED[family], secret="guess") == MISMATCH[family]


@pytest.mark.parametrize(("family", "code"), [
    ("s3", "InvalidAccessKeyId"), ("json", "UnrecognizedClientException"), ("rest-json", "UnrecognizedClientException"),
    ("query", "InvalidClientTokenId"),
])  # fmt: skip
def test_an_unknown_key(server: Served, family: str, code: str) -> None:
    assert refused(server, ASKED[family], key="AKIAIOSFODNN7EXAMPLE") == (MISMATCH[family][0], code)


@pytest.mark.parametrize("family", ["json", "query"])
def test_an_altered_body(server: Served, family: str) -> None:
    assert refused(server, ASKED[family], lambda a: a._replace(body=a.body + b" ")) == MISMATCH[family]


def test_an_altered_object(server: Served) -> None:
    server.client("s3").create_bucket(Bucket="forged-objects")
    put = ASKED["s3"]._replace(target="/forged-objects/key", body=b"signed")
    for body in (b"forged", b"signed and more", b""):
        assert refused(server, put, lambda a, body=body: a._replace(body=body)) == (400, "XAmzContentSHA256Mismatch")
    assert "Contents" not in server.client("s3").list_objects_v2(Bucket="forged-objects")


@pytest.mark.parametrize("family", ASKED)
def test_another_target_under_the_same_signature(server: Served, family: str) -> None:
    asked = ASKED[family]
    _, headers = signed(server, asked)
    assert send(server, asked, asked.target + "?forged=1", headers)[:2] == MISMATCH[family]


@pytest.mark.parametrize("family", ASKED)
@pytest.mark.parametrize("seconds", [16 * 60, -16 * 60])
def test_a_replay_after_its_time(server: Served, family: str, seconds: float, earlier: Callable[[float], None]) -> None:
    earlier(seconds)
    target, headers = signed(server, ASKED[family])
    status, code, body = send(server, ASKED[family], target, headers)
    if family == "s3":
        assert (status, code) == (403, "RequestTimeTooSkewed")
    else:
        assert (status, code) == MISMATCH[family]
        assert ("Signature expired: " if seconds > 0 else "Signature not yet current: ") in body


def test_a_presigned_request_after_its_time(server: Served, earlier: Callable[[float], None]) -> None:
    earlier(61)
    target, _ = signed(server, ASKED["s3"], signer=auth.S3SigV4QueryAuth, expires=60)
    status, code, body = send(server, ASKED["s3"], target, {})
    assert (status, code, "Request has expired" in body) == (403, "AccessDenied", True)
    identity = Asked("sts", "GET", "/?Action=GetCallerIdentity&Version=2011-06-15", b"", {})
    target, _ = signed(server, identity, signer=auth.SigV4QueryAuth, expires=60)
    status, code, body = send(server, identity, target, {})
    assert (status, code, "Signature expired" in body) == (403, "SignatureDoesNotMatch", True)


@pytest.mark.parametrize(
    ("family", "host"), [("s3", "s3"), ("json", "dynamodb"), ("rest-json", "lambda"), ("query", "iam")]
)
def test_another_region_than_the_hosts(server: Served, family: str, host: str) -> None:
    name = f"{host}.eu-west-1.localhost:{server.port}"
    expected = MALFORMED if family == "s3" else MISMATCH[family]
    assert refused(server, ASKED[family], host=name, region="us-east-1") == expected


@pytest.mark.parametrize("family", ASKED)
def test_a_signature_for_another_region_or_service_under_a_changed_scope(server: Served, family: str) -> None:
    """The scope is part of the key: it cannot be rewritten."""
    for old, new in (("/eu-west-1/", "/us-east-1/"), ("/execute-api/", f"/{ASKED[family].signing}/")):
        signing = "execute-api" if "execute" in old else ""
        region = "us-east-1" if signing else "eu-west-1"
        target, headers = signed(server, ASKED[family], signing=signing, region=region)
        headers["Authorization"] = headers["Authorization"].replace(old, new)
        assert send(server, ASKED[family], target, headers)[:2] == MISMATCH[family]


@pytest.mark.parametrize(
    ("family", "host"), [("s3", "s3"), ("json", "dynamodb"), ("rest-json", "lambda"), ("query", "iam")]
)
def test_a_signature_for_another_service(server: Served, family: str, host: str) -> None:
    expected = MALFORMED if family == "s3" else MISMATCH[family]
    name = f"{host}.us-east-1.localhost:{server.port}"
    assert refused(server, ASKED[family], signing="kms", host=name) == expected
