"""Extensions, and what they hear of the function."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from environments import Bench, make_bench

pytestmark = pytest.mark.asyncio(loop_scope="module")

PYTHON = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
EXTENSION = """
import http.server, json, os, sys, threading, urllib.request, urllib.error
API = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"]
NAME = os.path.basename(sys.argv[0])
def call(method, path, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data=data, method=method,
        headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read() or b"null")
def say(*values):
    print("EXT", json.dumps(values), flush=True)
def register(*events):
    status, headers, body = call("POST", "/2020-01-01/extension/register", {"events": events}, Lambda_Extension_Name=NAME)
    say("registered", status, body)
    return headers.get("Lambda-Extension-Identifier")
def next_event(me):
    return call("GET", "/2020-01-01/extension/event/next", Lambda_Extension_Identifier=me)[2]
"""
LOOP = """
me = register("INVOKE", "SHUTDOWN")
say("handler" in os.environ.get("_HANDLER", ""), os.environ["AWS_LAMBDA_FUNCTION_NAME"])
while True:
    event = next_event(me)
    say(event["eventType"], event.get("requestId"), event.get("shutdownReason"))
    if event["eventType"] == "SHUTDOWN":
        break
"""
HANDLER = """
import os, time
def handler(event, context):
    print("handling")
    if event == "exit":
        os._exit(3)
    if event == "sleep":
        time.sleep(10)
    return event
"""


def layer(folder: Path, name: str, source: str) -> Path:
    path = folder / "layer" / "extensions" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{PYTHON}\n" + EXTENSION + textwrap.dedent(source))
    path.chmod(0o755)
    folder.chmod(0o755)
    return folder / "layer"


def said(bench: Bench) -> list[Any]:
    return [json.loads(line[4:]) for _, _, line in bench.lines if line.startswith("EXT ")]


async def heard(bench: Bench, what: str) -> list[Any]:
    for _ in range(300):
        if any(entry[0] == what for entry in said(bench)):
            break
        await asyncio.sleep(0.02)
    return said(bench)


async def test_an_external_extension_hears_of_invocations_and_the_end(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    f = bench.function(HANDLER, layers=(layer(tmp_path, "watcher", LOOP),))
    outcome = await bench.invoke(f, 1, request_id="00000000-0000-4000-8000-0000000000aa")
    assert outcome.payload == b"1"
    assert await bench.answer(f, 2) == 2
    assert bench.runtime.environments == 1
    await bench.runtime.retire("")
    assert bench.runtime.environments == 0
    entries = await heard(bench, "SHUTDOWN")
    assert entries[0][:2] == ["registered", 200]
    assert entries[0][2] == {"functionName": "f", "functionVersion": "$LATEST", "handler": "main.handler"}
    assert entries[1] == [False, "f"]
    assert [e[0] for e in entries[2:]] == ["INVOKE", "INVOKE", "SHUTDOWN"]
    assert entries[2][1] == "00000000-0000-4000-8000-0000000000aa" and entries[-1][2] == "spindown"
    await bench.runtime.close()


@pytest.mark.parametrize(("event", "kind", "reason"), [
    ("exit", "Runtime.ExitError", "failure"), ("sleep", "Sandbox.Timedout", "timeout"),
])  # fmt: skip
async def test_it_hears_why_the_environment_ends(tmp_path: Path, event: str, kind: str, reason: str) -> None:
    bench = make_bench(tmp_path)
    f = bench.function(HANDLER, layers=(layer(tmp_path, "watcher", LOOP),), timeout_s=1.0)
    assert (await bench.error(f, event))["errorType"] == kind
    assert (await heard(bench, "SHUTDOWN"))[-1][2] == reason
    await bench.runtime.close()


@pytest.mark.parametrize(("source", "kind"), [
    ("sys.exit(2)\n", "Extension.Crash"),
    ("me = register('INVOKE')\ncall('POST', '/2020-01-01/extension/init/error', {}, Lambda_Extension_Identifier=me,"
     " Lambda_Extension_Function_Error_Type='Extension.NoSuchConfig')\nimport time; time.sleep(5)\n",
     "Extension.NoSuchConfig"),
])  # fmt: skip
async def test_an_extension_that_fails_fails_the_function(tmp_path: Path, source: str, kind: str) -> None:
    bench = make_bench(tmp_path)
    f = bench.function(HANDLER, layers=(layer(tmp_path, "broken", source),))
    assert (await bench.error(f))["errorType"] == kind
    await bench.runtime.close()


async def test_what_it_may_not_do_is_refused(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    source = """
    def status(*arguments, **headers):
        status, _, body = call(*arguments, **headers)
        say(status, body["errorType"])
    status("POST", "/2020-01-01/extension/register", {"events": []})
    status("POST", "/2020-01-01/extension/register", {"events": ["SHUTDOWN"]}, Lambda_Extension_Name="internal")
    status("POST", "/2020-01-01/extension/register", {"events": ["NO"]}, Lambda_Extension_Name=NAME)
    status("GET", "/2020-01-01/extension/event/next")
    status("GET", "/2020-01-01/extension/event/next", Lambda_Extension_Identifier="x")
    me = register("INVOKE")
    status("PUT", "/2022-07-01/telemetry", {"types": ["no"]}, Lambda_Extension_Identifier=me)
    status("PUT", "/2022-07-01/telemetry", {"schemaVersion": "2022-12-13", "types": ["function"], "destination":
        {"protocol": "HTTP", "URI": "http://10.0.0.1:80/"}}, Lambda_Extension_Identifier=me)
    next_event(me)
    status("POST", "/2020-01-01/extension/register", {"events": []}, Lambda_Extension_Name="late")
    next_event(me)
    """
    f = bench.function(HANDLER, layers=(layer(tmp_path, "asker", source),))
    await bench.answer(f)
    entries = await heard(bench, "never")
    assert [e for e in entries if e[0] != "registered"] == [
        [400, "Extension.MissingExtensionName"], [400, "ShutdownEventNotSupportedForInternalExtension"],
        [400, "Extension.InvalidEventType"], [403, "Extension.MissingExtensionIdentifier"],
        [403, "Extension.UnknownExtensionIdentifier"], [400, "ValidationError"], [400, "ValidationError"],
        [403, "Extension.RegistrationClosed"],
    ]  # fmt: skip
    await bench.runtime.close()


@pytest.mark.parametrize("path", ["/2022-07-01/telemetry", "/2020-08-15/logs"])
async def test_telemetry_is_posted_into_the_environment(tmp_path: Path, path: str) -> None:
    bench = make_bench(tmp_path)
    source = """
    class Sink(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            for record in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
                say(record["type"], record["record"])
            self.send_response(200)
            self.end_headers()
        def log_message(self, *values): pass
    sink = http.server.ThreadingHTTPServer(("0.0.0.0", 4243), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    me = register("INVOKE", "SHUTDOWN")
    say("subscribed", *call("PUT", "PATH", {"schemaVersion": "2022-12-13", "types": ["platform"],
        "buffering": {"timeoutMs": 25, "maxItems": 1000, "maxBytes": 262144},
        "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243/in"}},
        Lambda_Extension_Identifier=me)[::2])
    while next_event(me)["eventType"] != "SHUTDOWN":
        pass
    """.replace("PATH", path)
    f = bench.function(HANDLER, layers=(layer(tmp_path, "telemetry", source),))
    await bench.answer(f, 1)
    entries = await heard(bench, "platform.report")
    assert ["subscribed", 200, "OK"] in entries
    kinds = [entry[0] for entry in entries]
    for kind in ("initStart", "telemetrySubscription", "extension", "initReport", "start", "runtimeDone", "report"):
        assert f"platform.{kind}" in kinds
    assert next(kind for kind in kinds if kind.startswith("platform.")) == "platform.initStart"
    report = next(entry[1] for entry in entries if entry[0] == "platform.report")
    assert report["status"] == "success" and report["metrics"]["memorySizeMB"] == 128
    await bench.runtime.close()


async def test_an_internal_extension_is_part_of_the_function(bench: Bench) -> None:
    source = (
        EXTENSION.replace("os.path.basename(sys.argv[0])", '"inside"')
        + """
me = register("INVOKE")
seen = []
def loop():
    while True:
        seen.append(next_event(me)["requestId"])
threading.Thread(target=loop, daemon=True).start()
def handler(event, context):
    import time
    time.sleep(0.1)
    return seen
"""
    )
    f = bench.function(source)
    assert len(await bench.answer(f)) == 1
    assert len(await bench.answer(f)) == 2
