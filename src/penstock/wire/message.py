"""HTTP requests and responses as the edge hands them around. No sockets here, and no AWS.

A request's body is either whole (`body`) or still arriving (`stream`); never both.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol

import msgspec


class BodyStream(Protocol):
    """Bytes that are still arriving: iterate once. Raises AwsError when they end early, late or wrong."""

    length: int | None
    """Bytes of payload (after aws-chunked decoding), where the client said it."""
    trailers: dict[str, str]
    """Headers that came behind the payload, lower case, e.g. x-amz-checksum-crc32: there once the iteration has ended,
    and verified by then. (A whole body's trailers are among the request's headers.)"""

    def __aiter__(self) -> AsyncIterator[bytes | memoryview]: ...


class HashedStream(BodyStream, Protocol):
    """A stream whose hash was signed: iterating over it computes that on the spot, and raises AwsError where it differs."""

    def unhashed(self) -> tuple[AsyncIterator[bytes | memoryview], Callable[[bytes | memoryview], object]]:
        """For who computes it elsewhere: the pieces, and what each is to be given to in order. Then call `check`."""
        ...

    def check(self) -> None:
        """Raises AwsError where the bytes that were given are not those that were signed."""
        ...


class Request(msgspec.Struct, eq=False):
    """One request. Header names are lower case; a header sent twice is joined by ",".

    A Struct, as its likes below, only because those are made in C: every request makes one of each.
    """

    method: str
    path: str
    """As sent: percent-encoded, without the query."""
    query: str
    """As sent, without the "?"."""
    headers: dict[str, str]
    body: bytes = b""
    stream: BodyStream | None = None
    peer: str = ""
    """The client's address; empty where it has none. Never taken from a header."""
    secure: bool = False
    tls: str = ""
    """TLS's version, as "TLSv1.3"; empty where it is not secure."""
    http_version: str = "1.1"
    received_at: float = 0.0


class OutgoingStream:
    """A streaming blob of a result: `length` bytes from `chunks` (None: as many as come, sent chunked).

    `lent` is the same without a copy, for who passes the pieces on and keeps none. Iterate over one of the two. `whole`
    is all of it, lent as well, where it is in memory already.
    """

    __slots__ = ("_chunks", "_lent", "length", "whole")

    def __init__(
        self,
        chunks: AsyncGenerator[bytes | memoryview, None] | None,
        length: int | None,
        whole: memoryview | None = None,
    ) -> None:
        self._lent = chunks
        self._chunks: AsyncGenerator[bytes, None] | None = None
        self.length = length
        self.whole = whole

    @property
    def lent(self) -> AsyncGenerator[bytes | memoryview, None]:
        if self._lent is None:
            self._lent = _one(self.whole)
        return self._lent

    @property
    def chunks(self) -> AsyncGenerator[bytes, None]:
        if self._chunks is None:
            self._chunks = _copied(self.lent)
        return self._chunks


async def _one(piece: memoryview | None) -> AsyncGenerator[bytes | memoryview, None]:
    if piece is not None:
        yield piece


async def _copied(lent: AsyncGenerator[bytes | memoryview, None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(lent):
        async for piece in lent:
            yield bytes(piece)


class Response(msgspec.Struct, eq=False):
    """One answer. `stream`, when given, is sent after the headers in place of `body`.

    With `length` the stream is sent under Content-Length and must yield just that many bytes; without, chunked.
    """

    status: int = 200
    headers: list[tuple[str, str]] = msgspec.field(default_factory=list)
    body: bytes | memoryview = b""
    """Only of an S3 object is it a view, of memory that is used again once nobody has it."""
    stream: AsyncIterator[bytes | memoryview] | None = None
    length: int | None = None
