"""How events are kept: a batch in one value, or in few; and how they are read back in order of time.

Batches of a stream may overlap in time. A chunk spans ten seconds at most, so that who reads from a time on finds all
that may matter by beginning ten seconds earlier, and merging is a matter of a few neighbours.
Events are ordered by timestamp, then stream, then order of arrival.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from penstock.services.logs import keys
from penstock.services.logs.records import Chunk, Stream, decode_chunk, encode
from penstock.store.api import Transaction
from penstock.store.chunked import expand, set_large
from penstock.store.tuples import unpack

SPAN_MS = 10_000
CHUNK_BYTES = 64_000
EVENT_OVERHEAD_BYTES = 26
_END_OF_TIME_MS = 1 << 62


class Event(NamedTuple):
    """An event as it is read: its place in the order, and what is in it."""

    time_ms: int
    stream: str
    seq: int
    nth: int
    message: str
    ingested_ms: int

    @property
    def place(self) -> tuple[int, str, int, int]:
        return self[:4]


class Place(NamedTuple):
    """A place in the order of events."""

    time_ms: int
    stream: str
    seq: int
    nth: int


def write(txn: Transaction, prefix: bytes, stream: Stream, now_ms: int, events: Sequence[tuple[int, str, int]]) -> int:
    """Append events (ms, message, bytes with overhead), in order of time, and bring the stream's record up to date.

    The caller writes the record. Returns the bytes.
    """
    total = 0
    begin = 0
    while begin < len(events):
        first_ms = events[begin][0]
        size_bytes = 0
        end = begin
        while end < len(events) and (
            end == begin or (events[end][0] - first_ms < SPAN_MS and size_bytes + events[end][2] <= CHUNK_BYTES)
        ):
            size_bytes += events[end][2]
            end += 1
        some = events[begin:end]
        chunk = Chunk(now_ms, size_bytes, [e[0] for e in some], [e[1] for e in some])
        set_large(txn, prefix + keys.chunk(first_ms, stream.next_seq), encode(chunk))
        stream.next_seq += 1
        total += size_bytes
        begin = end
    if stream.first_ms < 0 or events[0][0] < stream.first_ms:
        stream.first_ms = events[0][0]
    stream.last_ms = max(stream.last_ms, events[-1][0])
    stream.ingested_ms = max(stream.ingested_ms, now_ms)
    stream.stored_bytes += total
    return total


def scan(txn: Transaction, prefix: bytes, begin: bytes = b"", limit: int = 0) -> Iterator[tuple[bytes, int, Chunk]]:
    """(key, first ms, chunk) of a stream's chunks from the key `begin` on, the oldest first."""
    begin, end = begin or prefix, keys.range_under(prefix)[1]
    for key, head in txn.scan(begin, end, limit):
        yield key, unpack(key[len(prefix) :])[0], decode_chunk(expand(txn, key, head))


def read(
    txn: Transaction, prefix: bytes, stream: str, from_ms: int, until_ms: int, reverse: bool = False
) -> Iterator[Event]:
    """A stream's events with from_ms <= time < until_ms, in order, or from the last one down."""
    begin = prefix + keys.chunk(max(from_ms - SPAN_MS, 0), 0)
    end = prefix + keys.chunk(max(until_ms, 0), 0)
    waiting: list[tuple[tuple[int, int, int], Event]] = []
    sign = -1 if reverse else 1
    for key, head in txn.scan(begin, end, reverse=reverse):
        first_ms, seq = unpack(key[len(prefix) :])
        # No chunk still to come holds anything before (when reversed: after) this.
        bound = -(first_ms + SPAN_MS) if reverse else first_ms
        while waiting and waiting[0][0][0] < bound:
            yield heapq.heappop(waiting)[1]
        chunk = decode_chunk(expand(txn, key, head))
        for index, (time_ms, message) in enumerate(zip(chunk.times_ms, chunk.messages, strict=True)):
            if from_ms <= time_ms < until_ms:
                event = Event(time_ms, stream, seq, index, message, chunk.ingested_ms)
                heapq.heappush(waiting, ((sign * time_ms, sign * seq, sign * index), event))
    while waiting:
        yield heapq.heappop(waiting)[1]


def read_many(
    txn: Transaction,
    streams: Iterable[tuple[str, Stream, bytes]],
    from_ms: int,
    until_ms: int,
    reverse: bool = False,
) -> Iterator[Event]:
    """The events of several (name, record, prefix) in order. A stream is opened when the order gets to it."""
    unopened = [s for s in streams if s[1].last_ms >= from_ms and 0 <= s[1].first_ms < until_ms]
    # The next to be opened is the last.
    unopened.sort(key=lambda s: s[1].last_ms if reverse else -s[1].first_ms)
    opened: list[tuple[_Key, Iterator[Event]]] = []
    while opened or unopened:
        while unopened and (not opened or _may_precede(unopened[-1][1], opened[0][0].event, reverse)):
            name, _, prefix = unopened.pop()
            _push(opened, read(txn, prefix, name, from_ms, until_ms, reverse), reverse)
        if opened:
            key, rest = heapq.heappop(opened)
            yield key.event
            _push(opened, rest, reverse)


class _Key:
    """An event as a heap orders it."""

    __slots__ = ("event", "reverse")

    def __init__(self, event: Event, reverse: bool) -> None:
        self.event = event
        self.reverse = reverse

    def __lt__(self, other: _Key) -> bool:
        return other.event < self.event if self.reverse else self.event < other.event


def _push(opened: list[tuple[_Key, Iterator[Event]]], events: Iterator[Event], reverse: bool) -> None:
    for event in events:
        heapq.heappush(opened, (_Key(event, reverse), events))
        return


def _may_precede(stream: Stream, event: Event, reverse: bool) -> bool:
    return stream.last_ms >= event.time_ms if reverse else stream.first_ms <= event.time_ms
