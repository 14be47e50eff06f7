"""A listener for tests of HTTP/2, and a client that shows each frame: h2's own other side, which can also be told to lie."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from penstock.edge.listener import Shared
from penstock.edge.opening import Opening
from penstock.edge.reader import Limits
from penstock.wire.message import Request, Response


@dataclass
class Seen:
    """What came on one stream."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None


class Listening:
    """A listener on a free port, with an application that says what it was asked, slowly where it is told to."""

    def __init__(self, limits: Limits) -> None:
        self.shared = Shared(asyncio.get_running_loop(), limits)
        self.go = asyncio.Event()
        self.begun = 0
        self.closed = 0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Opening(self.shared, self.app), "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.server.close()
        for connection in list(self.shared.connections):
            connection.abort()
        await self.server.wait_closed()

    async def app(self, request: Request) -> Response:
        self.begun += 1
        if request.path == "/slow":
            await asyncio.sleep(0.05)
        if request.path in ("/wait", "/wait-and-read"):
            await self.go.wait()
        if request.path == "/none":
            return Response(403, [], b"no")
        if request.path == "/events":
            return Response(200, [("Connection", "x")], stream=self.events())
        body = request.body
        if request.stream is not None:
            body = b"".join([piece async for piece in request.stream])
        if request.path == "/large":
            return Response(200, [], b"x" * int(request.query))
        if request.path == "/broken":
            return Response(200, [], stream=self.events(), length=3)
        text = f"{request.method} {request.path} {len(body)} {request.headers['host']};"
        return Response(200, [("X-Path", request.path)], text.encode())

    async def events(self) -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await self.go.wait()
            yield b"two"
        finally:
            self.closed += 1

    async def tick(self) -> None:
        """What the server's sweep does."""
        now = asyncio.get_running_loop().time()
        for connection in [c for c in self.shared.connections if c.deadline < now]:
            connection.timed_out()


class Peer:
    """A client on one connection."""

    def __init__(self, port: int, *, acknowledge: bool = True) -> None:
        self.port = port
        self.acknowledge = acknowledge
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True, header_encoding="latin-1", validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )  # fmt: skip
        self.streams: dict[int, Seen] = {}
        self.events: list[Event] = []
        self.goaway: ConnectionTerminated | None = None
        self.closed = False

    async def __aenter__(self) -> Peer:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.h2.initiate_connection()
        self.flush()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def flush(self) -> None:
        if not self.writer.transport.is_closing():
            self.writer.write(self.h2.data_to_send())

    def ask(self, method: str, path: str, *more: tuple[str, str], end: bool = True, authority: str = "a") -> int:
        """Begin a stream; its id."""
        stream_id = self.h2.get_next_available_stream_id()
        self.streams[stream_id] = Seen()
        fields = [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path), *more]
        self.h2.send_headers(stream_id, [f for f in fields if f[1]], end_stream=end)
        self.flush()
        return stream_id

    async def send(self, stream_id: int, body: bytes, *, end: bool = True) -> None:
        """Send a body as the windows let it."""
        at = 0
        while at < len(body):
            size = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size, len(body) - at)
            if size <= 0:
                if not await self.receive():
                    return
                continue
            self.h2.send_data(stream_id, body[at : at + size], end_stream=end and at + size == len(body))
            at += size
            self.flush()

    async def receive(self, timeout_s: float = 30) -> bool:
        """Take what comes next; False where nothing came."""
        try:
            data = await asyncio.wait_for(self.reader.read(1 << 20), timeout_s)
        except TimeoutError:
            return False
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            return False
        with contextlib.suppress(ProtocolError):
            for event in self.h2.receive_data(data):
                self.see(event)
            self.flush()
        return True

    def see(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, ConnectionTerminated):
            self.goaway = event
            return
        seen = self.streams.setdefault(getattr(event, "stream_id", 0) or 0, Seen())
        if isinstance(event, ResponseReceived):
            seen.headers = {str(k): str(v) for k, v in event.headers or ()}
            seen.status = int(seen.headers[":status"])
        elif isinstance(event, DataReceived):
            seen.body += event.data or b""
            if self.acknowledge and event.stream_id:
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, StreamEnded):
            seen.ended = True
        elif isinstance(event, StreamReset):
            seen.reset = int(event.error_code or 0)

    async def answer(self, stream_id: int) -> Seen:
        """Wait for a stream's end."""
        seen = self.streams[stream_id]
        while not seen.ended and seen.reset is None and await self.receive():
            pass
        return seen

    async def until_closed(self) -> None:
        while await self.receive(5):
            pass
