"""Responses that arrive while the function still makes them."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import subprocess
import time
import uuid
import zipfile
from urllib.parse import urlsplit

import pytest

from served import Served

NODE = shutil.which("node")
SOURCE = """exports.handler = awslambda.streamifyResponse(async (event, out) => {
    out.setContentType('text/plain'); out.write('one'); await new Promise(r => setTimeout(r, 700)); out.write('two');
    if (event.fail) throw new Error('broke off'); out.end(); });
"""


@pytest.mark.skipif(NODE is None, reason="this host has no Node.js")
def test_pieces_arrive_as_they_are_made(server: Served) -> None:
    major = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.lstrip("v").split(".")[0]
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("index.js", SOURCE)
    client = server.client("lambda")
    name = f"stream-{uuid.uuid4().hex[:8]}"
    client.create_function(
        FunctionName=name, Runtime=f"nodejs{major}.x", Role="arn:aws:iam::000000000000:role/r", Handler="index.handler",
        Code={"ZipFile": package.getvalue()}, Timeout=30,
    )  # fmt: skip
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=b"{}")
    events = iter(answer["EventStream"])
    assert next(events)["PayloadChunk"]["Payload"] == b"one"
    began = time.monotonic()
    assert next(events)["PayloadChunk"]["Payload"] == b"two"
    assert time.monotonic() - began > 0.3
    assert next(events)["InvokeComplete"] == {}
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps({"fail": True}).encode())
    end = list(answer["EventStream"])[-1]["InvokeComplete"]
    assert (end["ErrorCode"], json.loads(end["ErrorDetails"])["errorMessage"]) == ("Unhandled", "broke off")


PRELUDE = """exports.handler = awslambda.streamifyResponse(async (event, out) => {
    out = awslambda.HttpResponseStream.from(out, {statusCode: 418, headers: {'X-Own': 'mine'}, cookies: ['a=1']});
    out.write('one'); await new Promise(r => setTimeout(r, 500)); out.write('two'); out.end(); });
"""


@pytest.mark.skipif(NODE is None, reason="this host has no Node.js")
def test_a_url_streams_with_the_status_that_the_function_gives(server: Served) -> None:
    major = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.lstrip("v").split(".")[0]
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("index.js", PRELUDE)
    client = server.client("lambda")
    name = f"stream-{uuid.uuid4().hex[:8]}"
    client.create_function(
        FunctionName=name, Runtime=f"nodejs{major}.x", Role="arn:aws:iam::000000000000:role/r", Handler="index.handler",
        Code={"ZipFile": package.getvalue()}, Timeout=30,
    )  # fmt: skip
    url = client.create_function_url_config(FunctionName=name, AuthType="NONE", InvokeMode="RESPONSE_STREAM")[
        "FunctionUrl"
    ]
    client.add_permission(
        FunctionName=name, StatementId="u", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE"
    )
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30)
    connection.request("GET", "/", headers={"Host": parts.netloc})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("X-Own"), answer.getheader("Set-Cookie")) == (418, "mine", "a=1")
    assert answer.read(3) == b"one"
    began = time.monotonic()
    assert answer.read() == b"two"
    assert time.monotonic() - began > 0.2
