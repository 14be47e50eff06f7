"""The engine that keeps nothing: for tests, as strict as the others. A body runs alone on the event-loop thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from sortedcontainers import SortedDict

from penstock.store.api import LIMITS, EngineFailed, Limits, Transaction
from penstock.store.overlay import OverlayTransaction, used_after_body
from penstock.store.watchers import Watchers

T = TypeVar("T")


class MemoryStore:
    """See `penstock.store.api.Store`."""

    def __init__(self) -> None:
        self.limits: Limits = LIMITS
        self.data: SortedDict[bytes, bytes] = SortedDict()
        self.version = 0
        self.closed = False
        self.journal: list[tuple[list[tuple[bytes, bytes]], dict[bytes, bytes | None]]] | None = None
        """If a list: every commit's cleared ranges and writes, in order. For simulated crashes."""
        self._watchers = Watchers()

    async def transact(self, body: Callable[[Transaction], T], *, read_only: bool = False) -> T:
        """See `Store.transact`."""
        if self.closed:
            raise EngineFailed("the store is closed")
        txn = _MemoryTransaction(self.data, read_only)
        try:
            result = body(txn)
        finally:
            txn.open = False
        self._apply(txn)
        return result

    def known(self, key: bytes) -> bytes | None:
        """See `Store.known`."""
        return None if self.closed else self.data.get(key)

    async def watch(self, key: bytes, timeout_s: float) -> None:
        """See `Store.watch`."""
        await self._watchers.wait(key, timeout_s)

    async def close(self) -> None:
        """See `Store.close`."""
        self.closed = True

    def _apply(self, txn: _MemoryTransaction) -> None:
        data = self.data
        for begin, end in txn.cleared:
            for key in list(data.irange(begin, end, inclusive=(True, False))):
                del data[key]
        for key, value in txn.writes.items():
            if value is None:
                data.pop(key, None)
            else:
                data[key] = value
        appended: dict[bytes, bytes | None] = {}
        if txn.appends:
            self.version += 1
            version = self.version.to_bytes(10, "big")
            for index, (prefix, value, stamp) in enumerate(txn.appends):
                position = version + index.to_bytes(2, "big")
                data[prefix + position] = appended[prefix + position] = value
                stamp.resolve(position)
        if self.journal is not None and (txn.writes or txn.cleared or appended):
            self.journal.append((txn.cleared, txn.writes | appended))
        self._watchers.changed(txn.writes, txn.cleared)
        self._watchers.changed(appended)


class _MemoryTransaction(OverlayTransaction):
    __slots__ = ("_data",)

    def __init__(self, data: SortedDict[bytes, bytes], read_only: bool) -> None:
        super().__init__(read_only)
        self._data = data

    def _fetch(self, key: bytes) -> bytes | None:
        value: bytes | None = self._data.get(key)
        return value

    def _fetch_range(self, begin: bytes, end: bytes, limit: int, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        taken = 0
        for key in self._data.irange(begin, end, inclusive=(True, False), reverse=reverse):
            if not self.open:
                raise used_after_body()
            yield key, self._data[key]
            taken += 1
            if taken == limit:
                return
