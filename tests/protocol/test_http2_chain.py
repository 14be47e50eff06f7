"""The whole chain over HTTP/2: signatures, streams and errors are those of HTTP/1.1; by preface and by ALPN."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
from botocore import auth
from botocore.awsrequest import AWSRequest

from penstock.edge.server import Server
from protocol.conftest import Edge
from protocol.test_chain import JSON, ROOT, certified


async def ask(
    client: httpx.AsyncClient, service: str, method: str, target: str, body: bytes = b"", **headers: str
) -> httpx.Response:
    url = f"{str(client.base_url).rstrip('/')}{target}"
    request = AWSRequest(
        method=method, url=url, data=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    signer: Any = (auth.S3SigV4Auth if service == "s3" else auth.SigV4Auth)(ROOT, service, "us-east-1")
    signer.add_auth(request)
    given = {k: v.decode() if isinstance(v, bytes) else v for k, v in request.prepare().headers.items()}
    return await client.request(method, url, headers=given, content=body)


async def use(client: httpx.AsyncClient, edge: Edge) -> None:
    for size in (0, 10, 3_000_000):
        body = b"y" * size
        answer = await ask(client, "s3", "PUT", "/bucket/key", body)
        assert (answer.status_code, edge.objects["bucket", "key"] == body) == (200, True), answer.text
        answer = await ask(client, "s3", "GET", "/bucket/key")
        assert answer.content == body and answer.headers["content-length"] == str(size)
    params = json.dumps({"Name": "n"}).encode()
    asked = [
        ask(client, "ssm", "POST", "/", params, X_Amz_Target="AmazonSSM.GetParameter", **JSON) for _ in range(30)
    ] + [ask(client, "ssm", "POST", "/", params, X_Amz_Target="AmazonSSM.PutParameter", **JSON) for _ in range(30)]
    answers = await asyncio.gather(*asked)
    assert [a.status_code for a in answers] == [200] * 30 + [400] * 30
    assert {a.http_version for a in answers} == {"HTTP/2"}
    assert b"000000000000 us-east-1" in answers[0].content
    answer = await client.post("/", content=params, headers={"X-Amz-Target": "AmazonSSM.GetParameter", **JSON})
    assert answer.json()["__type"].endswith("MissingAuthenticationTokenException")


async def test_prior_knowledge(edge: Edge) -> None:
    async with httpx.AsyncClient(http1=False, http2=True, base_url=edge.endpoint) as client:
        await use(client, edge)
        call = edge.calls[-1][0]
        assert (call.source_ip, call.secure, call.endpoint) == ("127.0.0.1", False, edge.endpoint)


async def test_the_authority_signed_in_place_of_the_host(edge: Edge) -> None:
    """As the SDK for JavaScript does. Over HTTP/1.1 there is no such thing, whatever a signature says."""
    body = b'{"Name": "n"}'
    fields = {"X-Amz-Target": "AmazonSSM.GetParameter", "Host": f"127.0.0.1:{edge.port}", **JSON}
    request = AWSRequest(method="POST", url=edge.endpoint + "/", data=body, headers=fields)
    signer = Authority(ROOT, "ssm", "us-east-1")
    signer.add_auth(request)
    given = {k: v.decode() if isinstance(v, bytes) else v for k, v in request.prepare().headers.items()}
    assert "SignedHeaders=:authority;content-type;" in given["Authorization"]
    async with httpx.AsyncClient(http1=False, http2=True) as client:
        answer = await client.post(edge.endpoint + "/", content=body, headers=given)
        assert answer.status_code == 200
        answer = await client.post(edge.endpoint + "/", content=body, headers={**given, "Host": "127.0.0.2"})
        assert answer.json()["__type"].endswith("InvalidSignatureException")
    answer = await edge.send("POST", "/", given, body)
    assert answer.status == 400 and answer.code.endswith("InvalidSignatureException")


class Authority(auth.SigV4Auth):
    """Names the host by HTTP/2's name for it."""

    def headers_to_sign(self, request: Any) -> Any:
        headers = super().headers_to_sign(request)
        headers[":authority"] = headers["host"]
        del headers["host"]
        return headers


async def test_alpn(edge: Edge, tmp_path: Path) -> None:
    context, pem = certified(tmp_path)
    server = Server(edge.node, tls=context)
    port = await server.start("127.0.0.1", 0)
    trusting = ssl.create_default_context(cafile=str(pem))
    async with httpx.AsyncClient(http2=True, base_url=f"https://localhost:{port}", verify=trusting) as client:
        await use(client, edge)
        assert edge.calls[-1][0].secure
    async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=trusting) as client:
        answer = await client.get("/_penstock/health")
        assert (answer.http_version, answer.status_code) == ("HTTP/1.1", 200)
    await server.stop()


def test_http2_is_loaded_when_it_is_spoken() -> None:
    said = "import sys, penstock.edge.server; print([m for m in sys.modules if m in ('h2', 'hpack', 'hyperframe')])"
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
