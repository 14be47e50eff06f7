"""HTTP/1.1 on one connection: bytes to `Request`, `Response` to bytes. Strict, bounded, and no AWS in here.

Strictness is llhttp's (bare LF, obs-fold, space before a colon, several Content-Length, both framings, bad chunk sizes:
all refused) and ours where it is silent: one Host, "chunked" alone as transfer coding, no absolute or fragment targets.
After any refusal the connection is closed, so that nothing behind a malformed message is taken for a request.

A request whose body is small is handed over whole; one that is large, or of unknown length, at the end of its headers.
Responses leave in the order of their requests. HTTP/2 will be another protocol class beside this one, chosen in
`server` by ALPN or by its preface, which this one refuses.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, MutableSequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import httptools

from penstock.edge.drive import drive
from penstock.edge.incoming import IncomingBody
from penstock.edge.outgoing import BODILESS, CONTINUE, BadResponse, head, plain
from penstock.wire.errors import AwsError
from penstock.wire.message import Request, Response

log = logging.getLogger(__name__)

App: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]
Waiting: TypeAlias = tuple[Request | None, IncomingBody | None, bool, Response | None]
"""(request, its body where still arriving, keep the connection afterwards, answer where it is known already)"""

NEVER = float("inf")
METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"})
MAX_PIPELINED = 16
"""Requests of one connection that may wait behind the one at work before reading stops."""
LINGER_S = 5.0
"""How long a body that nobody wants is still taken off the socket, so that the client can read its answer."""
PROGRESS_BYTES = 4096
"""A body must bring this much in each body time-out."""


@dataclass(slots=True)
class Limits:
    """Bounds of one connection. Times in seconds."""

    url_bytes: int = 16 * 1024
    header_bytes: int = 64 * 1024
    header_count: int = 200
    whole_body_bytes: int = 1024 * 1024
    body_bytes: int = 5 * 1024**3 + 64 * 1024**2
    header_timeout_s: float = 20.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 120.0
    connections: int = 4096


@dataclass(slots=True)
class Shared:
    """What all connections of a server have in common."""

    loop: asyncio.AbstractEventLoop
    limits: Limits
    constant: str = "Date: \r\nServer: Penstock\r\n"
    """The lines that every response has, renewed once a second."""
    connections: set[Connection] = field(default_factory=set)
    draining: bool = False
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when, while draining, the last connection has gone."""
    refused: int = 0
    """Connections and messages refused by the listener."""


class Refused(Exception):
    """The message at hand is not acceptable HTTP: answer with this status and close."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(status, why)
        self.status = status
        self.why = why


_BLANKS = frozenset({" ", "\t"})
_NOWHERE: deque[tuple[bytes, bytes]] = deque(maxlen=0)
"""Where HTTP's own trailers go: they carry nothing that any AWS protocol knows."""
_NAMES: dict[bytes, str] = {}
"""Header names as sent -> lower case. Bounded, as clients choose them."""


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection. All of it runs on the event-loop thread."""

    __slots__ = (
        "_app",
        "_body",
        "_busy",
        "_chunk_bytes",
        "_closing",
        "_drained",
        "_head_bytes",
        "_headers",
        "_held",
        "_in_head",
        "_keep_alive",
        "_limits",
        "_lost",
        "_owed_continue",
        "_parser",
        "_parts",
        "_peer",
        "_progress",
        "_read_paused",
        "_request",
        "_secure",
        "_shared",
        "_task",
        "_transport",
        "_url",
        "_waiting",
        "deadline",
    )  # fmt: skip

    def __init__(self, shared: Shared, app: App, *, peer: str | None = None) -> None:
        self._shared = shared
        self._limits = shared.limits
        self._app = app
        self._peer = peer or ""
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Waiting] = deque()
        self._busy = False
        self._closing = False
        self._lost = False
        self._read_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._secure = False
        self._held = False
        self._owed_continue = False
        self._in_head = False
        self._headers: MutableSequence[tuple[bytes, bytes]] = []
        self._url = b""
        self._head_bytes = self._chunk_bytes = 0
        self._request: Request | None = None
        self._parts: list[bytes] | None = None
        self._body: IncomingBody | None = None
        self._keep_alive = True
        self._progress = 0
        self._task: asyncio.Task[Any] | None = None  # a reference: the loop itself holds tasks weakly
        self.deadline = NEVER
        """When the sweep ends this connection, on the monotonic clock; moved by whatever happens on it."""

    # -- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio.Transport, though they are used alike.
        self._transport = cast(asyncio.Transport, transport)
        shared = self._shared
        if len(shared.connections) >= self._limits.connections or shared.draining:
            shared.refused += 1
            self._transport.abort()
            return
        shared.connections.add(self)
        self._secure = transport.get_extra_info("sslcontext") is not None
        if not self._peer:
            name = transport.get_extra_info("peername")
            self._peer = name[0] if isinstance(name, tuple) else ""
        self.deadline = time.monotonic() + self._limits.header_timeout_s

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._shared.connections.discard(self)
        if self._shared.draining and not self._shared.connections:
            self._shared.emptied.set()
        self._waiting.clear()
        if self._body is not None:
            self._body.fail(AwsError("IncompleteBody", _INCOMPLETE, 400))
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)  # whoever waits sees that the connection is lost

    def eof_received(self) -> bool:
        """The client has sent all it will send: answer what is complete, then close."""
        if self._body is not None and not self._body.complete:
            self._body.fail(AwsError("IncompleteBody", _INCOMPLETE, 400))
        self._closing = True
        return self._busy and not self._secure

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
        self._chunk_bytes = len(data)
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._feed(data)
            if self._in_head and self._head_bytes > self._limits.header_bytes:
                raise Refused(431, "the request's headers are too large")
        except Refused as refusal:
            self._refuse(refusal.status, refusal.why)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, Refused):
                self._refuse(cause.status, cause.why)
            else:
                log.exception("the listener failed")
                self._refuse(500, "internal failure")
        except httptools.HttpParserError as error:
            if not self._closing:
                self._refuse(400, f"malformed HTTP: {error}")

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # A client offered another protocol; not taking it up is an answer (RFC 9110, 7.8). The parser stops
                # at the end of such a message, so that what follows needs a new one.
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)

    def timed_out(self) -> None:
        """Called by the sweep, once the deadline has passed."""
        self.deadline = NEVER
        body = self._body
        if body is not None and not body.discarding and not self._closing and self._busy:
            body.fail(AwsError("RequestTimeout", _TIMED_OUT, 400))
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

    @property
    def peer_is_idle(self) -> bool:
        return not self._busy

    # -- the parser's side: a request comes together

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._url = b""
        self._headers = []
        if not self._busy:
            self.deadline = time.monotonic() + self._limits.header_timeout_s

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.url_bytes:
            raise Refused(414, "the request's URI is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def _read_headers(self) -> dict[str, str]:
        """The headers by lower-case name. Those sent twice are joined."""
        raw, self._headers = self._headers, _NOWHERE
        limits = self._limits
        if len(raw) > limits.header_count or (
            self._head_bytes + self._chunk_bytes > limits.header_bytes
            and sum(len(n) + len(v) + 4 for n, v in raw) > limits.header_bytes
        ):
            raise Refused(431, "the request has too many or too large headers")
        headers: dict[str, str] = {}
        for name, value in raw:
            key = _NAMES.get(name)
            if key is None:
                key = name.decode("latin-1").lower()
                if len(_NAMES) < 4096 and len(name) < 100:
                    _NAMES[name] = key
            text = value.decode("latin-1")
            if text[-1:] in _BLANKS:
                text = text.rstrip(" \t")
            if key not in headers:
                headers[key] = text
            elif key == "host":
                raise Refused(400, "more than one Host header")
            else:
                headers[key] += "," + text
        return headers

    def on_headers_complete(self) -> None:
        parser = self._parser
        headers = self._read_headers()
        version = parser.get_http_version()
        method = parser.get_method().decode("ascii")
        self._in_head = False
        if version != "1.1":
            if version != "1.0":
                raise Refused(505, "HTTP/1.1 and HTTP/1.0 are spoken here")
            if "transfer-encoding" in headers:
                raise Refused(400, "HTTP/1.0 has no Transfer-Encoding")
        elif not headers.get("host"):
            raise Refused(400, "a Host header is required")
        if method not in METHODS:
            raise Refused(501, "unknown method")
        target = self._url.decode("ascii")
        path, _, query = target.partition("?")
        if (path[:1] != "/" and not (path == "*" and method == "OPTIONS")) or "#" in target:
            raise Refused(400, "the request's target must be an absolute path")
        length = self._framing(headers)
        self._keep_alive = version == "1.1" and parser.should_keep_alive()
        request = Request(
            method, path, query, headers, peer=self._peer, secure=self._secure, http_version=version,
            received_at=time.monotonic(),
        )  # fmt: skip
        self._request = request
        if length == 0:
            return
        expects = headers.get("expect")
        if expects is not None and expects.lower() != "100-continue":
            raise Refused(417, "the only expectation met here is 100-continue")
        owed = expects is not None and version == "1.1"
        self._progress = 0
        if not self._busy:
            self.deadline = time.monotonic() + self._limits.body_timeout_s
        if length is not None and length <= self._limits.whole_body_bytes:
            self._parts = []
            if owed:
                if self._busy:
                    self._owed_continue = True
                else:
                    self._transport.write(CONTINUE)
            return
        self._body = body = IncomingBody(length, self._pause, self._resume, self._send_continue if owed else None)
        request.stream = body
        self._enqueue((request, body, self._keep_alive, None))

    def _framing(self, headers: dict[str, str]) -> int | None:
        """The body's length; None where it comes in chunks."""
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise Refused(501, "the only transfer coding known here is chunked")
            return None
        length = int(headers.get("content-length") or 0)
        if length > self._limits.body_bytes:
            raise Refused(413, "the request's body is too large")
        return length

    def on_body(self, piece: bytes) -> None:
        body, parts = self._body, self._parts
        if parts is not None:
            parts.append(piece)
        elif body is not None:
            body.feed(piece)
            if body.received_bytes > self._limits.body_bytes:
                body.fail(AwsError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", 400))
                raise Refused(413, "the request's body is too large")
        self._progress += len(piece)
        if self._progress >= PROGRESS_BYTES:
            self._progress = 0
            if not self._closing and self.deadline != NEVER:
                self.deadline = time.monotonic() + self._limits.body_timeout_s

    def on_message_complete(self) -> None:
        request, body, parts = self._request, self._body, self._parts
        self._request = self._body = self._parts = None
        self._owed_continue = False
        if self._busy:
            self.deadline = NEVER
        if body is not None:
            body.end()
            if body.discarding and not self._busy:
                self._after_answer(self._keep_alive)
            return
        if request is None:
            return
        if parts is not None:
            request.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._enqueue((request, None, self._keep_alive, None))

    def _refuse(self, status: int, why: str) -> None:
        """Answer and close, once whatever came before is answered."""
        self._shared.refused += 1
        body, self._request, self._body, self._parts = self._body, None, None, None
        self._in_head = False
        if body is not None:  # its own request is at work already, or waits: that is where the answer goes
            body.fail(AwsError("IncompleteBody", _INCOMPLETE, 400))
            self._closing = True
            return
        if not self._closing:
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
        request, body, keep_alive, answer = waiting
        if request is None:
            assert answer is not None
            self._answer(answer, "GET", "1.1", False, None)
            return
        self._busy = True
        whole = body is None or body.complete
        self.deadline = NEVER if whole else time.monotonic() + self._limits.body_timeout_s

        def ended(response: Response | None, error: Any) -> None:
            if error is not None or response is None:
                if error is not None and not isinstance(error, asyncio.CancelledError):
                    log.error("a handler failed", exc_info=error)
                response, keep = plain(500, "internal failure"), False
            else:
                keep = keep_alive
            self._answer(response, request.method, request.http_version, keep, body)

        self._task = drive(self._shared.loop, self._app(request), ended)

    def _answer(
        self, response: Response, method: str, version: str, keep_alive: bool, body: IncomingBody | None
    ) -> None:
        if self._lost:
            if response.stream is not None:
                self._task = self._shared.loop.create_task(_close(response.stream))
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
            self._transport.write(first)
            self._task = self._shared.loop.create_task(self._stream(response, chunked, keep_alive, body))
            return
        if response.stream is not None:
            self._task = self._shared.loop.create_task(_close(response.stream))
        if bodiless or not response.body:
            self._transport.write(first)
        elif len(response.body) < 65536:
            self._transport.write(first + response.body)
        else:
            self._transport.writelines((first, response.body))
        self._answered(keep_alive, body)

    async def _stream(self, response: Response, chunked: bool, keep_alive: bool, body: IncomingBody | None) -> None:
        stream, left, transport = response.stream, response.length, self._transport
        assert stream is not None
        try:
            async for piece in stream:
                if not piece:
                    continue
                if left is not None:
                    left -= len(piece)
                    if left < 0:
                        raise BadResponse("a stream gave more bytes than it had announced")
                if chunked:
                    transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
                else:
                    transport.write(piece)
                if self._drained is not None:
                    await self._drained
                if self._lost:
                    raise ConnectionResetError
            if left:
                raise BadResponse("a stream ended before its announced length")
        except ConnectionResetError:
            await _close(stream)
            return
        except BaseException as error:
            # The head is out: a broken connection is the only way left to say that this is not all.
            if not isinstance(error, asyncio.CancelledError):
                log.error("a response's stream failed", exc_info=error)
            self._transport.abort()
            await _close(stream)
            if not isinstance(error, Exception):
                raise
            return
        if chunked:
            transport.write(b"0\r\n\r\n")
        self._shared.loop.call_soon(self._answered, keep_alive, body)

    def _answered(self, keep_alive: bool, body: IncomingBody | None) -> None:
        """The response is with the transport: end the connection or go on with the next request."""
        if self._lost:
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
            self._shared.loop.call_soon(self._next)
            return
        self.deadline = time.monotonic() + (
            self._limits.body_timeout_s if self._request is not None
            else self._limits.header_timeout_s if self._in_head
            else self._limits.idle_timeout_s
        )  # fmt: skip
        if self._owed_continue:
            self._owed_continue = False
            self._transport.write(CONTINUE)

    def _next(self) -> None:
        if self._lost or not self._waiting:
            return
        waiting = self._waiting.popleft()
        if len(self._waiting) < MAX_PIPELINED // 2:
            self._resume()
        self._begin(waiting)

    def _send_continue(self) -> None:
        if not self._lost:
            self._transport.write(CONTINUE)

    def _pause(self) -> None:
        if not self._read_paused and not self._lost:
            self._read_paused = True
            self.deadline = NEVER if self._busy else self.deadline
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._read_paused and not self._lost:
            self._read_paused = False
            self._transport.resume_reading()
            if self._body is not None:
                self.deadline = time.monotonic() + self._limits.body_timeout_s


_INCOMPLETE = "You did not provide the number of bytes specified by the Content-Length HTTP header"
_TIMED_OUT = (
    "Your socket connection to the server was not read from or written to within the timeout period. "
    "Idle connections will be closed."
)


async def _close(stream: AsyncIterator[bytes]) -> None:
    """Let go of what a stream holds that nobody will read on."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        try:
            await close()
        except Exception:
            log.exception("a response's stream could not be closed")
