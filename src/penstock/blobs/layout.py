"""What is inside a blob's file: the payload as it came, then the checksums that every read is compared with.

    payload                     size_bytes, from offset 0
    table                       8 bytes a chunk of 256 KiB of payload: its CRC64NVME, big-endian
    footer (24 bytes)           magic "PNSTBLB1", size_bytes u64, CRC64NVME of the table and the size u64

A chunk's CRC starts from a seed made of the blob's name and the chunk's number, so that a chunk that turns up in
another place, or in another blob, is noticed as well. A file without a valid footer was never finished.
"""

from __future__ import annotations

import os

from awscrt.checksums import crc64nvme

from penstock.blobs.api import BlobCorrupt, BlobMissing

CHUNK_BYTES = 256 * 1024
MAGIC = b"PNSTBLB1"
FOOTER_BYTES = 24
_MASK = (1 << 64) - 1


def seed(name: str) -> int:
    """What the blob's first chunk's CRC starts from; the next chunk's starts from one more."""
    value: int = crc64nvme(name.encode())
    return value


class ChunkTable:
    """The CRCs of a payload that comes in pieces of any size."""

    __slots__ = ("_crc", "_filled", "_next_seed", "_values")

    def __init__(self, name: str) -> None:
        self._next_seed = seed(name)
        self._values = bytearray()
        self._filled = 0
        self._crc = 0

    def update(self, data: bytes) -> None:
        """Take more of the payload."""
        view = memoryview(data)
        at = 0
        while at < len(view):
            if self._filled == 0:
                self._crc = self._next_seed
                self._next_seed = (self._next_seed + 1) & _MASK
            piece = view[at : at + CHUNK_BYTES - self._filled]
            self._crc = crc64nvme(piece, self._crc)
            self._filled += len(piece)
            at += len(piece)
            if self._filled == CHUNK_BYTES:
                self._close_chunk()

    def ending(self, size_bytes: int) -> bytes:
        """Table and footer of a payload of that size."""
        if self._filled:
            self._close_chunk()
        size = size_bytes.to_bytes(8, "big")
        check: int = crc64nvme(size, crc64nvme(bytes(self._values)))
        return bytes(self._values) + MAGIC + size + check.to_bytes(8, "big")

    def _close_chunk(self) -> None:
        self._values += self._crc.to_bytes(8, "big")
        self._filled = 0


class ChunkReader:
    """An open blob. Blocking: for worker threads. Close it."""

    __slots__ = ("_fd", "_name", "_seed", "size_bytes")

    def __init__(self, path: str, name: str) -> None:
        """Raises BlobMissing where there is no finished file, OSError where it cannot be read."""
        self._name = name
        self._seed = seed(name)
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlobMissing(f"blob {name} is not there") from None
        try:
            self.size_bytes = self._read_size()
        except BaseException:
            os.close(self._fd)
            raise

    def _read_size(self) -> int:
        file_bytes = os.fstat(self._fd).st_size
        footer = os.pread(self._fd, FOOTER_BYTES, max(0, file_bytes - FOOTER_BYTES))
        if len(footer) != FOOTER_BYTES or footer[:8] != MAGIC:
            raise BlobMissing(f"blob {self._name} is not whole")
        size_bytes = int.from_bytes(footer[8:16], "big")
        if file_bytes != size_bytes + 8 * -(-size_bytes // CHUNK_BYTES) + FOOTER_BYTES:
            raise BlobMissing(f"blob {self._name} is not whole")
        return size_bytes

    def chunks(self, first: int, last: int) -> list[bytes]:
        """The payload's chunks first <= i < last, verified. Raises BlobCorrupt, OSError."""
        table = os.pread(self._fd, 8 * (last - first), self.size_bytes + 8 * first)
        pieces = []
        for i in range(first, last):
            begin = i * CHUNK_BYTES
            wanted = min(CHUNK_BYTES, self.size_bytes - begin)
            piece = os.pread(self._fd, wanted, begin)
            expected = table[8 * (i - first) : 8 * (i - first) + 8]
            if len(piece) != wanted or crc64nvme(piece, (self._seed + i) & _MASK).to_bytes(8, "big") != expected:
                raise BlobCorrupt(f"blob {self._name}: the bytes from {begin} on are not what was written")
            pieces.append(piece)
        return pieces

    def verify_all(self) -> None:
        """Read everything and compare, the table's own checksum too. Raises BlobCorrupt, OSError."""
        count = -(-self.size_bytes // CHUNK_BYTES)
        ending = os.pread(self._fd, 8 * count + FOOTER_BYTES, self.size_bytes)
        check = crc64nvme(self.size_bytes.to_bytes(8, "big"), crc64nvme(ending[: 8 * count]))
        if ending[-8:] != check.to_bytes(8, "big"):
            raise BlobCorrupt(f"blob {self._name}: its table of checksums is damaged")
        for i in range(count):
            self.chunks(i, i + 1)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)
