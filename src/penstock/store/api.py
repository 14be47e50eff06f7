"""The seam between Penstock and the engines that keep its data: FoundationDB's contract, made small.

An engine is one file. What every engine promises is written here and checked by `tests/contract/test_store.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes that hold on every engine, in bytes."""

    transaction_bytes: int = 32_000_000
    """DynamoDB's largest transaction is 4 MB of items, each of which a stream (twice), recovery and indexes write again."""
    key_bytes: int = 10_000
    value_bytes: int = 100_000


LIMITS = Limits()
ENGINE_KEYS = b"\xff"
"""Keys from here on are the engine's own: a body can neither read nor write them, and a scan ends before them."""


class StoreError(Exception):
    """Base of everything the store raises."""


class Conflict(StoreError):
    """The transaction lost against another one. `transact` retries it; a caller sees it only past the retry bound."""


class UnknownCommit(StoreError):
    """The connection died while committing: the transaction may or may not have happened.

    `transact` does not retry it, because the body may not be safe to do twice. A caller whose body is idempotent may.
    """


class TransactionTooLarge(StoreError):
    """A key, a value or the transaction as a whole exceeds `Limits`. Nothing was written."""


class EngineFailed(StoreError):
    """The engine cannot promise durability any more (disk full, failed fsync). Every later call fails likewise."""


class Versionstamp:
    """The position a value of `Transaction.append` got; `value` is set once the transaction has committed.

    12 bytes: 10 of commit version, big-endian, then 2 of index inside the transaction. Of two commits under one prefix
    the later has the larger; so have any two of which one began after the other had returned.
    """

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value: bytes | None = None

    @property
    def value(self) -> bytes:
        """The 12 bytes. Raises StoreError before the commit."""
        if self._value is None:
            raise StoreError("a versionstamp is known only after its transaction has committed")
        return self._value

    def resolve(self, value: bytes) -> None:
        """For engines: called once, at commit."""
        self._value = value


class Transaction(Protocol):
    """What a body may do. It sees its own writes in gets and in scans. Not to be used after the body has returned."""

    def get(self, key: bytes) -> bytes | None:
        """The value at `key`, or None."""
        ...

    def get_often(self, key: bytes) -> bytes | None:
        """As `get`, for a small record that nearly every request reads and few write: an engine may keep it in memory."""
        ...

    def scan(self, begin: bytes, end: bytes, limit: int = 0, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with begin <= key < end in key order (or from the last one down), at most `limit` (0: no limit).

        Lazy: what is not taken is not read. Conflicts cover the range actually taken, gaps included (no phantoms).
        Do not write to the range while an iterator over it is open.
        """
        ...

    def set(self, key: bytes, value: bytes) -> None:
        """Write `value` at `key`."""
        ...

    def clear(self, begin: bytes, end: bytes | None = None) -> None:
        """Remove one key, or all with begin <= key < end."""
        ...

    def add(self, key: bytes, n: int) -> None:
        """Add to a signed 64-bit little-endian counter, absent being 0. Commutes: never a reason for a conflict."""
        ...

    def append(self, prefix: bytes, value: bytes) -> Versionstamp:
        """Write `value` at prefix + versionstamp. Order of keys under a prefix is order of commit.

        The appended pair is not visible to this transaction's own reads.
        """
        ...


class Store(Protocol):
    """An engine. Made by `penstock.store.open.open_store(url)`."""

    limits: Limits

    async def transact(self, body: Callable[[Transaction], T], *, read_only: bool = False) -> T:
        """Run `body`, commit, and return its result when the commit is durable; retry it on conflict.

        `body` is an ordinary function (never a coroutine function), may run more than once and, on some engines, on
        another thread: it touches the world only through its transaction. An exception from it aborts and passes on.
        With `read_only` a write raises StoreError. A result that rests on another transaction's unsynced write is
        returned only once that is durable too.

        Raises Conflict (after the retry bound), UnknownCommit, TransactionTooLarge, EngineFailed.
        """
        ...

    def known(self, key: bytes) -> bytes | None:
        """What is durable at `key`, where the engine has it in memory for `Transaction.get_often`; else None, and it
        takes a transaction to know. As good as a read-only transaction of its own, and costs next to nothing.
        """
        ...

    async def watch(self, key: bytes, timeout_s: float) -> None:
        """Return when `key` may have changed since the call, or after `timeout_s` of real time. May return early.

        A caller re-reads what it waits for: a watch is a hint that saves polling, never the truth.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way, sync and let go of the data. Idempotent."""
        ...
