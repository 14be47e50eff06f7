"""An append-only log: append a batch, read from a position, trim. Built of nothing but transactions.

A batch becomes one key (more where it exceeds the value limit), so that many small records cost little, and the keys
are versionstamped, so that appends never conflict and order of positions is order of commit.

    prefix 00                 trim position: nothing before it is read; absent: the log was never trimmed
    prefix 01 stamp           a chunk: kind byte, then
        kind 0  records       u16 count, count * u32 sizes, the records
        kind 1  first piece   of one record too large for a chunk
        kind 2  middle piece
        kind 3  last piece

A position is 14 bytes: a chunk's versionstamp and the record's index in it (big-endian). A large record's position is
its first piece's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from penstock.store.api import LIMITS, Transaction, Versionstamp

POSITION_BYTES = 14
_STAMP_BYTES = 12
_CHUNK_BYTES = LIMITS.value_bytes - 1_000
_RECORDS, _FIRST, _MIDDLE, _LAST = 0, 1, 2, 3
_MOST_IN_CHUNK = 0xFFFF


class Appended:
    """Where the records of one append will be; known once the transaction has committed, like a Versionstamp."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: list[tuple[Versionstamp, int]]) -> None:
        self._chunks = chunks

    @property
    def value(self) -> bytes:
        """The last record's position. Raises StoreError before the commit."""
        stamp, count = self._chunks[-1]
        return stamp.value + (count - 1).to_bytes(2, "big")

    @property
    def positions(self) -> list[bytes]:
        """Each record's position, in order. Raises StoreError before the commit."""
        return [stamp.value + i.to_bytes(2, "big") for stamp, count in self._chunks for i in range(count)]


class Log:
    """The log under one prefix."""

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix
        self._trim_key = prefix + b"\0"
        self._chunks = prefix + b"\1"
        self._end = prefix + b"\2"

    def append(self, txn: Transaction, records: Sequence[bytes]) -> Appended:
        """Append the records, in order and together. Raises ValueError for none, TransactionTooLarge."""
        if not records:
            raise ValueError("an append of no records")
        placed: list[tuple[Versionstamp, int]] = []
        batch: list[bytes] = []
        size = 0
        for record in records:
            if batch and (size + len(record) + 4 > _CHUNK_BYTES or len(batch) == _MOST_IN_CHUNK):
                placed.append((txn.append(self._chunks, _pack(batch)), len(batch)))
                batch, size = [], 0
            if len(record) + 4 > _CHUNK_BYTES:
                placed.append((self._append_pieces(txn, record), 1))
                continue
            batch.append(record)
            size += len(record) + 4
        if batch:
            placed.append((txn.append(self._chunks, _pack(batch)), len(batch)))
        return Appended(placed)

    def read(
        self, txn: Transaction, after: bytes = b"", limit: int = 0, max_bytes: int = 0
    ) -> list[tuple[bytes, bytes]]:
        """(position, record) pairs that follow position `after` (empty: from the oldest), in order.

        At most `limit` records (0: no limit), and none that would take the sum past `max_bytes` (0: no bound), but
        always one where there is one.
        """
        out: list[tuple[bytes, bytes]] = []
        size = 0
        for position, record in self._records(txn, after):
            size += len(record)
            if max_bytes and out and size > max_bytes:
                break
            out.append((position, record))
            if len(out) == limit:
                break
        return out

    def trim(self, txn: Transaction, before: bytes) -> None:
        """Forget every record whose position is less than `before`, and give back what whole chunks took.

        `before` may lie past the last record. Trimming to less than was trimmed before does nothing.
        """
        trimmed = txn.get(self._trim_key) or b""
        if before <= trimmed:
            return
        txn.set(self._trim_key, before)
        txn.clear(self._chunks + trimmed[:_STAMP_BYTES], self._chunks + before[:_STAMP_BYTES])
        if len(before) < _STAMP_BYTES:
            return
        for key, value in txn.scan(self._chunks + before[:_STAMP_BYTES], self._end):
            # The chunk that the cut goes through is given back too when all of it lies before the cut.
            stamp = key[len(self._chunks) :]
            if value[0] in (_RECORDS, _FIRST) and stamp + _last_index(value) >= before:
                end = stamp
                break
        else:
            end = b"\xff" * (_STAMP_BYTES + 1)
        txn.clear(self._chunks + before[:_STAMP_BYTES], self._chunks + end)

    def trimmed(self, txn: Transaction) -> bytes:
        """Nothing before this position is left; empty: the log was never trimmed."""
        return txn.get(self._trim_key) or b""

    def last(self, txn: Transaction) -> bytes | None:
        """The newest record's position, or None where nothing is left."""
        for key, value in txn.scan(self._chunks, self._end, reverse=True):
            stamp = key[len(self._chunks) :]
            if value[0] in (_MIDDLE, _LAST):
                continue
            position = stamp + _last_index(value)
            return position if position >= (txn.get(self._trim_key) or b"") else None
        return None

    def clear(self, txn: Transaction) -> None:
        """Remove all of it, the trim position too."""
        txn.clear(self.prefix + b"\0", self._end)

    def _append_pieces(self, txn: Transaction, record: bytes) -> Versionstamp:
        pieces = [record[i : i + _CHUNK_BYTES] for i in range(0, len(record), _CHUNK_BYTES)]
        if len(pieces) == 1:
            pieces.append(b"")
        first = txn.append(self._chunks, bytes((_FIRST,)) + pieces[0])
        for piece in pieces[1:-1]:
            txn.append(self._chunks, bytes((_MIDDLE,)) + piece)
        txn.append(self._chunks, bytes((_LAST,)) + pieces[-1])
        return first

    def _records(self, txn: Transaction, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        trimmed = txn.get(self._trim_key) or b""
        begin = max(after[:_STAMP_BYTES], trimmed[:_STAMP_BYTES])
        pieces: list[bytes] = []
        at = b""
        for key, value in txn.scan(self._chunks + begin, self._end):
            kind = value[0]
            stamp = key[len(self._chunks) :]
            if kind == _RECORDS:
                for i, record in enumerate(_unpack(value)):
                    position = stamp + i.to_bytes(2, "big")
                    if position > after and position >= trimmed:
                        yield position, record
            elif kind == _FIRST:
                at = stamp + b"\0\0"
                pieces = [value[1:]] if at > after and at >= trimmed else []
            elif pieces:  # else it continues a record that lies before where we began
                pieces.append(value[1:])
                if kind == _LAST:
                    yield at, b"".join(pieces)
                    pieces = []


def _pack(records: Sequence[bytes]) -> bytes:
    n = len(records)
    head = struct.pack(f">BH{n}I", _RECORDS, n, *map(len, records))
    return head + b"".join(records)


def _unpack(chunk: bytes) -> list[bytes]:
    n = int.from_bytes(chunk[1:3], "big")
    at = 3 + 4 * n
    records = []
    for size in struct.unpack_from(f">{n}I", chunk, 3):
        records.append(chunk[at : at + size])
        at += size
    return records


def _last_index(chunk: bytes) -> bytes:
    """The index, as in a position, of the last record of a chunk (of the only one, in a first piece)."""
    return (int.from_bytes(chunk[1:3], "big") - 1).to_bytes(2, "big") if chunk[0] == _RECORDS else b"\0\0"
