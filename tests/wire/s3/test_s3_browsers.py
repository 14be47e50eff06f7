"""CORS and websites, as browsers meet them."""

from __future__ import annotations

import http.client
import json
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from served import Served

ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def s3(server: Served) -> Any:
    return server.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"w-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name


def send(server: Served, method: str, host: str, path: str = "/", **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers={"Host": f"{host}:{server.port}", **named})
    response = connection.getresponse()
    found = {name.lower(): value for name, value in response.getheaders()}
    body = response.read().decode()
    connection.close()
    return response.status, found, body


def code_of(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def make_public(s3: Any, bucket: str) -> None:
    s3.delete_public_access_block(Bucket=bucket)
    statement = {
        "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }  # fmt: skip
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def test_cors_configuration(s3: Any, bucket: str) -> None:
    assert code_of(s3.get_bucket_cors, Bucket=bucket)[0] == "NoSuchCORSConfiguration"
    s3.delete_bucket_cors(Bucket=bucket)
    rules = [
        {"AllowedOrigins": [ORIGIN], "AllowedMethods": ["GET", "PUT"], "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 9}
    ]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == rules
    for rule, code in (
        ({"AllowedOrigins": [ORIGIN], "AllowedMethods": ["MYMETHOD"]}, "InvalidRequest"),
        ({"AllowedOrigins": ["https://*.*"], "AllowedMethods": ["GET"]}, "InvalidRequest"),
        ({"AllowedOrigins": [ORIGIN], "AllowedMethods": ["GET"], "ExposeHeaders": ["*"]}, "InvalidRequest"),
    ):
        assert code_of(s3.put_bucket_cors, Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})[0] == code
    s3.delete_bucket_cors(Bucket=bucket)
    assert code_of(s3.get_bucket_cors, Bucket=bucket)[0] == "NoSuchCORSConfiguration"


@pytest.mark.parametrize("virtual", [False, True])
def test_preflight_and_requests(server: Served, s3: Any, bucket: str, virtual: bool) -> None:
    make_public(s3, bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"body")
    host, path = (f"{bucket}.localhost", "/k") if virtual else ("localhost", f"/{bucket}/k")

    def ask(method: str = "OPTIONS", **headers: str) -> tuple[int, dict[str, str], str]:
        return send(server, method, host, path, **headers)

    status, _, body = ask()
    assert (status, "Origin request header needed" in body) == (400, True)
    status, _, body = ask(Origin=ORIGIN, Access_Control_Request_Method="PUT")
    assert (status, "CORS is not enabled for this bucket" in body) == (403, True)
    rule = {
        "AllowedOrigins": ["https://*.example.com"],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["x-amz-*"],
    }
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [{**rule, "MaxAgeSeconds": 60}]})
    status, headers, body = ask(
        Origin=ORIGIN, Access_Control_Request_Method="PUT", Access_Control_Request_Headers="X-Amz-Date, x-amz-acl"
    )
    assert (status, body) == (200, "")
    told = {name: value for name, value in headers.items() if name.startswith("access-") or name == "vary"}
    assert told == {
        "access-control-allow-origin": ORIGIN, "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "x-amz-date, x-amz-acl", "access-control-max-age": "60",
        "access-control-allow-credentials": "true",
        "vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    }  # fmt: skip
    for wrong in (
        {"Origin": "https://evil.com", "Access_Control_Request_Method": "GET"},
        {"Origin": ORIGIN, "Access_Control_Request_Method": "DELETE"},
        {"Origin": ORIGIN, "Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "range"},
        {"Origin": "http://localhost:3000", "Access_Control_Request_Method": "GET"},
    ):
        status, headers, body = ask(**wrong)
        assert (status, "AccessForbidden" in body, "access-control-allow-origin" in headers) == (403, True, False)
    status, headers, body = ask("GET", Origin=ORIGIN)
    assert (status, body, headers["access-control-allow-origin"]) == (200, "body", ORIGIN)
    status, headers, body = ask("GET", Origin="https://evil.com")
    assert (status, "access-control-allow-origin" in headers) == (200, False)


def test_website_configuration(s3: Any, bucket: str) -> None:
    def refused(**configuration: Any) -> tuple[str, str]:
        return code_of(s3.put_bucket_website, Bucket=bucket, WebsiteConfiguration=configuration)

    index = {"IndexDocument": {"Suffix": "index.html"}}
    assert code_of(s3.get_bucket_website, Bucket=bucket)[0] == "NoSuchWebsiteConfiguration"
    assert refused(IndexDocument={"Suffix": "/index.html"})[0] == "InvalidArgument"
    assert refused(IndexDocument={"Suffix": ""})[0] == "InvalidArgument"
    assert refused(RedirectAllRequestsTo={"HostName": "x"}, **index)[0] == "InvalidArgument"
    assert refused(ErrorDocument={"Key": "e"})[0] == "InvalidArgument"
    wrong = refused(**index, RoutingRules=[{"Redirect": {"Protocol": "ftp"}}])
    assert (wrong[0], "protocol can be http or https" in wrong[1]) == ("InvalidRequest", True)
    both = {"ReplaceKeyPrefixWith": "a", "ReplaceKeyWith": "b"}
    assert refused(**index, RoutingRules=[{"Redirect": both}])[0] == "InvalidRequest"
    assert refused(**index, RoutingRules=[{"Redirect": {"HostName": "h"}, "Condition": {}}])[0] == "InvalidRequest"
    assert refused(**index, RoutingRules=[])[0] == "MalformedXML"
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=index)
    assert s3.get_bucket_website(Bucket=bucket)["IndexDocument"] == {"Suffix": "index.html"}
    s3.delete_bucket_website(Bucket=bucket)
    s3.delete_bucket_website(Bucket=bucket)


@pytest.mark.parametrize("domain", ["s3-website.localhost", "s3-website-us-east-1.localhost.localstack.cloud"])
def test_a_website(server: Served, s3: Any, bucket: str, domain: str) -> None:
    host = f"{bucket}.{domain}"

    def get(path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        return send(server, method, host, path, **headers)

    assert "NoSuchBucket" in send(server, "GET", f"nobody-{bucket}.{domain}")[2]
    status, headers, body = get("/")
    assert (status, "Code: NoSuchWebsiteConfiguration" in body) == (404, True)
    assert headers["content-type"].startswith("text/html")
    make_public(s3, bucket)
    s3.put_bucket_website(
        Bucket=bucket,
        WebsiteConfiguration={
            "IndexDocument": {"Suffix": "index.html"},
            "ErrorDocument": {"Key": "error.html"},
            "RoutingRules": [
                {"Condition": {"KeyPrefixEquals": "old/"}, "Redirect": {"ReplaceKeyPrefixWith": "new/"}},
                {
                    "Condition": {"HttpErrorCodeReturnedEquals": "404", "KeyPrefixEquals": "gone/"},
                    "Redirect": {"HostName": "example.com", "Protocol": "https", "HttpRedirectCode": "302"},
                },
            ],
        },
    )
    status, _, body = get("/nothing")
    assert (status, "Key: nothing" in body, "Custom Error Document" in body) == (404, True, True)
    for key in ("index.html", "docs/index.html", "new/a b.html", "error.html"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), ContentType="text/html")
    s3.put_object(Bucket=bucket, Key="moved", Body=b"", WebsiteRedirectLocation="/docs/")
    assert get("/")[::2] == (200, "index.html")
    assert get("/docs/")[::2] == (200, "docs/index.html")
    status, headers, _ = get("/docs")
    assert (status, headers["location"]) == (302, "/docs/")
    status, headers, _ = get("/old/a%20b.html")
    assert (status, headers["location"]) == (301, f"http://{host}:{server.port}/new/a%20b.html")
    assert get("/new/a%20b.html")[::2] == (200, "new/a b.html")
    status, headers, _ = get("/gone/x")
    assert (status, headers["location"]) == (302, "https://example.com/gone/x")
    status, headers, _ = get("/moved")
    assert (status, headers["location"]) == (301, "/docs/")
    assert get("/nothing")[::2] == (404, "error.html")
    assert get("/", Range="bytes=0-4")[::2] == (206, "index")
    etag = get("/")[1]["etag"]
    assert get("/", If_None_Match=etag)[0] == 304
    assert get("/", "HEAD")[::2] == (200, "")
    assert get("/", "POST")[0] == 405
    s3.delete_bucket_policy(Bucket=bucket)
    status, _, body = get("/")
    assert (status, "Code: AccessDenied" in body) == (403, True)
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration={"RedirectAllRequestsTo": {"HostName": "example.org"}})
    status, headers, _ = get("/a/b")
    assert (status, headers["location"]) == (301, "http://example.org/a/b")
