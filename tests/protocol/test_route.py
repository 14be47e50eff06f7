"""Where requests go: by target, scope, host, path and form; and that no nonsense makes the router fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.edge.route import read_host, route
from penstock.wire.message import Request

SCOPE = "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"
FORM = "application/x-www-form-urlencoded"


def ask(
    method: str = "GET", target: str = "/", *, host: str = "localhost", body: bytes = b"", signed: str = "", **more: str
) -> tuple[str, str, str]:
    """(service, operation, protocol)."""
    headers = {"host": host, **{name.replace("_", "-"): value for name, value in more.items()}}
    if signed:
        headers["authorization"] = SCOPE.format(signed)
    path, _, query = target.partition("?")
    found = route(Request(method, path, query, headers, body))
    return found.service, found.operation, found.protocol


def test_by_target() -> None:
    assert ask("POST", x_amz_target="DynamoDB_20120810.GetItem") == ("dynamodb", "GetItem", "json")
    assert ask("POST", x_amz_target="DynamoDBStreams_20120810.GetRecords") == ("dynamodbstreams", "GetRecords", "json")
    assert ask("POST", x_amz_target="Logs_20140328.PutLogEvents", signed="logs") == ("logs", "PutLogEvents", "json")
    assert ask("POST", x_amz_target="DynamoDB_20120810.Nothing")[:2] == ("dynamodb", "")
    assert ask("POST", x_amz_target="Nobody.Nothing", signed="dynamodb")[:2] == ("dynamodb", "")


def test_by_scope() -> None:
    assert ask(signed="s3") == ("s3", "ListBuckets", "rest-xml")
    assert ask("PUT", "/bucket/a/key", signed="s3")[1] == "PutObject"
    assert ask("GET", "/bucket?list-type=2", signed="s3")[1] == "ListObjectsV2"
    assert ask("GET", "/2015-03-31/functions", signed="lambda")[:2] == ("lambda", "ListFunctions")
    query = "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=test%2F20200101%2Fus-east-1%2Fsts%2Faws4_request"
    assert ask("GET", f"{query}&Action=GetCallerIdentity&Version=2011-06-15")[:2] == ("sts", "GetCallerIdentity")


def test_by_form() -> None:
    body = b"Version=2010-05-08&Action=ListRoles"
    assert ask("POST", body=body, content_type=FORM, signed="iam") == ("iam", "ListRoles", "query")
    assert ask("POST", body=body, content_type=FORM) == ("iam", "ListRoles", "query")
    web = b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
    assert ask("POST", body=web, content_type=FORM)[:2] == ("sts", "AssumeRoleWithWebIdentity")


def test_by_content_type_and_protocol_header() -> None:
    cbor = {"content_type": "application/x-amz-cbor-1.1"}
    assert ask("POST", x_amz_target="Kinesis_20131202.PutRecords", **cbor) == ("kinesis", "PutRecords", "cbor")
    assert ask("POST", x_amz_target="Kinesis_20131202.Nothing", **cbor) == ("kinesis", "", "cbor")
    assert ask("POST", x_amz_target="AmazonSSM.GetParameter", **cbor) == ("ssm", "GetParameter", "json")
    rpc, path = {"smithy_protocol": "rpc-v2-cbor"}, "/service/GraniteServiceVersion20100801/operation/"
    spoken = "smithy-rpc-v2-cbor"
    assert ask("POST", path + "PutMetricData", **rpc) == ("cloudwatch", "PutMetricData", spoken)
    assert ask("POST", "/some/where" + path + "PutMetricData", **rpc) == ("cloudwatch", "PutMetricData", spoken)
    assert ask("POST", path + "Nothing", **rpc) == ("cloudwatch", "", spoken)
    # Without the header, or for what does not speak it, such a path is an object's.
    assert ask("PUT", path + "PutMetricData") == ("s3", "PutObject", "rest-xml")
    assert ask("PUT", "/service/AmazonSSM/operation/GetParameter", **rpc) == ("s3", "PutObject", "rest-xml")


def test_by_host_and_path() -> None:
    assert ask("PUT", "/a/key", host="bucket.s3.localhost:4566")[:2] == ("s3", "PutObject")
    assert ask("GET", "/", host="bucket.localhost:4566")[:2] == ("s3", "ListObjects")
    assert ask("GET", "/2015-03-31/functions/f")[:2] == ("lambda", "GetFunction")
    assert ask("GET", "/2015-03-31/nothing/f")[:2] == ("s3", "GetObject")
    assert ask("GET", "/bucket/key")[:2] == ("s3", "GetObject")
    assert ask("GET", "/")[:2] == ("s3", "ListBuckets")


@pytest.mark.parametrize("method", ["PATCH", "OPTIONS"])
def test_no_such_thing(method: str) -> None:
    assert ask(method, "/bucket/key", signed="s3")[:2] == ("s3", "")
    assert ask(method, "/2015-03-31/functions", signed="lambda")[:2] == ("lambda", "")


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=40)


@given(TEXT, TEXT, TEXT, TEXT, st.binary(max_size=60), st.sampled_from(["s3", "lambda", "iam", "", "x"]))
def test_nonsense(host: str, path: str, query: str, target: str, body: bytes, signed: str) -> None:
    headers = {"host": host, "content-type": FORM}
    if signed:
        headers["authorization"] = SCOPE.format(signed)
    for more in ({}, {"x-amz-target": target}):
        path = "/" + path.encode("ascii", "ignore").decode()
        query = query.encode("ascii", "ignore").decode()
        found = route(Request("POST", path, query, headers | more, body))
        assert found.operation or found.problem


@given(
    st.lists(
        st.sampled_from(["s3", "bucket", "us-east-1", "localhost", "amazonaws", "com", "", "dualstack", "s3-"]),
        max_size=6,
    )
)
def test_any_host(labels: list[str]) -> None:
    read_host(".".join(labels))
