"""What a transaction has written and not yet committed, laid over what the engine holds. Shared by all engines.

An engine's transaction says how to read (`_fetch`, `_fetch_range`); limits, refusals and read-your-writes are here.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.store.api import ENGINE_KEYS, LIMITS, StoreError, TransactionTooLarge, Versionstamp

_MASK = (1 << 64) - 1
_APPENDS_MAX = 65536
_KEY_BYTES = LIMITS.key_bytes
_VALUE_BYTES = LIMITS.value_bytes
_TRANSACTION_BYTES = LIMITS.transaction_bytes


def added(old: bytes | None, n: int) -> bytes:
    """The counter `old` plus n: signed 64-bit little-endian, wrapping around. Raises StoreError if it is no counter."""
    if old is not None and len(old) != 8:
        raise StoreError(f"add() to a value of {len(old)} bytes, which is not a counter")
    return ((int.from_bytes(old or b"", "little") + n) & _MASK).to_bytes(8, "little")


class OverlayTransaction:
    """See `penstock.store.api.Transaction`."""

    __slots__ = ("appends", "cleared", "open", "read_only", "size_bytes", "writes")

    def __init__(self, read_only: bool) -> None:
        self.read_only = read_only
        self.open = True
        self.size_bytes = 0
        self.writes: dict[bytes, bytes | None] = {}
        """Keys written (None: cleared), after the ranges in `cleared`."""
        self.cleared: list[tuple[bytes, bytes]] = []
        self.appends: list[tuple[bytes, bytes, Versionstamp]] = []

    def _fetch(self, key: bytes) -> bytes | None:
        raise NotImplementedError

    def _fetch_range(self, begin: bytes, end: bytes, limit: int, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        raise NotImplementedError

    def get(self, key: bytes) -> bytes | None:
        """See `Transaction.get`."""
        if not self.open:
            raise used_after_body()
        if key in self.writes:
            return self.writes[key]
        if key >= ENGINE_KEYS:
            raise engine_key()
        if self.cleared and self._is_cleared(key):
            return None
        return self._fetch(key)

    def get_often(self, key: bytes) -> bytes | None:
        """See `Transaction.get_often`."""
        return self.get(key)

    def scan(self, begin: bytes, end: bytes, limit: int = 0, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """See `Transaction.scan`."""
        if not self.open:
            raise used_after_body()
        if end > ENGINE_KEYS:
            end = ENGINE_KEYS
        if begin >= end:
            return iter(())
        if not self.writes and not self.cleared:
            return self._fetch_range(begin, end, limit, reverse)
        return self._merged(begin, end, limit, reverse)

    def set(self, key: bytes, value: bytes) -> None:
        """See `Transaction.set`. (`_admit` and what it is for in one: nothing else is called as often.)"""
        size_bytes = len(key) + len(value)
        if (
            size_bytes > _KEY_BYTES  # or only the value is large
            or type(key) is not bytes
            or type(value) is not bytes
            or key >= ENGINE_KEYS
            or self.read_only
            or not self.open
        ):
            self._check(key, value)
        self.size_bytes = size_bytes = self.size_bytes + size_bytes
        if size_bytes > _TRANSACTION_BYTES:
            raise _too_large()
        self.writes[key] = value

    def clear(self, begin: bytes, end: bytes | None = None) -> None:
        """See `Transaction.clear`."""
        self._admit(begin, b"")
        if end is None:
            self.writes[begin] = None
            return
        end = min(end, ENGINE_KEYS)
        if begin < end:
            self._admit(b"", end if len(end) <= _KEY_BYTES else b"")
            self._clear_range(begin, end)

    def add(self, key: bytes, n: int) -> None:
        """See `Transaction.add`."""
        writes = self.writes
        if key in writes and self.open:  # admitted already: a batch adds to one counter for each of its items
            writes[key] = added(writes[key], n)
            return
        self._admit(key, b"\0" * 8)
        writes[key] = added(self.get(key), n)

    def append(self, prefix: bytes, value: bytes) -> Versionstamp:
        """See `Transaction.append`."""
        self._admit(prefix + b"\0" * 12, value)
        if len(self.appends) == _APPENDS_MAX:
            raise TransactionTooLarge(f"more than {_APPENDS_MAX} appends in one transaction")
        stamp = Versionstamp()
        self.appends.append((prefix, value, stamp))
        return stamp

    def _admit(self, key: bytes, value: bytes) -> None:
        """Check what every write must meet, and count its size."""
        self._check(key, value)
        self.size_bytes += len(key) + len(value)
        if self.size_bytes > _TRANSACTION_BYTES:
            raise _too_large()

    def _check(self, key: bytes, value: bytes) -> None:
        """Raises StoreError, TransactionTooLarge or TypeError for a write that cannot be."""
        if not self.open:
            raise used_after_body()
        if self.read_only:
            raise StoreError("a read-only transaction was asked to write")
        if type(key) is not bytes or type(value) is not bytes:
            raise TypeError(f"keys and values are bytes, not {type(key).__name__} and {type(value).__name__}")
        if key >= ENGINE_KEYS:
            raise engine_key()
        if len(key) > _KEY_BYTES:
            raise TransactionTooLarge(f"a key of {len(key)} bytes; the limit is {_KEY_BYTES}")
        if len(value) > _VALUE_BYTES:
            raise TransactionTooLarge(f"a value of {len(value)} bytes; the limit is {_VALUE_BYTES}")

    def _clear_range(self, begin: bytes, end: bytes) -> None:
        self._forget(begin, end)
        self.cleared.append((begin, end))

    def _forget(self, begin: bytes, end: bytes) -> None:
        for key in [key for key in self.writes if begin <= key < end]:
            del self.writes[key]

    def _is_cleared(self, key: bytes) -> bool:
        return any(begin <= key < end for begin, end in self.cleared)

    def _merged(self, begin: bytes, end: bytes, limit: int, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        """The engine's pairs and this transaction's own, in one order; the own ones hide the engine's."""
        own = sorted((key for key in self.writes if begin <= key < end), reverse=not reverse)  # the next one is last
        taken = 0
        for pair in self._fetch_range(begin, end, 0, reverse):
            key = pair[0]
            while own and (own[-1] > key if reverse else own[-1] < key):
                mine = own.pop()
                value = self.writes[mine]
                if value is not None:
                    yield mine, value
                    taken += 1
                    if taken == limit:
                        return
            if own and own[-1] == key:
                continue
            if self.cleared and self._is_cleared(key):
                continue
            yield pair
            taken += 1
            if taken == limit:
                return
        for mine in reversed(own):
            if not self.open:
                raise used_after_body()
            value = self.writes[mine]
            if value is not None:
                yield mine, value
                taken += 1
                if taken == limit:
                    return


def _too_large() -> TransactionTooLarge:
    return TransactionTooLarge(f"the transaction exceeds {_TRANSACTION_BYTES} bytes")


def used_after_body() -> StoreError:
    """What every use of a transaction past its body gets."""
    return StoreError("a transaction was used after its body had returned")


def engine_key() -> StoreError:
    """What reading or writing the engine's own keys gets."""
    return StoreError("keys from 0xFF on are the engine's own")
