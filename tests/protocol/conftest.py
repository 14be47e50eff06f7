"""A server on the memory store, inside the test's own loop, with a few operations of the tests' own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest
import uvloop

from penstock import services
from penstock.clock import Clock
from penstock.config import Settings
from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.operation import REGISTRY, Operation
from penstock.edge.server import Server
from penstock.services.iam.directory import StoreDirectory
from penstock.store.memory import MemoryStore
from penstock.telemetry import Telemetry
from penstock.wire.message import OutgoingStream

Params = dict[str, Any]


@dataclass
class Answer:
    """One response as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The AWS error code, in whichever protocol."""
        text = self.body.decode()
        if text.startswith("{"):
            return str(msgspec.json.decode(self.body).get("__type", self.headers.get("x-amzn-errortype", "")))
        return text.partition("<Code>")[2].partition("</Code>")[0]


@dataclass
class Edge:
    """The server under test, what reached its operations, and a client that sends just what it is told."""

    node: Node
    server: Server
    port: int = 0
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    calls: list[tuple[Call, Params]] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def send(self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
        """One request on a connection of its own."""
        given = {"Host": f"127.0.0.1:{self.port}", "Connection": "close", **(headers or {})}
        if body and "Transfer-Encoding" not in given:
            given.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        message = f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
        return parse(await self.raw(message))

    async def raw(self, message: bytes) -> bytes:
        """All that comes back for a message."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(message)
        try:
            return await asyncio.wait_for(reader.read(-1), 10)
        finally:
            writer.close()


def parse(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return Answer(int(lines[0].split()[1]), headers, body)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """As in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def edge(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Edge]:
    services.load()
    clock, store = Clock(), MemoryStore()
    settings = Settings(header_timeout_s=1.0, body_timeout_s=1.0, idle_timeout_s=2.0, drain_timeout_s=2.0)
    nothing = cast(Any, None)
    node = Node(settings, clock, store, nothing, nothing, StoreDirectory(store, clock, settings), Telemetry())
    running = Edge(node, Server(node))
    register(running, monkeypatch)
    running.port = await running.server.start("127.0.0.1", 0)
    yield running
    await running.server.stop()


def register(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations of services that nobody carries out yet, and of S3 with a dict behind them."""

    async def note(call: Call, params: Params) -> Params:
        edge.calls.append((call, params))
        return {"Parameter": {"Name": params["Name"], "Value": f"{call.account} {call.region}"}}

    async def slow(call: Call, params: Params) -> Params:
        async with asyncio.timeout(5):
            await asyncio.sleep(0.4)
        edge.calls.append((call, params))
        return {"Version": 1}

    async def fail(call: Call, params: Params) -> Params:
        raise ZeroDivisionError("a fault of ours")

    async def topic(call: Call, params: Params) -> Params:
        return {"TopicArn": f"arn:aws:sns:{call.region}:{call.account}:{params['Name']}"}

    async def schedule(call: Call, params: Params) -> Params:
        return {"Name": params["Name"]}

    async def put(call: Call, params: Params) -> Params:
        edge.calls.append((call, params))
        body = params.get("Body", b"")
        if not isinstance(body, bytes):
            body = b"".join([piece async for piece in body])
        edge.objects[params["Bucket"], params["Key"]] = body
        return {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}

    async def get(call: Call, params: Params) -> Params:
        edge.calls.append((call, params))
        body = edge.objects[params["Bucket"], params["Key"]]

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(body), 50_000):
                await asyncio.sleep(0)  # as bytes from a disk come
                yield body[at : at + 50_000]

        return {"Body": OutgoingStream(pieces(), len(body)), "ContentLength": len(body)}

    for name, handler in {
        "ssm:GetParameter": note, "ssm:PutParameter": slow, "ssm:DeleteParameter": fail, "sns:CreateTopic": topic,
        "scheduler:GetSchedule": schedule, "s3:PutObject": put, "s3:GetObject": get,
    }.items():  # fmt: skip
        service, _, operation = name.partition(":")
        found = Operation(service, operation, handler, "", "*", None, None, {})
        monkeypatch.setitem(REGISTRY, (service, operation), found)
