"""What extensions hear of the function and the platform: the Telemetry API, and the Logs API before it.

https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html and .../telemetry-schema-reference.html. Records are posted,
in batches, to a server that the extension runs inside the environment.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

log = logging.getLogger(__name__)

Connect = Callable[[int], Awaitable[socket.socket]]
"""Connect to a port inside the environment. Raises OSError."""

_TYPES = {"platform", "function", "extension"}
_SCHEMAS = ("2022-07-01", "2022-12-13", "2025-01-29")
_HOSTS = ("sandbox.localdomain", "sandbox", "localhost", "127.0.0.1")
_ITEMS, _BYTES, _TIMEOUT_MS = (1000, 10_000, 10_000), (262_144, 1_048_576, 262_144), (25, 30_000, 1000)
"""Least, most, default."""
_TRIES, _AGAIN_S, _ANSWER_S = 5, 0.2, 5.0
_WAITING_BYTES_MAX = 4 * 1024 * 1024
_BEHIND = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."


class BadSubscription(Exception):
    """The subscription cannot be had; the message says why."""


class Subscription:
    """One extension's: what it wants, where it goes, what waits for it."""

    def __init__(self, body: bytes, connect: Connect, now: Callable[[], str], *, schema: str) -> None:
        """body: of the PUT request. now: as records say it. schema: "" for the Logs API. Raises BadSubscription."""
        try:
            wanted = msgspec.json.decode(body)
            types, destination = wanted["types"], wanted["destination"]
            if destination.get("protocol") != "HTTP":
                raise BadSubscription("only the destination protocol HTTP is supported")
            url = urlsplit(destination["URI"])
            buffering = wanted.get("buffering") or {}
            self.types = frozenset(types)
            if url.scheme != "http" or url.hostname not in _HOSTS or not url.port or url.port in (9001,):
                raise BadSubscription(
                    f"the destination must be http://sandbox.localdomain:PORT, not {destination['URI']}"
                )
            self._port, self._path = url.port, url.path or "/"
            self._items, self._bytes, self._wait_ms = (
                _bounded(buffering.get(name), bounds)
                for name, bounds in (("maxItems", _ITEMS), ("maxBytes", _BYTES), ("timeoutMs", _TIMEOUT_MS))
            )
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadSubscription(f"the request is malformed: {error}") from None
        if not self.types or not self.types <= _TYPES:
            raise BadSubscription(f"types must be some of {', '.join(sorted(_TYPES))}")
        if schema and wanted.get("schemaVersion") not in _SCHEMAS:
            raise BadSubscription(f"schemaVersion must be one of {', '.join(_SCHEMAS)}")
        self._connect = connect
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = self._dropped_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def add(self, record: bytes) -> None:
        """Take an encoded record. What the extension is too slow for is dropped, and said so."""
        if self._waiting_bytes > _WAITING_BYTES_MAX:
            self._dropped += 1
            self._dropped_bytes += len(record)
            return
        self._waiting.append(record)
        self._waiting_bytes += len(record)
        if len(self._waiting) >= self._items or self._waiting_bytes >= self._bytes:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._wait_ms / 1000, self.flush)

    def flush(self) -> None:
        """Send what waits, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and (self._sending is None or self._sending.done()):
            self._sending = self._loop.create_task(self._send())

    def close(self) -> None:
        """Send no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()

    async def _send(self) -> None:
        while self._waiting:
            batch: list[bytes] = []
            size = 0
            if self._dropped:
                lost = {"reason": _BEHIND, "droppedRecords": self._dropped, "droppedBytes": self._dropped_bytes}
                batch.append(encode(self._now(), "platform.logsDropped", lost))
                self._dropped = self._dropped_bytes = 0
            while self._waiting and len(batch) < self._items and size < self._bytes:
                batch.append(self._waiting.popleft())
                size += len(batch[-1])
            self._waiting_bytes -= size
            if not await self._post(b"[" + b",".join(batch) + b"]"):
                log.debug("telemetry for port %d is lost: %d records", self._port, len(batch))

    async def _post(self, body: bytes) -> bool:
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: sandbox.localdomain:{self._port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        for _ in range(_TRIES):
            try:
                reader, writer = await asyncio.open_connection(sock=await self._connect(self._port))
                try:
                    writer.write(head.encode() + body)
                    status = await asyncio.wait_for(reader.readline(), _ANSWER_S)
                finally:
                    writer.close()
                if status.split(b" ")[1:2] and status.split(b" ")[1].startswith(b"2"):
                    return True
            except (OSError, TimeoutError, ValueError):
                pass
            await asyncio.sleep(_AGAIN_S)
        return False


def _bounded(value: Any, bounds: tuple[int, int, int]) -> int:
    least, most, default = bounds
    if value is None:
        return default
    if not isinstance(value, int) or not least <= value <= most:
        raise BadSubscription(f"buffering: {value} is not between {least} and {most}")
    return value


def encode(at: str, kind: str, record: Any) -> bytes:
    """A record as it is posted. at: ISO 8601, in UTC."""
    return msgspec.json.encode({"time": at, "type": kind, "record": record})
