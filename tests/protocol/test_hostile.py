"""Slow, silent, greedy and nonsensical clients: each is bounded in time and memory, and none makes the server fail."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.edge.listener import Connection, Shared
from penstock.edge.reader import Limits
from penstock.wire.message import Request, Response
from protocol.conftest import Edge

HOST = b"Host: localhost\r\n"


async def until_closed(reader: asyncio.StreamReader) -> tuple[bytes, float]:
    """(what came, seconds it took until the server closed)."""
    began = time.monotonic()
    try:
        got = await asyncio.wait_for(reader.read(-1), 12)
    except ConnectionResetError:
        got = b""
    return got, time.monotonic() - began


async def dripped(edge: Edge, head: bytes, drop: bytes, pause_s: float) -> tuple[bytes, float]:
    """As `until_closed`, for a client that sends a drop again and again.

    By bare sockets: a stream that is reset by what it sends forgets what it has not given out yet.
    """
    loop, began = asyncio.get_running_loop(), time.monotonic()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", edge.port))

        async def drip() -> None:
            with contextlib.suppress(OSError):
                await loop.sock_sendall(client, head)
                while True:
                    await loop.sock_sendall(client, drop)
                    await asyncio.sleep(pause_s)

        dripping, got = asyncio.create_task(drip()), b""
        with contextlib.suppress(ConnectionResetError):
            while piece := await asyncio.wait_for(loop.sock_recv(client, 65536), 12):
                got += piece
        took_s = time.monotonic() - began
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
    return got, took_s


async def test_header_that_never_ends(edge: Edge) -> None:
    got, took_s = await dripped(edge, b"GET / HTTP/1.1\r\n" + HOST, b"X-A: b\r\n", 0.1)
    assert b" 408 " in got
    assert took_s < 4  # one second allowed, and the sweep comes once a second


async def test_silence(edge: Edge) -> None:
    reader, _ = await asyncio.open_connection("127.0.0.1", edge.port)
    got, took_s = await until_closed(reader)
    assert (got, took_s < 4) == (b"", True)


async def test_idle_connections_end(edge: Edge) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"GET /_penstock/health HTTP/1.1\r\n" + HOST + b"\r\n")
    got, took_s = await until_closed(reader)
    assert got.startswith(b"HTTP/1.1 200")
    assert 1.5 < took_s < 6


async def test_body_that_never_comes(edge: Edge) -> None:
    for length in (100, 5_000_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        writer.write(b"PUT /b/k HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\nabc" % length)
        got, took_s = await until_closed(reader)
        assert took_s < 5
        assert b" 408 " in got or b"<Code>RequestTimeout</Code>" in got
    assert edge.objects == {}


async def test_body_that_drips(edge: Edge) -> None:
    got, took_s = await dripped(edge, b"PUT /b/k HTTP/1.1\r\n" + HOST + b"Content-Length: 5000000\r\n\r\n", b"x", 0.05)
    assert took_s < 8
    assert b"<Code>RequestTimeout</Code>" in got


async def test_client_that_does_not_read(edge: Edge) -> None:
    edge.objects["b", "k"] = b"x" * 30_000_000
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", edge.port))
        await asyncio.get_running_loop().sock_sendall(client, b"GET /b/k HTTP/1.1\r\n" + HOST + b"\r\n")
        shared = edge.server._shared
        assert shared is not None
        await asyncio.sleep(0.3)
        (connection,) = shared.connections
        assert connection._transport.get_write_buffer_size() < 1_000_000
        await asyncio.sleep(3.5)
        assert not shared.connections


async def test_slow_reader_gets_it_all(edge: Edge) -> None:
    edge.objects["b", "k"] = bytes(range(256)) * 20_000
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=4096)
    writer.write(b"GET /b/k HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    got = b""
    while piece := await reader.read(200_000):
        got += piece
        await asyncio.sleep(0.001)
    assert got.partition(b"\r\n\r\n")[2] == edge.objects["b", "k"]


class Held:
    """A listener whose handler reads its stream only when let."""

    def __init__(self, limits: Limits) -> None:
        self.shared = Shared(asyncio.get_running_loop(), limits)
        self.let = asyncio.Event()
        self.bytes = 0

    async def app(self, request: Request) -> Response:
        await self.let.wait()
        if request.stream is not None:
            async for piece in request.stream:
                self.bytes += len(piece)
        return Response(200, [], b"done")


async def listening(app: Any, shared: Shared) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(shared, app), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for connection in list(shared.connections):
        connection.abort()
    await server.wait_closed()


async def test_upload_is_held_back_while_nobody_takes_it() -> None:
    held = Held(Limits())
    async for port in listening(held.app, held.shared):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        size = 30_000_000
        writer.write(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size + bytes(size))
        await asyncio.sleep(0.3)
        (connection,) = held.shared.connections
        assert connection._body is not None
        assert connection._body.received_bytes < 2_000_000
        held.let.set()
        await reader.readuntil(b"done")
        assert held.bytes == size


async def test_upload_behind_a_pipeline_is_held_back() -> None:
    held = Held(Limits())

    async def app(request: Request) -> Response:
        if request.stream is None:
            return Response(200, [], b"small")
        return await held.app(request)

    async for port in listening(app, held.shared):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        size = 30_000_000
        head = b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size
        writer.write((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 30 + head + bytes(size))
        await asyncio.sleep(0.4)
        (connection,) = held.shared.connections
        assert connection._body is not None
        assert connection._body.received_bytes < 2_000_000
        held.let.set()
        await reader.readuntil(b"done")
        assert held.bytes == size


async def test_refused_upload_can_read_its_answer() -> None:
    held = Held(Limits(body_bytes=1000))
    async for port in listening(held.app, held.shared):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 30000000\r\n\r\n" + bytes(30_000_000))
        await writer.drain()
        got, took_s = await until_closed(reader)
        assert got.startswith(b"HTTP/1.1 413 ")
        assert took_s < 2


async def test_pipelines_are_held_back() -> None:
    held = Held(Limits())
    async for port in listening(held.app, held.shared):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        one = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n" + bytes(100_000)
        writer.write(one * 200)
        await asyncio.sleep(0.3)
        (connection,) = held.shared.connections
        assert len(connection._waiting) < 40
        held.let.set()
        for _ in range(200):
            await reader.readuntil(b"done")


async def test_answers_that_nobody_takes_are_not_piled_up(edge: Edge) -> None:
    answered = 0

    async def large(request: Request) -> Response:
        nonlocal answered
        answered += 1
        return Response(200, [], bytes(1_000_000))

    shared = Shared(asyncio.get_running_loop(), Limits())
    async for port in listening(large, shared):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 500)
            await asyncio.sleep(0.3)
            assert answered < 10
            client.setblocking(False)
            got = 0
            while got < 500_000_000:
                got += len(await asyncio.get_running_loop().sock_recv(client, 4_000_000))
                if answered > 50:
                    break
            assert answered > 50


async def test_stalled_body_behind_another_request_ends() -> None:
    held = Held(Limits(body_timeout_s=0.2))

    async def app(request: Request) -> Response:
        if request.path == "/slow":
            await asyncio.sleep(0.5)
            return Response(200, [], b"slow")
        return await held.app(request)

    held.let.set()
    async for port in listening(app, held.shared):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\nPUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 9000000\r\n\r\nx"
        )
        await reader.readuntil(b"slow")
        await asyncio.sleep(0.3)
        (connection,) = held.shared.connections
        assert connection.deadline < time.monotonic()
        connection.timed_out()
        assert (await until_closed(reader))[1] < 2


async def test_connections_are_counted() -> None:
    held = Held(Limits(connections=3))
    held.let.set()
    async for port in listening(held.app, held.shared):
        kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await until_closed(reader))[0] == b""
        kept[0][1].write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await kept[0][0].readuntil(b"done")


async def test_clients_that_leave_in_the_middle(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    edge.objects["b", "k"] = bytes(20_000_000)

    def leave() -> None:
        for i in range(60):
            with socket.create_connection(("127.0.0.1", edge.port)) as client:
                client.sendall((b"GET /b/k HTTP/1.1\r\n" + HOST + b"\r\n") * 3)
                for _ in range(i % 7):
                    client.recv(100_000)

    await asyncio.gather(*(asyncio.to_thread(leave) for _ in range(4)))
    await asyncio.sleep(0.2)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text
    shared = edge.server._shared
    assert shared is not None
    assert not shared.connections


async def test_client_that_leaves_early_lets_the_handler_finish(edge: Edge) -> None:
    body = b'{"Name":"n","Value":"v","Type":"String"}'
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    # Unsigned, so that it is refused at once; then one that is cut off while its answer streams.
    writer.write(
        b"POST / HTTP/1.1\r\n"
        + HOST
        + b"X-Amz-Target: AmazonSSM.PutParameter\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )
    writer.close()
    edge.objects["b", "k"] = bytes(10_000_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"GET /b/k HTTP/1.1\r\n" + HOST + b"\r\n")
    await reader.read(1000)
    writer.transport.abort()
    await asyncio.sleep(0.1)
    assert (await edge.send("GET", "/_penstock/health")).status == 200
    shared = edge.server._shared
    assert shared is not None
    await asyncio.sleep(0.05)
    assert not shared.connections


TOKENS = st.sampled_from(
    [b"GET ", b"PUT ", b"POST ", b"/", b"/b/k", b"/_penstock/health", b"?a=b", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n",
     b"\r\n\r\n", b"Host: localhost\r\n", b"Content-Length: 3\r\n", b"Content-Length: 3000000\r\n", b"abc", b"\n", b"\0",
     b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n",
     b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"X-Amz-Target: AmazonSSM.GetParameter\r\n", b"X: \xff\xfe\r\n",
     b"Authorization: AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=a\r\n",
     b"X-Amz-Date: 20200101T000000Z\r\n", b"X-Amz-Content-SHA256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n", b"OPTIONS ",
     b"Origin: http://localhost\r\nAccess-Control-Request-Method: PUT\r\n", b"X-Amz-Decoded-Content-Length: 3\r\n"]
)  # fmt: skip
MESSAGES = st.lists(st.one_of(TOKENS, st.binary(max_size=12)), max_size=14).map(b"".join)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MESSAGES, min_size=1, max_size=3))
async def test_any_bytes(edge: Edge, caplog: pytest.LogCaptureFixture, pieces: list[bytes]) -> None:
    caplog.set_level(logging.ERROR)
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0)
    with contextlib.suppress(OSError, RuntimeError):  # it may have hung up already
        writer.write_eof()
    try:
        got = await asyncio.wait_for(reader.read(-1), 8)
    except ConnectionResetError:
        got = b""
    writer.close()
    assert not caplog.records, caplog.text
    for status in (line[9:12] for line in got.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")):
        assert status[:1] in b"1234" or status in (b"501", b"505"), got
