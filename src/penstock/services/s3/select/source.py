"""An object's bytes, plain, where DuckDB reads them: in a file that is memory only, so that nothing plain meets the disk."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import os
import zlib
from collections.abc import AsyncIterator
from typing import Any, Protocol

from penstock.services.s3.select.terms import invalid
from penstock.wire.errors import AwsError, not_implemented
from penstock.wire.message import OutgoingStream

MOST_BYTES = 1024**3
"""Of the object as it is uncompressed."""


class _Decompressor(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


class Memory:
    """A file in memory. scanned: bytes read of the object, processed: uncompressed ones."""

    def __init__(self) -> None:
        """Raises AwsError NotImplemented where the system has no such files."""
        if not hasattr(os, "memfd_create"):
            raise not_implemented("S3 Select on a system without memfd_create")
        self.fd = os.memfd_create("penstock-select", os.MFD_CLOEXEC)
        self.path = f"/proc/self/fd/{self.fd}"
        self.scanned = 0
        self.processed = 0

    def write(self, data: bytes) -> None:
        """Add bytes. Raises AwsError NotImplemented past the limit."""
        self.processed += len(data)
        if self.processed > MOST_BYTES:
            raise not_implemented(f"S3 Select on objects of more than {MOST_BYTES} bytes, uncompressed")
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]

    def replace(self, data: bytes) -> None:
        """Hold these bytes instead."""
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        self.processed = 0
        self.write(data)
        self.scanned = self.processed

    def head(self, size_bytes: int) -> bytes:
        """The first bytes."""
        return os.pread(self.fd, size_bytes, 0)

    def close(self) -> None:
        """Give the memory back."""
        with contextlib.suppress(OSError):
            os.close(self.fd)


async def gather(body: bytes | OutgoingStream, compression: str, delimiter: bytes) -> Memory:
    """Bring a body there. delimiter: the one between records, which becomes a newline.

    Raises AwsError InvalidCompressionFormat, InvalidTextEncoding, NotImplemented.
    """
    memory = Memory()
    try:
        expand = _decompressor(compression)
        async for piece in _pieces(body):
            memory.scanned += len(piece)
            await asyncio.to_thread(_take, memory, expand, piece, delimiter)
    except BaseException:
        memory.close()
        raise
    return memory


async def _pieces(body: bytes | OutgoingStream) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    async for piece in body.chunks:
        yield piece


def _take(memory: Memory, expand: _Decompressor | None, piece: bytes, delimiter: bytes) -> None:
    if expand is not None:
        try:
            piece = expand.decompress(piece)
        except (zlib.error, OSError, EOFError, ValueError):
            raise invalid("InvalidCompressionFormat", "The file is not in a supported compression format.") from None
    if delimiter not in (b"\n", b"\r\n", b"\r"):
        if b"\n" in piece:
            raise not_implemented("S3 Select with a RecordDelimiter of its own and line breaks in the data")
        piece = piece.replace(delimiter, b"\n")
    memory.write(piece)


class _Bounded:
    """Decompresses at most so much of a piece at a time that memory stays bounded."""

    def __init__(self, kind: str) -> None:
        self._bzip2 = bz2.BZ2Decompressor() if kind == "BZIP2" else None
        self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def decompress(self, data: bytes) -> bytes:
        if self._bzip2 is not None:
            found = self._bzip2.decompress(data, MOST_BYTES + 1)
            if self._bzip2.eof:
                self._bzip2 = bz2.BZ2Decompressor()
            return found
        found = self._gzip.decompress(data, MOST_BYTES + 1)
        while self._gzip.eof and self._gzip.unused_data:
            rest = self._gzip.unused_data
            self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
            found += self._gzip.decompress(rest, MOST_BYTES + 1)
        return found


def _decompressor(compression: str) -> _Decompressor | None:
    match compression:
        case "NONE":
            return None
        case "GZIP" | "BZIP2":
            return _Bounded(compression)
        case _:
            raise invalid("InvalidCompressionFormat", "The file is not in a supported compression format.")


def cut(data: bytes, begin: int, end: int) -> bytes:
    """The records (lines) that begin at a place begin <= i < end of the data."""
    if begin > 0:
        line = data.find(b"\n", begin - 1)
        begin = len(data) if line < 0 else line + 1
    if begin >= end:
        return b""
    stop = data.find(b"\n", end - 1)
    return data[begin:] if stop < 0 else data[begin : stop + 1]


def check_range(scan: dict[str, Any], size: int) -> tuple[int, int]:
    """(begin, end) of a ScanRange over so many bytes. Raises AwsError InvalidScanRange.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ScanRange.html
    """
    start, last = scan.get("Start"), scan.get("End")
    if start is None and last is None:
        raise AwsError("MissingRequiredParameter", "ScanRange needs Start or End.", 400)
    if start is None:
        return max(0, size - int(last or 0)), size
    end = size if last is None else min(int(last), size)
    if start < 0 or start >= max(size, 1) or end < start:
        raise AwsError("InvalidScanRange", "The provided scan range is not valid.", 400)
    return int(start), end
