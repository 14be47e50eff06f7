"""A consumer of a queue: leases messages, has each handled, keeps their leases alive, and sleeps when there are none.

Knows queues, leases and time. What a message means, and what becomes of it, is its handler's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from penstock.core.node import Node
from penstock.store import Transaction
from penstock.store.backoff import backoff_s
from penstock.store.queue import Leased, LeaseLost, Queue

log = logging.getLogger(__name__)

LEASE_S = 6.0
"""A dead node's messages are somebody else's after this long; a living node renews three times in it."""
LONGEST_SLEEP_S = 60.0


class Consumer:
    """Runs `handle` for each message that falls due, `concurrency` at once, for as long as `run` runs.

    `handle(leased)` ends the message itself, by `queue.done`, `retry` or `bury` in a transaction of its own. One that
    raises gives the message back with a back-off; LeaseLost means that another node has it now.
    """

    def __init__(
        self, node: Node, queue: Queue, handle: Callable[[Leased], Awaitable[None]], *, name: str, concurrency: int
    ) -> None:
        self._node = node
        self._queue = queue
        self._handle = handle
        self._name = name
        self._concurrency = concurrency
        self._in_hand: dict[asyncio.Task[None], Leased] = {}
        self._freed = asyncio.Event()

    async def run(self) -> None:
        """Consume until cancelled; messages in hand are then given back at once, for another node or a later start."""
        heart = asyncio.create_task(self._beat(), name=f"{self._name}:leases")
        try:
            while True:
                await self._round()
        finally:
            heart.cancel()
            for task in self._in_hand:
                task.cancel()
            await asyncio.gather(*self._in_hand, return_exceptions=True)

    async def _round(self) -> None:
        """Lease what can be leased now; where that is nothing, sleep until it may be something."""
        store, clock = self._node.store, self._node.clock
        # The watch stands before the look, so that what is put in between wakes us.
        watch = asyncio.ensure_future(store.watch(self._queue.wake_key, LONGEST_SLEEP_S))
        try:
            await asyncio.sleep(0)
            free = self._concurrency - len(self._in_hand)
            self._freed.clear()
            if free > 0:
                leased, due = await store.transact(lambda txn: self._lease(txn, free))
                for message in leased:
                    task = asyncio.create_task(self._one(message), name=f"{self._name}:{message.id.hex()}")
                    self._in_hand[task] = message
                    task.add_done_callback(self._forget)
                if leased:
                    return
                timer = asyncio.ensure_future(clock.sleep_until(due if due is not None else clock.now() + 3600))
                waits = {watch, timer}
            else:
                timer = asyncio.ensure_future(self._until_free())
                waits = {timer}
            try:
                await asyncio.wait(waits, timeout=LONGEST_SLEEP_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                timer.cancel()
        finally:
            watch.cancel()

    async def _until_free(self) -> None:
        await self._freed.wait()

    def _lease(self, txn: Transaction, limit: int) -> tuple[list[Leased], float | None]:
        leased = self._queue.lease(txn, now=self._node.clock.now(), lease_s=LEASE_S, holder=self._node.id, limit=limit)
        if leased:
            return leased, None
        due = self._queue.next_due(txn)
        # What is due and yet not to be had is noticed a little later; never spin on it.
        return [], None if due is None else max(due, self._node.clock.now() + 0.05)

    async def _one(self, leased: Leased) -> None:
        try:
            await self._handle(leased)
        except LeaseLost:
            log.warning("%s: lost the lease of message %s", self._name, leased.id.hex())
        except asyncio.CancelledError:
            await self._give_back(leased, self._node.clock.now())
            raise
        except Exception:
            log.exception("%s: message %s was not handled; trying again", self._name, leased.id.hex())
            self._node.telemetry.count("penstock_consumer_failures_total", consumer=self._name)
            await self._give_back(leased, self._node.clock.now() + backoff_s(leased.attempts, first_s=1.0, most_s=60.0))

    async def _give_back(self, leased: Leased, due: float) -> None:
        with contextlib.suppress(LeaseLost):
            await self._node.store.transact(lambda txn: self._queue.retry(txn, leased, due))

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._in_hand.pop(task, None)
        self._freed.set()

    async def _beat(self) -> None:
        """Renew every lease in hand three times in its length; a lost one is found out when the message ends."""
        while True:
            await self._node.clock.sleep(LEASE_S / 3)
            held = [leased for task, leased in self._in_hand.items() if not task.done()]
            if not held:
                continue
            until = self._node.clock.now() + LEASE_S

            def renew(txn: Transaction, held: list[Leased] = held, until: float = until) -> None:
                for leased in held:
                    with contextlib.suppress(LeaseLost):
                        self._queue.extend(txn, leased, until)

            try:
                await self._node.store.transact(renew)
            except Exception:
                log.exception("%s: leases were not renewed", self._name)
