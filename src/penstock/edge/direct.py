"""A long body's way from the socket: straight into memory that is used again, past the parser.

The parser would copy every byte twice, and it has nothing to say about a body whose length is known. It stands in for
the connection's own protocol until the body's last byte, and never reads beyond that.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from penstock.blobs.buffers import Buffers

DIRECT_BYTES = 128 * 1024
"""Shorter bodies go the usual way: most of them come with their head."""


class Owner(Protocol):
    """The connection, as far as it is needed here."""

    def direct_piece(self, piece: memoryview) -> None: ...

    def direct_progress(self, size_bytes: int) -> None: ...

    def direct_end(self) -> None: ...

    def eof_received(self) -> bool: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class DirectBody(asyncio.BufferedProtocol):
    """Receives `left` bytes, and hands them on in pieces of a buffer's size."""

    __slots__ = ("_buffer", "_buffers", "_filled", "_owner", "left")

    def __init__(self, owner: Owner, buffers: Buffers, length: int) -> None:
        self.left = length
        self._owner = owner
        self._buffers = buffers
        self._buffer = buffers.take()
        self._filled = 0

    def take(self, piece: bytes) -> None:
        """Bytes that came together with the head."""
        at = 0
        while at < len(piece):
            n = min(len(piece) - at, len(self._buffer) - self._filled)
            self._buffer[self._filled : self._filled + n] = piece if n == len(piece) else piece[at : at + n]
            at += n
            self._add(n)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled : min(len(self._buffer), self._filled + self.left)]

    def buffer_updated(self, nbytes: int) -> None:
        self._owner.direct_progress(nbytes)
        self._add(nbytes)
        if not self.left:
            self._owner.direct_end()

    def _add(self, n: int) -> None:
        self._filled += n
        self.left -= n
        if self.left and self._filled < len(self._buffer):
            return
        size, self._filled = self._filled, 0
        buffer = self._buffer
        self._buffer = self._buffers.take() if self.left else bytearray()
        self._owner.direct_piece(self._buffers.lend(buffer, 0, size))

    def give_up(self) -> None:
        """The rest will not come."""
        if len(self._buffer):
            self._buffers.give(self._buffer)
            self._buffer = bytearray()

    def eof_received(self) -> bool:
        return self._owner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        self._owner.resume_writing()
