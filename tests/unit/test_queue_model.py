"""The queue against a model of it: whatever is put comes out once, in order, whoever forgets what he holds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.store import queue
from penstock.store.api import Transaction
from penstock.store.memory import MemoryStore
from penstock.store.queue import Leased, LeaseLost, Queue

T = TypeVar("T")
LANES = [b"", b"", b"a", b"b"]
TIMERS = [b"t1", b"t2"]


def run(store: MemoryStore, body: Callable[[Transaction], T]) -> T:
    """The memory engine never waits, so its coroutine ends at the first step."""
    try:
        store.transact(body).send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]
    raise AssertionError("the memory engine waited")


class Message:
    """What the model knows of one message."""

    def __init__(self, body: bytes, due: float, lane: bytes) -> None:
        self.body = body
        self.due = due
        self.lane = lane
        self.attempts = 0
        self.retries = 0
        self.leased: Leased | None = None
        self.until = 0.0


class QueueMachine(RuleBasedStateMachine):
    """Steps of clients, of time, and of holders that die (they forget what they hold)."""

    shards = 1

    def __init__(self) -> None:
        super().__init__()
        # Ids choose shards: the same ones in each run, so that an example can be repeated.
        queue._PROCESS, queue._serial = bytes(8), itertools.count()
        self.store = MemoryStore()
        self.queue = Queue(b"q", self.shards)
        self.now = 1_000_000.0
        self.live: dict[bytes, Message] = {}
        self.order: list[bytes] = []
        self.dead: list[bytes] = []
        self.serial = 0

    def body(self) -> bytes:
        self.serial += 1
        return b"%d" % self.serial * (40_000 if self.serial % 17 == 0 else 1)

    @rule(delay=st.sampled_from([0, 0, -5, 3, 400]), lane=st.sampled_from(LANES))
    def put(self, delay: float, lane: bytes) -> None:
        body, due = self.body(), self.now + delay
        id = run(self.store, lambda txn: self.queue.put(txn, body, due=due, lane=lane, now=self.now))
        assert id not in self.live
        self.live[id] = Message(body, due, lane)
        self.order.append(id)

    @rule(delay=st.sampled_from([0, 2, 90]), id=st.sampled_from(TIMERS))
    def set_timer(self, delay: float, id: bytes) -> None:
        body, due = self.body(), self.now + delay
        run(self.store, lambda txn: self.queue.put(txn, body, due=due, id=id, now=self.now))
        if id in self.live:
            self.order.remove(id)
        self.live[id] = Message(body, due, b"")
        self.order.append(id)

    @rule(id=st.sampled_from(TIMERS))
    def cancel_timer(self, id: bytes) -> None:
        assert run(self.store, lambda txn: self.queue.cancel(txn, id)) == (id in self.live)
        if self.live.pop(id, None):
            self.order.remove(id)

    @rule(limit=st.integers(1, 5), lease_s=st.sampled_from([1, 10, 1000]))
    def lease(self, limit: int, lease_s: float) -> None:
        got = run(self.store, lambda txn: self.queue.lease(txn, now=self.now, lease_s=lease_s, holder="h", limit=limit))
        assert len(got) <= limit
        for leased in got:
            message = self.live[leased.id]
            assert message.body == leased.body
            assert message.due <= self.now
            # Free, or its lease has run out.
            assert message.leased is None or message.until <= self.now
            if message.lane:
                assert leased.id == next(i for i in self.order if i in self.live and self.live[i].lane == message.lane)
            message.attempts += 1
            assert (leased.attempts, leased.retries) == (message.attempts, message.retries)
            assert message.leased is None or leased.token > message.leased.token
            message.leased, message.until = leased, self.now + lease_s
        if self.shards == 1:
            dues = [m.due for m in got if not m.lane]
            assert dues == sorted(dues)
            ids = {m.id for m in got}
            if len(got) < limit:
                assert not [i for i in self.available() if i not in ids and not self.live[i].lane]

    def available(self) -> list[bytes]:
        """Messages that certainly may be leased now (a lease may be noticed half a second late)."""
        heads: set[bytes] = set()
        found = []
        for id in self.order:
            message = self.live.get(id)
            if message is None or (message.lane and message.lane in heads):
                continue
            heads.add(message.lane)
            if message.due <= self.now and (message.leased is None or message.until + 0.5 <= self.now):
                found.append(id)
        return found

    def held(self, pick: int) -> tuple[bytes, Leased] | None:
        held = [(i, m.leased) for i, m in self.live.items() if m.leased is not None]
        return held[pick % len(held)] if held else None

    def attempt(self, pick: int, act: Callable[[Transaction, Leased], Any]) -> bytes | None:
        """Do something to a leased message; a lease that has run out may be lost, one that has not must not be."""
        found = self.held(pick)
        if found is None:
            return None
        id, leased = found
        try:
            run(self.store, lambda txn: act(txn, leased))
        except LeaseLost:
            assert self.live[id].until <= self.now
            self.live[id].leased = None
            return None
        return id

    @rule(pick=st.integers(0, 50))
    def done(self, pick: int) -> None:
        if (id := self.attempt(pick, self.queue.done)) is not None:
            del self.live[id]
            self.order.remove(id)

    @rule(pick=st.integers(0, 50), delay=st.sampled_from([0, 1, 50]))
    def retry(self, pick: int, delay: float) -> None:
        due = self.now + delay
        if (id := self.attempt(pick, lambda txn, leased: self.queue.retry(txn, leased, due))) is not None:
            self.live[id].leased, self.live[id].due = None, due
            self.live[id].retries += 1

    @rule(pick=st.integers(0, 50), more=st.sampled_from([0, 5, 500]))
    def extend(self, pick: int, more: float) -> None:
        until = self.now + more
        if (id := self.attempt(pick, lambda txn, leased: self.queue.extend(txn, leased, until))) is not None:
            self.live[id].until = until

    @rule(pick=st.integers(0, 50))
    def bury(self, pick: int) -> None:
        act = lambda txn, leased: self.queue.bury(txn, leased, "why", now=self.now)  # noqa: E731
        if (id := self.attempt(pick, act)) is not None:
            self.dead.append(self.live.pop(id).body)
            self.order.remove(id)

    @rule(pick=st.integers(0, 50))
    def stale_token(self, pick: int) -> None:
        found = self.held(pick)
        if found is None:
            return
        stale = Leased(found[0], b"", found[1].token - 1, 1, 0, 0.0, 0.0, 0.0, self.live[found[0]].lane)
        for act in (
            self.queue.done,
            lambda txn, m: self.queue.retry(txn, m, 0.0),
            lambda t, m: self.queue.bury(t, m, ""),
        ):
            with pytest.raises(LeaseLost):
                run(self.store, lambda txn, act=act: act(txn, stale))

    @precondition(lambda self: self.dead)
    @rule(redrive=st.booleans(), pick=st.integers(0, 10))
    def empty_dead(self, redrive: bool, pick: int) -> None:
        letters = run(self.store, self.queue.dead_letters)
        letter = letters[pick % len(letters)]
        assert letter.reason == "why"
        if redrive and letter.id in self.live:
            with pytest.raises(ValueError, match="same id"):
                run(self.store, lambda txn: self.queue.redrive(txn, letter.key, due=self.now))
            return
        self.dead.remove(letter.body)
        if not redrive:
            assert run(self.store, lambda txn: self.queue.discard(txn, letter.key))
            return
        assert run(self.store, lambda txn: self.queue.redrive(txn, letter.key, due=self.now))
        self.live[letter.id] = Message(letter.body, self.now, letter.lane)
        self.order.append(letter.id)

    @rule(seconds=st.sampled_from([0.1, 1, 7, 200, 2000]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def everybody_dies(self) -> None:
        """Crash and reopen: what was held is forgotten by its holders, and comes back when the leases run out."""
        self.queue = Queue(b"q", self.shards)
        self.now = max([self.now, *(m.until for m in self.live.values())]) + 1

    @invariant()
    def counters_are_right(self) -> None:
        counts = run(self.store, self.queue.counts)
        assert counts.dead == len(self.dead) == len(run(self.store, self.queue.dead_letters))
        assert counts.available + counts.delayed + counts.in_flight == len(self.live)
        assert counts.in_flight >= sum(1 for m in self.live.values() if m.leased and m.until > self.now)
        assert min(counts.available, counts.delayed, counts.in_flight) >= 0

    @invariant()
    def next_due_is_never_late(self) -> None:
        next_due = run(self.store, self.queue.next_due)
        if self.available():
            assert next_due is not None
            assert next_due <= self.now + 1e-6
        waiting = [m for m in self.live.values() if not m.lane]
        for message in waiting:
            assert next_due is not None
            due = message.due if message.leased is None else message.until + 0.5
            assert next_due <= max(due, self.now) + 1e-6

    def teardown(self) -> None:
        """Everything can still be had, and nothing but the odd trim mark stays behind."""
        self.now += 5000
        for _ in range(5000):
            got = run(self.store, lambda txn: self.queue.lease(txn, now=self.now, lease_s=9, holder="last", limit=50))
            for leased in got:
                assert self.live.pop(leased.id).body == leased.body
                run(self.store, lambda txn, leased=leased: self.queue.done(txn, leased))
            next_due = run(self.store, self.queue.next_due)
            if not got and next_due is None:
                break
            self.now = max(self.now, next_due or 0)
        assert not self.live
        run(self.store, self.queue.purge_dead)
        kept = {key[1:2] for key, value in self.store.data.items() if any(value) or key[1] in (3, 4, 5, 6, 7, 8)}
        assert kept <= {b"\0", b"\x09"}, kept
        assert sum(1 for key in self.store.data if key[1] == 9) <= self.shards * 2


class ShardedQueueMachine(QueueMachine):
    """The same with several shards: order of due times across them is not promised."""

    shards = 3


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)
TestShardedQueue = ShardedQueueMachine.TestCase
TestShardedQueue.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
