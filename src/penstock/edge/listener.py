"""HTTP/1.1 on one connection: requests to the application, its responses back, in order. Bounded, and no AWS in here.

After any refusal the connection is closed, so that nothing behind a malformed message is taken for a request. HTTP/2 is
another protocol class beside this one (`http2`); `opening` chooses.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, cast

import httptools

from penstock.blobs.buffers import Buffers
from penstock.edge.direct import DirectBody
from penstock.edge.drive import Driven, drive
from penstock.edge.incoming import IncomingBody
from penstock.edge.outgoing import BODILESS, CONTINUE, BadResponse, head, plain
from penstock.edge.reader import INCOMPLETE, NEVER, TIMED_OUT, Limits, Refused, RequestReader, Waiting
from penstock.wire.errors import AwsError
from penstock.wire.message import Request, Response

log = logging.getLogger(__name__)

App: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]
DIRECT_MAX = 64
"""Bodies that may be on the direct way at once: each has a buffer from its first byte on."""
MAX_PIPELINED = 16
"""Requests of one connection that may wait behind the one at work before reading stops."""
LINGER_S = 5.0
"""How long a body that nobody wants is still taken off the socket, so that the client can read its answer."""

FAMILY_CONNECTIONS_MAX = 256
"""Connections that one function's environment may hold: it cannot take them all from everybody else."""


class AnyConnection(Protocol):
    """What the server asks of a connection, of whichever protocol."""

    deadline: float
    """When the sweep calls `timed_out`, on the monotonic clock."""

    def timed_out(self) -> None: ...

    def shut_down(self) -> None: ...

    def abort(self) -> None: ...


@dataclass(slots=True)
class Shared:
    """What all connections of a server have in common."""

    loop: asyncio.AbstractEventLoop
    limits: Limits
    buffers: Buffers = field(default_factory=Buffers)
    """Where long bodies are received."""
    direct: int = 0
    """How many there are at the moment."""
    constant: str = "Date: \r\nServer: Penstock\r\n"
    """The lines that every response has, renewed once a second."""
    connections: set[AnyConnection] = field(default_factory=set)
    draining: bool = False
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when, while draining, the last connection has gone."""
    refused: int = 0
    """Connections and messages refused by the listener."""


class Connection(RequestReader, asyncio.Protocol):
    """One HTTP/1.1 connection. All of it runs on the event-loop thread."""

    __slots__ = (
        "_app",
        "_at_work",
        "_drained",
        "_endless",
        "_family",
        "_go_on",
        "_held",
        "_lost",
        "_pumping",
        "_read_paused",
        "_shared",
        "_task",
        "_transport",
        "_turned_away",
        "_waiting",
    )  # fmt: skip

    def __init__(self, shared: Shared, app: App, *, peer: str = "", family: set[AnyConnection] | None = None) -> None:
        """peer: the client's address where it is not the socket's to say.

        family: the connections of one function's environment, which together may not take more than their share.
        """
        super().__init__(shared.limits)
        self._shared = shared
        self._app = app
        self._peer = peer
        self._family = family
        self._waiting: deque[Waiting] = deque()
        self._at_work: Waiting | None = None
        self._lost = False
        self._read_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._held = False
        self._pumping = self._go_on = False
        self._turned_away = False
        self._endless = False
        """An answer of no announced length is going out, which may be events for as long as somebody looks."""
        self._task: asyncio.Task[Any] | Driven[Response] | None = (
            None  # a reference: the loop itself holds tasks weakly
        )

    # -- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio.Transport, though they are used alike.
        self._transport = cast(asyncio.Transport, transport)
        shared = self._shared
        crowded = self._family is not None and len(self._family) >= FAMILY_CONNECTIONS_MAX
        if len(shared.connections) >= self._limits.connections or shared.draining or crowded:
            shared.refused += 1
            self._transport.abort()
            return
        shared.connections.add(self)
        if self._family is not None:
            self._family.add(self)
        self._tls = tls_version(transport)
        self._secure = self._tls != ""
        if not self._peer:
            name = transport.get_extra_info("peername")
            self._peer = name[0] if isinstance(name, tuple) else ""
        self.deadline = time.monotonic() + self._limits.header_timeout_s

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._shared.connections.discard(self)
        if self._family is not None:
            self._family.discard(self)
        if self._shared.draining and not self._shared.connections:
            self._shared.emptied.set()
        if self._direct is not None:
            self._shared.direct -= 1
            self._direct.give_up()
            self._direct = None
        self._waiting.clear()
        if self._body is not None:
            self._body.fail(AwsError("IncompleteBody", INCOMPLETE, 400))
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)  # whoever waits sees that the connection is lost
        if self._endless and self._task is not None:
            self._task.cancel()  # it may wait for events that nobody is there to see

    def eof_received(self) -> bool:
        """The client has sent all it will send: answer what is complete, then close."""
        if self._body is not None and not self._body.complete:
            self._body.fail(AwsError("IncompleteBody", INCOMPLETE, 400))
        self._closing = True
        return self._busy and not self._secure and not self._endless

    def pause_writing(self) -> None:
        self._drained = self._shared.loop.create_future()
        self.deadline = time.monotonic() + self._limits.body_timeout_s

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
        if self._held:
            self._held = False
            self._after_answer(True)
        elif self._busy:
            self.deadline = NEVER
        elif not self._closing:
            self.deadline = time.monotonic() + self._limits.idle_timeout_s

    def data_received(self, data: bytes) -> None:
        if self._closing and self._body is None:
            return
        try:
            self._read(data)
            if self._direct is not None:
                self._transport.set_protocol(self._direct)
        except Refused as refusal:
            self._refuse(refusal.status, refusal.why)
        except Exception:
            log.exception("the listener failed")
            self._refuse(500, "internal failure")

    def _straight(self, length: int) -> DirectBody | None:
        if self._secure or self._shared.direct >= DIRECT_MAX:
            return None
        self._shared.direct += 1
        return DirectBody(self, self._shared.buffers, length)

    def direct_end(self) -> None:
        """The body's last byte has come past the parser: what comes next is another message, for another parser."""
        self._transport.set_protocol(self)
        self._parser = httptools.HttpRequestParser(self)
        try:
            self.on_message_complete()
        except Exception:
            log.exception("the listener failed")
            self._refuse(500, "internal failure")

    def on_message_complete(self) -> None:
        if self._direct is not None:
            self._shared.direct -= 1
        super().on_message_complete()

    def timed_out(self) -> None:
        """Called by the sweep, once the deadline has passed."""
        self.deadline = NEVER
        body = self._body
        if body is not None and not body.discarding and not self._closing and self._busy:
            body.fail(AwsError("RequestTimeout", TIMED_OUT, 400))
            self._closing = True
            self.deadline = time.monotonic() + LINGER_S
        elif not self._busy and (self._in_head or self._request is not None) and not self._closing:
            self._refuse(408, "the request took too long to arrive")
            self.deadline = time.monotonic() + LINGER_S
        else:
            self._transport.abort()

    def shut_down(self) -> None:
        """Close as soon as nothing is under way."""
        if not self._busy and not self._in_head and self._request is None:
            self._transport.close()
        self._closing = self._closing or (not self._in_head and self._request is None)

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    def _refuse(self, status: int, why: str) -> None:
        """Answer and close, once whatever came before is answered."""
        self._shared.refused += 1
        body, self._request, self._body, self._parts = self._body, None, None, None
        self._in_head = False
        if body is not None:  # its own request is at work already, or waits: that is where the answer goes
            body.fail(AwsError("IncompleteBody", INCOMPLETE, 400))
            self._closing = True
            return
        if not self._closing:
            self._turned_away = True
            self._enqueue((None, None, False, plain(status, why)))
            self._closing = True

    # -- requests at work, one at a time, in order

    def _enqueue(self, waiting: Waiting) -> None:
        if self._closing:
            return
        if self._busy:
            self._waiting.append(waiting)
            if len(self._waiting) >= MAX_PIPELINED:
                self._pause()
            return
        self._begin(waiting)

    def _begin(self, waiting: Waiting) -> None:
        request, body, _, answer = waiting
        if request is None:
            assert answer is not None
            self._answer(answer, "GET", "1.1", False, None)
            return
        self._busy = True
        self._at_work = waiting
        whole = body is None or body.complete
        self.deadline = NEVER if whole else time.monotonic() + self._limits.body_timeout_s
        task = drive(self._shared.loop, self._app(request), self._ended)
        if task is not None:
            self._task = task

    def _ended(self, response: Response | None, error: Any) -> None:
        """The application is done with the request at work."""
        assert self._at_work is not None
        request, body, keep_alive, _ = self._at_work
        assert request is not None
        self._at_work = None
        if error is not None or response is None:
            if error is not None and not isinstance(error, asyncio.CancelledError):
                log.error("a handler failed", exc_info=error)
            response, keep_alive = plain(500, "internal failure"), False
        self._answer(response, request.method, request.http_version, keep_alive, body)

    def _answer(
        self, response: Response, method: str, version: str, keep_alive: bool, body: IncomingBody | None
    ) -> None:
        if self._gone():
            if response.stream is not None:
                self._task = self._shared.loop.create_task(close_stream(response.stream))
            return
        unread = body is not None and not body.complete
        chunked = response.length is None and version != "1.0"
        if (
            unread
            or self._shared.draining
            or (self._closing and not self._waiting)
            or (response.stream is not None and response.length is None and not chunked)
        ):
            keep_alive = False
        try:
            first = head(response, method, self._shared.constant, not keep_alive, chunked)
        except BadResponse:
            log.exception("a response could not be sent")
            response, keep_alive = plain(500, "internal failure"), False
            first = head(response, method, self._shared.constant, True, True)
        bodiless = method == "HEAD" or response.status in BODILESS
        if response.stream is not None and not bodiless:
            self._endless = response.length is None
            self._task = self._shared.loop.create_task(self._stream(response, first, chunked, keep_alive, body))
            return
        if response.stream is not None:
            self._task = self._shared.loop.create_task(close_stream(response.stream))
        if bodiless or not response.body:
            self._transport.write(first)
        elif len(response.body) < 65536:
            self._transport.write(first + response.body)
        else:
            self._transport.writelines((first, response.body))
        self._answered(keep_alive, body)

    async def _stream(
        self, response: Response, first: bytes, chunked: bool, keep_alive: bool, body: IncomingBody | None
    ) -> None:
        stream, left, transport = response.stream, response.length, self._transport
        assert stream is not None
        if not self._secure:  # a piece is to be gone when the next one is asked for, so that its memory is used again
            transport.set_write_buffer_limits(0)
        if left is None:  # events may be long in coming
            transport.write(first)
            first = b""
        try:
            async for piece in stream:
                if not piece:
                    continue
                if left is not None:
                    left -= len(piece)
                    if left < 0:
                        raise BadResponse("a stream gave more bytes than it had announced")
                if self._gone():
                    raise ConnectionResetError
                if chunked:
                    transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
                elif first:
                    transport.writelines((first, piece))
                    first = b""
                else:
                    transport.write(piece)
                del piece
                if self._drained is not None:
                    await self._drained
            if left:
                raise BadResponse("a stream ended before its announced length")
            if self._gone():
                raise ConnectionResetError
        except ConnectionResetError:
            self._endless = False
            await close_stream(stream)
            return
        except BaseException as error:
            self._endless = False
            # The head is out: a broken connection is the only way left to say that this is not all.
            if not isinstance(error, asyncio.CancelledError):
                log.error("a response's stream failed", exc_info=error)
            self._transport.abort()
            await close_stream(stream)
            if not isinstance(error, Exception):
                raise
            return
        self._endless = False
        if chunked or first:
            transport.write(first or b"0\r\n\r\n")
        if not self._secure:
            transport.set_write_buffer_limits()
        self._shared.loop.call_soon(self._answered, keep_alive, body)

    def _answered(self, keep_alive: bool, body: IncomingBody | None) -> None:
        """The response is with the transport: end the connection or go on with the next request."""
        if self._gone():
            return
        if body is not None and not body.complete:
            self._closing = True
            self._busy = False
            self.deadline = time.monotonic() + LINGER_S
            if body.failed or body.started is not None:
                # The rest cannot be read, or the client holds it back and needs not send it any more.
                self._transport.close()
            else:
                body.discard()
            return
        self._after_answer(keep_alive)

    def _after_answer(self, keep_alive: bool) -> None:
        self._busy = False
        if not keep_alive or (self._closing and not self._waiting):
            self._closing = True
            self._waiting.clear()
            if self._turned_away and not self._secure:
                # What is still on its way is dropped for a while: a reset would take the answer from the client.
                self._transport.write_eof()
                self.deadline = time.monotonic() + LINGER_S
            else:
                self.deadline = time.monotonic() + self._limits.body_timeout_s
                self._transport.close()
            return
        if self._drained is not None:
            # The client does not take its answers: it gets no further ones until it does.
            self._busy = self._held = True
            return
        if self._waiting:
            # From the loop, not from here: a long pipeline must not become a deep stack.
            self._busy = True
            if self._pumping:
                self._go_on = True
            else:
                self._shared.loop.call_soon(self._next)
            return
        self.deadline = time.monotonic() + (
            self._limits.body_timeout_s if self._request is not None
            else self._limits.header_timeout_s if self._in_head
            else self._limits.idle_timeout_s
        )  # fmt: skip

    def _next(self) -> None:
        """Go through the requests that wait, up to one that has to wait itself: their answers leave together."""
        self._pumping = True
        self._go_on = True
        while self._go_on and self._waiting and not self._gone():
            self._go_on = False
            self._begin(self._waiting.popleft())
        self._pumping = False
        if len(self._waiting) < MAX_PIPELINED // 2:
            self._resume()

    def _gone(self) -> bool:
        """Whether nothing can be sent any more. (uvloop closes its side some time before it says so.)"""
        return self._lost or self._transport.is_closing()

    def _send_continue(self) -> None:
        if not self._gone():
            self._transport.write(CONTINUE)

    def _pause(self) -> None:
        if not self._read_paused and not self._gone():
            self._read_paused = True
            self.deadline = NEVER if self._busy else self.deadline
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._read_paused and not self._gone():
            self._read_paused = False
            self._transport.resume_reading()
            if self._body is not None:
                self.deadline = time.monotonic() + self._limits.body_timeout_s


def tls_version(transport: asyncio.BaseTransport) -> str:
    """TLS's version on a connection, as "TLSv1.3"; empty for a plain one."""
    secured = transport.get_extra_info("ssl_object")
    return (secured.version() or "TLS") if secured is not None else ""


async def close_stream(stream: AsyncIterator[bytes | memoryview]) -> None:
    """Let go of what a stream holds that nobody will read on."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        try:
            await close()
        except Exception:
            log.exception("a response's stream could not be closed")
