"""Requests signed by botocore in every form it has, and what happens when a byte of one is changed."""

from __future__ import annotations

import contextlib
import datetime
import re
import statistics
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from penstock.edge import sigv4
from penstock.edge.refusals import Family
from penstock.wire.errors import AwsError
from penstock.wire.message import Request

KEY = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SESSION = Credentials("ASIAEXAMPLE", "secret", "to/ken+==")
DEFAULT = Credentials("test", "test")


def signed(
    signer: Any,
    method: str = "POST",
    target: str = "/",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    host: str = "host.example:4566",
) -> Request:
    """A request as the server sees it, signed by botocore."""
    request = AWSRequest(method=method, url=f"http://{host}{target}", data=body, headers=dict(headers or {}))
    signer.add_auth(request)
    prepared = request.prepare()
    split = urlsplit(prepared.url)
    given = {"host": host}
    for name, value in prepared.headers.items():
        given[name.lower()] = value.decode() if isinstance(value, bytes) else str(value)
    return Request(method, split.path or "/", split.query, given, body)


def check(request: Request, kind: Family = Family.JSON, secret: str = KEY.secret_key or "", now: float = 0) -> None:
    claim = sigv4.read(request, kind)
    assert claim is not None
    sigv4.check_time(claim, now or time.time(), kind)
    sigv4.verify(claim, request, secret, kind)


def refused(request: Request, kind: Family = Family.JSON, **more: Any) -> AwsError:
    with pytest.raises(AwsError) as caught:
        check(request, kind, **more)
    return caught.value


def v4() -> Any:
    return auth.SigV4Auth(KEY, "dynamodb", "eu-west-1")


def s3() -> Any:
    return auth.S3SigV4Auth(KEY, "s3", "us-east-1")


def presigned_s3(expires_s: int = 60) -> Any:
    return auth.S3SigV4QueryAuth(KEY, "s3", "us-east-1", expires=expires_s)


def presigned() -> Any:
    return auth.SigV4QueryAuth(KEY, "sts", "us-east-1", expires=60)


def test_header_form() -> None:
    check(signed(v4(), body=b"{}", headers={"X-Amz-Target": "DynamoDB_20120810.GetItem"}))


@pytest.mark.parametrize(
    "target",
    ["/", "/a/b", "/a%20b", "/a//b/", "/a/./b/../c", "/a%2Fb", "/%C3%A9", "/2015-03-31/functions/f%3A1/invocations",
     "/?a=b", "/?b=2&a=1&a=0", "/?x", "/?x=%20%2B%26&y=%C3%A9", "/~a-b_c.d"],
)  # fmt: skip
def test_paths_and_queries(target: str) -> None:
    check(signed(v4(), "GET", target))
    if "/./" not in target:
        check(signed(s3(), "GET", target), Family.S3)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_any_key_of_s3(key: str) -> None:
    check(signed(s3(), "GET", "/bucket/" + quote(key, safe="/~")), Family.S3)


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=5))
def test_any_query(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in pairs)
    check(signed(v4(), "GET", f"/?{query}"))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_any_header_value(value: str) -> None:
    request = signed(v4(), headers={"X-Amz-Meta-A": value})
    request.headers["x-amz-meta-a"] = value.strip(" \t")  # what the listener leaves of it
    check(request)


def test_presigned_forms() -> None:
    check(signed(presigned_s3(), "GET", "/b/k%20%2B"), Family.S3)
    request = signed(presigned_s3(), "PUT", "/b/k")
    request.body = b"not signed"
    check(request, Family.S3)
    check(signed(presigned_s3(), "GET", "/b/k?response-content-type=text%2Fplain"), Family.S3)
    check(signed(presigned(), "GET", "/?Action=GetCallerIdentity&Version=2011-06-15"), Family.QUERY)


def test_session_tokens_are_part_of_it() -> None:
    request = signed(auth.SigV4Auth(SESSION, "sts", "us-east-1"))
    check(request, secret="secret")
    request.headers["x-amz-security-token"] = "another"
    assert refused(request, secret="secret").code == "InvalidSignatureException"
    request = signed(auth.S3SigV4QueryAuth(SESSION, "s3", "us-east-1"), "GET", "/b/k")
    claim = sigv4.read(request, Family.S3)
    assert claim is not None
    assert claim.token == "to/ken+=="
    check(request, Family.S3, secret="secret")


MUTATIONS: dict[str, Callable[[Request], Any]] = {
    "method": lambda r: setattr(r, "method", "PUT"),
    "path": lambda r: setattr(r, "path", r.path + "x"),
    "query": lambda r: setattr(r, "query", r.query + "&c=d"),
    "body": lambda r: setattr(r, "body", r.body + b" "),
    "host": lambda r: r.headers.update(host="other"),
    "signed header": lambda r: r.headers.update({"x-amz-target": "DynamoDB_20120810.DeleteTable"}),
    "header added": lambda r: r.headers.update({"x-amz-extra": "1"}),
    "header removed": lambda r: r.headers.pop("x-amz-target"),
    "signature": lambda r: r.headers.update(authorization=r.headers["authorization"][:-1] + "g"),
    "signature cut": lambda r: r.headers.update(authorization=r.headers["authorization"][:-1]),
    "region": lambda r: r.headers.update(authorization=r.headers["authorization"].replace("eu-west-1", "eu-west-2")),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_request_is_refused(name: str) -> None:
    request = signed(v4(), target="/p?a=b", body=b"{}", headers={"X-Amz-Target": "DynamoDB_20120810.GetItem"})
    check(request)
    MUTATIONS[name](request)
    assert refused(request).code == "InvalidSignatureException"


def test_wrong_secret_in_every_familys_words() -> None:
    request = signed(v4(), body=b"{}")
    error = refused(request, secret="x")
    assert (error.code, error.status) == ("InvalidSignatureException", 400)
    assert error.message.endswith("Consult the service documentation for details.")
    assert (refused(request, Family.REST_JSON, secret="x")).status == 403
    assert (refused(request, Family.QUERY, secret="x")).code == "SignatureDoesNotMatch"
    error = refused(signed(s3(), "GET", "/b/k"), Family.S3, secret="x")
    assert (error.code, error.status) == ("SignatureDoesNotMatch", 403)
    assert error.members["AWSAccessKeyId"] == "AKIDEXAMPLE"
    assert error.members["CanonicalRequest"].startswith("GET\n/b/k\n")
    assert error.members["StringToSign"].startswith("AWS4-HMAC-SHA256\n")


def test_s3_body_is_held_to_its_hash() -> None:
    request = signed(s3(), "PUT", "/b/k", body=b"abc")
    check(request, Family.S3)
    request.body = b"abd"
    error = refused(request, Family.S3)
    assert (error.code, error.status) == ("XAmzContentSHA256Mismatch", 400)
    request = signed(s3(), "PUT", "/b/k", body=b"abc")
    request.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
    assert refused(request, Family.S3).code == "SignatureDoesNotMatch"
    del request.headers["x-amz-content-sha256"]
    assert refused(request, Family.S3).code == "InvalidRequest"
    request.headers["x-amz-content-sha256"] = "STREAMING-SOMETHING"
    assert refused(request, Family.S3).code == "InvalidArgument"


def test_unsigned_payload_is_for_s3() -> None:
    def unsigned(signer: Any) -> Request:
        signer.payload = lambda request: "UNSIGNED-PAYLOAD"
        return signed(signer, body=b"x", headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})

    check(unsigned(s3()), Family.S3)
    assert refused(unsigned(v4())).code == "InvalidSignatureException"


def test_all_amz_headers_must_be_signed() -> None:
    request = signed(s3(), "PUT", "/b/k")
    request.headers["x-amz-acl"] = "public-read"
    error = refused(request, Family.S3)
    assert (error.code, error.members) == ("AccessDenied", {"HeadersNotSigned": "x-amz-acl"})


def test_time(monkeypatch: pytest.MonkeyPatch) -> None:
    request = signed(v4())
    now = time.time()
    check(request, now=now + 14 * 60)
    check(request, now=now - 14 * 60)
    error = refused(request, now=now + 16 * 60)
    assert error.code == "InvalidSignatureException"
    assert re.fullmatch(
        r"Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 15 min\.\)", error.message
    )
    assert "Signature not yet current" in refused(request, now=now - 16 * 60).message
    error = refused(signed(s3()), Family.S3, now=now + 16 * 60)
    assert (error.code, error.status) == ("RequestTimeTooSkewed", 403)
    assert error.members["MaxAllowedSkewMilliseconds"] == "900000"


def test_presigned_expiry() -> None:
    now = time.time()
    request = signed(presigned_s3(60), "GET", "/b/k")
    check(request, Family.S3, now=now + 55)
    error = refused(request, Family.S3, now=now + 65)
    assert (error.code, error.status, error.message) == ("AccessDenied", 403, "Request has expired")
    assert error.members["X-Amz-Expires"] == "60"
    # Its life may be much longer than the clocks' allowed difference, up to a week.
    check(signed(presigned_s3(7 * 86400), "GET", "/b/k"), Family.S3, now=now + 6 * 86400)
    assert refused(signed(presigned_s3(7 * 86400 + 1), "GET", "/b/k"), Family.S3).code == (
        "AuthorizationQueryParametersError"
    )
    assert refused(signed(presigned_s3(-1), "GET", "/b/k"), Family.S3).code == "AuthorizationQueryParametersError"
    assert refused(request, Family.S3, now=now - 16 * 60).message == "Request is not yet valid"


def test_presigned_mutations() -> None:
    for change in (("X-Amz-Expires=60", "X-Amz-Expires=6000"), ("%2Fus-east-1%2F", "%2Fus-west-1%2F"), ("k=1", "k=2")):
        request = signed(presigned_s3(), "GET", "/b/k?k=1")
        assert change[0] in request.query
        request.query = request.query.replace(*change)
        assert refused(request, Family.S3).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("header", "s3_code", "json_code"),
    [
        ("", None, None),
        ("Basic dGVzdA==", "InvalidArgument", "IncompleteSignatureException"),
        ("AWS test:abc", "InvalidRequest", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256 ", "AuthorizationHeaderMalformed", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256 Credential=a", "AuthorizationHeaderMalformed", "IncompleteSignatureException"),
        (
            "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=x",
            "AuthorizationHeaderMalformed",
            "IncompleteSignatureException",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=a/20200101/r/s/aws3_request, SignedHeaders=host, Signature=x",
            "AuthorizationHeaderMalformed",
            "IncompleteSignatureException",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=a/2020O101/r/s/aws4_request, SignedHeaders=host, Signature=x",
            "AuthorizationHeaderMalformed",
            "IncompleteSignatureException",
        ),
    ],
)
def test_headers_that_cannot_be_read(header: str, s3_code: str | None, json_code: str | None) -> None:
    date = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": "h", "x-amz-date": date, **({"authorization": header} if header else {})}
    request = Request("GET", "/", "", headers)
    if s3_code is None or json_code is None:
        assert sigv4.read(request, Family.S3) is None
        return
    assert refused(request, Family.S3).code == s3_code
    assert refused(request, Family.JSON).code == json_code


def test_date_is_needed_and_must_be_the_scopes() -> None:
    request = signed(s3(), "GET", "/b/k")
    date = request.headers.pop("x-amz-date")
    assert refused(request, Family.S3).code == "AccessDenied"
    request.headers["x-amz-date"] = "19990101T000000Z"
    assert refused(request, Family.S3).code == "AuthorizationHeaderMalformed"
    request.headers["x-amz-date"] = date
    check(request, Family.S3)


def test_date_instead_of_x_amz_date() -> None:
    """botocore keeps to a caller's Date header, and writes it anew with -0000 as its zone."""
    request = signed(
        v4(), headers={"Date": "Sat, 21 Nov 2026 08:00:00 GMT", "X-Amz-Target": "DynamoDB_20120810.GetItem"}
    )
    assert request.headers["date"].endswith(" -0000")
    assert "x-amz-date" not in request.headers
    check(request)


def test_two_mechanisms_at_once() -> None:
    request = signed(s3(), "GET", "/b/k")
    request.query = signed(presigned_s3(), "GET", "/b/k").query
    assert refused(request, Family.S3).code == "InvalidArgument"


def test_parts_in_any_order_and_spacing() -> None:
    request = signed(v4())
    parts = request.headers["authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(", ")
    request.headers["authorization"] = "AWS4-HMAC-SHA256 " + ",".join(reversed(parts))
    check(request)


@given(
    st.binary(max_size=200).map(lambda b: b.decode("latin-1")),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=100),
)
def test_nonsense_is_refused_in_awss_words(header: str, query: str) -> None:
    for form in ({"authorization": header}, {"authorization": "AWS4-HMAC-SHA256 " + header}, {}):
        for text in (query, "X-Amz-Algorithm=" + query, "X-Amz-Credential=" + query):
            request = Request("GET", "/", text, {"host": "h", "x-amz-date": "20200101T000000Z", **form})
            for kind in Family:
                sigv4.peek(request)
                try:
                    claim = sigv4.read(request, kind)
                    if claim is not None:
                        sigv4.verify(claim, request, "s", kind)
                except AwsError as error:
                    assert error.status in (400, 403)


def test_how_long_a_refusal_takes_tells_nothing() -> None:
    """Whether the first or the last character of the signature is wrong, the secret or the request: one time."""
    request = signed(v4(), body=b"{}")
    claim = sigv4.read(request, Family.JSON)
    assert claim is not None
    right, secret = claim.signature, KEY.secret_key or ""
    other = {"0": "1"}
    guesses = {
        "first": other.get(right[0], "0") + right[1:], "last": right[:-1] + other.get(right[-1], "0"), "all": "x" * 64,
    }  # fmt: skip
    took: dict[str, list[int]] = {name: [] for name in guesses}
    for _ in range(1000):
        for name, guess in guesses.items():
            began = time.perf_counter_ns()
            with contextlib.suppress(AwsError):
                sigv4.verify(msgspec.structs.replace(claim, signature=guess), request, secret, Family.JSON)
            took[name].append(time.perf_counter_ns() - began)
    medians = [statistics.median(each) for each in took.values()]
    assert max(medians) < min(medians) * 1.2, medians
