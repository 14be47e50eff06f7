"""Function URLs and download links: plain HTTP requests, not calls of the API."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import urllib.request
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from served import Served
from wire.lambda_.test_functions import code_of, create, package
from wire.lambda_.test_invocations import advance

ECHO = "def handler(event, context):\n    return event\n"
SAY = "import json\ndef handler(event, context):\n    return json.loads(event['body'])\n"


def url_of(server: Served, source: str, *, auth: str = "NONE", open: bool = True, **config: Any) -> tuple[str, str]:
    """A new function's name and its URL."""
    client = server.client("lambda")
    name = create(server, source)["FunctionName"]
    made = client.create_function_url_config(FunctionName=name, AuthType=auth, **config)
    if open:
        client.add_permission(
            FunctionName=name, StatementId="url", Action="lambda:InvokeFunctionUrl", Principal="*",
            FunctionUrlAuthType="NONE",
        )  # fmt: skip
    return name, made["FunctionUrl"]


def ask(
    url: str, method: str = "GET", path: str = "", body: bytes | str | None = None, headers: Any = None
) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30)
    sent = {"Host": parts.netloc, **(headers or {})}
    connection.request(method, "/" + path, body.encode() if isinstance(body, str) else body, sent)
    answer = connection.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    connection.close()
    return found


def test_every_path_of_a_url_is_the_functions(server: Served) -> None:
    """Also those at which the server itself answers elsewhere; and a bucket's keys may begin so as well."""
    _, url = url_of(server, ECHO)
    for path in ("_next/static/a.js", "_penstock/health", "_lambda/test-events/f"):
        status, _, body = ask(url, path=path)
        assert (status, json.loads(body)["rawPath"]) == (200, "/" + path)
    s3 = server.client("s3")
    s3.create_bucket(Bucket="underscored")
    s3.put_object(Bucket="underscored", Key="_lambda/test-events/f", Body=b"mine")
    host = f"underscored.localhost:{server.port}"
    status, _, body = ask(f"http://{host}", path="_lambda/test-events/f")
    assert status == 403 and b"AccessDenied" in body and b"<Error>" in body, "S3 answers"


def test_a_link_to_the_code_works_for_whoever_has_it(own_server: Served) -> None:
    client = own_server.client("lambda")
    name = create(own_server, Code={"ZipFile": package(ECHO)})["FunctionName"]
    link = client.get_function(FunctionName=name)["Code"]["Location"]
    body = urllib.request.urlopen(link).read()
    digest = client.get_function_configuration(FunctionName=name)["CodeSha256"]
    assert base64.b64encode(hashlib.sha256(body).digest()).decode() == digest
    for wrong in (link[:-3] + "AAA", link.replace("/packages/", "/packages/x")):
        with pytest.raises(HTTPError) as error:
            urllib.request.urlopen(wrong)
        assert error.value.code == 403
    advance(own_server, 601)
    with pytest.raises(HTTPError) as error:
        urllib.request.urlopen(link)
    assert (error.value.code, b"Request has expired" in error.value.read()) == (403, True)


def test_a_request_is_an_event(server: Served) -> None:
    name, url = url_of(server, ECHO)
    status, headers, body = ask(
        url, "POST", "a/b%20c?x=1&y=2&x=3", '{"k":"v"}',
        {"Content-Type": "application/json", "X-Mine": "m", "Cookie": "a=1; b=2"},
    )  # fmt: skip
    event = json.loads(body)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert (event["version"], event["routeKey"], event["rawPath"]) == ("2.0", "$default", "/a/b c")
    assert event["rawQueryString"] == "x=1&y=2&x=3"
    assert event["queryStringParameters"] == {"x": "1,3", "y": "2"}
    assert event["cookies"] == ["a=1", "b=2"]
    assert (event["body"], event["isBase64Encoded"]) == ('{"k":"v"}', False)
    assert event["headers"]["x-mine"] == "m"
    context = event["requestContext"]
    assert (context["accountId"], context["http"]["method"]) == ("anonymous", "POST")
    assert context["domainPrefix"] == urlsplit(url).netloc.partition(".")[0]
    _, _, body = ask(url, "POST", "", b"\xff\x00", {"Content-Type": "application/octet-stream"})
    event = json.loads(body)
    assert (base64.b64decode(event["body"]), event["isBase64Encoded"]) == (b"\xff\x00", True)
    _, _, body = ask(url)
    assert "body" not in json.loads(body)
    assert server.client("lambda").get_function_url_config(FunctionName=name)["InvokeMode"] == "BUFFERED"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"hello": "world"}, (200, b'{"hello":"world"}')),
        (["hello", 3, True], (200, b'["hello",3,true]')),
        ("hello", (200, b"hello")),
        ({"statusCode": 201, "body": "text"}, (201, b"text")),
        ({"statusCode": "418", "body": "teapot"}, (418, b"teapot")),
        ({"statusCode": 200, "body": "AP8=", "isBase64Encoded": True}, (200, b"\x00\xff")),
        ({"statusCode": "no number"}, (502, b"Internal Server Error")),
        ({"statusCode": 200, "headers": {"X": "a\r\nY: b"}}, (502, b"Internal Server Error")),
        ({"statusCode": 200, "body": "!", "isBase64Encoded": True}, (502, b"Internal Server Error")),
    ],
)
def test_an_answer_is_a_response(server: Served, said: tuple[str, str], answer: Any, expected: Any) -> None:
    status, _, body = ask(said[1], "POST", "", json.dumps(answer), {"Content-Type": "application/json"})
    assert (status, body) == expected


@pytest.fixture(scope="module")
def said(server: Served) -> tuple[str, str]:
    return url_of(server, SAY)


def test_headers_and_cookies_come_through(said: tuple[str, str]) -> None:
    answer = {"statusCode": 200, "headers": {"X-Own": "1", "Content-Type": "text/plain"}, "cookies": ["a=1; Secure"]}
    _, headers, _ = ask(said[1], "POST", "", json.dumps(answer), {"Content-Type": "application/json"})
    assert (headers["x-own"], headers["content-type"], headers["set-cookie"]) == ("1", "text/plain", "a=1; Secure")


def test_a_failure_is_a_bad_gateway(server: Served) -> None:
    _, url = url_of(server, "def handler(event, context):\n    raise ValueError\n")
    assert ask(url)[::2] == (502, b"Internal Server Error")


def test_a_url_is_closed_until_the_policy_opens_it(server: Served) -> None:
    name, url = url_of(server, ECHO, open=False)
    status, headers, body = ask(url)
    assert (status, headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
    assert json.loads(body)["Message"].startswith("Forbidden")
    client = server.client("lambda")
    client.add_permission(
        FunctionName=name, StatementId="a", Action="lambda:InvokeFunctionUrl", Principal="*",
        FunctionUrlAuthType="AWS_IAM",
    )  # fmt: skip
    assert ask(url)[0] == 403
    client.add_permission(
        FunctionName=name, StatementId="b", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE"
    )
    assert ask(url)[0] == 200
    client.delete_function_url_config(FunctionName=name)
    assert (ask(url)[0], ask(url)[2]) == (403, b'{"Message":null}')


def test_iam_lets_in_who_signs(server: Served) -> None:
    _, url = url_of(server, ECHO, auth="AWS_IAM", open=False)
    assert ask(url)[0] == 403

    def signed(key: str, secret: str = "test") -> int:
        request = AWSRequest("POST", url, data=b"{}", headers={"Content-Type": "application/json"})
        SigV4Auth(Credentials(key, secret), "lambda", "us-east-1").add_auth(request)
        status, _, body = ask(url, "POST", "", b"{}", dict(request.headers.items()))
        if status == 200:
            event = json.loads(body)
            assert event["requestContext"]["authorizer"]["iam"]["accountId"] == "000000000000"
            assert "authorization" not in event["headers"]
        return status

    assert signed("test") == 200
    assert signed("test", "wrong") == 403
    assert signed("333333333333") == 403


def test_cross_origin_rules_are_carried_out(server: Served) -> None:
    cors = {
        "AllowOrigins": ["https://a.example"], "AllowMethods": ["GET"], "AllowHeaders": ["x-own"], "MaxAge": 60,
        "ExposeHeaders": ["x-seen"],
    }  # fmt: skip
    _, url = url_of(server, ECHO, Cors=cors)
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    status, headers, _ = ask(url, "OPTIONS", headers=asked)
    assert (status, headers["access-control-allow-origin"]) == (200, "https://a.example")
    assert (headers["access-control-allow-methods"], headers["access-control-max-age"]) == ("GET", "60")
    _, headers, _ = ask(url, "GET", headers={"Origin": "https://a.example"})
    assert (headers["access-control-allow-origin"], headers["access-control-expose-headers"]) == (
        "https://a.example", "x-seen",
    )  # fmt: skip
    _, headers, _ = ask(url, "GET", headers={"Origin": "https://b.example"})
    assert "access-control-allow-origin" not in headers
    _, open_url = url_of(server, ECHO)
    status, headers, body = ask(open_url, "OPTIONS", headers={**asked, "Origin": "http://localhost"})
    assert json.loads(body)["requestContext"]["http"]["method"] == "OPTIONS", "without rules the function is asked"
    assert "access-control-allow-origin" not in headers


def test_an_alias_has_a_url_of_its_own(server: Served) -> None:
    client = server.client("lambda")
    name, url = url_of(server, ECHO)
    client.publish_version(FunctionName=name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    made = client.create_function_url_config(FunctionName=name, Qualifier="live", AuthType="NONE")
    assert made["FunctionUrl"] != url
    assert ask(made["FunctionUrl"])[0] == 403
    client.add_permission(
        FunctionName=name, Qualifier="live", StatementId="u", Action="lambda:InvokeFunctionUrl", Principal="*",
        FunctionUrlAuthType="NONE",
    )  # fmt: skip
    assert ask(made["FunctionUrl"])[0] == 200
    pages = client.get_paginator("list_function_url_configs").paginate(
        FunctionName=name, PaginationConfig={"PageSize": 1}
    )
    assert [u["FunctionUrl"] for page in pages for u in page["FunctionUrlConfigs"]] == [url, made["FunctionUrl"]]
    with pytest.raises(ClientError) as error:
        client.create_function_url_config(FunctionName=name, AuthType="NONE")
    assert code_of(error) == ("ResourceConflictException", 409)
    client.delete_function(FunctionName=name)
    assert ask(url)[0] == ask(made["FunctionUrl"])[0] == 403
