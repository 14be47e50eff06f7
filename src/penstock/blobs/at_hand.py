"""Reads that wait for no disk: bodies kept in memory, and files whose pages the system has there.

A hop to a thread and back costs more than reading and opening a megabyte that is in the page cache. So such a read is
done on the spot, with a flag that makes it fail where it would wait; then it goes to a thread.

A body that is read again and again is kept as it was verified, within a bound: at its second read from where the first
began, so that one pass over a large bucket drives nothing out. Names are never used twice, so what is kept is never
stale; each time it is asked for, its file is looked at, and where that is not what it was, it is read anew (and refused).
"""

from __future__ import annotations

import errno
import mmap
import os
from collections import OrderedDict
from hmac import compare_digest
from typing import NamedTuple

from penstock.blobs.buffers import Buffers
from penstock.blobs.layout import HOP_CHUNKS, ChunkReader, Identity, identity
from penstock.blobs.sealing import CHUNK_BYTES

KEPT_BYTES = 4 * 1024 * 1024
"""The largest body that is kept."""
KNOWN_NAMES = 8192
"""Blobs that are remembered to have been read or written lately."""
_NOWHERE = -1


class _Kept(NamedTuple):
    view: memoryview
    key: bytes
    identity: Identity
    """Its file's, as it was read."""


class AtHand:
    """On the event-loop thread. The figures are for whoever wants to know how it goes."""

    __slots__ = ("_buffers", "_kept", "_known", "_most_bytes", "_nowait", "held_bytes", "hit_bytes", "hits", "misses")

    def __init__(self, most_bytes: int, buffers: Buffers) -> None:
        """most_bytes: what all bodies that are kept may take; 0 keeps none."""
        self._most_bytes = most_bytes
        self._buffers = buffers
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._known: OrderedDict[str, int] = OrderedDict()
        """Where the first read began: of names whose folder's entries are in memory, as far as we know."""
        self._nowait = hasattr(os, "RWF_NOWAIT")
        self.held_bytes = 0
        self.hits = 0
        self.hit_bytes = 0
        self.misses = 0

    def read(
        self, path: str, name: str, begin: int, end: int, key: bytes, *, keep: bool, until: int = 0
    ) -> memoryview | None:
        """Bytes begin <= i < end, verified, or None where they are to be read by a thread.

        keep: whether they may be kept under that key. until: what is missing if it ends before that.
        Raises BlobMissing, BlobCorrupt, OSError.
        """
        kept = self._kept.get(name) if keep else None
        if kept is not None:
            if kept.identity == _identity(path) and compare_digest(kept.key, key) and end <= len(kept.view):
                self._kept.move_to_end(name)
                self.hits += 1
                self.hit_bytes += end - begin
                return kept.view[begin:end]
            self.drop(name)
        self.misses += keep
        known = self._known.get(name)
        self.remember(name, begin if known is None or known == _NOWHERE else known)
        if known is None or not self._nowait:
            return None
        reader = ChunkReader(path, name, key, wait=False)
        try:
            reader.open()
            reader.check(begin, max(end, until))
            if known == begin and keep and 0 < reader.size_bytes <= min(KEPT_BYTES, self._most_bytes):
                return self._keep(reader, name, key)[begin:end]
            first, last = begin // CHUNK_BYTES, -(-end // CHUNK_BYTES)
            if last - first > HOP_CHUNKS:
                return None
            buffer = self._buffers.take()
            reader.read_into(buffer, first, last)
            return self._buffers.lend(buffer, begin - first * CHUNK_BYTES, end - first * CHUNK_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            self._nowait = False  # this file system does not know of it
            return None
        finally:
            reader.close()

    def _keep(self, reader: ChunkReader, name: str, key: bytes) -> memoryview:
        """All of it, from now on in memory."""
        size = reader.size_bytes
        # Pages of its own, which the system has back the moment nobody looks at them any more.
        memory = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        count = -(-size // CHUNK_BYTES)
        for first in range(0, count, HOP_CHUNKS):
            reader.read_into(memory[first * CHUNK_BYTES :], first, min(first + HOP_CHUNKS, count))
        view = memory.toreadonly()
        self._kept[name] = _Kept(view, key, reader.identity)
        self.held_bytes += size
        while self.held_bytes > self._most_bytes:
            self.drop(next(iter(self._kept)))
        return view

    def remember(self, name: str, begin: int = _NOWHERE) -> None:
        """Its file was touched just now: written, or read, at first from there on."""
        self._known[name] = begin
        self._known.move_to_end(name)
        if len(self._known) > KNOWN_NAMES:
            self._known.popitem(last=False)

    def drop(self, name: str) -> None:
        """The blob is gone, or going."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            self.held_bytes -= len(kept.view)


def _identity(path: str) -> Identity | None:
    try:
        return identity(os.stat(path))  # noqa: PTH116 - a Path costs more than the call
    except OSError:
        return None
