"""AWS's Runtime API, as an environment's process sees it at AWS_LAMBDA_RUNTIME_API. Bytes in, an `Ear`'s methods out.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html. One connection belongs to one environment by
construction (the listening socket lives in its network namespace), so nothing here names environments. What comes in is
written by whoever wrote the function: every size is bounded.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Protocol, cast

import httptools

from penstock.runtime.api import Invocation
from penstock.runtime.outcomes import RESPONSE_LIMIT_BYTES
from penstock.runtime.streams import STREAMED_BYTES_MAX, ResponseStream

_EXTENSIONS = (b"/2020-01-01/extension/", b"/2022-07-01/telemetry", b"/2020-08-15/logs")
_PREFIX = b"/2018-06-01/runtime/"
_HEAD_BYTES_MAX = 2 * 1024 * 1024
"""awslambdaric sends its X-Ray cause in a header, up to 1 MB."""

ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'


def refusal(status: str, error_type: str, message: str) -> bytes:
    """A complete response that says why not."""
    body = b'{"errorMessage":"%s","errorType":"%s"}\n' % (message.encode(), error_type.encode())
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def event(invocation: Invocation, deadline_ms: int) -> bytes:
    """The response to `next`: an event with its headers."""
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(invocation.payload)}\r\n"
        f"Lambda-Runtime-Aws-Request-Id: {invocation.request_id}\r\n"
        f"Lambda-Runtime-Deadline-Ms: {deadline_ms}\r\n"
        f"Lambda-Runtime-Invoked-Function-Arn: {invocation.invoked_arn}\r\n"
    )
    for name, value in (
        ("Trace-Id", invocation.trace_id),
        ("Client-Context", invocation.client_context),
        ("Cognito-Identity", invocation.cognito_identity),
    ):
        if value:
            head += f"Lambda-Runtime-{name}: {' '.join(value.split())}\r\n"
    return head.encode() + b"\r\n" + invocation.payload


NOT_FOUND = refusal("404 Not Found", "NotFound", "there is no such resource in the Runtime API")
WRONG_ID = refusal("400 Bad Request", "InvalidRequestID", "Invalid request ID")
WRONG_STATE = refusal("403 Forbidden", "InvalidStateTransition", "Transition from this state is not allowed")
TOO_LARGE = refusal("413 Payload Too Large", "RequestEntityTooLarge", "Exceeded maximum allowed payload size")


class Streamed:
    """What a streamed response said of itself. error: its error document, if it broke off."""

    __slots__ = ("content_type", "error", "error_type")

    def __init__(self) -> None:
        self.content_type = "application/octet-stream"
        self.error_type = ""
        self.error = b""


class Ear(Protocol):
    """Who listens: the environment. Each method returns the whole HTTP response; None: it will be written later."""

    def on_next(self, connection: RuntimeConnection) -> bytes | None: ...

    def on_stream(self, request_id: str) -> ResponseStream | None:
        """A streamed response begins; None: nobody wants it in pieces, so it is collected."""
        ...

    def on_response(self, request_id: str, body: bytes | None, streamed: Streamed | None = None) -> bytes:
        """body: None if it was over the limit, b"" if it went to the stream that `on_stream` gave."""
        ...

    def on_error(self, request_id: str, body: bytes | None) -> bytes: ...

    def on_init_error(self, body: bytes | None) -> bytes: ...

    def on_extension(
        self, connection: RuntimeConnection, method: bytes, url: bytes, headers: dict[bytes, str], body: bytes | None
    ) -> bytes | None:
        """A request of the Extensions, Telemetry or Logs API; headers: those that begin with lambda-extension-."""
        ...

    def connection_lost(self, connection: RuntimeConnection) -> None: ...

    def connection_made(self, connection: RuntimeConnection) -> bool:
        """False: there are too many, or it is not the environment's own."""
        ...


class RuntimeConnection(asyncio.Protocol):
    """One HTTP/1.1 connection of a runtime."""

    __slots__ = (
        "_body",
        "_ear",
        "_extension",
        "_head_bytes",
        "_parser",
        "_size",
        "_stream",
        "_streamed",
        "_transport",
        "_type",
        "_url",
    )

    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._body: list[bytes] = []
        self._size = 0
        self._head_bytes = 0
        self._type = ""
        self._extension: dict[bytes, str] = {}
        self._streamed: Streamed | None = None
        self._stream: ResponseStream | None = None

    def peer(self) -> tuple[str, int] | None:
        """Address and port of the other end."""
        found = self._transport.get_extra_info("peername") if self._transport else None
        return (found[0], found[1]) if found else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's own class does not descend from it
        self._transport = transport
        if not self._ear.connection_made(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ear.connection_lost(self)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()
        if self._head_bytes > _HEAD_BYTES_MAX:
            self.abort()

    def write(self, data: bytes) -> None:
        """Send a response, if anybody is still there."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._url = b""
        self._body = []
        self._size = 0
        self._type = ""
        if self._extension:
            self._extension = {}
        self._streamed = None
        self._stream = None

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif name == b"content-type":
            self._type = value.decode("latin-1")[:200]
        elif name.startswith(b"lambda-extension-"):
            self._extension[name] = value.decode("latin-1")[:1000]
        elif name == b"lambda-runtime-function-response-mode" and value.lower() == b"streaming":
            self._streamed = Streamed()
        elif self._streamed is not None:  # in the trailers: it broke off
            if name == b"lambda-runtime-function-error-type":
                self._streamed.error_type = value.decode("latin-1")[:200]
            elif name == b"lambda-runtime-function-error-body":
                self._streamed.error = _decoded(value)

    def on_headers_complete(self) -> None:
        """Where a streamed response begins."""
        if self._streamed is None:
            return
        self._streamed.content_type = self._type or self._streamed.content_type
        if self._parser.get_method() == b"POST" and self._url.startswith(_PREFIX + b"invocation/"):
            request_id = self._url[len(_PREFIX) + 11 :].partition(b"/")[0].decode("latin-1")
            self._stream = self._ear.on_stream(request_id)
            if self._stream is not None:
                self._stream.begin(self._streamed.content_type, self._hold)

    def _hold(self, hold: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.pause_reading if hold else self._transport.resume_reading)()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        self._size += len(body)
        if self._stream is not None:
            if self._size <= STREAMED_BYTES_MAX:
                self._stream.feed(body)
        elif self._size <= RESPONSE_LIMIT_BYTES:
            self._body.append(body)
        else:
            self._body.clear()

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        limit = RESPONSE_LIMIT_BYTES if self._stream is None else STREAMED_BYTES_MAX
        body = b"".join(self._body) if self._size <= limit else None
        self._body = []
        answer = self._answer(self._parser.get_method(), self._url, body)
        if answer is not None:
            self.write(answer)

    def _answer(self, method: bytes, url: bytes, body: bytes | None) -> bytes | None:
        if not url.startswith(_PREFIX):
            if url.startswith(_EXTENSIONS):
                return self._ear.on_extension(self, method, url, self._extension, body)
            return NOT_FOUND
        path = url[len(_PREFIX) :]
        if method == b"GET":
            return self._ear.on_next(self) if path == b"invocation/next" else NOT_FOUND
        if method != b"POST":
            return NOT_FOUND
        if path == b"init/error":
            return self._ear.on_init_error(body)
        kind, _, rest = path.partition(b"/")
        request_id, _, verb = rest.partition(b"/")
        if kind != b"invocation" or verb not in (b"response", b"error"):
            return NOT_FOUND
        if verb == b"error":
            return self._ear.on_error(request_id.decode("latin-1"), body)
        return self._ear.on_response(request_id.decode("latin-1"), body, self._streamed)


def _decoded(value: bytes) -> bytes:
    try:
        return base64.b64decode(value[:_HEAD_BYTES_MAX], validate=True)
    except binascii.Error:
        return value
