"""What items were before: how a table is read as it was at an earlier time, while it is being written to.

While point-in-time recovery is on, or a job reads the table as it was, every change keeps the item from before it, by
place and time. So an item at time T is what its first change after T replaced, or what is there now if there was none.
Reading a table at T is therefore a merge of two ranges in the same order: exact whatever is written meanwhile, in as many
transactions as one likes, in constant memory. Nothing has to be copied when recovery is switched on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

from penstock.clock import Clock
from penstock.core.node import Node
from penstock.services.dynamodb import keys, records, table
from penstock.services.dynamodb.table import Table
from penstock.services.dynamodb.table_records import TableRecord
from penstock.store.api import Transaction
from penstock.store.chunked import CHUNK_BYTES, INLINE, clear_large, clear_large_range, expand, set_large
from penstock.store.tuples import prefix_end
from penstock.wire.errors import AwsError

NOTHING = b""
"""What is kept of a place where no item was."""
_PAST_ALL = b"\xff" * (keys.MOMENT_BYTES + 1)
_TRIMMED_AT_ONCE = 500


class Moments:
    """Times of changes, in microseconds: they only grow in a process, even if the host's clock is set back."""

    def __init__(self, node: Node) -> None:
        self._clock: Clock = node.clock
        self._last_us = 0
        self._current = threading.local()

    def of(self, txn: Transaction) -> int:
        """The time of a transaction's changes: the same for all of them, later than that of any transaction before.

        To be asked for inside of the body, after it has read what it changes: then the order of times is that of commits.
        """
        known: tuple[Transaction, int] | None = getattr(self._current, "known", None)
        if known is not None and known[0] is txn:
            return known[1]
        now_us = self._last_us = max(round(self._clock.now() * 1e6), self._last_us + 1)
        self._current.known = (txn, now_us)
        return now_us


class Was(NamedTuple):
    """An item as it was: its key, its size by AWS's formula and its JSON."""

    key: bytes
    size: int
    body: bytes


class Change(NamedTuple):
    """An item written between two times: its JSON before and after, `NOTHING` where there was none; the last write."""

    key: bytes
    old: bytes
    new: bytes
    written_us: int


def note(txn: Transaction, changed: Table, key: bytes, old: bytes | None, moment_us: int) -> None:
    """Keep what is stored at an item's key (`old`, None: nothing) before it is changed at `moment_us`."""
    time = keys.moment(max(moment_us, changed.record.history_after_us + 1))
    place = key[len(changed.prefix) :]
    kept = keys.history(changed.id) + place + time
    if old is None:
        txn.set(kept, INLINE)
    elif len(old) <= CHUNK_BYTES and not records.is_large(old):
        txn.set(kept, INLINE + old)  # as it lies: its size, then its JSON
    else:
        set_large(txn, kept, records.whole(txn, changed, key, old))
    txn.set(keys.history_due(changed.id) + time + place, b"")


def hold(record: TableRecord, id: str, at_us: int) -> TableRecord:
    """The record of a table whose state of `at_us` a job is going to read: its history is kept until `let_go`.

    Raises ResourceInUseException for a table that is being deleted.
    """
    if record.leaving:
        raise AwsError("ResourceInUseException", f"Table is being deleted: {record.name}")
    after_us = max(record.history_after_us, at_us)
    return table.changed(record, holds={**record.holds, id: at_us}, history_after_us=after_us)


def let_go(txn: Transaction, record_key: bytes, table_id: str, id: str) -> None:
    """The job has read what it wanted. Does nothing where the table has gone in the meantime."""
    stored = txn.get(record_key)
    found = None if stored is None else table.decode(stored)
    if found is None or found.record.id != table_id or id not in found.record.holds:
        return
    holds = {name: at_us for name, at_us in found.record.holds.items() if name != id}
    record = table.changed(found.record, holds=holds)
    txn.set(record_key, table.encode(record))
    if not record.keeps_history:
        forget(txn, found.id)


def forget(txn: Transaction, table_id: bytes) -> None:
    """Remove a table's whole history."""
    prefix, due = keys.history(table_id), keys.history_due(table_id)
    clear_large_range(txn, prefix, prefix_end(prefix))
    txn.clear(due, prefix_end(due))


def trim(txn: Transaction, trimmed: Table, before_us: int) -> bool:
    """Forget changes of before that time, a part at a time. Returns whether there may be more."""
    before_us = min([before_us, *trimmed.record.holds.values()])
    prefix, due = keys.history(trimmed.id), keys.history_due(trimmed.id)
    old = [key for key, _ in txn.scan(due, due + keys.moment(max(before_us, 0)), _TRIMMED_AT_ONCE)]
    for due_key in old:
        time, place = due_key[len(due) :][: keys.MOMENT_BYTES], due_key[len(due) + keys.MOMENT_BYTES :]
        clear_large(txn, prefix + place + time)
        txn.clear(due_key)
    return len(old) == _TRIMMED_AT_ONCE


def items_at(
    txn: Transaction, read: Table, after: bytes, at_us: int, most: int, most_bytes: int
) -> tuple[list[Was], bytes]:
    """Items as they were at `at_us`, in order of key from behind the place `after` (empty: from the first one).

    About `most` places are looked at, and reading ends where `most_bytes` are reached. Returns the items and the place
    to go on after, empty where all have been read.
    """
    found: list[Was] = []
    size_bytes = looked = 0
    for place, body in _places(txn, read, after, at_us):
        looked += 1
        if body:
            found.append(Was(read.prefix + place, int.from_bytes(body[:4], "big"), body[4:]))
            size_bytes += len(body)
        if looked == most or size_bytes >= most_bytes:
            return found, place
    return found, b""


def _places(txn: Transaction, read: Table, after: bytes, at_us: int) -> Iterator[tuple[bytes, bytes]]:
    """(place, size and JSON or NOTHING) of every place where an item is or was, as it was then, in order."""
    begin = read.prefix + after + b"\0" if after else read.prefix
    skip = len(read.prefix)
    past = _replaced(txn, read, after, at_us)
    place, was = next(past, (b"", None))
    for key, stored in txn.scan(begin, prefix_end(read.prefix)):
        here = key[skip:]
        while place and place < here:
            if was is not None:
                yield place, was
            place, was = next(past, (b"", None))
        if place == here:
            then = was
            place, was = next(past, (b"", None))
            if then is not None:
                yield here, then
                continue
        yield here, records.opened(read, key, records.whole(txn, read, key, stored))
    while place:
        if was is not None:
            yield place, was
        place, was = next(past, (b"", None))


def _replaced(txn: Transaction, read: Table, after: bytes, at_us: int) -> Iterator[tuple[bytes, bytes | None]]:
    """Each place that has a history, with what its first change after `at_us` replaced; None: no change since."""
    prefix = keys.history(read.id)
    begin, end = prefix + after + _PAST_ALL if after else prefix, prefix_end(prefix)
    while True:
        first = next(txn.scan(begin, end, 1), None)
        if first is None:
            return
        place, time = first[0][len(prefix) : -keys.MOMENT_BYTES], first[0][-keys.MOMENT_BYTES :]
        was = _first_after(txn, prefix + place, at_us, first if time > keys.moment(at_us) else None)
        yield place, records.opened(read, read.prefix + place, was) if was else was
        begin = prefix + place + _PAST_ALL


def _first_after(txn: Transaction, place: bytes, at_us: int, known: tuple[bytes, bytes] | None = None) -> bytes | None:
    """What the first change after `at_us` replaced at a place of the history; None where there was no such change."""
    found = known or next(txn.scan(place + keys.moment(at_us + 1), place + _PAST_ALL, 1), None)
    return None if found is None else expand(txn, *found)


def changes_between(
    txn: Transaction, read: Table, after: bytes, from_us: int, to_us: int, most: int, most_bytes: int
) -> tuple[list[Change], bytes]:
    """Items written after one time and up to another, in order of key; not those that neither time has.

    `after`, `most`, `most_bytes` and the place returned: as of `items_at`.
    """
    prefix = keys.history(read.id)
    begin, end = prefix + after + _PAST_ALL if after else prefix, prefix_end(prefix)
    found: list[Change] = []
    size_bytes = looked = 0
    while True:
        first = next(txn.scan(begin, end, 1), None)
        if first is None:
            return found, b""
        place = first[0][len(prefix) : -keys.MOMENT_BYTES]
        begin = prefix + place + _PAST_ALL
        looked += 1
        history_of, past = prefix + place, prefix + place + keys.moment(to_us + 1)
        change = next(txn.scan(history_of + keys.moment(from_us + 1), past, 1), None)
        if change is None:
            new, old = None, NOTHING
        else:
            key = read.prefix + place
            old, new = _json(read, key, expand(txn, *change)), _first_after(txn, history_of, to_us)
            if new is None:
                stored = txn.get(key)
                new = NOTHING if stored is None else records.whole(txn, read, key, stored)
            new = _json(read, key, new)
        if new is not None and (old or new):
            last = next(txn.scan(history_of, past, 1, reverse=True))[0]
            found.append(Change(read.prefix + place, old, new, keys.time_of_moment(last)))
            size_bytes += len(old) + len(new)
        if looked == most or size_bytes >= most_bytes:
            return found, place


def _json(read: Table, key: bytes, kept: bytes) -> bytes:
    """An item's JSON from what is kept of it; `NOTHING` where there was none."""
    return records.opened(read, key, kept)[records.HEADER_BYTES :] if kept else NOTHING
