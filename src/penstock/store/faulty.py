"""A store that misbehaves as real ones may, by a seed: conflicts, unknown commits, delays, a failed engine, a crash.

For tests and simulations. Nothing that it does is against the contract of `penstock.store.api`. Delays are turns of the
event loop and not time, so that a seed always gives the same run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from penstock.store.api import Conflict, EngineFailed, Limits, Store, Transaction, UnknownCommit
from penstock.store.memory import MemoryStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong: probabilities for one transaction, and the most turns of the loop that a delay lasts."""

    retry: float = 0.0
    """The body is run, thrown away, and run again."""
    conflict: float = 0.0
    """`Conflict`, as past the retry bound. Nothing is written."""
    unknown_commit: float = 0.0
    """`UnknownCommit` for a transaction that writes; half of them have happened."""
    delay_turns: int = 0
    """Before the body, and again between commit and sync."""
    fail_at: int = 0
    """The number of the transaction at which the engine fails for good (0: never)."""


class FaultyStore:
    """Any store, with faults. Over a `MemoryStore` it can also `crash`."""

    def __init__(self, store: Store, seed: int, faults: Faults) -> None:
        self.limits: Limits = store.limits
        self.inner = store
        self.failed: EngineFailed | None = None
        self._random = random.Random(seed)
        self._faults = faults
        self._transactions = 0
        self._durable = 0
        """How many commits of the journal are synced."""
        self._last: asyncio.Future[None] | None = None
        """Done when the latest transaction has returned."""
        self._survivors: dict[bytes, bytes] = {}
        if isinstance(store, MemoryStore):
            store.journal = []
            self._survivors.update(store.data)

    def fail(self, reason: str = "an injected fault") -> None:
        """Fail the engine: every transaction from now on, and every one under way, raises EngineFailed."""
        self.failed = EngineFailed(reason)

    async def transact(self, body: Callable[[Transaction], T], *, read_only: bool = False) -> T:
        """See `Store.transact`."""
        faults = self._faults
        self._transactions += 1
        if self._transactions == faults.fail_at:
            self.fail()
        await self._delay()
        while self._happens(faults.retry):
            await self._abandon(body, read_only)
            await self._delay()
        if self._happens(faults.conflict):
            await self._abandon(body, read_only)
            raise Conflict("an injected conflict")
        self._raise_if_failed()
        unknown = not read_only and self._happens(faults.unknown_commit)
        if unknown and self._happens(0.5):
            if await self._abandon(body, read_only):
                raise UnknownCommit("an injected loss of the connection; nothing was written")
            unknown = False
        wrote = False

        def watched(txn: Transaction) -> T:
            nonlocal wrote
            result = body(txn)
            wrote = getattr(txn, "size_bytes", 0) > 0
            return result

        try:
            result = await self.inner.transact(watched, read_only=read_only)
        finally:
            await self._sync()
        if unknown and wrote:
            raise UnknownCommit("an injected loss of the connection; everything was written")
        return result

    def known(self, key: bytes) -> bytes | None:
        """See `Store.known`. Nothing is, so that every read can go wrong."""
        return None

    async def watch(self, key: bytes, timeout_s: float) -> None:
        """See `Store.watch`."""
        await self.inner.watch(key, timeout_s)

    async def close(self) -> None:
        """See `Store.close`."""
        await self.inner.close()

    def crash(self) -> MemoryStore:
        """Lose power: this store fails, and what its disk held comes back as a new one.

        What was acknowledged is there. Of what was not, some first part is, in the order of commits: the tail of the
        log is torn at a transaction's end.
        """
        assert isinstance(self.inner, MemoryStore) and self.inner.journal is not None
        self.fail("the power went")
        self._settle(self._durable + self._random.randint(0, len(self.inner.journal)))
        reborn = MemoryStore()
        reborn.data.update(self._survivors)
        reborn.version = self.inner.version
        return reborn

    async def _sync(self) -> None:
        """Return when all that is committed now would survive a crash; reads wait too, as on the read barrier.

        Transactions return in the order of their commits, as they do from a group commit.
        """
        if not isinstance(self.inner, MemoryStore) or self.inner.journal is None:
            return
        committed = self._durable + len(self.inner.journal)
        before, self._last = self._last, asyncio.get_running_loop().create_future()
        mine = self._last
        try:
            await self._delay()
            if before is not None:
                await asyncio.wait((before,))
        finally:
            mine.set_result(None)
        self._raise_if_failed()
        self._settle(committed)

    def _settle(self, committed: int) -> None:
        assert isinstance(self.inner, MemoryStore) and self.inner.journal is not None
        journal = self.inner.journal
        n = max(0, committed - self._durable)
        for cleared, writes in journal[:n]:
            for begin, end in cleared:
                for key in [key for key in self._survivors if begin <= key < end]:
                    del self._survivors[key]
            for key, value in writes.items():
                if value is None:
                    self._survivors.pop(key, None)
                else:
                    self._survivors[key] = value
        del journal[:n]
        self._durable += n

    async def _abandon(self, body: Callable[[Transaction], T], read_only: bool) -> bool:
        """Run the body for nothing; says whether it would have written. Its own exception passes on only if it is
        the caller's mistake on every run, so it is left to the run that counts."""
        wrote = False

        def abandoned(txn: Transaction) -> None:
            nonlocal wrote
            body(txn)
            wrote = getattr(txn, "size_bytes", 0) > 0
            raise _Abandoned

        try:
            await self.inner.transact(abandoned, read_only=read_only)
        except EngineFailed:
            raise
        except Exception:
            pass
        return wrote

    async def _delay(self) -> None:
        if self._faults.delay_turns:
            for _ in range(self._random.randint(0, self._faults.delay_turns)):
                await asyncio.sleep(0)
        self._raise_if_failed()

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability

    def _raise_if_failed(self) -> None:
        if self.failed is not None:
            raise EngineFailed(str(self.failed))


class _Abandoned(Exception):
    """Ends a run of a body whose outcome is thrown away."""
