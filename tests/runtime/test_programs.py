"""Runtimes that are programs of their own: Node.js, Java, any `bootstrap`."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from environments import Bench, make_bench
from penstock.runtime.api import Outcome
from penstock.runtime.streams import ResponseStream

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _major() -> int:
    if shutil.which("node") is None:
        return 0
    text = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
    return int(text.strip().lstrip("v").split(".")[0])


NODE = f"nodejs{_major()}.x"
needs_node = pytest.mark.skipif(_major() < 18, reason="this host has no Node.js")


@needs_node
async def test_node_runs_async_and_callback_handlers_of_both_module_kinds(bench: Bench) -> None:
    files = {
        "index.js": "exports.handler = async (event, context) => ({ got: event, name: context.functionName });\n"
        "exports.back = (event, context, callback) => { setTimeout(() => callback(null, event + 1), 5); };\n"
        "exports.none = () => {};\n"
        "exports.deep = { inner: async () => process.env._HANDLER };\n",
        "m.mjs": "import os from 'node:os'; export const handler = async (e) => [os.platform(), e];\n",
    }

    def function(handler: str) -> object:
        return bench.function(None, files=files, runtime=NODE, handler=handler)

    f = function("index.handler")
    assert await bench.answer(f, {"a": "ü"}) == {"got": {"a": "ü"}, "name": "f"}
    assert not (await bench.invoke(f, 1)).cold
    assert await bench.answer(function("index.back"), 1) == 2
    assert await bench.answer(function("index.none"), 1) is None
    assert await bench.answer(function("index.deep.inner")) == "index.deep.inner"
    assert await bench.answer(function("m.handler"), 5) == ["linux", 5]


@needs_node
async def test_nodes_errors_are_awss(bench: Bench) -> None:
    files = {
        "index.js": "exports.handler = async () => { class Odd extends Error {}; const e = new Odd('no'); e.name = 'Odd';"
        " throw e; };\nexports.late = () => { setTimeout(() => { throw new TypeError('later'); }, 1);"
        " return new Promise(() => {}); };\nexports.rejected = () => { Promise.reject(new Error('left')); return new"
        " Promise(r => setTimeout(r, 500)); };\nexports.failed = (e, c, callback) => callback('text');\n",
        "broken.js": "exports.handler = (\n",
        "thrower.js": "throw new RangeError('at load');\n",
        "asker.js": "require('nothing-of-the-sort');\n",
    }

    async def error(handler: str) -> dict[str, object]:
        found: dict[str, object] = await bench.error(bench.function(None, files=files, runtime=NODE, handler=handler))
        return found

    odd = await error("index.handler")
    assert (odd["errorType"], odd["errorMessage"]) == ("Odd", "no")
    assert isinstance(odd["trace"], list) and odd["trace"][1].strip().startswith("at exports.handler")
    assert (await error("index.late"))["errorMessage"] == "later"
    assert (await error("index.rejected"))["errorType"] == "Runtime.UnhandledPromiseRejection"
    assert (await error("index.failed"))["errorMessage"] == "text"
    assert (await error("broken.handler"))["errorType"] == "Runtime.UserCodeSyntaxError"
    assert (await error("thrower.handler"))["errorType"] == "RangeError"
    missing = await error("asker.handler")
    assert missing["errorType"] == "Runtime.ImportModuleError"
    assert str(missing["errorMessage"]).startswith("Error: Cannot find module 'nothing-of-the-sort'\nRequire stack:")
    assert (await error("none.handler"))["errorType"] == "Runtime.ImportModuleError"
    assert await error("index.absent") | {"trace": 0} == {
        "errorType": "Runtime.HandlerNotFound", "errorMessage": "index.absent is undefined or not exported", "trace": 0,
    }  # fmt: skip
    assert (await error("index"))["errorType"] == "Runtime.MalformedHandlerName"


@needs_node
async def test_nodes_log_lines_and_layers_are_as_on_aws(bench: Bench, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    (layer / "nodejs/node_modules/tool").mkdir(parents=True)
    (layer / "nodejs/node_modules/tool/index.js").write_text("module.exports = 42;\n")
    tmp_path.chmod(0o755)
    source = "exports.handler = async () => { console.log('one\\ntwo', {a: 1}); console.error('bad');" \
        " return [require('tool'), process.env.AWS_EXECUTION_ENV]; };\n"  # fmt: skip
    module = "import tool from 'tool'; export const handler = async () => tool;\n"
    files = {"index.js": source, "m.mjs": module}
    outcome = await bench.invoke(
        bench.function(None, files=files, runtime=NODE, handler="index.handler", layers=(layer,))
    )
    assert msgspec.json.decode(outcome.payload) == [42, f"AWS_Lambda_{NODE}"]
    log = outcome.log.decode()
    assert re.search(r"\d+-\d+-\d+T[\d:.]+Z\t[-0-9]{36}\tINFO\tone\ntwo \{ a: 1 \}\n", log), log
    assert "\tERROR\tbad\n" in log
    assert await bench.answer(
        bench.function(None, files=files, runtime=NODE, handler="m.handler", layers=(layer,))
    ) == 42  # fmt: skip


STREAMS = """
exports.slow = awslambda.streamifyResponse(async (event, out, context) => {
    out = awslambda.HttpResponseStream.from(out, { statusCode: 201, headers: { a: 'b' } });
    out.write('one'); await new Promise(r => setTimeout(r, 100)); out.write('two'); out.end(); });
exports.large = awslambda.streamifyResponse(async (event, out) => {
    for (let i = 0; i < event; i++) if (!out.write(Buffer.alloc(1 << 20, 65))) await new Promise(r => out.once('drain', r));
    out.end(); });
exports.broken = awslambda.streamifyResponse(async (event, out) => { out.write('begun'); throw new Error('broke'); });
exports.early = awslambda.streamifyResponse(async () => { throw new Error('at once'); });
"""


async def _streamed(bench: Bench, handler: str, event: object = None) -> tuple[list[bytes], Outcome, ResponseStream]:
    stream = ResponseStream()
    f = bench.function(None, files={"index.js": STREAMS}, runtime=NODE, handler=f"index.{handler}", memory_mb=256)
    task = asyncio.ensure_future(bench.invoke(f, event, stream=stream))
    return [piece async for piece in stream], await task, stream


@needs_node
async def test_a_streamed_response_arrives_piece_by_piece(bench: Bench) -> None:
    pieces, outcome, stream = await _streamed(bench, "slow")
    assert b"".join(pieces) == b'{"statusCode":201,"headers":{"a":"b"}}' + bytes(8) + b"onetwo"
    assert len(pieces) > 1 and stream.content_type == "application/vnd.awslambda.http-integration-response"
    assert (outcome.error, outcome.payload) == ("", b"") and outcome.duration_ms > 95
    pieces, outcome, _ = await _streamed(bench, "large", 20)
    assert sum(map(len, pieces)) == 20 << 20 and not outcome.error


@needs_node
async def test_a_streamed_response_that_breaks_off_says_so(bench: Bench) -> None:
    pieces, outcome, _ = await _streamed(bench, "broken")
    assert b"".join(pieces) == b"begun" and outcome.error == "Unhandled"
    assert msgspec.json.decode(outcome.payload)["errorMessage"] == "broke"
    pieces, outcome, _ = await _streamed(bench, "early")
    assert pieces == [] and msgspec.json.decode(outcome.payload)["errorMessage"] == "at once"


@needs_node
async def test_a_streamed_response_that_nobody_streams_is_the_payload(bench: Bench) -> None:
    f = bench.function(None, files={"index.js": STREAMS}, runtime=NODE, handler="index.large", memory_mb=256)
    outcome = await bench.invoke(f, 2)
    assert (outcome.payload, outcome.content_type) == (b"A" * (2 << 20), "application/octet-stream")
    assert (await bench.error(f, 9))["errorType"] == "Function.ResponseSizeTooLarge"


@pytest.mark.skipif(shutil.which("go") is None, reason="this host has no Go")
@pytest.mark.slow
async def test_a_compiled_bootstrap_runs(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text(GO)
    made = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=mod",
        "GOCACHE": str(tmp_path / "cache"),
        "GO111MODULE": "off",
    }
    subprocess.run(["go", "build", "-o", "bootstrap", "main.go"], cwd=tmp_path, check=True, env=made, timeout=300)
    f = bench.function(None, runtime="provided.al2023")
    shutil.copy2(tmp_path / "bootstrap", f.code / "bootstrap")
    assert await bench.answer(f, {"a": 1}) == {"a": 1}
    assert not (await bench.invoke(f, 2)).cold


GO = """package main
import ("bytes"; "io"; "net/http"; "os")
func main() {
    base := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
    for {
        got, err := http.Get(base + "next")
        if err != nil { os.Exit(1) }
        body, _ := io.ReadAll(got.Body)
        got.Body.Close()
        id := got.Header.Get("Lambda-Runtime-Aws-Request-Id")
        done, _ := http.Post(base + id + "/response", "application/json", bytes.NewReader(body))
        done.Body.Close()
    }
}
"""


async def test_what_this_host_lacks_is_said_with_what_to_do(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    assert "needs Node.js 99" in bench.runtime.supports("nodejs99.x")
    assert "is not supported" in bench.runtime.supports("dotnet8")
    assert re.search("needs (a )?Java 99", bench.runtime.supports("java99"))
    await bench.runtime.close()


WRAPPER = '#!/bin/bash\nexport WRAPPED="by $(basename "$0")"\nexec "$@"\n'


@pytest.mark.parametrize(
    ("runtime", "handler"), [("", "app.handler"), pytest.param(NODE, "index.handler", marks=needs_node)]
)
async def test_a_wrapper_script_starts_the_runtime(bench: Bench, tmp_path: Path, runtime: str, handler: str) -> None:
    layer = tmp_path / "layer"
    (layer / "python").mkdir(parents=True)
    (layer / "python" / "shared.py").write_text("said = 'a layer'\n")
    (layer / "wrap").write_text(WRAPPER)
    (layer / "wrap").chmod(0o755)
    files = {
        "app.py": "import os, shared\ndef handler(event, context):\n    print('printed')\n"
        "    return [event, os.environ['WRAPPED'], shared.said, 'PENSTOCK_RUNTIME_CLIENT' in os.environ]\n",
        "index.js": "exports.handler = async (event) => [event, process.env.WRAPPED, 'a layer', false];\n",
    }
    more = {"runtime": runtime} if runtime else {}

    def wrapped(path: str) -> object:
        return bench.function(
            None, files=files, handler=handler, layers=(layer,), environment={"AWS_LAMBDA_EXEC_WRAPPER": path}, **more
        )

    function = wrapped("/opt/wrap")
    outcome = await bench.invoke(function, {"n": 1})
    assert msgspec.json.decode(outcome.payload) == [{"n": 1}, "by wrap", "a layer", False]
    assert runtime or b"printed" in outcome.log
    assert not (await bench.invoke(function, 2)).cold
    missing = await bench.invoke(wrapped("/opt/nowhere"), 1)
    assert b"/opt/nowhere: does not exist" in missing.log and b"exit status 127" in missing.payload
    plain = await bench.invoke(wrapped("/opt/python/shared.py"), 1)
    assert b"is not an executable" in plain.log and b"exit status 126" in plain.payload


async def test_sh_is_bash_as_on_aws(bench: Bench) -> None:
    bootstrap = (
        "#!/bin/sh\nset -euo pipefail\nwhile true; do\n  H=$(mktemp)\n"
        "  EVENT=$(curl -sS -LD $H http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/next)\n"
        "  ID=$(grep -Fi Lambda-Runtime-Aws-Request-Id $H | tr -d '[:space:]' | cut -d: -f2)\n"
        '  curl -sS -X POST http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/$ID/response -d "$EVENT"\ndone\n'
    )
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("needs curl and bash")
    function = bench.function(None, files={"bootstrap": bootstrap}, runtime="provided.al2023", handler="x")
    (function.code / "bootstrap").chmod(0o755)
    assert await bench.answer(function, {"n": 1}) == {"n": 1}
