"""Which operation a REST request is."""

from __future__ import annotations

from urllib.parse import quote, quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire import uris
from penstock.wire.errors import AwsError

COPY = {"x-amz-copy-source": "/b/k"}


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "operation"),
    [
        ("GET", "/", "", {}, "ListBuckets"),
        ("GET", "/", "x-id=ListBuckets", {}, "ListBuckets"),
        ("PUT", "/b", "", {}, "CreateBucket"),
        ("PUT", "/b/", "", {}, "CreateBucket"),
        ("HEAD", "/b", "", {}, "HeadBucket"),
        ("DELETE", "/b", "", {}, "DeleteBucket"),
        ("GET", "/b", "", {}, "ListObjects"),
        ("GET", "/b", "prefix=a&delimiter=%2F", {}, "ListObjects"),
        ("GET", "/b/", "list-type=2", {}, "ListObjectsV2"),
        ("GET", "/b", "list-type=1", {}, "ListObjects"),
        ("GET", "/b", "prefix=uploads", {}, "ListObjects"),
        ("GET", "/b", "versions", {}, "ListObjectVersions"),
        ("GET", "/b", "uploads=", {}, "ListMultipartUploads"),
        ("GET", "/b", "location", {}, "GetBucketLocation"),
        ("GET", "/b", "notification", {}, "GetBucketNotificationConfiguration"),
        ("PUT", "/b", "notification", {}, "PutBucketNotificationConfiguration"),
        ("GET", "/b", "lifecycle", {}, "GetBucketLifecycleConfiguration"),
        ("GET", "/b", "analytics", {}, "ListBucketAnalyticsConfigurations"),
        ("GET", "/b", "analytics&id=1", {}, "GetBucketAnalyticsConfiguration"),
        ("POST", "/b", "delete", {}, "DeleteObjects"),
        ("POST", "/b/?delete", "", {}, None),
        ("POST", "/b", "", {}, None),
        ("PUT", "/b/k", "", {}, "PutObject"),
        ("PUT", "/b/k", "x-id=PutObject", {}, "PutObject"),
        ("PUT", "/b/k", "", COPY, "CopyObject"),
        ("PUT", "/b/k", "partNumber=1&uploadId=u", {}, "UploadPart"),
        ("PUT", "/b/k", "partNumber=1&uploadId=u", COPY, "UploadPartCopy"),
        ("PUT", "/b/k", "partNumber=1", {}, "PutObject"),
        ("PUT", "/b/k", "tagging", {}, "PutObjectTagging"),
        ("GET", "/b/k", "", {}, "GetObject"),
        ("GET", "/b/k", "uploadId=u", {}, "ListParts"),
        ("GET", "/b/k", "attributes", {}, "GetObjectAttributes"),
        ("HEAD", "/b/k", "partNumber=1", {}, "HeadObject"),
        ("DELETE", "/b/k", "", {}, "DeleteObject"),
        ("DELETE", "/b/k", "versionId=v", {}, "DeleteObject"),
        ("DELETE", "/b/k", "uploadId=u", {}, "AbortMultipartUpload"),
        ("POST", "/b/k", "uploads", {}, "CreateMultipartUpload"),
        ("POST", "/b/k", "uploadId=u", {}, "CompleteMultipartUpload"),
        ("POST", "/b/k", "select&select-type=2", {}, "SelectObjectContent"),
        ("POST", "/b/k", "", {}, None),
        ("PATCH", "/b/k", "", {}, None),
        ("GET", "//k", "", {}, None),
    ],
)
def test_s3(method: str, path: str, query: str, headers: dict[str, str], operation: str | None) -> None:
    found = uris.match("s3", method, path, query, headers)
    assert (found[0] if found else None) == operation


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/2015-03-31/functions", ("CreateFunction", {})),
        ("GET", "/2015-03-31/functions/", ("ListFunctions", {})),
        ("GET", "/2015-03-31/functions/f", ("GetFunction", {"FunctionName": "f"})),
        ("POST", "/2015-03-31/functions/f/invocations", ("Invoke", {"FunctionName": "f"})),
        (
            "POST", "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af/invocations",
            ("Invoke", {"FunctionName": "arn:aws:lambda:us-east-1:1:function:f"}),
        ),
        ("GET", "/2015-03-31/functions//invocations", None),
        ("GET", "/2015-03-31/nothing", None),
        ("GET", "/", None),
        ("PATCH", "/2015-03-31/functions", None),
    ],
)  # fmt: skip
def test_lambda(method: str, path: str, expected: tuple[str, dict[str, str]] | None) -> None:
    assert uris.match("lambda", method, path, "", {}) == expected


@given(st.text(min_size=1).filter(lambda key: key < "\ud800" or all(not 0xD800 <= ord(c) < 0xE000 for c in key)))
def test_a_key_of_any_text_comes_back(key: str) -> None:
    for encoded in (quote(key, safe=""), quote(key, safe="/~")):
        assert uris.match("s3", "GET", f"/bucket/{encoded}", "", {}) == ("GetObject", {"Bucket": "bucket", "Key": key})


@given(st.binary(min_size=1))
def test_a_key_that_is_no_text_is_refused(key: bytes) -> None:
    try:
        text = key.decode("utf-8")
    except UnicodeDecodeError:
        with pytest.raises(AwsError) as refused:
            uris.match("s3", "PUT", f"/bucket/{quote_from_bytes(key, safe='')}", "", {})
        assert (refused.value.code, refused.value.status) == ("InvalidURI", 400)
    else:
        found = uris.match("s3", "PUT", f"/bucket/{quote_from_bytes(key, safe='')}", "", {})
        assert found == ("PutObject", {"Bucket": "bucket", "Key": text})


def test_an_encoded_slash_in_a_bucket_is_no_separator() -> None:
    assert uris.match("s3", "GET", "/a%2Fb", "", {}) == ("ListObjects", {"Bucket": "a/b"})


def test_a_plus_in_a_path_is_a_plus_and_in_a_query_a_space() -> None:
    assert uris.match("s3", "GET", "/b/a+b", "", {}) == ("GetObject", {"Bucket": "b", "Key": "a+b"})


@given(st.text(), st.text(), st.text())
def test_no_path_or_query_breaks_it(method: str, path: str, query: str) -> None:
    for service in ("s3", "lambda"):
        try:
            uris.match(service, method, "/" + path, query, {})
        except AwsError as refused:
            assert refused.code == "InvalidURI"
