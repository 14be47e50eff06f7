"""A debugger attached to a function."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from environments import Bench, isolated
from penstock.runtime.api import RuntimeUnsupported

pytest.importorskip("debugpy")
pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = """def handler(event, context):
    doubled = event * 2
    return doubled
"""


class Debugger:
    """As much of a client of the Debug Adapter Protocol as it takes to stop at a line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.number = 0

    def send(self, command: str, **arguments: Any) -> None:
        self.number += 1
        body = json.dumps({"seq": self.number, "type": "request", "command": command, "arguments": arguments}).encode()
        self.writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async def message(self, kind: str, name: str) -> dict[str, Any]:
        while True:
            length = int((await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).split(b":")[1])
            found: dict[str, Any] = json.loads(await self.reader.readexactly(length))
            if found["type"] == kind and found.get("event", found.get("command")) == name:
                return found

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        self.send(command, **arguments)
        return await self.message("response", command)


async def test_a_breakpoint_holds_and_the_time_out_does_not_kill(bench: Bench) -> None:
    isolated("files", "network")
    f = bench.function(SOURCE, "debugged", timeout_s=1.0)
    port = await bench.runtime.debug(f.arn, f.runtime, 0)
    answer = asyncio.ensure_future(bench.answer(f, 21))
    debugger = Debugger(*await asyncio.open_connection("127.0.0.1", port))
    await debugger.ask("initialize", adapterID="test", pathFormat="path", linesStartAt1=True)
    debugger.send("attach")
    await debugger.message("event", "initialized")
    set_ = await debugger.ask("setBreakpoints", source={"path": "/var/task/main.py"}, breakpoints=[{"line": 3}])
    assert set_["success"], set_
    await debugger.ask("configurationDone")
    stopped = await debugger.message("event", "stopped")
    assert stopped["body"]["reason"] == "breakpoint"
    await asyncio.sleep(1.3)
    assert not answer.done()
    thread = stopped["body"]["threadId"]
    frames = await debugger.ask("stackTrace", threadId=thread)
    frame = frames["body"]["stackFrames"][0]
    assert (frame["name"], frame["line"]) == ("handler", 3)
    value = await debugger.ask("evaluate", expression="doubled", frameId=frame["id"])
    assert value["body"]["result"] == "42"
    await debugger.ask("continue", threadId=thread)
    assert await answer == 42
    debugger.writer.close()
    await bench.runtime.debug(f.arn, f.runtime, None)
    assert await bench.answer(f, 1) == 2
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_what_cannot_be_debugged_is_said(bench: Bench) -> None:
    with pytest.raises(RuntimeUnsupported, match="cannot be debugged"):
        await bench.runtime.debug("arn", "provided.al2023", 0)
