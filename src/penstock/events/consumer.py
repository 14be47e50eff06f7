"""A consumer of a queue: leases messages, has each handled, keeps their leases alive, and sleeps when there are none.

Knows queues, leases and time. What a message means, and what becomes of it, is its handler's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from penstock.core.node import Node
from penstock.store import Conflict, Transaction, UnknownCommit
from penstock.store.backoff import backoff_s
from penstock.store.queue import Leased, LeaseLost, Queue

log = logging.getLogger(__name__)

LEASE_S = 6.0
"""A dead node's messages are somebody else's after this long; a living node renews three times in it."""
BATCH = 32
"""Messages in one lease: more would be held by a node that is busy while others have nothing to do."""
LONGEST_SLEEP_S = 60.0
_FIRST_BACKOFF_S = 1.0
_MOST_BACKOFF_S = 60.0
_SHORTEST_SLEEP_S = 0.005
_CONTENDED_S = 0.05


class Consumer:
    """Runs `handle` for each message that falls due, `concurrency` at once, for as long as `run` runs.

    `handle(leased)` ends the message itself, by `queue.done`, `retry` or `bury` in a transaction of its own. One that
    raises gives the message back with a back-off; LeaseLost means that another node has it now. While it runs, the
    message stays leased, however long that is and however the clock jumps.
    """

    def __init__(
        self, node: Node, queue: Queue, handle: Callable[[Leased], Awaitable[None]], *, name: str, concurrency: int
    ) -> None:
        self._node = node
        self._queue = queue
        self._handle = handle
        self._name = name
        self._concurrency = concurrency
        self._in_hand: dict[bytes, Leased] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        """Something was put, or there is room again."""

    async def run(self) -> None:
        """Consume until cancelled. Then no more is taken; what is in hand has `drain_timeout_s` to end, and what has
        not is cancelled and given back at once, for another node or a later start.
        """
        watch = asyncio.create_task(self._watch(), name=f"{self._name}:watch")
        heart = asyncio.create_task(self._beat(), name=f"{self._name}:leases")
        await asyncio.sleep(0)
        # An engine may take a moment until its watch really watches: look again then.
        asyncio.get_running_loop().call_later(1.0, self._wake.set)
        try:
            while True:
                await self._round()
        finally:
            watch.cancel()
            await self._drain()
            heart.cancel()

    async def _round(self) -> None:
        """Lease what can be leased now; where that is nothing, sleep until it may be something."""
        # Before the look, so that what is put after it wakes us.
        self._wake.clear()
        room = min(self._concurrency - len(self._tasks), BATCH)
        if room <= 0:
            await self._wake.wait()
            return
        try:
            leased, due = await self._node.store.transact(lambda txn: self._lease(txn, room))
        except (Conflict, UnknownCommit) as error:
            # What is in hand goes on. What we may hold without knowing it comes back by itself.
            log.warning("%s: nothing was leased, trying again: %s", self._name, error)
            await asyncio.sleep(_CONTENDED_S)
            return
        for message in leased:
            self._start(message)
        if not leased:
            await self._sleep_until(due)

    def _lease(self, txn: Transaction, limit: int) -> tuple[list[Leased], float | None]:
        now = self._node.clock.now()
        leased = self._queue.lease(
            txn, now=now, lease_s=LEASE_S, holder=self._node.id, limit=limit, keep=self._in_hand.keys()
        )
        return leased, None if leased else self._queue.next_due(txn)

    async def _sleep_until(self, due: float | None) -> None:
        """Until woken, or until `due` of the clock's time: a moment at least, so that nothing makes us spin."""
        waits: set[asyncio.Future[Any]] = {asyncio.ensure_future(self._wake.wait())}
        if due is not None:
            due = max(due, self._node.clock.now() + _SHORTEST_SLEEP_S)
            waits.add(asyncio.ensure_future(self._node.clock.sleep_until(due)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _watch(self) -> None:
        while True:
            await self._node.store.watch(self._queue.wake_key, LONGEST_SLEEP_S)
            self._wake.set()

    def _start(self, leased: Leased) -> None:
        self._in_hand[leased.id] = leased
        task = asyncio.create_task(self._one(leased), name=self._name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if len(self._tasks) >= self._concurrency:
            self._wake.set()
        self._tasks.discard(task)

    async def _one(self, leased: Leased) -> None:
        try:
            await self._handle(leased)
        except LeaseLost as lost:
            log.warning("%s: a message was handled, and may be handled again: %s", self._name, lost)
            self._node.telemetry.count("penstock_consumer_leases_lost_total", consumer=self._name)
        except asyncio.CancelledError:
            await self._give_back(leased, leased.due, failed=False)
            raise
        except Exception:
            log.exception("%s: a message was not handled; trying again", self._name)
            self._node.telemetry.count("penstock_consumer_failures_total", consumer=self._name)
            wait_s = backoff_s(leased.retries + 1, first_s=_FIRST_BACKOFF_S, most_s=_MOST_BACKOFF_S)
            await self._give_back(leased, self._node.clock.now() + wait_s, failed=True)
        finally:
            # It may have been ended and leased anew before we got here.
            if self._in_hand.get(leased.id) is leased:
                del self._in_hand[leased.id]

    async def _give_back(self, leased: Leased, due: float, *, failed: bool) -> None:
        try:
            await self._node.store.transact(lambda txn: self._queue.retry(txn, leased, due, failed=failed))
        except LeaseLost:
            pass  # it was ended, or is somebody else's
        except Exception:
            log.exception("%s: a message was not given back; it comes back when its lease runs out", self._name)

    async def _beat(self) -> None:
        """Renew every lease in hand three times in its length; a lost one is found out when its message ends."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            held = list(self._in_hand.values())
            if held:
                await self._extend(held, self._node.clock.now() + LEASE_S)

    async def _extend(self, held: list[Leased], until: float) -> None:
        def extend(txn: Transaction) -> None:
            for leased in held:
                with contextlib.suppress(LeaseLost):
                    self._queue.extend(txn, leased, until)

        try:
            await self._node.store.transact(extend)
        except Exception:
            log.exception("%s: leases were not renewed", self._name)

    async def _drain(self) -> None:
        """Wait for what is in hand; cancel what takes too long (which gives it back)."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=self._node.settings.drain_timeout_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
