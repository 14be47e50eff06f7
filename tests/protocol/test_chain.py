"""The whole chain on a socket: routing, signatures, AWS's errors by protocol, streams, limits, web pages, draining."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import datetime
import hashlib
import json
import socket
import ssl
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import msgspec
import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from penstock.core.operation import REGISTRY
from penstock.edge.route import Host, read_host
from penstock.edge.server import Server
from protocol.conftest import Answer, Edge

ROOT = Credentials("test", "test")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/x-amz-json-1.1"}


async def sign(
    edge: Edge,
    service: str,
    method: str,
    target: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    region: str = "us-east-1",
    credentials: Credentials = ROOT,
    host: str = "",
    signer: Any = None,
) -> Answer:
    """Send a request signed by botocore."""
    host = host or f"127.0.0.1:{edge.port}"
    request = AWSRequest(method=method, url=f"http://{host}{target}", data=body, headers=dict(headers or {}))
    kind = auth.S3SigV4Auth if service == "s3" else auth.SigV4Auth
    signer = signer or kind(credentials, service, region)
    if headers and "X-Amz-Content-SHA256" in headers:  # botocore would put the body's own there
        signer.payload = lambda request: headers["X-Amz-Content-SHA256"]
    signer.add_auth(request)
    prepared = request.prepare()
    split = urlsplit(prepared.url)
    given = {k: v.decode() if isinstance(v, bytes) else str(v) for k, v in prepared.headers.items()}
    given["Host"] = host
    return await edge.send(method, split.path + (f"?{split.query}" if split.query else ""), given, body)


async def ssm(edge: Edge, operation: str, params: dict[str, Any] | None = None, **more: Any) -> Answer:
    headers = {"X-Amz-Target": f"AmazonSSM.{operation}", **JSON, **more.pop("headers", {})}
    body = more.pop("body", json.dumps(params or {}).encode())
    return await sign(edge, "ssm", "POST", "/", body, headers, **more)


async def test_json(edge: Edge) -> None:
    answer = await ssm(edge, "GetParameter", {"Name": "n"}, region="eu-west-1")
    assert answer.status == 200
    assert json.loads(answer.body) == {"Parameter": {"Name": "n", "Value": "000000000000 eu-west-1"}}
    assert len(answer.headers["x-amzn-requestid"]) == 36
    assert answer.headers["date"].endswith(" GMT")
    call, _ = edge.calls[0]
    assert call.endpoint == edge.endpoint
    assert (call.source_ip, call.secure, call.request_id) == ("127.0.0.1", False, answer.headers["x-amzn-requestid"])


async def test_account_by_access_key(edge: Edge) -> None:
    answer = await ssm(edge, "GetParameter", {"Name": "n"}, credentials=Credentials("123456789012", "test"))
    assert b"123456789012 us-east-1" in answer.body
    answer = await ssm(edge, "GetParameter", {"Name": "n"}, credentials=Credentials("12345678901", "test"))
    assert answer.code.endswith("UnrecognizedClientException")


async def test_session_token_beside_a_well_known_key(edge: Edge) -> None:
    answer = await ssm(edge, "GetParameter", {"Name": "n"}, credentials=Credentials("test", "test", "test"))
    assert answer.status == 200
    answer = await ssm(edge, "GetParameter", {"Name": "n"}, credentials=Credentials("ASIA", "test", "test"))
    assert answer.code.rpartition("#")[2] == "UnrecognizedClientException"


async def test_ordinary_clients(edge: Edge) -> None:
    def use() -> None:
        more: dict[str, Any] = {
            "endpoint_url": edge.endpoint, "region_name": "us-east-1", "aws_access_key_id": "test",
            "aws_secret_access_key": "test", "config": Config(retries={"max_attempts": 0}),
        }  # fmt: skip
        client = boto3.client("s3", **more)
        for key, body in {"a b+c/é~": b"x" * 5000, "empty": b"", "large": b"y" * 3_000_000}.items():
            client.put_object(Bucket="bucket", Key=key, Body=body)
            assert client.get_object(Bucket="bucket", Key=key)["Body"].read() == body
        assert boto3.client("sns", **more).create_topic(Name="t")["TopicArn"].endswith(":t")
        assert boto3.client("scheduler", **more).get_schedule(Name="s")["Name"] == "s"
        assert boto3.client("ssm", **more).put_parameter(Name="s", Value="v")["Version"] == 1
        with pytest.raises(ClientError) as caught:
            boto3.client("ssm", **more).get_parameters(Names=["x"])
        assert caught.value.response["Error"]["Code"] == "NotImplemented"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
        for version in ("s3", "s3v4"):
            presigning = boto3.client("s3", **{**more, "config": Config(signature_version=version)})
            url = presigning.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "a b+c/é~"})
            assert urllib.request.urlopen(url).read() == b"x" * 5000
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(url.replace("Signature=", "Signature=x"))

    await asyncio.to_thread(use)


UNKNOWN = {
    "json": ("AmazonSSM.Nothing", 400, "UnknownOperationException"),
    "json of nobody": ("Nobody.Nothing", 400, "UnknownOperationException"),
}


@pytest.mark.parametrize("name", UNKNOWN)
async def test_unknown_targets(edge: Edge, name: str) -> None:
    target, status, code = UNKNOWN[name]
    answer = await sign(edge, "ssm", "POST", "/", b"{}", {"X-Amz-Target": target, **JSON})
    assert answer.status == status
    assert answer.code.endswith(code)


async def test_unknown_operations_elsewhere(edge: Edge) -> None:
    answer = await sign(edge, "sns", "POST", "/", b"Action=Nothing&Version=2010-03-31", FORM)
    assert (answer.status, answer.code) == (400, "InvalidAction")
    answer = await sign(edge, "sns", "POST", "/", b"Version=2010-03-31", FORM)
    assert (answer.status, answer.code) == (400, "MissingAction")
    answer = await sign(edge, "scheduler", "GET", "/nothing/here")
    assert answer.status == 404
    answer = await sign(edge, "s3", "PATCH", "/bucket/key")
    assert (answer.status, answer.code) == (405, "MethodNotAllowed")
    answer = await sign(edge, "sns", "POST", "/", b"Action=Subscribe&Version=2010-03-31&TopicArn=a&Protocol=b", FORM)
    assert answer.status == 501


async def test_unsigned_requests(edge: Edge) -> None:
    answer = await edge.send("POST", "/", {"X-Amz-Target": "AmazonSSM.GetParameter", **JSON}, b'{"Name":"n"}')
    assert (answer.status, answer.code.rpartition("#")[2]) == (400, "MissingAuthenticationTokenException")
    answer = await edge.send("GET", "/schedules/s", {"Host": "scheduler.us-east-1.localhost"})
    assert answer.status == 403
    # S3 leaves it to the bucket's policy; here there is none to ask.
    edge.objects["bucket", "key"] = b"public"
    answer = await edge.send("GET", "/bucket/key")
    assert answer.body == b"public"
    assert edge.calls[-1][0].principal.arn == "*"


async def test_failures_are_awss_own(edge: Edge) -> None:
    answer = await ssm(edge, "DeleteParameter", {"Name": "n"})
    assert (answer.status, answer.code.rpartition("#")[2]) == (500, "InternalServerError")
    assert b"ZeroDivision" not in answer.body
    answer = await ssm(edge, "GetParameter", body=b"{not json")
    assert (answer.status, answer.code.rpartition("#")[2]) == (400, "SerializationException")


async def test_scope_must_be_the_services(edge: Edge) -> None:
    signer = auth.SigV4Auth(ROOT, "kms", "us-east-1")
    answer = await ssm(edge, "GetParameter", {"Name": "n"}, signer=signer)
    assert b"Credential should be scoped to correct service: 'ssm'" in answer.body


async def test_hosts_regions(edge: Edge) -> None:
    host = f"bucket.s3.eu-west-1.localhost:{edge.port}"
    answer = await sign(edge, "s3", "PUT", "/key", b"v", host=host, region="eu-west-1")
    assert (answer.status, edge.objects) == (200, {("bucket", "key"): b"v"})
    answer = await sign(edge, "s3", "PUT", "/key", b"v", host=host, region="us-east-1")
    assert answer.code == "AuthorizationHeaderMalformed"
    assert b"<Region>eu-west-1</Region>" in answer.body


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1:4566", Host()),
        ("localhost:4566", Host()),
        ("[::1]:4566", Host()),
        ("penstock", Host()),
        ("bucket.localhost:4566", Host("s3", "", "bucket")),
        ("my.dotted.bucket.localhost", Host("s3", "", "my.dotted.bucket")),
        ("bucket.s3.localhost.localstack.cloud:4566", Host("s3", "", "bucket")),
        ("s3.localhost.localstack.cloud:4566", Host("s3")),
        ("s3.us-east-1.localhost.localstack.cloud", Host("s3", "us-east-1")),
        ("bucket.s3.us-west-2.amazonaws.com", Host("s3", "us-west-2", "bucket")),
        ("a.b.s3.amazonaws.com", Host("s3", "", "a.b")),
        ("bucket.s3.dualstack.us-west-2.amazonaws.com", Host("s3", "us-west-2", "bucket")),
        ("bucket.s3-us-west-2.amazonaws.com", Host("s3", "us-west-2", "bucket")),
        ("dynamodb.eu-central-1.amazonaws.com", Host("dynamodb", "eu-central-1")),
        ("lambda.localhost", Host("lambda")),
        ("monitoring.us-east-1.localhost", Host("cloudwatch", "us-east-1")),
        ("s3.evil.example", Host()),
    ],
)
def test_what_a_host_says(host: str, said: Host) -> None:
    assert read_host(host) == said


def chunked(data: bytes, trailer: str) -> bytes:
    return b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(data), data, trailer.encode())


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_aws_chunked_uploads(edge: Edge, size: int) -> None:
    data = b"z" * size
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    headers = {
        "X-Amz-Content-SHA256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Trailer": "x-amz-checksum-crc32",
        "X-Amz-Decoded-Content-Length": str(size), "Content-Encoding": "aws-chunked",
    }  # fmt: skip
    body = chunked(data, f"x-amz-checksum-crc32:{crc}")
    answer = await sign(edge, "s3", "PUT", "/b/k", body, headers)
    assert (answer.status, edge.objects["b", "k"] == data) == (200, True)
    assert "ContentEncoding" not in edge.calls[-1][1]
    if size < 1000:
        assert edge.calls[-1][1]["ChecksumCRC32"] == crc
    edge.objects.clear()
    body = chunked(data, "x-amz-checksum-crc32:AAAAAA==")
    answer = await sign(edge, "s3", "PUT", "/b/k", body, headers)
    assert (answer.status, answer.code, edge.objects) == (400, "BadDigest", {})


async def test_large_signed_body_is_held_to_its_hash(edge: Edge) -> None:
    data = b"z" * 2_000_000
    headers = {"X-Amz-Content-SHA256": hashlib.sha256(data).hexdigest()}
    answer = await sign(edge, "s3", "PUT", "/b/k", data, headers)
    assert (answer.status, len(edge.objects["b", "k"])) == (200, 2_000_000)
    edge.objects.clear()
    headers["X-Amz-Content-SHA256"] = hashlib.sha256(b"other").hexdigest()
    answer = await sign(edge, "s3", "PUT", "/b/k", data, headers)
    assert (answer.status, answer.code, edge.objects) == (400, "XAmzContentSHA256Mismatch", {})


async def test_truncated_upload_writes_nothing(edge: Edge) -> None:
    head = f"PUT /b/k HTTP/1.1\r\nHost: 127.0.0.1:{edge.port}\r\nContent-Length: 2000000\r\n\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(head.encode() + b"x" * 1_500_000)
    await asyncio.sleep(0.1)
    writer.close()
    await asyncio.sleep(0.1)
    assert edge.objects == {}


async def test_bodies_are_bounded(edge: Edge) -> None:
    answer = await ssm(edge, "GetParameter", body=b"x" * (16 * 1024**2 + 1))
    assert (answer.status, answer.code) == (413, "RequestEntityTooLargeException")
    answer = await sign(edge, "s3", "POST", "/b?delete", b"x" * (20 * 1024**2 + 1), {"Content-MD5": "x"})
    assert (answer.status, answer.code) == (400, "MaxMessageLengthExceeded")


async def test_web_pages(edge: Edge) -> None:
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-amz-date"}
    answer = await edge.send("OPTIONS", "/b/k", {"Origin": "http://localhost:3000", **asked})
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "PUT" in answer.headers["access-control-allow-methods"]
    answer = await edge.send("OPTIONS", "/b/k", {"Origin": "https://evil.example", **asked})
    assert answer.status == 403
    headers = {"Origin": "http://localhost:3000"}
    answer = await ssm(edge, "GetParameter", {"Name": "n"}, headers=headers)
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"


async def test_default_keys_are_not_for_foreign_pages(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    answer = await ssm(edge, "GetParameter", {"Name": "n"}, headers={"Origin": "https://evil.example"})
    assert answer.code.endswith("UnrecognizedClientException")
    assert "access-control-allow-origin" not in answer.headers
    assert "https://evil.example" in caplog.text
    # A name of others that they point at this machine.
    answer = await ssm(edge, "GetParameter", {"Name": "n"}, host=f"evil.example:{edge.port}")
    assert answer.code.endswith("UnrecognizedClientException")


async def test_images_and_links_of_foreign_pages(edge: Edge) -> None:
    edge.objects["b", "k"] = b"v"

    async def fetch(mode: str, service: str, target: str) -> Answer:
        kind = auth.S3SigV4QueryAuth if service == "s3" else auth.SigV4QueryAuth
        request = AWSRequest(method="GET", url=f"{edge.endpoint}{target}")
        kind(ROOT, service, "us-east-1", expires=60).add_auth(request)
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
        return await edge.send("GET", request.prepare().url.removeprefix(edge.endpoint), headers)

    create = "/?Action=CreateTopic&Version=2010-03-31&Name=t"
    assert (await fetch("no-cors", "sns", create)).code == "InvalidClientTokenId"
    assert (await fetch("navigate", "sns", create)).code == "InvalidClientTokenId"
    assert (await fetch("no-cors", "s3", "/b/k")).code == "InvalidAccessKeyId"
    assert (await fetch("navigate", "s3", "/b/k")).body == b"v"


async def test_own_endpoints(edge: Edge) -> None:
    assert (await edge.send("GET", "/_penstock/health")).status == 200
    assert json.loads((await edge.send("GET", "/_penstock/ready")).body) == {"ready": True}
    await ssm(edge, "GetParameter", {"Name": "n"})
    metrics = (await edge.send("GET", "/_penstock/metrics")).body.decode()
    assert 'penstock_operation_seconds_count{service="ssm",operation="GetParameter",error=""} 1' in metrics
    assert json.loads((await edge.send("GET", "/_penstock/state")).body)["operations"]["ssm"] >= 1
    assert b'"iam": "available"' in (await edge.send("GET", "/_localstack/health")).body
    assert json.loads((await edge.send("GET", "/_localstack/init/ready")).body)["completed"] is True
    assert (await edge.send("GET", "/_penstock/nothing")).status == 404
    assert (await edge.send("GET", "/_penstock")).status == 404
    assert (await edge.send("GET", "/_penstock/reset")).status == 405


async def test_objects_may_be_named_as_they_like(edge: Edge) -> None:
    host = f"bucket.localhost:{edge.port}"
    assert (await sign(edge, "s3", "PUT", "/_penstock/health", b"v", host=host)).status == 200
    assert edge.objects == {("bucket", "_penstock/health"): b"v"}


async def test_access_log(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "penstock.access")
    await ssm(edge, "GetParameter", {"Name": "n"})
    assert "POST / ssm:GetParameter 200" in caplog.text
    assert "test" not in caplog.records[-1].getMessage()


async def test_the_clock_moves_only_for_friends(edge: Edge) -> None:
    async def move(headers: dict[str, str], body: bytes = b'{"advance_s": 3600}') -> int:
        return (await edge.send("POST", "/_penstock/clock", headers, body)).status

    before = edge.node.clock.now()
    assert await move({"Origin": "https://evil.example"}) == 403
    assert await move({"Host": "evil.example"}) == 403
    assert await move({}, b'{"advance_s": -1}') == 400
    assert await move({}, b"[]") == 400
    assert await move({}, b'{"advance_s": NaN}') == 400
    assert edge.node.clock.now() - before < 60
    assert await move({}) == 200
    assert edge.node.clock.now() - before > 3599
    # Clients' clocks have not moved: they are still let in.
    assert (await ssm(edge, "GetParameter", {"Name": "n"})).status == 200


async def test_draining(edge: Edge) -> None:
    reader, idle = await asyncio.open_connection("127.0.0.1", edge.port)
    idle.write(b"GET /_penstock/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    slow = asyncio.create_task(ssm(edge, "PutParameter", {"Name": "n", "Value": "v", "Type": "String"}))
    while not edge.server._chain._at_work:
        await asyncio.sleep(0.01)
    await edge.server.stop()
    answer = await slow
    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    assert (await reader.read()).endswith(b"}")
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", edge.port)


async def test_overload_is_said(edge: Edge) -> None:
    edge.node.settings = msgspec.structs.replace(edge.node.settings, max_requests=1)
    params = {"Name": "n", "Value": "v", "Type": "String"}
    answers = await asyncio.gather(*(ssm(edge, "PutParameter", params) for _ in range(3)))
    assert sorted(a.status for a in answers) == [200, 400, 400]
    refused = next(a for a in answers if a.status == 400)
    assert refused.code.endswith("ThrottlingException")
    assert refused.headers["retry-after"] == "1"


async def test_decisions_are_told(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        REGISTRY,
        ("ssm", "GetParameter"),
        dataclasses.replace(REGISTRY["ssm", "GetParameter"], action="ssm:GetParameter"),
    )
    user = await sign(edge, "iam", "POST", "/", b"Action=CreateUser&Version=2010-05-08&UserName=u", FORM)
    assert user.status == 200
    made = await sign(edge, "iam", "POST", "/", b"Action=CreateAccessKey&Version=2010-05-08&UserName=u", FORM)
    key, secret = (
        made.body.decode().partition(f"<{name}>")[2].partition("<")[0] for name in ("AccessKeyId", "SecretAccessKey")
    )
    answer = await ssm(edge, "GetParameter", {"Name": "n"}, credentials=Credentials(key, secret))
    assert (answer.status, answer.code.rpartition("#")[2]) == (400, "AccessDeniedException")
    decisions = json.loads((await edge.send("GET", "/_penstock/authz?denied=1")).body)["decisions"]
    assert decisions[0]["action"] == "ssm:GetParameter"
    assert (await edge.send("GET", "/_penstock/authz", {"Origin": "https://evil.example"})).status == 403
    # The user's own key does not open what is for the account's root.
    for path, body in (("/_penstock/clock", b'{"advance_s": 1}'), ("/_penstock/reset", b"")):
        answer = await sign(edge, "execute-api", "POST", path, body, credentials=Credentials(key, secret))
        assert answer.status == 403
    answer = await sign(edge, "execute-api", "POST", "/_penstock/clock", b'{"advance_s": 1}')
    assert answer.status == 200


async def test_functions_reach_the_services_and_nothing_else(edge: Edge) -> None:
    edge.node.settings = msgspec.structs.replace(edge.node.settings, function_default_credentials=False)
    server = Server(edge.node)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    port = listening.getsockname()[1]
    stop = server.serve_socket(listening)
    await asyncio.sleep(0.05)
    edge.port = port
    for path in ("/_penstock/reset", "/_penstock/clock", "/_penstock/health"):
        assert (await edge.send("POST", path)).status == 404
    answer = await ssm(edge, "GetParameter", {"Name": "n"})
    assert answer.code.rpartition("#")[2] == "UnrecognizedClientException"
    stop()
    await server.stop()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


def certified(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context for localhost, and the certificate that its clients must trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = tmp_path / "tls.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context, pem


async def test_tls(edge: Edge, tmp_path: Path) -> None:
    context, pem = certified(tmp_path)
    server = Server(edge.node, tls=context)
    port = await server.start("127.0.0.1", 0)

    def use() -> None:
        client = boto3.client(
            "s3", endpoint_url=f"https://localhost:{port}", region_name="us-east-1", aws_access_key_id="test",
            aws_secret_access_key="test", verify=str(pem),
        )  # fmt: skip
        for body in (b"small", b"x" * 3_000_000):  # over TLS boto3 sends unsigned chunks with a trailing checksum
            client.put_object(Bucket="b", Key="k", Body=body)
            assert edge.objects["b", "k"] == body
            assert client.get_object(Bucket="b", Key="k")["Body"].read() == body

    await asyncio.to_thread(use)
    assert edge.calls[-1][0].secure
    assert edge.calls[-1][0].endpoint == f"https://localhost:{port}"
    await server.stop()
