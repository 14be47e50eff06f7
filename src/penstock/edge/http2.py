"""HTTP/2 on one connection, by h2: many requests at once to the application, back-pressure for each. No AWS in here.

RFC 9113. A malformed message ends the connection, as in HTTP/1.1; what one request alone is refused for is answered on its
stream. Beside h2's own bounds (CONTINUATION frames, field sizes, frames' order) a connection has `PATIENCE` for frames that
cost work and bring nothing: resets of requests at work, PING, SETTINGS, PRIORITY, empty DATA.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, cast

from h2 import events
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from penstock.edge.drive import Driven, drive
from penstock.edge.http2_heads import read_head, response_head
from penstock.edge.incoming import IncomingBody
from penstock.edge.listener import LINGER_S, AnyConnection, App, Shared, close_stream, tls_version
from penstock.edge.outgoing import BODILESS, BadResponse, plain
from penstock.edge.reader import INCOMPLETE, NEVER, PROGRESS_BYTES, TIMED_OUT, Refused
from penstock.wire.errors import AwsError
from penstock.wire.message import Request, Response

log = logging.getLogger(__name__)

STREAMS = 128
"""Requests of one connection at a time; more break the protocol. (Clients may begin 100 before they know.)"""
AT_WORK = 256
"""Handlers of one connection at work, those included whose stream the client has reset; more are refused."""
STREAM_WINDOW_BYTES = 256 * 1024
CONNECTION_WINDOW_BYTES = 4 * 1024**2
"""What may be on its way, or wait for handlers that are slow to take it, on all streams together."""
UNSENT_BYTES = 4 * 1024**2
"""Answers do not get that far, they wait before; so these are replies to frames of a client that never reads."""
AT_ONCE_BYTES = 64 * 1024
PATIENCE = 1000
PATIENCE_S = 10.0
"""So many frames that bring nothing in so many seconds; each request answered, and each KiB moved, buys some more."""
RESET_COST = 5


class _Gone(Exception):
    """Nobody is left to send to."""


class Exchange:
    """One stream: a request and its answer."""

    __slots__ = (
        "_connection", "body", "deadline", "gone", "held_bytes", "id", "parts", "paused", "progress", "request",
        "sending", "task", "turn", "whole",
    )  # fmt: skip

    def __init__(self, connection: Http2Connection, stream_id: int, *, whole: bool) -> None:
        self._connection = connection
        self.id = stream_id
        self.request: Request | None = None
        self.whole = whole
        """The request has ended."""
        self.parts: list[bytes] | None = None
        self.body: IncomingBody | None = None
        self.paused = False
        self.held_bytes = 0
        """Received, and not yet given back to the window."""
        self.progress = 0
        self.deadline = NEVER
        self.gone = False
        """The stream is over."""
        self.turn: asyncio.Future[None] | None = None
        """What a sender waits for: window, or room in the socket."""
        self.sending = False
        self.task: asyncio.Task[Any] | None = None

    def pause(self) -> None:
        """Hold the window back."""
        self.paused = True
        self.deadline = NEVER

    def resume(self) -> None:
        """Give back what was held."""
        self.paused = False
        self._connection.give_back(self)

    def go_on(self) -> None:
        """Let the sender look again."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


class Http2Connection(asyncio.Protocol):
    """One HTTP/2 connection. All of it runs on the event-loop thread."""

    def __init__(self, shared: Shared, app: App, *, peer: str = "", family: set[AnyConnection] | None = None) -> None:
        """As HTTP/1.1's `Connection`; whoever makes it counts it."""
        self._shared = shared
        self._family = family
        self._limits = limits = shared.limits
        self._app = app
        self._peer = peer
        self._tls = ""
        self._secure = False
        self._h2 = h2 = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.header_bytes,
            },
        )
        h2.decoder.max_header_list_size = limits.header_bytes
        self._exchanges: dict[int, Exchange] = {}
        self._at_work = 0
        self._closing = False
        """No further requests."""
        self._over = False
        """Nothing can be received or sent any more."""
        self._corked = False
        self._drained: asyncio.Future[None] | None = None
        self._patience = PATIENCE
        self._patience_at = 0.0
        self._loose: set[asyncio.Task[Any] | Driven[Response]] = set()
        self.deadline = NEVER
        """When the sweep has a look, on the monotonic clock."""
        self._on: dict[type[events.Event], Any] = {
            events.RequestReceived: self._on_request,
            events.DataReceived: self._on_data,
            events.StreamEnded: self._on_end,
            events.WindowUpdated: self._on_window,
            events.RemoteSettingsChanged: self._on_settings,
            events.ConnectionTerminated: self._on_goaway,
            events.PingReceived: self._on_nuisance,
            events.PriorityUpdated: self._on_nuisance,
            events.UnknownFrameReceived: self._on_nuisance,
            events.TrailersReceived: self._on_nuisance,
        }

    # -- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._tls = tls_version(transport)
        self._secure = self._tls != ""
        if not self._peer:
            name = transport.get_extra_info("peername")
            self._peer = name[0] if isinstance(name, tuple) else ""
        self._shared.connections.add(self)
        self.deadline = time.monotonic() + self._limits.header_timeout_s
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES - 65535)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._shared.connections.discard(self)
        if self._family is not None:
            self._family.discard(self)
        if self._shared.draining and not self._shared.connections:
            self._shared.emptied.set()
        self._drained = None
        for exchange in list(self._exchanges.values()):
            self._leave(exchange, AwsError("IncompleteBody", INCOMPLETE, 400))

    def eof_received(self) -> bool:
        """A client that says nothing more cannot take answers either: each needs frames of its own."""
        return False

    def pause_writing(self) -> None:
        self._drained = self._shared.loop.create_future()

    def resume_writing(self) -> None:
        self._drained = None
        for exchange in list(self._exchanges.values()):
            exchange.go_on()

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._corked = True
        try:
            self._take(self._h2.receive_data(data))
        except ProtocolError as error:
            log.debug("an HTTP/2 connection from %s broke the protocol: %s", self._peer, error)
            self._shared.refused += 1
            self._end(None, linger=True)
        except Exception:
            log.exception("the listener failed")
            self._end(ErrorCodes.INTERNAL_ERROR, linger=True)
        finally:
            self._corked = False
        self._flush()

    def _take(self, came: list[events.Event]) -> None:
        # What ends something is seen to first: h2 knows of it already, and takes no answers for it any more.
        ended = set()
        for event in came:
            if type(event) is events.StreamReset:
                ended.add(event.stream_id)
                self._on_reset(event)
            elif type(event) is events.ConnectionTerminated and not event.error_code:
                # The client begins nothing more, but wants its answers (RFC 9113, 6.8); h2 takes it for the end.
                self._h2.state_machine.state = ConnectionState.SERVER_OPEN
        for event in came:
            if self._over:
                break
            handle = self._on.get(type(event))
            if handle is not None and not (ended and getattr(event, "stream_id", 0) in ended):
                handle(event)

    def timed_out(self) -> None:
        """Called by the sweep, once the deadline has passed."""
        now = time.monotonic()
        self.deadline = NEVER
        if self._over:
            self._transport.abort()
        elif not self._exchanges:
            self._end(ErrorCodes.NO_ERROR)
        else:
            for exchange in list(self._exchanges.values()):
                if exchange.deadline < now:
                    self._late(exchange)
                elif exchange.deadline < self.deadline:
                    self.deadline = exchange.deadline

    def shut_down(self) -> None:
        """Take no new requests; close as soon as nothing is under way."""
        if self._over:
            return
        if not self._closing:
            # h2's own way to say this ends the connection for it, answers under way included.
            frame = GoAwayFrame(0, last_stream_id=self._h2.highest_inbound_stream_id, error_code=0)
            self._transport.write(frame.serialize())
        self._closing = True
        if not self._exchanges:
            self._end(None)

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    # -- what the client sends

    def _on_request(self, event: events.RequestReceived) -> None:
        stream_id = event.stream_id
        if self._closing or self._at_work >= AT_WORK:
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        if not self._exchanges:
            self.deadline = NEVER
        exchange = Exchange(self, stream_id, whole=event.stream_ended is not None)
        self._exchanges[stream_id] = exchange
        try:
            request = read_head(event.headers, self._limits, self._peer, self._tls)
            exchange.request = request
            said = request.headers.get("content-length")
            length = int(said) if said is not None else None  # h2 has seen that it is a number, and holds DATA to it
            if (length or 0) > self._limits.body_bytes:
                raise Refused(413, "the request's body is too large")
        except Refused as refusal:
            self._shared.refused += 1
            self._answer(exchange, plain(refusal.status, refusal.why))
            return
        if exchange.whole:
            self._begin(exchange, request)
            return
        owed = request.headers.get("expect", "").lower() == "100-continue"
        self._expect_progress(exchange)
        if length is not None and length <= self._limits.whole_body_bytes and not owed:
            exchange.parts = []
            return
        started = (lambda: self._send_continue(exchange)) if owed else None
        exchange.body = request.stream = IncomingBody(length, exchange.pause, exchange.resume, started)
        self._begin(exchange, request)

    def _on_data(self, event: events.DataReceived) -> None:
        exchange, data = self._exchanges.get(event.stream_id), event.data or b""
        size = event.flow_controlled_length or 0
        if exchange is None:
            self._h2.acknowledge_received_data(size, event.stream_id)
            return
        if not data and event.stream_ended is None:
            self._tire(1)
        self._patience += len(data) >> 10
        exchange.held_bytes += size
        body = exchange.body
        if exchange.parts is not None:
            exchange.parts.append(data)
        elif body is not None:
            body.feed(data)
            if body.received_bytes > self._limits.body_bytes:
                body.fail(AwsError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", 400))
        exchange.progress += len(data)
        if exchange.progress >= PROGRESS_BYTES and exchange.deadline != NEVER:
            self._expect_progress(exchange)
        if not exchange.paused:
            self.give_back(exchange)

    def give_back(self, exchange: Exchange) -> None:
        """Open the window for as much as was taken out of it."""
        size, exchange.held_bytes = exchange.held_bytes, 0
        if not self._over:
            self._h2.acknowledge_received_data(size, exchange.id)
            if not exchange.whole and not exchange.gone and exchange.deadline == NEVER:
                self._expect_progress(exchange)
            self._flush()

    def _on_end(self, event: events.StreamEnded) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None or exchange.whole:
            return
        exchange.whole = True
        if not exchange.sending:
            exchange.deadline = NEVER
        if exchange.body is not None:
            exchange.body.end()
        elif exchange.parts is not None and exchange.request is not None:
            parts, exchange.parts = exchange.parts, None
            exchange.request.body = parts[0] if len(parts) == 1 else b"".join(parts)
            self._begin(exchange, exchange.request)

    def _on_reset(self, event: events.StreamReset) -> None:
        exchange = self._exchanges.get(event.stream_id)
        self._tire(RESET_COST)
        if exchange is not None:
            self._leave(exchange, AwsError("IncompleteBody", INCOMPLETE, 400))

    def _on_window(self, event: events.WindowUpdated) -> None:
        self._tire(1)
        if not event.stream_id:
            self._all_go_on()
        elif (exchange := self._exchanges.get(event.stream_id)) is not None:
            exchange.go_on()

    def _on_settings(self, _event: events.RemoteSettingsChanged) -> None:
        self._tire(1)
        if not self._exchanges:
            self.deadline = time.monotonic() + self._limits.idle_timeout_s
        self._all_go_on()

    def _all_go_on(self) -> None:
        for exchange in list(self._exchanges.values()):
            exchange.go_on()

    def _on_nuisance(self, _event: events.Event) -> None:
        self._tire(1)

    def _on_goaway(self, event: events.ConnectionTerminated) -> None:
        self._closing = True
        if event.error_code or not self._exchanges:
            self._end(None)

    def _tire(self, cost: int) -> None:
        self._patience -= cost
        if self._patience < 0:
            now = time.monotonic()
            if now - self._patience_at < PATIENCE_S:
                log.warning("an HTTP/2 connection from %s sent too many frames that bring nothing", self._peer)
                self._shared.refused += 1
                self._end(ErrorCodes.ENHANCE_YOUR_CALM, linger=True)
            self._patience_at = now
            self._patience = PATIENCE

    def _expect_progress(self, exchange: Exchange) -> None:
        exchange.progress = 0
        self._expect(exchange)

    def _expect(self, exchange: Exchange) -> None:
        """Something must happen on the stream within the body's time-out."""
        exchange.deadline = time.monotonic() + self._limits.body_timeout_s
        self.deadline = min(self.deadline, exchange.deadline)

    def _late(self, exchange: Exchange) -> None:
        exchange.deadline = NEVER
        if exchange.sending:
            self._h2.reset_stream(exchange.id, ErrorCodes.CANCEL)
            self._leave(exchange)
            self._flush()
        elif exchange.body is not None:
            exchange.body.fail(AwsError("RequestTimeout", TIMED_OUT, 400))
        else:
            self._answer(exchange, plain(408, "the request took too long to arrive"))

    # -- requests at work

    def _begin(self, exchange: Exchange, request: Request) -> None:
        self._at_work += 1

        def ended(response: Response | None, error: Any) -> None:
            self._at_work -= 1
            if error is not None or response is None:
                if error is not None and not isinstance(error, asyncio.CancelledError):
                    log.error("a handler failed", exc_info=error)
                response = plain(500, "internal failure")
            self._answer(exchange, response)

        task = drive(self._shared.loop, self._app(request), ended)
        if task is not None:
            self._keep(task)

    def _keep(self, task: asyncio.Task[Any] | Driven[Response]) -> None:
        self._loose.add(task)  # a reference: the loop itself holds tasks weakly
        task.add_done_callback(self._loose.discard)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._shared.loop.create_task(coroutine)
        self._keep(task)
        return task

    def _send_continue(self, exchange: Exchange) -> None:
        if not self._over and not exchange.gone:
            self._h2.send_headers(exchange.id, [(b":status", b"100")])
            self._flush()

    def _answer(self, exchange: Exchange, response: Response) -> None:
        if self._gone() or exchange.gone:
            if response.stream is not None:
                self._run(close_stream(response.stream))
            return
        method = exchange.request.method if exchange.request is not None else "GET"
        try:
            fields = response_head(response, method, self._shared.constant)
        except BadResponse:
            log.exception("a response could not be sent")
            response = plain(500, "internal failure")
            fields = response_head(response, method, self._shared.constant)
        bodiless = method == "HEAD" or response.status in BODILESS
        body, stream = response.body, response.stream
        if bodiless or (stream is None and not body):
            if stream is not None:
                self._run(close_stream(stream))
            self._h2.send_headers(exchange.id, fields, end_stream=True)
            self._done(exchange)
        else:
            self._h2.send_headers(exchange.id, fields)
            window = self._h2.local_flow_control_window(exchange.id)
            if stream is None and len(body) <= min(window, AT_ONCE_BYTES) and self._drained is None:
                frame_bytes = self._h2.max_outbound_frame_size
                for at in range(0, len(body), frame_bytes):
                    end = at + frame_bytes
                    self._h2.send_data(exchange.id, body[at:end], end_stream=end >= len(body))
                self._patience += len(body) >> 10
                self._done(exchange)
            else:
                exchange.sending = True
                exchange.deadline = NEVER
                pieces, length = (stream, response.length) if stream is not None else (_whole(body), len(body))
                exchange.task = self._run(self._stream(exchange, pieces, length))
        self._flush()

    async def _stream(self, exchange: Exchange, pieces: AsyncIterator[bytes | memoryview], left: int | None) -> None:
        try:
            async for piece in pieces:
                if left is not None:
                    left -= len(piece)
                    if left < 0:
                        raise BadResponse("a stream gave more bytes than it had announced")
                await self._send(exchange, piece)
                del piece  # its memory may be used again for the next one
            if left:
                raise BadResponse("a stream ended before its announced length")
            if self._gone() or exchange.gone:
                raise _Gone
            self._h2.end_stream(exchange.id)
        except BaseException as error:
            # The head is out: a reset is the only way left to say that this is not all.
            if isinstance(error, Exception) and not isinstance(error, _Gone):
                log.error("a response's stream failed", exc_info=error)
            if not self._gone() and not exchange.gone:
                self._h2.reset_stream(exchange.id, ErrorCodes.INTERNAL_ERROR)
                exchange.whole = True
                self._done(exchange)
                self._flush()
            await close_stream(pieces)
            if not isinstance(error, Exception):
                raise
        else:
            self._done(exchange)
            self._flush()

    async def _send(self, exchange: Exchange, piece: bytes | memoryview) -> None:
        """Give a piece to the client as fast as it takes it."""
        h2, view, at, size = self._h2, memoryview(piece), 0, len(piece)
        while at < size:
            if self._gone() or exchange.gone:
                raise _Gone
            window = h2.local_flow_control_window(exchange.id)
            if window <= 0 or self._drained is not None:
                exchange.turn = self._shared.loop.create_future()
                self._expect(exchange)
                await exchange.turn
                exchange.turn, exchange.deadline = None, NEVER
                continue
            end = min(at + window, at + h2.max_outbound_frame_size, size)
            h2.send_data(exchange.id, view[at:end])
            self._patience += (end - at) >> 10
            at = end
            self._flush()

    def _done(self, exchange: Exchange) -> None:
        """The answer is with the transport. A request that has not ended needs not be sent any further."""
        if not exchange.whole:
            self._h2.reset_stream(exchange.id, ErrorCodes.NO_ERROR)
        self._patience = min(self._patience + 2, PATIENCE)
        self._leave(exchange, AwsError("IncompleteBody", INCOMPLETE, 400))

    def _leave(self, exchange: Exchange, problem: AwsError | None = None) -> None:
        """The stream is over, whoever ended it."""
        exchange.gone = True
        self._exchanges.pop(exchange.id, None)
        body = exchange.body
        if body is not None and not body.complete:
            if problem is not None:
                body.fail(problem)
            body.discard()
        if exchange.held_bytes:
            self.give_back(exchange)
        exchange.go_on()
        if (
            exchange.sending
            and exchange.task is not None
            and exchange.task is not asyncio.current_task(self._shared.loop)
        ):
            exchange.task.cancel()
        if not self._exchanges and not self._over:
            self.deadline = time.monotonic() + self._limits.idle_timeout_s
            if self._closing:
                self._end(None)

    # -- the end

    def _end(self, code: ErrorCodes | None, *, linger: bool = False) -> None:
        """Say what is left to say, GOAWAY included where a code is given, and close.

        linger: the client still sends. That is dropped for a while: a reset would take from it what it was told.
        """
        if self._over:
            return
        if code is not None:
            self._h2.close_connection(code)
        self._corked = False
        self._flush()
        self._over = True
        self.deadline = time.monotonic() + LINGER_S
        if self._transport.is_closing():
            return
        if linger and not self._secure:
            self._transport.write_eof()
        else:
            self._transport.close()

    def _gone(self) -> bool:
        """Whether nothing can be sent any more. (uvloop closes its side some time before it says so.)"""
        return self._over or self._transport.is_closing()

    def _flush(self) -> None:
        if self._corked or self._gone():
            return
        data = self._h2.data_to_send()
        if data:
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > UNSENT_BYTES:
                self._shared.refused += 1
                self._transport.abort()


async def _whole(body: bytes | memoryview) -> AsyncIterator[bytes | memoryview]:
    yield body
