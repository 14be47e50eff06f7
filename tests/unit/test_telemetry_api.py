"""Telemetry for extensions: batches, and what an extension is too slow for."""

from __future__ import annotations

import asyncio
import json
import socket

from penstock.runtime.telemetry_api import Subscription, encode

AT = "2026-01-01T00:00:00.000Z"


async def test_what_was_dropped_is_told() -> None:
    """An extension that does not answer loses records beyond 4 MB, and hears how many when it is there again."""
    got: list[dict[str, object]] = []
    awake = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        got.extend(json.loads(await reader.readexactly(size)))
        await awake.wait()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def connect(port: int) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", port))
        made.setblocking(False)
        return made

    wanted = {"types": ["function"], "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{port}"}}
    subscription = Subscription(json.dumps(wanted).encode(), connect, lambda: AT, schema="")
    record = encode(AT, "function", "x" * 100_000)
    async with server:
        for _ in range(60):
            subscription.add(record)
            await asyncio.sleep(0)
        awake.set()
        async with asyncio.timeout(10):
            while not any(each["type"] == "platform.logsDropped" for each in got):
                await asyncio.sleep(0.01)
        subscription.close()
    [told] = [each["record"] for each in got if each["type"] == "platform.logsDropped"]
    assert isinstance(told, dict) and told["droppedRecords"] > 0
    assert told["droppedBytes"] == told["droppedRecords"] * len(record)
