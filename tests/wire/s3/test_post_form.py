"""Browser uploads: what boto3's generate_presigned_post makes, what older forms look like, and what must be refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from served import Served

LATER = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))


@pytest.fixture
def bucket(server: Served) -> str:
    name = f"forms-{secrets.token_hex(6)}"
    server.client("s3").create_bucket(Bucket=name)
    return name


def post(
    server: Served, bucket: str, fields: dict[str, Any], content: bytes | None = b"content", **more: Any
) -> httpx.Response:
    files = [(name, (None, value)) for name, value in fields.items()]
    if content is not None:
        files.append(("file", ("cat.txt", content)))
    return httpx.post(f"{server.endpoint}/{bucket}", files=files, follow_redirects=False, timeout=60, **more)  # type: ignore[arg-type]


def code_of(answer: httpx.Response) -> str:
    found = ElementTree.fromstring(answer.content).findtext("Code")
    assert found
    return found


def signed(server: Served, bucket: str, *conditions: Any, key: str = "k", **fields: str) -> dict[str, Any]:
    made = server.client("s3").generate_presigned_post(
        bucket, key, Fields=fields or None, Conditions=list(conditions) or None
    )  # fmt: skip
    return dict(made["fields"])


def version_2(policy: dict[str, Any], **fields: str) -> dict[str, str]:
    text = base64.b64encode(json.dumps(policy).encode()).decode()
    signature = base64.b64encode(hmac.digest(b"test", text.encode(), hashlib.sha1)).decode()
    return {"AWSAccessKeyId": "test", "policy": text, "signature": signature, **fields}


@pytest.mark.parametrize("size", [0, 7, 5_000_000])
def test_what_boto3_makes(server: Served, bucket: str, size: int) -> None:
    content = secrets.token_bytes(size)
    answer = post(server, bucket, signed(server, bucket), content)
    assert answer.status_code == 204, answer.text
    found = server.client("s3").get_object(Bucket=bucket, Key="k")
    assert found["Body"].read() == content
    assert answer.headers["etag"] == found["ETag"]


def test_fields_are_headers(server: Served, bucket: str) -> None:
    tagging = "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&#43;2</Value></Tag></TagSet></Tagging>"
    fields = {
        "Content-Type": "text/plain",
        "x-amz-meta-colour": "blue",
        "Cache-Control": "no-store",
        "tagging": tagging,
    }
    conditions = [{name: value} for name, value in fields.items()]
    form = signed(server, bucket, *conditions, ["starts-with", "$key", "up/"], key="up/${filename}", **fields)
    answer = post(server, bucket, {**form, "x-ignore-me": "1"})
    assert answer.status_code == 204, answer.text
    s3 = server.client("s3")
    head = s3.head_object(Bucket=bucket, Key="up/cat.txt")
    assert (head["ContentType"], head["CacheControl"], head["Metadata"]) == (
        "text/plain",
        "no-store",
        {"colour": "blue"},
    )
    assert s3.get_object_tagging(Bucket=bucket, Key="up/cat.txt")["TagSet"] == [{"Key": "a b", "Value": "1+2"}]


def test_answers(server: Served, bucket: str) -> None:
    for status, expected in (("200", 200), ("201", 201), ("204", 204), ("404", 204)):
        form = signed(server, bucket, {"success_action_status": status}, success_action_status=status)
        answer = post(server, bucket, form)
        assert answer.status_code == expected
        if expected == 201:
            told = ElementTree.fromstring(answer.content)
            assert told.tag == "PostResponse"
            assert (told.findtext("Bucket"), told.findtext("Key")) == (bucket, "k")
            assert told.findtext("Location") == f"{server.endpoint}/{bucket}/k"
    there = "http://localhost:9/thanks?x=1"
    answer = post(
        server, bucket, signed(server, bucket, {"success_action_redirect": there}, success_action_redirect=there)
    )
    assert answer.status_code == 303
    etag = hashlib.md5(b"content").hexdigest()
    assert answer.headers["location"] == f"{there}&bucket={bucket}&key=k&etag=%22{etag}%22"


def test_the_older_signature(server: Served, bucket: str) -> None:
    policy = {"expiration": LATER, "conditions": [{"BUCKET": bucket}, ["STARTS-WITH", "$KEY", "f"]]}
    assert post(server, bucket, version_2(policy, key="foo")).status_code == 204
    broken = version_2(policy, key="foo")
    broken["signature"] = base64.b64encode(b"x" * 20).decode()
    answer = post(server, bucket, broken)
    assert (answer.status_code, code_of(answer)) == (403, "SignatureDoesNotMatch")
    unknown = {**version_2(policy, key="foo"), "AWSAccessKeyId": "AKIDUNKNOWN"}
    assert code_of(post(server, bucket, unknown)) == "InvalidAccessKeyId"
    del unknown["signature"]
    answer = post(server, bucket, unknown)
    assert (answer.status_code, code_of(answer)) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("policy", "status", "code"),
    [
        ({"expiration": "2020-01-01T00:00:00Z", "conditions": []}, 403, "AccessDenied"),
        ({"expiration": "tomorrow", "conditions": []}, 400, "InvalidPolicyDocument"),
        ({"conditions": []}, 400, "InvalidPolicyDocument"),
        ({"expiration": LATER}, 400, "InvalidPolicyDocument"),
        ({"expiration": LATER, "conditions": []}, 403, "AccessDenied"),
        ({"expiration": LATER, "conditions": [["eq", "$key", "k"]]}, 403, "AccessDenied"),
        ({"expiration": LATER, "conditions": [{"bucket": "other"}, {"key": "k"}]}, 403, "AccessDenied"),
        ({"expiration": LATER, "conditions": [{}]}, 400, "InvalidPolicyDocument"),
        ({"expiration": LATER, "conditions": [["content-length-range", -1, 2]]}, 403, "AccessDenied"),
        (["a"], 400, "InvalidPolicyDocument"),
    ],
)
def test_policies_that_do_not_let_it_in(server: Served, bucket: str, policy: Any, status: int, code: str) -> None:
    answer = post(server, bucket, version_2(policy, key="k"))
    assert (answer.status_code, code_of(answer)) == (status, code), answer.text
    assert "Contents" not in server.client("s3").list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("size", [5, 200_000])
def test_the_size_is_bounded(server: Served, bucket: str, size: int) -> None:
    for least, most, code in ((0, size - 1, "EntityTooLarge"), (size + 1, size + 2, "EntityTooSmall")):
        answer = post(server, bucket, signed(server, bucket, ["content-length-range", least, most]), b"x" * size)
        assert (answer.status_code, code_of(answer)) == (400, code)
    assert "Contents" not in server.client("s3").list_objects_v2(Bucket=bucket)
    form = signed(server, bucket, ["content-length-range", size, size])
    assert post(server, bucket, form, b"x" * size).status_code == 204


def test_forms_that_are_none(server: Served, bucket: str) -> None:
    form = signed(server, bucket)
    assert code_of(post(server, bucket, form, None)) == "InvalidArgument"
    assert code_of(post(server, bucket, {n: v for n, v in form.items() if n != "key"})) == "InvalidArgument"
    assert code_of(post(server, bucket, {**form, "x-ignore-me": "x" * 21_000})) == "MaxPostPreDataLengthExceededError"
    whole = httpx.Request(
        "POST", server.endpoint, files=[*((n, (None, v)) for n, v in form.items()), ("file", ("a", b"x" * 3_000_000))]
    )
    body, kind = whole.read(), whole.headers["content-type"]
    for cut in (100, len(body) // 2, len(body) - 8):
        answer = httpx.post(
            f"{server.endpoint}/{bucket}", content=body[:cut], headers={"content-type": kind}, timeout=60
        )
        assert (answer.status_code, code_of(answer)) == (400, "MalformedPOSTRequest"), cut
    for kind in ("multipart/form-data", "multipart/form-data; boundary=" + "x" * 100):
        answer = httpx.post(f"{server.endpoint}/{bucket}", content=body, headers={"content-type": kind}, timeout=60)
        assert code_of(answer) == "MalformedPOSTRequest"
    broken = signed(server, bucket, {"x-amz-meta-a": "b\r\nX-Evil: 1"}, **{"x-amz-meta-a": "b\r\nX-Evil: 1"})
    assert code_of(post(server, bucket, broken)) == "InvalidArgument"
    assert "Contents" not in server.client("s3").list_objects_v2(Bucket=bucket)


def test_pages_and_strangers(server: Served, bucket: str) -> None:
    """The well-known keys are no foreign page's; who signs nothing needs the bucket's policy."""
    answer = post(server, bucket, signed(server, bucket), headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert post(server, bucket, {"key": "k"}).status_code == 403
    assert "Contents" not in server.client("s3").list_objects_v2(Bucket=bucket)
