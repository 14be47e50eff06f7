"""S3's own manners on the wire, beyond rest-xml."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire import models, uris
from penstock.wire.codec import codec, error_response
from penstock.wire.errors import AwsError
from penstock.wire.message import OutgoingStream, Request, Response

LABELS = {"Bucket": "b", "Key": "k"}


def parse(operation: str, body: bytes = b"", query: str = "", headers: dict[str, str] | None = None) -> dict[str, Any]:
    request = Request("PUT", "/b/k", query, headers or {}, body)
    members = models.service("s3").shapes[f"{operation}Request"].members
    return codec("s3", operation, "rest-xml").parse(request, {k: v for k, v in LABELS.items() if k in members})


def refused(*args: Any, **kwargs: Any) -> AwsError:
    with pytest.raises(AwsError) as caught:
        parse(*args, **kwargs)
    return caught.value


def written(operation: str, result: dict[str, Any]) -> Response:
    return codec("s3", operation, "rest-xml").serialize(result, "id-1")


def test_headers_of_a_put() -> None:
    headers = {
        "host": "x", "content-type": "text/plain", "content-length": "3", "cache-control": "no-cache",
        "x-amz-meta-One": "1", "x-amz-meta-two": "2", "x-amz-storage-class": "STANDARD", "if-none-match": "*",
        "expires": "whenever", "x-amz-tagging": "", "x-amz-server-side-encryption-bucket-key-enabled": "TRUE",
    }  # fmt: skip
    assert parse("PutObject", b"abc", headers=headers) == {
        "Bucket": "b", "Key": "k", "Body": b"abc", "ContentType": "text/plain",
        "CacheControl": "no-cache", "Metadata": {"One": "1", "two": "2"}, "StorageClass": "STANDARD",
        "IfNoneMatch": "*", "Expires": "whenever", "Tagging": "", "BucketKeyEnabled": True,
    }  # fmt: skip


def test_a_presigned_url_carries_headers_in_its_query() -> None:
    query = "X-Amz-Expires=60&x-amz-meta-one=1&x-amz-storage-class=STANDARD&X-Amz-Signature=0&x-id=PutObject"
    params = parse("PutObject", b"", query, {"x-amz-meta-two": "2"})
    assert params["Metadata"] == {"one": "1", "two": "2"}
    assert params["StorageClass"] == "STANDARD"
    found = uris.match("s3", "PUT", "/b/k", "x-amz-copy-source=%2Fb%2Fk", {})
    assert found is not None and found[0] == "CopyObject"


def test_a_stream_is_handed_over_as_it_is() -> None:
    class Stream:
        length = 3

        def __aiter__(self) -> Any:
            raise NotImplementedError

    stream = Stream()
    request = Request("PUT", "/b/k", "", {}, stream=stream)
    assert codec("s3", "PutObject", "rest-xml").parse(request, dict(LABELS))["Body"] is stream
    assert codec("s3", "PutObject", "rest-xml").streams
    assert not codec("s3", "PutBucketPolicy", "rest-xml").streams


def test_dates_that_are_none_are_no_conditions() -> None:
    headers = {"if-modified-since": "garbage", "if-unmodified-since": "Mon, 16 Dec 2019 23:48:18 GMT"}
    assert parse("GetObject", headers=headers) == {"Bucket": "b", "Key": "k", "IfUnmodifiedSince": 1576540098}


def test_a_condition_that_cannot_be_read_is_not_passed_over() -> None:
    headers = {"x-amz-if-match-size": "many"}
    assert refused("DeleteObject", headers=headers).code == "InvalidArgument"
    headers = {"x-amz-if-match-last-modified-time": "garbage"}
    assert refused("DeleteObject", headers=headers).code == "InvalidArgument"


@pytest.mark.parametrize(
    ("operation", "query", "headers", "code", "message", "name"),
    [
        ("ListObjectsV2", "max-keys=blah", {}, "InvalidArgument",
         "Provided max-keys not an integer or within integer range", "max-keys"),
        ("ListObjectsV2", "max-keys=99999999999", {}, "InvalidArgument",
         "Provided max-keys not an integer or within integer range", "max-keys"),
        ("UploadPart", "partNumber=x&uploadId=u", {}, "InvalidArgument",
         "Part number must be an integer between 1 and 10000, inclusive", "partNumber"),
        ("ListObjects", "encoding-type=base64", {}, "InvalidArgument",
         "Invalid Encoding Method specified in Request", "encoding-type"),
        ("PutObject", "", {"x-amz-storage-class": "COLD"}, "InvalidStorageClass",
         "The storage class you specified is not valid", ""),
        ("PutObject", "", {"x-amz-acl": "mine"}, "InvalidArgument", "", "x-amz-acl"),
    ],
)  # fmt: skip
def test_parameters_that_are_wrong(
    operation: str, query: str, headers: dict[str, str], code: str, message: str, name: str
) -> None:
    error = refused(operation, query=query, headers=headers)
    assert (error.code, error.message) == (code, message)
    assert error.members.get("ArgumentName", "") == name


def test_documents() -> None:
    body = b"""<?xml version="1.0"?><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>
      <Object><Key>a &amp; b&#x1F600;</Key></Object><Object><Key>c</Key><VersionId>v</VersionId></Object></Delete>"""
    assert parse("DeleteObjects", body)["Delete"] == {
        "Quiet": True, "Objects": [{"Key": "a & b\U0001f600"}, {"Key": "c", "VersionId": "v"}],
    }  # fmt: skip
    grants = b"""<AccessControlPolicy><AccessControlList><Grant><Permission>READ</Permission>
      <Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>u</URI></Grantee></Grant>
      </AccessControlList></AccessControlPolicy>"""
    assert parse("PutBucketAcl", grants)["AccessControlPolicy"]["Grants"] == [
        {"Permission": "READ", "Grantee": {"Type": "Group", "URI": "u"}}
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"<Delete>", b"nonsense", b"<Other/>", b"<Delete><Object></Object></Delete>", b"\xff", b"<Delete/>garbage",
        b"<Delete><Object><Key><x/></Key></Object></Delete>", b"<Delete><Quiet>maybe</Quiet></Delete>",
        b"<Delete><Quiet>true</Quiet><Quiet>true</Quiet></Delete>", b"<Delete>" + b"<a>" * 1000,
        b'<!DOCTYPE d [<!ENTITY e "x">]><Delete><Object><Key>&e;</Key></Object></Delete>',
        b'<!DOCTYPE d SYSTEM "file:///etc/passwd"><Delete><Object><Key>k</Key></Object></Delete>',
        b'<?xml version="1.0" encoding="cp037"?><Delete><Object><Key>\xff</Key></Object></Delete>',
        b"<Delete><Object><Key>\x00</Key></Object></Delete>", b"<Delete><Object><Key>&#0;</Key></Object></Delete>",
    ],
)  # fmt: skip
def test_documents_that_are_wrong(body: bytes) -> None:
    error = refused("DeleteObjects", body)
    assert error.code == "MalformedXML"
    assert error.status == 400


def test_a_body_that_is_missing() -> None:
    assert refused("DeleteObjects").code == "MissingRequestBodyError"


@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer(body: bytes) -> None:
    for operation in ("DeleteObjects", "PutBucketTagging", "CompleteMultipartUpload"):
        try:
            parse(operation, body, query="uploadId=u")
        except AwsError as error:
            assert error.code in ("MalformedXML", "MissingRequestBodyError")


def test_roots_and_namespaces() -> None:
    body = written("ListObjectsV2", {"Name": "b", "KeyCount": 0, "IsTruncated": False}).body
    assert body == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<IsTruncated>false</IsTruncated><Name>b</Name><KeyCount>0</KeyCount></ListBucketResult>"
    )
    assert b"<LocationConstraint xmlns=" in written("GetBucketLocation", {"LocationConstraint": "eu-west-1"}).body
    assert b">eu-west-1</LocationConstraint>" in written("GetBucketLocation", {"LocationConstraint": "eu-west-1"}).body
    assert b"></LocationConstraint>" in written("GetBucketLocation", {}).body
    copied = written("CopyObject", {"CopyObjectResult": {"ETag": '"e"', "LastModified": 1.5}}).body
    assert b"<CopyObjectResult xmlns=" in copied
    assert b"<LastModified>1970-01-01T00:00:01.500Z</LastModified>" in copied


def test_keys_that_xml_cannot_hold_go_as_references() -> None:
    body = written("ListObjects", {"Contents": [{"Key": "a\x01<b>&\r\uffff"}]}).body
    assert b"<Key>a&#x1;&lt;b&gt;&amp;&#xd;&#xffff;</Key>" in body


def test_headers_of_a_get() -> None:
    answer = written(
        "GetObject",
        {
            "Body": OutgoingStream(None, 5), "ContentLength": 5, "ContentType": "text/plain", "LastModified": 1576540098.7,  # type: ignore[arg-type]
            "ETag": '"e"', "Metadata": {"one": "1"}, "ContentDisposition": "a\r\nb: c", "DeleteMarker": False,
        },
    )  # fmt: skip
    headers = dict(answer.headers)
    assert answer.status == 200
    assert answer.length == 5
    assert headers["Last-Modified"] == "Mon, 16 Dec 2019 23:48:18 GMT"
    assert headers["x-amz-meta-one"] == "1"
    assert headers["Content-Type"] == "text/plain"
    assert headers["Content-Disposition"] == "a b: c"
    assert headers["x-amz-delete-marker"] == "false"
    assert headers["x-amz-request-id"] == "id-1"
    assert headers["x-amz-id-2"]
    assert "Content-Length" not in headers


def test_statuses_and_bodies_that_are_none() -> None:
    deleted = written("DeleteObject", {})
    assert (deleted.status, deleted.body) == (204, b"")
    head = written("HeadObject", {"ContentLength": 7, "ETag": '"e"'})
    assert (head.status, head.body) == (200, b"")
    assert ("Content-Length", "7") in head.headers
    created = written("CreateBucket", {"Location": "/b"})
    assert (created.status, created.body) == (200, b"")
    assert ("Location", "/b") in created.headers
    policy = written("GetBucketPolicy", {"Policy": "{}"})
    assert policy.body == b"{}"


def test_errors() -> None:
    error = AwsError("NoSuchKey", "The specified key does not exist.", members={"Key": "a<b"})
    answer = error_response("s3", "rest-xml", "GetObject", error, "id-1")
    assert answer.status == 404
    assert answer.body.startswith(
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
        b"<Message>The specified key does not exist.</Message><Key>a&lt;b</Key><RequestId>id-1</RequestId><HostId>"
    )
    head = error_response("s3", "rest-xml", "HeadObject", error, "id-1")
    assert (head.status, head.body) == (404, b"")
    unchanged = error_response("s3", "rest-xml", "GetObject", AwsError("NotModified", headers={"ETag": '"e"'}), "id-1")
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert ("ETag", '"e"') in unchanged.headers
