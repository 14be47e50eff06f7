"""What is inside a blob's file: the payload as it came, then the checksums that every read is compared with.

    payload                     size_bytes, from offset 0
    table                       8 bytes a chunk of 256 KiB of payload: its CRC64NVME, big-endian
    footer (24 bytes)           magic "PNSTBLB1", size_bytes u64, CRC64NVME of the table and the size u64

A blob that was written under a key has the magic "PNSTBLB2": each chunk of 256 KiB is encrypted and 16 bytes longer by
its tag (see `sealing`); size_bytes is still that of the payload, and the CRCs are over what is in the file, so that it
can be verified without the key.

A chunk's CRC starts from a seed made of the blob's name and the chunk's number, so that a chunk that turns up in
another place, or in another blob, is noticed as well. A file without a valid footer was never finished.
"""

from __future__ import annotations

import os

from awscrt.checksums import crc64nvme

from penstock.blobs.api import BlobCorrupt, BlobMissing
from penstock.blobs.sealing import TAG_BYTES, cipher_of, opened

CHUNK_BYTES = 256 * 1024
MAGIC = b"PNSTBLB1"
SEALED_MAGIC = b"PNSTBLB2"
FOOTER_BYTES = 24
_MASK = (1 << 64) - 1


def seed(name: str) -> int:
    """What the blob's first chunk's CRC starts from; the next chunk's starts from one more."""
    value: int = crc64nvme(name.encode())
    return value


def file_bytes(size_bytes: int, *, sealed: bool) -> int:
    """How large the file of a payload is."""
    return size_bytes + (8 + (TAG_BYTES if sealed else 0)) * -(-size_bytes // CHUNK_BYTES) + FOOTER_BYTES


class ChunkTable:
    """The CRCs of a payload that comes in pieces of any size."""

    __slots__ = ("_chunk_bytes", "_crc", "_filled", "_magic", "_next_seed", "_values")

    def __init__(self, name: str, *, sealed: bool = False) -> None:
        self._chunk_bytes = CHUNK_BYTES + TAG_BYTES if sealed else CHUNK_BYTES
        self._magic = SEALED_MAGIC if sealed else MAGIC
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
            piece = view[at : at + self._chunk_bytes - self._filled]
            self._crc = crc64nvme(piece, self._crc)
            self._filled += len(piece)
            at += len(piece)
            if self._filled == self._chunk_bytes:
                self._close_chunk()

    def ending(self, size_bytes: int) -> bytes:
        """Table and footer of a payload of that size."""
        if self._filled:
            self._close_chunk()
        size = size_bytes.to_bytes(8, "big")
        check: int = crc64nvme(size, crc64nvme(bytes(self._values)))
        return bytes(self._values) + self._magic + size + check.to_bytes(8, "big")

    def _close_chunk(self) -> None:
        self._values += self._crc.to_bytes(8, "big")
        self._filled = 0


class ChunkReader:
    """An open blob. Blocking: for worker threads. Close it."""

    __slots__ = ("_cipher", "_extra_bytes", "_fd", "_name", "_seed", "size_bytes")

    def __init__(self, path: str, name: str, key: bytes = b"") -> None:
        """key: the data key it was written under, if any.

        Raises BlobMissing where there is no finished file, OSError where it cannot be read.
        """
        self._name = name
        self._cipher = cipher_of(key, name) if key else None
        self._extra_bytes = 0
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
        if len(footer) != FOOTER_BYTES or footer[:8] not in (MAGIC, SEALED_MAGIC):
            raise BlobMissing(f"blob {self._name} is not whole")
        self._extra_bytes = TAG_BYTES if footer[:8] == SEALED_MAGIC else 0
        size_bytes = int.from_bytes(footer[8:16], "big")
        count = -(-size_bytes // CHUNK_BYTES)
        if file_bytes != size_bytes + (8 + self._extra_bytes) * count + FOOTER_BYTES:
            raise BlobMissing(f"blob {self._name} is not whole")
        return size_bytes

    def chunks(self, first: int, last: int) -> list[bytes]:
        """The payload's chunks first <= i < last, verified and opened. Raises BlobCorrupt, OSError."""
        if bool(self._extra_bytes) != (self._cipher is not None):
            raise BlobCorrupt(f"blob {self._name} is {'' if self._extra_bytes else 'not '}encrypted")
        pieces = self._stored(first, last)
        if self._cipher is None:
            return pieces
        final = -(-self.size_bytes // CHUNK_BYTES) - 1
        cipher = self._cipher
        return [opened(cipher, self._name, i, i == final, piece) for i, piece in enumerate(pieces, first)]

    def _stored(self, first: int, last: int) -> list[bytes]:
        """The chunks as they are in the file, verified."""
        extra = self._extra_bytes
        count = -(-self.size_bytes // CHUNK_BYTES)
        table = os.pread(self._fd, 8 * (last - first), self.size_bytes + extra * count + 8 * first)
        pieces = []
        for i in range(first, last):
            begin = i * CHUNK_BYTES
            wanted = min(CHUNK_BYTES, self.size_bytes - begin) + extra
            piece = os.pread(self._fd, wanted, begin + extra * i)
            expected = table[8 * (i - first) : 8 * (i - first) + 8]
            if len(piece) != wanted or crc64nvme(piece, (self._seed + i) & _MASK).to_bytes(8, "big") != expected:
                raise BlobCorrupt(f"blob {self._name}: the bytes from {begin} on are not what was written")
            pieces.append(piece)
        return pieces

    def verify_all(self) -> None:
        """Read everything and compare, the table's own checksum too. Raises BlobCorrupt, OSError."""
        count = -(-self.size_bytes // CHUNK_BYTES)
        ending = os.pread(self._fd, 8 * count + FOOTER_BYTES, self.size_bytes + self._extra_bytes * count)
        check = crc64nvme(self.size_bytes.to_bytes(8, "big"), crc64nvme(ending[: 8 * count]))
        if ending[-8:] != check.to_bytes(8, "big"):
            raise BlobCorrupt(f"blob {self._name}: its table of checksums is damaged")
        for i in range(count):
            self._stored(i, i + 1)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)
