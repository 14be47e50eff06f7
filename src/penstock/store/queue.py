"""A queue: due times, lanes, leases with fencing tokens, dead letters, timers. Built of nothing but transactions.

Everything happens in the caller's transaction, so a message is put in the very commit that causes it. Nothing here
waits, retries by itself or asks for the time; `now` is always an argument. Under the queue's prefix:

    00                      wake counter: grows with whatever may make a lease succeed sooner; `store.watch` it
    01 kind                 i64 counters: kind 0 waiting (delayed ones included), 1 of these delayed, 2 in flight
    02                      i64 counter: dead
    03 id                   state of a message (`_State`), until it is done, buried or cancelled
    04 id part              its body: u16 part number; parts are as large as a value may be
    05 lane stamp           ids of a lane's messages in commit order (lane: 16 bytes of hash)
    06 lane                 stamp of the lane's last finished message: reads begin behind it. Removed when long idle
    07 buried id            dead letters (`_Dead`), by time of burial (u64 us)
    08 buried id part       their bodies
    09 ...                  when what is due: see `schedule`. Entries: 00 id: a message; 01 lane: "look at the lane"

Shards spread the consumers of several nodes: each lease takes from one shard, the first with work from a random start.
Order of due times holds within a shard, so a queue that must be exact about it has one shard. Lanes are exact always.
A lane that has messages has an entry at the time its first one is due, or that one is leased; further entries for it
are harmless: whoever takes one and finds nothing to do drops it. That is why `put` need not read its lane.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import blake2b
from zlib import crc32

import msgspec

from penstock.store.api import LIMITS, Transaction
from penstock.store.lease import LeaseLost
from penstock.store.schedule import Schedule

__all__ = ["Counts", "DeadLetter", "LeaseLost", "Leased", "Queue"]

_PART_BYTES = LIMITS.value_bytes
_LANE_IDLE_US = 60_000_000
_MESSAGE, _LANE = b"\0", b"\1"
_FURTHER_TURNS = (64, 256)
_PROCESS = os.urandom(8)
_serial = itertools.count()


class _State(msgspec.Struct, array_like=True):
    due_us: int
    until_us: int
    """End of the lease, 0 while nobody holds it."""
    token: int
    attempts: int
    retries: int
    enqueued_us: int
    delayed: bool
    parts: int
    lane: bytes
    holder: str


class _Dead(msgspec.Struct, array_like=True):
    parts: int
    attempts: int
    enqueued_us: int
    lane: bytes
    reason: str


_encode = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(_State).decode
_decode_dead = msgspec.msgpack.Decoder(_Dead).decode


@dataclass(slots=True, frozen=True)
class Leased:
    """A message in somebody's hands. Times are seconds since the epoch.

    token: grows with each lease of the message; goes stale when the lease ran out and somebody noticed.
    attempts: how often it was leased, this time included. retries: how often it was given back as failed: the others
    are leases that ran out. due: what it was put or retried with.
    """

    id: bytes
    body: bytes
    token: int
    attempts: int
    retries: int
    enqueued_at: float
    due: float
    leased_at: float
    lane: bytes


@dataclass(slots=True, frozen=True)
class DeadLetter:
    """A buried message. `key` names it to `redrive`, `discard` and as the `after` of `dead_letters`."""

    key: bytes
    id: bytes
    body: bytes
    reason: str
    attempts: int
    enqueued_at: float
    buried_at: float
    lane: bytes


@dataclass(slots=True, frozen=True)
class Counts:
    """How many messages there are. A delayed one counts as delayed until somebody leases it."""

    available: int
    delayed: int
    in_flight: int
    dead: int


class Queue:
    """The queue under one prefix. Has no state of its own: any number of nodes may use the same prefix.

    shards: 1 to 255, the same for as long as the data lives. More than one only where several nodes lease.
    """

    def __init__(self, prefix: bytes, shards: int = 1) -> None:
        self.prefix = prefix
        self.shards = shards
        self.wake_key = prefix + b"\0"
        self._counters = [prefix + bytes((1, kind)) for kind in range(3)]
        self._dead_counter = prefix + b"\2"
        self._states = prefix + b"\3"
        self._bodies = prefix + b"\4"
        self._lanes = prefix + b"\5"
        self._finished = prefix + b"\6"
        self._dead = prefix + b"\7"
        self._dead_bodies = prefix + b"\x08"
        self._schedule = Schedule(prefix + b"\x09", shards)

    def put(
        self,
        txn: Transaction,
        body: bytes,
        *,
        due: float,
        lane: bytes = b"",
        id: bytes = b"",
        now: float | None = None,
    ) -> bytes:
        """Add a message that may be leased from `due` on; returns its id.

        lane: messages of one lane are leased one at a time in order of commit, each after the one before it is done
        or buried, and never before its own due time. id: makes it a timer: whatever is under that id is replaced,
        a leased one too (its holder meets LeaseLost), and `cancel` removes it; not to be combined with a lane.
        now: when it is put (default `due`); one with `due` after it counts as delayed.
        """
        if id and lane:
            raise ValueError("a message of a lane cannot be a timer")
        if id:
            self.cancel(txn, id)
        else:
            id = _PROCESS + next(_serial).to_bytes(8, "big")
        parts = _set_parts(txn, self._bodies + id, body)
        due_us = _us(due)
        enqueued_us = due_us if now is None else _us(now)
        self._enter(txn, id, _State(due_us, 0, 0, 0, 0, enqueued_us, due_us > enqueued_us, parts, lane, ""))
        return id

    def cancel(self, txn: Transaction, id: bytes) -> bool:
        """Remove a message, leased or not; False where there is none. Raises ValueError for one of a lane."""
        stored = txn.get(self._states + id)
        if stored is None:
            return False
        state = _decode_state(stored)
        if state.lane:
            raise ValueError("a message of a lane cannot be cancelled")
        shard = self._shard(id)
        if state.until_us:
            self._schedule.end_hold(txn, shard, state.until_us, id)
            self._count(txn, in_flight=-1)
        else:
            self._schedule.remove(txn, shard, state.due_us, _MESSAGE + id)
            self._count(txn, waiting=-1, delayed=-state.delayed)
        self._forget(txn, id, state.parts)
        return True

    def lease(
        self,
        txn: Transaction,
        *,
        now: float,
        lease_s: float,
        holder: str,
        limit: int,
        keep: Collection[bytes] = (),
    ) -> list[Leased]:
        """Take up to `limit` due messages, soonest due first, until `now + lease_s`.

        keep: ids that `holder` is still busy with. If their leases have run out (the clock jumped), they are renewed
        and not handed out again.

        All come from one shard, and a lane gives one at most, so fewer than `limit` does not mean that no more are
        due; `next_due` says. A lease that ran out is noticed up to half a second late. To be called in a transaction
        that has put nothing into this queue: it could not see what has just entered a lane.
        """
        now_us = _us(now)
        until_us = _us(now + lease_s)
        first = random.randrange(self.shards) if self.shards > 1 else 0
        for shard in (*range(first, self.shards), *range(first)):
            returned = 0
            for id in self._schedule.expired(txn, shard, now_us, max(limit, 16)):
                returned += self._run_out(txn, shard, id, holder if id in keep else "", until_us)
            taken, popped = self._take(txn, shard, now_us, until_us, holder, limit)
            self._schedule.settle(txn, shard, now_us, popped + returned)
            if taken:
                return taken
        return []

    def done(self, txn: Transaction, leased: Leased) -> None:
        """The message is dealt with: forget it, and let its lane go on. Raises LeaseLost."""
        state, shard = self._let_go(txn, leased)
        self._forget(txn, leased.id, state.parts)
        if state.lane:
            self._advance(txn, shard, leased)

    def retry(self, txn: Transaction, leased: Leased, due: float, *, failed: bool = True) -> None:
        """Give it back, to be leased again from `due` on; its lane waits for it. Raises LeaseLost.

        failed: count it among the message's `retries`; False for one that was not tried.
        """
        state, _ = self._let_go(txn, leased)
        state.retries += failed
        state.due_us = _us(due)
        state.delayed = due > leased.leased_at
        self._give_back(txn, leased.id, state)

    def extend(self, txn: Transaction, leased: Leased, until: float) -> None:
        """Hold it until `until` (seconds since the epoch) instead. Raises LeaseLost."""
        state, shard = self._held(txn, leased)
        until_us = _us(until)
        if until_us == state.until_us:
            return
        self._schedule.end_hold(txn, shard, state.until_us, leased.id)
        self._schedule.hold(txn, shard, until_us, leased.id)
        state.until_us = until_us
        txn.set(self._states + leased.id, _encode(state))

    def bury(self, txn: Transaction, leased: Leased, reason: str, *, now: float | None = None) -> None:
        """Give up on it: keep it among the dead letters with the reason; its lane goes on. Raises LeaseLost."""
        state, shard = self._let_go(txn, leased)
        self._forget(txn, leased.id, state.parts)
        buried_us = _us(leased.leased_at if now is None else now)
        while txn.get(self._dead + (key := buried_us.to_bytes(8, "big") + leased.id)) is not None:
            buried_us += 1  # a timer was set again and buried twice within a microsecond
        parts = _set_parts(txn, self._dead_bodies + key, leased.body)
        txn.set(self._dead + key, _encode(_Dead(parts, state.attempts, state.enqueued_us, state.lane, reason)))
        txn.add(self._dead_counter, 1)
        if state.lane:
            self._advance(txn, shard, leased)

    def dead_letters(self, txn: Transaction, after: bytes = b"", limit: int = 100) -> list[DeadLetter]:
        """Dead letters in order of burial, those behind the key `after`."""
        begin = self._dead + after + b"\0" if after else self._dead
        found = []
        for stored, value in txn.scan(begin, self._dead_bodies, limit):
            key, dead = stored[len(self._dead) :], _decode_dead(value)
            body = _parts(txn, self._dead_bodies + key, dead.parts)
            buried_at = int.from_bytes(key[:8], "big") / 1e6
            enqueued_at = dead.enqueued_us / 1e6
            found.append(DeadLetter(key, key[8:], body, dead.reason, dead.attempts, enqueued_at, buried_at, dead.lane))
        return found

    def redrive(self, txn: Transaction, key: bytes, *, due: float) -> bool:
        """Put a dead letter back as a fresh message, last in its lane; False where there is none of that key.

        Raises ValueError where a timer has been set under its id since.
        """
        dead = self._exhume(txn, key)
        if dead is None:
            return False
        id = key[8:]
        if txn.get(self._states + id) is not None:
            raise ValueError("a message of the same id is in the queue")
        body = _parts(txn, self._dead_bodies + key, dead.parts)
        _clear_parts(txn, self._dead_bodies + key, dead.parts)
        _set_parts(txn, self._bodies + id, body)
        self._enter(txn, id, _State(_us(due), 0, 0, 0, 0, dead.enqueued_us, False, dead.parts, dead.lane, ""))
        return True

    def discard(self, txn: Transaction, key: bytes) -> bool:
        """Forget a dead letter; False where there is none of that key."""
        dead = self._exhume(txn, key)
        if dead is None:
            return False
        _clear_parts(txn, self._dead_bodies + key, dead.parts)
        return True

    def purge_dead(self, txn: Transaction, limit: int = 1000) -> int:
        """Forget up to `limit` dead letters, the oldest first. Returns how many."""
        keys = [key[len(self._dead) :] for key, _ in txn.scan(self._dead, self._dead_bodies, limit)]
        for key in keys:
            self.discard(txn, key)
        return len(keys)

    def next_due(self, txn: Transaction) -> float | None:
        """When `lease` may find something next (maybe in the past), or None while nothing is waiting or leased.

        Never later than it does, but maybe sooner: look again then.
        """
        times = [t for shard in range(self.shards) if (t := self._schedule.next_us(txn, shard)) is not None]
        return min(times) / 1e6 if times else None

    def counts(self, txn: Transaction) -> Counts:
        """How many messages there are, from counters: costs the same however many that is."""
        waiting, delayed, in_flight = (_counter(txn, key) for key in self._counters)
        return Counts(waiting - delayed, delayed, in_flight, _counter(txn, self._dead_counter))

    # Below: one step each of the above.

    def _shard(self, id: bytes) -> int:
        return crc32(id) % self.shards if self.shards > 1 else 0

    def _enter(self, txn: Transaction, id: bytes, state: _State) -> None:
        """A new message: into its lane if it has one, and then like one given back."""
        if state.lane:
            txn.append(self._lanes + _hash(state.lane), id)
        self._give_back(txn, id, state)

    def _give_back(self, txn: Transaction, id: bytes, state: _State) -> None:
        """Make a message that nobody holds available at its due time."""
        state.until_us = 0
        state.holder = ""
        txn.set(self._states + id, _encode(state))
        entry = _MESSAGE + id
        if state.lane:
            lane = _hash(state.lane)
            entry, id = _LANE + lane, lane
        self._schedule.add(txn, self._shard(id), state.due_us, entry)
        self._count(txn, waiting=1, delayed=state.delayed)
        txn.add(self.wake_key, 1)

    def _count(self, txn: Transaction, waiting: int = 0, delayed: int = 0, in_flight: int = 0) -> None:
        for key, n in zip(self._counters, (waiting, delayed, in_flight), strict=True):
            if n:
                txn.add(key, n)

    def _take(
        self, txn: Transaction, shard: int, now_us: int, until_us: int, holder: str, limit: int
    ) -> tuple[list[Leased], int]:
        """Lease from one shard: (messages, how many entries of the schedule that used up)."""
        taken: list[Leased] = []
        popped = undelayed = 0
        # Entries that only point at a busy lane give nothing; some turns get past them, the next call past the rest.
        for wanted in (limit, *_FURTHER_TURNS):
            entries = self._schedule.due(txn, shard, now_us, wanted)
            for time_us, entry in entries:
                if len(taken) == limit:
                    break
                self._schedule.remove(txn, shard, time_us, entry)
                popped += 1
                id = entry[1:] if entry[:1] == _MESSAGE else self._lane_head(txn, entry[1:], now_us)
                if id is None:
                    continue
                state = _decode_state(_there(txn.get(self._states + id)))
                if state.until_us or state.due_us > now_us:
                    continue  # an entry for a lane whose first message is leased, or comes later and has its own entry
                undelayed += state.delayed
                taken.append(self._leased(txn, shard, id, state, now_us, until_us, holder))
            if len(entries) < wanted or len(taken) == limit:
                break
        if taken:
            self._count(txn, waiting=-len(taken), delayed=-undelayed, in_flight=len(taken))
        return taken, popped

    def _leased(
        self, txn: Transaction, shard: int, id: bytes, state: _State, now_us: int, until_us: int, holder: str
    ) -> Leased:
        state.until_us = until_us
        # The time is in the token so that it grows past those of an earlier message under the same id.
        state.token = max(state.token + 1, now_us)
        state.attempts += 1
        state.delayed = False
        state.holder = holder
        txn.set(self._states + id, _encode(state))
        self._schedule.hold(txn, shard, until_us, id)
        return Leased(
            id, _parts(txn, self._bodies + id, state.parts), state.token, state.attempts, state.retries,
            state.enqueued_us / 1e6, state.due_us / 1e6, now_us / 1e6, state.lane,
        )  # fmt: skip

    def _run_out(self, txn: Transaction, shard: int, id: bytes, keeper: str, until_us: int) -> int:
        """A hold has ended: the message is available again as of when it was due, or goes on with its `keeper`.

        Returns how many became available.
        """
        state = _decode_state(_there(txn.get(self._states + id)))
        if keeper and state.holder == keeper:
            state.until_us = until_us
            txn.set(self._states + id, _encode(state))
            self._schedule.hold(txn, shard, until_us, id)
            return 0
        self._give_back(txn, id, state)
        self._count(txn, in_flight=-1)
        return 1

    def _held(self, txn: Transaction, leased: Leased) -> tuple[_State, int]:
        stored = txn.get(self._states + leased.id)
        if stored is None:
            raise LeaseLost("the message was dealt with by somebody else")
        state = _decode_state(stored)
        if state.token != leased.token or not state.until_us:
            raise LeaseLost("the lease ran out" + (f", {state.holder} holds the message now" if state.holder else ""))
        return state, self._shard(_hash(state.lane) if state.lane else leased.id)

    def _let_go(self, txn: Transaction, leased: Leased) -> tuple[_State, int]:
        state, shard = self._held(txn, leased)
        self._schedule.end_hold(txn, shard, state.until_us, leased.id)
        self._count(txn, in_flight=-1)
        return state, shard

    def _lane_messages(self, txn: Transaction, lane: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """The first (key, id) pairs of a lane."""
        prefix = self._lanes + lane
        finished = txn.get(self._finished + lane)
        begin = prefix if finished is None else prefix + finished + b"\0"
        return list(txn.scan(begin, prefix + b"\xff" * 13, limit))

    def _lane_head(self, txn: Transaction, lane: bytes, now_us: int) -> bytes | None:
        """The lane's first message; where there is none, the lane itself is forgotten."""
        for _, id in self._lane_messages(txn, lane, 1):
            return id
        txn.clear(self._finished + lane)
        return None

    def _advance(self, txn: Transaction, shard: int, leased: Leased) -> None:
        """The first message of a lane is out of the way: have the next one found when it is due."""
        lane = _hash(leased.lane)
        first, *following = self._lane_messages(txn, lane, 2)
        txn.clear(first[0])
        txn.set(self._finished + lane, first[0][len(self._lanes) + len(lane) :])
        if following:
            due_us = _decode_state(_there(txn.get(self._states + following[0][1]))).due_us
            self._schedule.add(txn, shard, due_us, _LANE + lane)
            txn.add(self.wake_key, 1)
        else:
            # An entry that will find the lane empty and forget it: at whole minutes, so that a lane has few of them.
            idle_us = (_us(leased.leased_at) // _LANE_IDLE_US + 2) * _LANE_IDLE_US
            self._schedule.add(txn, shard, idle_us, _LANE + lane)

    def _exhume(self, txn: Transaction, key: bytes) -> _Dead | None:
        stored = txn.get(self._dead + key)
        if stored is None:
            return None
        txn.clear(self._dead + key)
        txn.add(self._dead_counter, -1)
        return _decode_dead(stored)

    def _forget(self, txn: Transaction, id: bytes, parts: int) -> None:
        txn.clear(self._states + id)
        _clear_parts(txn, self._bodies + id, parts)


def _set_parts(txn: Transaction, prefix: bytes, body: bytes) -> int:
    """Write a body of any size; returns the number of its parts, at least one."""
    begins = range(0, len(body), _PART_BYTES) or range(1)
    for n, begin in enumerate(begins):
        txn.set(prefix + n.to_bytes(2, "big"), body[begin : begin + _PART_BYTES])
    return len(begins)


def _parts(txn: Transaction, prefix: bytes, parts: int) -> bytes:
    if parts == 1:
        return _there(txn.get(prefix + b"\0\0"))
    return b"".join(_there(txn.get(prefix + n.to_bytes(2, "big"))) for n in range(parts))


def _clear_parts(txn: Transaction, prefix: bytes, parts: int) -> None:
    for n in range(parts):
        txn.clear(prefix + n.to_bytes(2, "big"))


def _us(seconds: float) -> int:
    return max(round(seconds * 1e6), 0)


def _hash(lane: bytes) -> bytes:
    return blake2b(lane, digest_size=16).digest()


def _counter(txn: Transaction, key: bytes) -> int:
    return int.from_bytes(txn.get(key) or b"", "little", signed=True)


def _there(value: bytes | None) -> bytes:
    """What another record of the same transactions says must be there."""
    if value is None:
        raise LookupError("the queue's records contradict each other")
    return value
