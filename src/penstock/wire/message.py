"""HTTP requests and responses as the edge hands them around. No sockets here, and no AWS.

A request's body is either whole (`body`) or still arriving (`stream`); never both.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol


class BodyStream(Protocol):
    """Bytes that are still arriving: iterate once. Raises AwsError when they end early, late or wrong."""

    length: int | None
    """Bytes of payload (after aws-chunked decoding), where the client said it."""
    trailers: dict[str, str]
    """Headers that came behind the payload, lower case, e.g. x-amz-checksum-crc32: there once the iteration has ended,
    and verified by then. (A whole body's trailers are among the request's headers.)"""

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Request:
    """One request. Header names are lower case; a header sent twice is joined by ","."""

    __slots__ = (
        "body",
        "headers",
        "http_version",
        "method",
        "path",
        "peer",
        "query",
        "received_at",
        "secure",
        "stream",
    )

    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        body: bytes = b"",
        stream: BodyStream | None = None,
        *,
        peer: str = "",
        secure: bool = False,
        http_version: str = "1.1",
        received_at: float = 0.0,
    ) -> None:
        self.method = method
        self.path = path
        """As sent: percent-encoded, without the query."""
        self.query = query
        """As sent, without the "?"."""
        self.headers = headers
        self.body = body
        self.stream = stream
        self.peer = peer
        """The client's address; empty where it has none. Never taken from a header."""
        self.secure = secure
        self.http_version = http_version
        self.received_at = received_at


class OutgoingStream:
    """A streaming blob of a result: `length` bytes from `chunks` (None: as many as come, sent chunked).

    `lent` is the same without a copy, for who passes the pieces on and keeps none. Iterate over one of the two.
    """

    __slots__ = ("chunks", "length", "lent")

    def __init__(self, chunks: AsyncGenerator[bytes | memoryview, None], length: int | None) -> None:
        self.lent = chunks
        self.chunks = _copied(chunks)
        self.length = length


async def _copied(lent: AsyncGenerator[bytes | memoryview, None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(lent):
        async for piece in lent:
            yield bytes(piece)


class Response:
    """One answer. `stream`, when given, is sent after the headers in place of `body`.

    With `length` the stream is sent under Content-Length and must yield just that many bytes; without, chunked.
    """

    __slots__ = ("body", "headers", "length", "status", "stream")

    def __init__(
        self,
        status: int = 200,
        headers: list[tuple[str, str]] | None = None,
        body: bytes = b"",
        stream: AsyncIterator[bytes | memoryview] | None = None,
        length: int | None = None,
    ) -> None:
        self.status = status
        self.headers = headers if headers is not None else []
        self.body = body
        self.stream = stream
        self.length = length
