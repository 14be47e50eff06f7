"""The engine that keeps nothing: for tests, as strict as the others. A body runs alone on the event-loop thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeVar

from sortedcontainers import SortedDict

from penstock.store.api import LIMITS, EngineFailed, Limits, StoreError, Transaction, TransactionTooLarge, Versionstamp

T = TypeVar("T")


class MemoryStore:
    """See `penstock.store.api.Store`."""

    def __init__(self) -> None:
        self.limits: Limits = LIMITS
        self.data: SortedDict[bytes, bytes] = SortedDict()
        self.version = 0
        self.closed = False
        self._watchers: dict[bytes, list[asyncio.Future[None]]] = {}

    async def transact(self, body: Callable[[Transaction], T], *, read_only: bool = False) -> T:
        if self.closed:
            raise EngineFailed("the store is closed")
        txn = _MemoryTransaction(self, read_only)
        try:
            result = body(txn)
        except BaseException:
            txn.rollback()
            raise
        finally:
            txn.open = False
        txn.commit()
        for key in txn.touched:
            for future in self._watchers.pop(key, ()):
                if not future.done():
                    future.set_result(None)
        return result

    async def watch(self, key: bytes, timeout_s: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.setdefault(key, []).append(future)
        await asyncio.wait([future], timeout=timeout_s)
        if not future.done():
            waiting = self._watchers.get(key, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._watchers.pop(key, None)

    async def close(self) -> None:
        self.closed = True


class _MemoryTransaction:
    """Writes in place and keeps what it overwrote, so that an aborted body leaves no trace."""

    def __init__(self, store: MemoryStore, read_only: bool) -> None:
        self._store = store
        self._read_only = read_only
        self._undo: list[tuple[bytes, bytes | None]] = []
        self._appends: list[tuple[bytes, bytes, Versionstamp]] = []
        self._size = 0
        self.touched: set[bytes] = set()
        self.open = True

    def get(self, key: bytes) -> bytes | None:
        self._check(key)
        value: bytes | None = self._store.data.get(key)
        return value

    def scan(self, begin: bytes, end: bytes, limit: int = 0, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        self._check(begin)
        data = self._store.data
        taken = 0
        for key in data.irange(begin, end, inclusive=(True, False), reverse=reverse):
            yield key, data[key]
            taken += 1
            if taken == limit:
                return

    def set(self, key: bytes, value: bytes) -> None:
        self._check(key, value)
        self._write(key, value)

    def clear(self, begin: bytes, end: bytes | None = None) -> None:
        self._check(begin, b"")
        keys = [begin] if end is None else list(self._store.data.irange(begin, end, inclusive=(True, False)))
        for key in keys:
            self._write(key, None)

    def add(self, key: bytes, n: int) -> None:
        self._check(key, b"\0" * 8)
        old = int.from_bytes(self._store.data.get(key, b""), "little", signed=True)
        self._write(key, (old + n).to_bytes(8, "little", signed=True))

    def append(self, prefix: bytes, value: bytes) -> Versionstamp:
        self._check(prefix + b"\0" * 12, value)
        stamp = Versionstamp()
        self._appends.append((prefix, value, stamp))
        return stamp

    def commit(self) -> None:
        if not self.touched and not self._appends:
            return
        self._store.version += 1
        version = self._store.version.to_bytes(10, "big")
        for i, (prefix, value, stamp) in enumerate(self._appends):
            position = version + i.to_bytes(2, "big")
            self._store.data[prefix + position] = value
            self.touched.add(prefix + position)
            stamp.resolve(position)

    def rollback(self) -> None:
        for key, old in reversed(self._undo):
            if old is None:
                self._store.data.pop(key, None)
            else:
                self._store.data[key] = old

    def _write(self, key: bytes, value: bytes | None) -> None:
        self._undo.append((key, self._store.data.get(key)))
        self.touched.add(key)
        if value is None:
            self._store.data.pop(key, None)
        else:
            self._store.data[key] = value

    def _check(self, key: bytes, value: bytes | None = None) -> None:
        if not self.open:
            raise StoreError("a transaction was used after its body had returned")
        if value is None:
            return
        if self._read_only:
            raise StoreError("a read-only transaction was asked to write")
        limits = self._store.limits
        if len(key) > limits.key_bytes or len(value) > limits.value_bytes:
            raise TransactionTooLarge(f"key of {len(key)} bytes, value of {len(value)} bytes")
        self._size += len(key) + len(value)
        if self._size > limits.transaction_bytes:
            raise TransactionTooLarge(f"transaction of more than {limits.transaction_bytes} bytes")
