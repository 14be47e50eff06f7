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
import threading
from typing import TypeAlias

from awscrt.checksums import crc64nvme

from penstock.blobs.api import BlobCorrupt, BlobMissing
from penstock.blobs.sealing import CHUNK_BYTES, TAG_BYTES, cipher_of, open_into

HOP_BYTES = 1024 * 1024
"""What goes to a thread at once."""
HOP_CHUNKS = HOP_BYTES // CHUNK_BYTES
MAGIC = b"PNSTBLB1"
SEALED_MAGIC = b"PNSTBLB2"
FOOTER_BYTES = 24
Identity: TypeAlias = tuple[int, int, int]
"""A file's inode, size and time of change in nanoseconds: what differs has been written since, or is another one."""
_MASK = (1 << 64) - 1


_of_thread = threading.local()


def scratch() -> memoryview:
    """Memory of this thread for a hop's chunks as they are in the file."""
    found: memoryview | None = getattr(_of_thread, "scratch", None)
    if found is None:
        found = _of_thread.scratch = memoryview(bytearray(HOP_BYTES + HOP_CHUNKS * TAG_BYTES))
    return found


def seed(name: str) -> int:
    """What the blob's first chunk's CRC starts from; the next chunk's starts from one more."""
    value: int = crc64nvme(name.encode())
    return value


def file_bytes(size_bytes: int, *, sealed: bool) -> int:
    """How large the file of a payload is."""
    return size_bytes + (8 + (TAG_BYTES if sealed else 0)) * -(-size_bytes // CHUNK_BYTES) + FOOTER_BYTES


def identity(found: os.stat_result) -> Identity:
    """Of what `os.stat` has found."""
    return found.st_ino, found.st_size, found.st_mtime_ns


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

    def update(self, data: bytes | memoryview) -> None:
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
    """A blob being read. Blocking: for worker threads. `open` it, or `begin`; and close it.

    With `wait=False` it is for the event-loop thread: BlockingIOError is raised where reading would wait for the disk.
    """

    __slots__ = ("_cipher", "_extra_bytes", "_fd", "_flags", "_name", "_path", "_seed", "identity", "size_bytes")

    def __init__(self, path: str, name: str, key: bytes = b"", *, wait: bool = True) -> None:
        """key: the data key it was written under, if any."""
        self._flags = 0 if wait else os.RWF_NOWAIT
        self._path = path
        self._name = name
        self._cipher = cipher_of(key, name) if key else None
        self._extra_bytes = 0
        self._seed = seed(name)
        self._fd = -1
        self.size_bytes = 0
        self.identity: Identity = (0, 0, 0)

    def open(self) -> None:
        """Raises BlobMissing where there is no finished file, OSError where it cannot be read."""
        if self._fd >= 0:
            return
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlobMissing(f"blob {self._name} is not there") from None
        self.size_bytes = self._read_size()

    def begin(self, buffer: bytearray, begin: int, end: int) -> None:
        """Open it, and put the first chunks of the payload's bytes begin <= i < end there: see `read_into`."""
        self.open()
        self.check(begin, end)
        first = begin // CHUNK_BYTES
        if begin < end:
            self.read_into(buffer, first, min(first + HOP_CHUNKS, -(-end // CHUNK_BYTES)))

    def check(self, begin: int, end: int) -> None:
        """Raises BlobMissing where it has not all of these bytes."""
        if not 0 <= begin <= end <= self.size_bytes:
            raise BlobMissing(f"blob {self._name} has {self.size_bytes} bytes, {begin}-{end} were asked for")

    def _read_size(self) -> int:
        self.identity = identity(os.fstat(self._fd))
        file_bytes = self.identity[1]
        footer = self._some(FOOTER_BYTES, max(0, file_bytes - FOOTER_BYTES))
        if len(footer) != FOOTER_BYTES or footer[:8] not in (MAGIC, SEALED_MAGIC):
            raise BlobMissing(f"blob {self._name} is not whole")
        self._extra_bytes = TAG_BYTES if footer[:8] == SEALED_MAGIC else 0
        size_bytes = int.from_bytes(footer[8:16], "big")
        count = -(-size_bytes // CHUNK_BYTES)
        if file_bytes != size_bytes + (8 + self._extra_bytes) * count + FOOTER_BYTES:
            raise BlobMissing(f"blob {self._name} is not whole")
        return size_bytes

    def read_into(self, buffer: bytearray | memoryview, first: int, last: int) -> None:
        """Put the payload's chunks first <= i < last there, verified and opened: HOP_CHUNKS at most.

        A chunk that is opened is verified by its tag: its CRC tells nothing more. Raises BlobCorrupt, OSError.
        """
        if bool(self._extra_bytes) != (self._cipher is not None):
            raise BlobCorrupt(f"blob {self._name} is {'' if self._extra_bytes else 'not '}encrypted")
        begin = first * CHUNK_BYTES
        size = min(last * CHUNK_BYTES, self.size_bytes) - begin
        cipher = self._cipher
        plain = memoryview(buffer)[:size]
        if cipher is None:
            self._fill(plain, begin, begin)
            self._compare(plain, first, last)
            return
        sealed = scratch()[: size + TAG_BYTES * (last - first)]
        self._fill(sealed, begin + TAG_BYTES * first, begin)
        final = -(-self.size_bytes // CHUNK_BYTES) - 1
        for i in range(first, last):
            at = (i - first) * CHUNK_BYTES
            wanted = min(CHUNK_BYTES, size - at)
            start = at + TAG_BYTES * (i - first)
            chunk = sealed[start : start + wanted + TAG_BYTES]
            open_into(cipher, self._name, i, i == final, chunk, plain[at : at + wanted])

    def _fill(self, into: memoryview, offset: int, begin: int) -> None:
        """Read as many bytes as there is room for, from there in the file. begin: where that is in the payload."""
        done = os.preadv(self._fd, [into], offset, self._flags)
        while done < len(into):
            more = os.preadv(self._fd, [into[done:]], offset + done, self._flags)
            if not more:
                raise BlobCorrupt(f"blob {self._name}: the bytes from {begin} on are not there")
            done += more

    def _some(self, size_bytes: int, offset: int) -> bytes:
        """As many bytes from there in the file, fewer where there are no more."""
        into = memoryview(bytearray(size_bytes))
        done = 0
        while more := os.preadv(self._fd, [into[done:]], offset + done, self._flags):
            done += more
            if done == size_bytes:
                break
        return bytes(into[:done])

    def _compare(self, stored: memoryview, first: int, last: int) -> None:
        """See that these are the chunks as they were written. Raises BlobCorrupt."""
        extra = self._extra_bytes
        count = -(-self.size_bytes // CHUNK_BYTES)
        table = self._some(8 * (last - first), self.size_bytes + extra * count + 8 * first)
        for i in range(last - first):
            piece = stored[i * (CHUNK_BYTES + extra) : (i + 1) * (CHUNK_BYTES + extra)]
            if crc64nvme(piece, (self._seed + first + i) & _MASK).to_bytes(8, "big") != table[8 * i : 8 * i + 8]:
                begin = (first + i) * CHUNK_BYTES
                raise BlobCorrupt(f"blob {self._name}: the bytes from {begin} on are not what was written")

    def verify_all(self) -> None:
        """Read everything and compare, the table's own checksum too. Raises BlobCorrupt, OSError."""
        count = -(-self.size_bytes // CHUNK_BYTES)
        ending = os.pread(self._fd, 8 * count + FOOTER_BYTES, self.size_bytes + self._extra_bytes * count)
        check = crc64nvme(self.size_bytes.to_bytes(8, "big"), crc64nvme(ending[: 8 * count]))
        if ending[-8:] != check.to_bytes(8, "big"):
            raise BlobCorrupt(f"blob {self._name}: its table of checksums is damaged")
        for first in range(0, count, HOP_CHUNKS):
            last = min(first + HOP_CHUNKS, count)
            begin, end = first * CHUNK_BYTES, min(last * CHUNK_BYTES, self.size_bytes)
            stored = scratch()[: end - begin + self._extra_bytes * (last - first)]
            self._fill(stored, begin + self._extra_bytes * first, begin)
            self._compare(stored, first, last)

    def close(self) -> None:
        """Let go of the file, if it is open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
