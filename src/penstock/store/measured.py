"""A store that counts: transactions, their time until durable, and what they wrote. Costs about a microsecond each."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from penstock.store.api import Limits, Store, StoreError, Transaction
from penstock.telemetry import Telemetry

T = TypeVar("T")


class MeasuredStore:
    """Any store, measured: `penstock_store_*` at the metrics endpoint, by kind (read or write)."""

    def __init__(self, store: Store, telemetry: Telemetry) -> None:
        self.limits: Limits = store.limits
        self.inner = store
        self.known = store.known
        self._telemetry = telemetry
        self._reads = _Tally()
        self._writes = _Tally()
        for kind, tally in (("read", self._reads), ("write", self._writes)):
            telemetry.gauge("penstock_store_transactions", lambda t=tally: t.transactions, kind=kind)  # type: ignore[misc]
        telemetry.gauge("penstock_store_write_seconds", lambda: self._writes.seconds)
        telemetry.gauge("penstock_store_writes_under_way", lambda: self._writes.under_way)
        telemetry.gauge("penstock_store_written_bytes", lambda: self._writes.size_bytes)

    @property
    def failed(self) -> StoreError | None:
        """Why the engine gave up, if it did."""
        reason: StoreError | None = getattr(self.inner, "failed", None)
        return reason

    def transact(self, body: Callable[[Transaction], T], *, read_only: bool = False) -> Coroutine[Any, Any, T]:
        """See `Store.transact`. Reads are only counted: their time would cost a tenth of it to take."""
        if read_only:
            self._reads.transactions += 1
            return self.inner.transact(body, read_only=True)
        return self._write(body)

    async def _write(self, body: Callable[[Transaction], T]) -> T:
        tally = self._writes
        tally.under_way += 1
        size_bytes = 0

        def sized(txn: Transaction) -> T:
            nonlocal size_bytes
            result = body(txn)
            size_bytes = getattr(txn, "size_bytes", 0)
            return result

        began_s = time.perf_counter()
        try:
            return await self.inner.transact(sized)
        except StoreError as error:
            self._telemetry.count("penstock_store_errors_total", error=type(error).__name__)
            raise
        finally:
            tally.under_way -= 1
            tally.transactions += 1
            tally.seconds += time.perf_counter() - began_s
            tally.size_bytes += size_bytes

    async def watch(self, key: bytes, timeout_s: float) -> None:
        """See `Store.watch`."""
        await self.inner.watch(key, timeout_s)

    async def close(self) -> None:
        """See `Store.close`."""
        await self.inner.close()


class _Tally:
    __slots__ = ("seconds", "size_bytes", "transactions", "under_way")

    def __init__(self) -> None:
        self.transactions = 0
        self.under_way = 0
        self.seconds = 0.0
        self.size_bytes = 0
