"""A transaction on RocksDB: what it reads, and which syncs its result has to wait for."""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rocksdict import RdictIter, ReadOptions

from penstock.store.api import ENGINE_KEYS, EngineFailed
from penstock.store.overlay import OverlayTransaction, engine_key, used_after_body

if TYPE_CHECKING:
    from penstock.store.rocks import RocksStore

_CLEAR_ONE_BY_ONE = 512
"""A range of more keys than this is cleared by a range tombstone, which makes reads a little slower until compaction;
fewer are deleted one by one, which does not."""
_SLOW_SEEK_S = 0.0001
_HINTS_MAX = 32
_HOT_MAX = 1024
_HOT_BYTES = 16 << 10


class Round:
    """The writes that one sync makes durable, and who waits for it."""

    __slots__ = ("_ordered", "held", "keys", "ranges", "waiters")

    def __init__(self) -> None:
        self.held: dict[bytes, bytes | None] = {}
        """What RocksDB has not got yet (None: cleared): it gets the writes of a turn of the loop as one batch."""
        self.keys: set[bytes] = set()
        self.ranges: list[tuple[bytes, bytes]] = []
        self.waiters: list[asyncio.Future[None]] = []
        self._ordered: list[bytes] = []

    def wrote(self, key: bytes) -> bool:
        return key in self.keys or (bool(self.ranges) and any(b <= key < e for b, e in self.ranges))

    def wrote_in(self, begin: bytes, end: bytes) -> bool:
        if len(self._ordered) != len(self.keys):
            self._ordered = sorted(self.keys)
        at = bisect.bisect_left(self._ordered, begin)
        if at < len(self._ordered) and self._ordered[at] < end:
            return True
        return any(b < end and begin < e for b, e in self.ranges)


class SeekHints:
    """Where the first key is of ranges whose head has been deleted, as a queue's has.

    RocksDB keeps a tombstone for each deleted key until compaction, and a seek wades through all of them. A hint says
    that begin <= key < start holds no key; as every write goes through this process, it can be kept exact.
    """

    __slots__ = ("slow_s", "starts")

    def __init__(self) -> None:
        self.slow_s = _SLOW_SEEK_S
        self.starts: dict[bytes, bytes] = {}
        """By the range's begin, the longest unused first."""

    def learn(self, begin: bytes, start: bytes) -> None:
        """The range that starts at `begin` has no key before `start`."""
        self.starts.pop(begin, None)
        if len(self.starts) >= _HINTS_MAX:
            del self.starts[next(iter(self.starts))]
        self.starts[begin] = start

    def wrote(self, key: bytes) -> None:
        """There is a key now."""
        for begin, start in self.starts.items():
            if begin <= key < start:
                self.starts[begin] = key


class RocksTransaction(OverlayTransaction):
    """See `penstock.store.api.Transaction`. Reads go straight to the database, under what was written here."""

    __slots__ = ("_open_round", "_store", "_syncing", "barrier")

    def __init__(self, store: RocksStore, read_only: bool) -> None:
        self.read_only = read_only
        self.open = True
        self.size_bytes = 0
        self.writes = {}
        self.cleared = []
        self.appends = []
        self._store = store
        # In this order, for the syncing thread may move a round from the one to the other at any moment.
        self._open_round = store.open_round
        self._syncing = store.syncing
        self.barrier: Round | None = None
        """The latest round that this transaction's reads rest on and that is not durable yet."""

    def get(self, key: bytes) -> bytes | None:
        """See `Transaction.get`. (The overlay's and `_fetch` in one: nothing else is called as often.)"""
        if not self.open:
            raise used_after_body()
        if self.writes and key in self.writes:
            return self.writes[key]
        if key >= ENGINE_KEYS:
            raise engine_key()
        if self.cleared and self._is_cleared(key):
            return None
        latest = self._open_round
        if key in latest.keys or latest.ranges or self._syncing is not None:
            return self._fetch(key)
        try:
            value: bytes | None = self._store.db.get(key)
        except Exception as error:
            raise EngineFailed(f"RocksDB cannot read its files: {error}") from error
        return value

    def get_often(self, key: bytes) -> bytes | None:
        """See `Transaction.get_often`. Whatever is written is dropped from `hot`, so that what is there is true."""
        hot = self._store.hot
        value = hot.get(key)
        if value is not None and key not in self.writes and not self.cleared and self.open:
            latest = self._open_round
            if key in latest.keys or latest.ranges or self._syncing is not None:
                self._rest_on(key)
            return value
        value = self.get(key)
        if value is not None and not self.writes and not self.cleared:
            if len(hot) >= _HOT_MAX:
                hot.clear()
            if len(value) <= _HOT_BYTES:
                hot[key] = value
        return value

    def _rest_on(self, key: bytes) -> None:
        """Note the round that wrote the key, where that is not durable."""
        if self._open_round.wrote(key):
            self.barrier = self._open_round
        elif self._syncing is not None and self.barrier is None and self._syncing.wrote(key):
            self.barrier = self._syncing

    def _fetch(self, key: bytes) -> bytes | None:
        self._rest_on(key)
        held = self._open_round.held
        if key in held:
            return held[key]
        try:
            value: bytes | None = self._store.db.get(key)
        except Exception as error:
            raise EngineFailed(f"RocksDB cannot read its files: {error}") from error
        return value

    def _fetch_range(self, begin: bytes, end: bytes, limit: int, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        if self._open_round.wrote_in(begin, end):
            self.barrier = self._open_round
            if self._open_round.held:
                self._store.put_held()
        elif self._syncing is not None and self.barrier is None and self._syncing.wrote_in(begin, end):
            self.barrier = self._syncing
        if reverse:
            return self._backwards(begin, end, limit)
        return self._forwards(begin, end, limit)

    def _forwards(self, begin: bytes, end: bytes, limit: int) -> Iterator[tuple[bytes, bytes]]:
        # Not `items()`: rocksdict 0.3.29 ends those silently where RocksDB meets a corrupt block.
        bounds = _upper_bound(end)
        rows = self._store.db.iter(bounds)
        valid, key, value, step = rows.valid, rows.key, rows.value, rows.next
        hints = self._store.hints
        if (known := hints.starts.get(begin)) is not None:
            rows.seek(known)
            hints.learn(begin, key() if valid() else max(known, end))
        else:
            began_s = time.perf_counter()
            rows.seek(begin)
            if time.perf_counter() - began_s > hints.slow_s:
                hints.learn(begin, key() if valid() else end)
        taken = 0
        while valid():
            if not self.open:
                raise used_after_body()
            yield key(), value()
            taken += 1
            if taken == limit:
                return
            step()
        if not self.open:
            raise used_after_body()
        _check(rows)

    def _backwards(self, begin: bytes, end: bytes, limit: int) -> Iterator[tuple[bytes, bytes]]:
        rows = self._store.db.iter()
        rows.seek_for_prev(end)
        if rows.valid() and rows.key() == end:
            rows.prev()
        taken = 0
        while rows.valid():
            if not self.open:
                raise used_after_body()
            key: bytes = rows.key()
            if key < begin:
                return
            yield key, rows.value()
            taken += 1
            if taken == limit:
                return
            rows.prev()
        if not self.open:
            raise used_after_body()
        _check(rows)

    def _clear_range(self, begin: bytes, end: bytes) -> None:
        if self._open_round.held:
            self._store.put_held()
        bounds = _upper_bound(end)
        rows = self._store.db.iter(bounds)
        rows.seek(begin)
        keys: list[bytes] = []
        while rows.valid() and len(keys) <= _CLEAR_ONE_BY_ONE:
            keys.append(rows.key())
            rows.next()
        self._forget(begin, end)
        if len(keys) > _CLEAR_ONE_BY_ONE:
            self.cleared.append((begin, end))
            return
        _check(rows)
        for key in keys:
            self.writes[key] = None


def _upper_bound(end: bytes) -> ReadOptions:
    """Options of an iterator that ends before `end`, so that it does not wade through what was deleted beyond.

    Keep them until the iterator has gone: RocksDB points into them. And do not use `set_iterate_lower_bound`: in
    rocksdict 0.3.29 it sets the upper bound.
    """
    bounds = ReadOptions()
    bounds.set_iterate_upper_bound(end)
    return bounds


def _check(rows: RdictIter) -> None:
    """Raise EngineFailed if the iterator ended because of an error."""
    try:
        rows.status()
    except Exception as error:
        raise EngineFailed(f"RocksDB cannot read its files: {error}") from error
