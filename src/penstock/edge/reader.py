"""Bytes to requests, for one connection of HTTP/1.1: strict and bounded, without a socket.

Strictness is llhttp's (bare LF, obs-fold, space before a colon, several Content-Length, both framings, bad chunk sizes:
all refused) and ours where it is silent: one Host, "chunked" alone as transfer coding, no absolute or fragment targets.

A request whose body is small is handed over whole; one that is large, or of unknown length, at the end of its headers, and
so is one whose client waits for "100 Continue": it is asked for the body by whoever wants to have it, or told why not.
"""

from __future__ import annotations

import abc
import re
import time
from dataclasses import dataclass
from operator import methodcaller
from typing import TypeAlias

import httptools

from penstock.edge.direct import DIRECT_BYTES, DirectBody
from penstock.edge.incoming import IncomingBody
from penstock.wire.errors import AwsError
from penstock.wire.message import Request, Response

Waiting: TypeAlias = tuple[Request | None, IncomingBody | None, bool, Response | None]
"""(request, its body where still arriving, keep the connection afterwards, answer where it is known already)"""

NEVER = float("inf")
METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"})
HOST_BYTES = 300
"""A name of 253 bytes and a port. What is made of a host is remembered, so it must not be long."""
PROGRESS_BYTES = 4096
"""A body must bring this much in each body time-out."""


@dataclass(slots=True)
class Limits:
    """Bounds of one connection. Times in seconds."""

    url_bytes: int = 16 * 1024
    header_bytes: int = 64 * 1024
    header_count: int = 200
    whole_body_bytes: int = 256 * 1024
    body_bytes: int = 5 * 1024**3 + 64 * 1024**2
    header_timeout_s: float = 20.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 120.0
    connections: int = 4096


class Refused(Exception):
    """The message at hand is not acceptable HTTP: answer with this status and close."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(status, why)
        self.status = status
        self.why = why


_BLANKS = " \t"

_NAMES: dict[str, str] = {}
"""Names of headers as sent -> lower case; all of them are RFC 9110's tokens. Bounded, as clients choose them."""
_TOKEN = re.compile(r"[\w!#$%&'*+\-.^`|~]{1,100}", re.ASCII).fullmatch
_FIELD = methodcaller("split", ": ", 1)
_VISIBLE = bytes(range(0x20, 0x7F))
_PLAIN_HEAD_BYTES = 8192
_SPECIAL = frozenset({"connection", "expect", "proxy-connection", "transfer-encoding", "upgrade"})
"""Headers of which more follows for the connection or the framing than a plain request knows."""
_CONNECTION = frozenset({"connection"})


def _name(name: str) -> str:
    key = name.lower()
    if len(_NAMES) < 4096 and _TOKEN(name):
        _NAMES[name] = key
    return key


class RequestReader(abc.ABC):
    """The parser's callbacks. Whoever inherits it has the socket, and does the work."""

    __slots__ = (
        "_body", "_busy", "_chunk_bytes", "_closing", "_direct", "_head_bytes", "_headers", "_in_head", "_keep_alive",
        "_limits", "_most_body_bytes", "_most_head_bytes", "_parser", "_parts", "_peer", "_progress", "_repeated",
        "_request", "_secure", "_tls", "_url", "deadline",
    )  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._most_head_bytes = min(_PLAIN_HEAD_BYTES, limits.header_bytes, limits.url_bytes)
        self._most_body_bytes = min(limits.whole_body_bytes, limits.body_bytes, DIRECT_BYTES - 1)
        """Of a plain request."""
        self._peer = ""
        self._secure = False
        self._tls = ""
        self._parser = httptools.HttpRequestParser(self)
        self._busy = False
        """A request is at work, so that the next ones wait."""
        self._closing = False
        """Nothing that arrives from now on is of interest."""
        self._in_head = False
        self._headers: dict[str, str] | None = None
        """Of the request whose head is arriving."""
        self._repeated = 0
        self._url = b""
        self._head_bytes = self._chunk_bytes = 0
        self._request: Request | None = None
        self._parts: list[bytes | memoryview] | None = None
        self._body: IncomingBody | None = None
        self._keep_alive = True
        self._progress = 0
        self._direct: DirectBody | None = None
        """The body's way past the parser, where it is long."""
        self.deadline = NEVER
        """When the sweep ends this connection, on the monotonic clock; moved by whatever happens on it."""

    @abc.abstractmethod
    def _enqueue(self, waiting: Waiting) -> None:
        """A request is there."""

    @abc.abstractmethod
    def _straight(self, length: int) -> DirectBody | None:
        """A way for a long body past the parser, if there is one."""

    @abc.abstractmethod
    def _send_continue(self) -> None:
        """Ask for the body."""

    @abc.abstractmethod
    def _pause(self) -> None:
        """Stop reading, as nobody takes what comes. May be called again and again."""

    @abc.abstractmethod
    def _resume(self) -> None:
        """Read again."""

    @abc.abstractmethod
    def _after_answer(self, keep_alive: bool) -> None:
        """Request and answer are over."""

    def _read(self, data: bytes) -> None:
        """Take bytes off the socket. Raises Refused; the connection is of no more use then."""
        while self._request is None and not self._in_head and self._keep_alive and (taken := self._plain(data)):
            if taken == len(data):
                return
            data = data[taken:]
        self._chunk_bytes = len(data)
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, Refused):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            raise Refused(400, f"malformed HTTP: {error}") from None
        if self._in_head:
            if self._head_bytes > self._limits.header_bytes:
                raise Refused(431, "the request's headers are too large")
            if not self._head_bytes and not self._busy:  # it began in these bytes
                self.deadline = time.monotonic() + self._limits.header_timeout_s

    def _plain(self, data: bytes) -> int:
        """Take a plain request off the front of the bytes, if a whole one is there. Returns its size, 0 for none.

        Raises Refused, as the parser's way does. Plain are: lines of visible ASCII, one blank before a value and none
        behind it, header names that were met before, none of them twice.
        """
        end = data.find(b"\r\n\r\n", 0, self._most_head_bytes)
        if end < 0:
            return 0
        head = data[: end + 2]
        lines = head.decode("latin-1").split("\r\n")
        if b"  " in head or b" \r" in head or head.translate(None, _VISIBLE) != b"\r\n" * (len(lines) - 1):
            return 0
        headers: dict[str, str] = {}
        names = _NAMES
        try:
            method, target, version = lines[0].split(" ")
            for name, value in map(_FIELD, lines[1:-1]):
                headers[names[name]] = value
        except KeyError:
            for line in lines[1:-1]:
                _name(line.partition(":")[0])  # for the next time
            return 0
        except ValueError:
            return 0
        length = headers.get("content-length", "0")
        at = end + 4
        if (
            method not in METHODS
            or target[:1] != "/"
            or version != "HTTP/1.1"
            or len(headers) != len(lines) - 2
            or len(headers) > self._limits.header_count
            or not (_SPECIAL.isdisjoint(headers) or _stays(headers))
            or not length.isdigit()
            or len(length) > 9
            or (size := int(length)) > self._most_body_bytes
            or (end := at + size) > len(data)
        ):
            return 0
        request = self._made(method, target, headers, "1.1", data[at:end])
        if self._busy:
            self.deadline = NEVER
        self._enqueue((request, None, True, None))
        return end

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

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._url = b""
        self._headers = {}
        self._repeated = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.url_bytes:
            raise Refused(414, "the request's URI is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        if headers is None:
            return  # HTTP's own trailers carry nothing that any AWS protocol knows
        sent = name.decode("latin-1")
        key = _NAMES.get(sent) or _name(sent)
        text = value.decode() if value.isascii() else value.decode("latin-1")
        if text and text[-1] in _BLANKS:
            text = text.rstrip(_BLANKS)
        if key not in headers:
            headers[key] = text
        elif key == "host":
            raise Refused(400, "more than one Host header")
        else:  # those sent twice are joined
            headers[key] += "," + text
            self._repeated += 1

    def _take_headers(self) -> dict[str, str]:
        """The headers by lower-case name."""
        headers, self._headers = self._headers, None
        assert headers is not None
        limits = self._limits
        if len(headers) + self._repeated > limits.header_count or (
            self._head_bytes + self._chunk_bytes > limits.header_bytes
            and sum(len(n) + len(v) + 4 for n, v in headers.items()) > limits.header_bytes
        ):
            raise Refused(431, "the request has too many or too large headers")
        return headers

    def on_headers_complete(self) -> None:
        parser = self._parser
        headers = self._take_headers()
        version = parser.get_http_version()
        self._in_head = False
        if version != "1.1":
            if version != "1.0":
                raise Refused(505, "HTTP/1.1 and HTTP/1.0 are spoken here")
            if "transfer-encoding" in headers:
                raise Refused(400, "HTTP/1.0 has no Transfer-Encoding")
        method = parser.get_method().decode("latin-1")
        request = self._made(method, self._url.decode("ascii"), headers, version, b"")
        length = self._framing(headers)
        self._keep_alive = version == "1.1" and parser.should_keep_alive()
        self._request = request
        # As AWS does, any other expectation is passed over.
        owed = "expect" in headers and headers["expect"].lower() == "100-continue" and version == "1.1"
        if length == 0:
            if owed and not self._busy:
                # Not needed, but AWS says it, and botocore mistakes the next answer on a connection where it was missing.
                self._send_continue()
            return
        self._progress = 0
        if not self._busy:
            self.deadline = request.received_at + self._limits.body_timeout_s
        if length is not None and length >= DIRECT_BYTES:
            self._direct = self._straight(length)
        if length is not None and length <= self._limits.whole_body_bytes and not owed:
            self._parts = []
            return
        self._body = body = IncomingBody(length, self._pause, self._resume, self._send_continue if owed else None)
        request.stream = body
        self._enqueue((request, body, self._keep_alive, None))

    def _made(self, method: str, target: str, headers: dict[str, str], version: str, body: bytes) -> Request:
        """The request of a head. Raises Refused."""
        host = headers.get("host", "")
        if not host and version == "1.1":
            raise Refused(400, "a Host header is required")
        if len(host) > HOST_BYTES:
            raise Refused(400, "the Host header is too long for a host's name")
        if method not in METHODS:
            raise Refused(501, "unknown method")
        path, _, query = target.partition("?")
        if (path[:1] != "/" and not (path == "*" and method == "OPTIONS")) or "#" in target:
            raise Refused(400, "the request's target must be an absolute path")
        return Request(
            method, path, query, headers, body, None, self._peer, self._secure, self._tls, version, time.monotonic()
        )

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
        if self._direct is not None:
            self._direct.take(piece)
            self.direct_progress(len(piece))
            return
        body, parts = self._body, self._parts
        if parts is not None:
            parts.append(piece)
        elif body is not None:
            body.feed(piece)
            if body.received_bytes > self._limits.body_bytes:
                body.fail(AwsError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", 400))
                raise Refused(413, "the request's body is too large")
        self.direct_progress(len(piece))

    def direct_piece(self, piece: memoryview) -> None:
        """More of a long body."""
        if self._parts is not None:
            self._parts.append(piece)
        elif self._body is not None:
            self._body.feed(piece)

    def direct_progress(self, size_bytes: int) -> None:
        """The body comes on."""
        self._progress += size_bytes
        if self._progress >= PROGRESS_BYTES:
            self._progress = 0
            if not self._closing and self.deadline != NEVER:
                self.deadline = time.monotonic() + self._limits.body_timeout_s

    def on_message_complete(self) -> None:
        request, body, parts = self._request, self._body, self._parts
        self._request = self._body = self._parts = self._direct = None
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
            request.body = parts[0] if len(parts) == 1 and type(parts[0]) is bytes else b"".join(parts)
        self._enqueue((request, None, self._keep_alive, None))


def _stays(headers: dict[str, str]) -> bool:
    """Whether the special headers say no more than that the connection stays, as it does anyway."""
    return _SPECIAL.intersection(headers) == _CONNECTION and headers["connection"].lower() == "keep-alive"


INCOMPLETE = "You did not provide the number of bytes specified by the Content-Length HTTP header"
TIMED_OUT = (
    "Your socket connection to the server was not read from or written to within the timeout period. "
    "Idle connections will be closed."
)
