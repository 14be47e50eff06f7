"""What is due when: the time index that the queue stands on. Built of nothing but transactions.

Two indexes a shard, and what keeps reading them cheap on engines where a removed key costs until it is compacted:

    prefix shard 00               floor: u64 us; no entry of either index lies before it
    prefix shard 01 time entry    ready: the entry is due at `time` (u64 us)
    prefix shard 02 slot          i64 counter: how many holds are in the slot (0 stays until the slot has passed)
    prefix shard 03 slot entry    hold: unless it is ended, the entry falls due again when `slot` ends

A *floor* lets every read begin behind what was removed long ago. It is raised now and then (so that two nodes seldom
meet over it) and lowered by whoever schedules something before it.
A *hold* is a lease's end. Most are ended long before their time comes, so they lie in slots of half a second with a
counter each: an hour's ended leases are passed over by reading a few counters, never their removed keys.
"""

from __future__ import annotations

import random

from penstock.store.api import Transaction

SLOT_US = 500_000
_SLOTS_AHEAD = 64
_FLOOR_MARGIN_US = 500_000
_FLOOR_AGE_US = 10_000_000
_POPS_TO_A_RAISE = 256


def _u64(n: int) -> bytes:
    return n.to_bytes(8, "big")


class Schedule:
    """The indexes under one prefix. Times are microseconds since the epoch, not negative."""

    def __init__(self, prefix: bytes, shards: int) -> None:
        self._floor = [prefix + bytes((shard, 0)) for shard in range(shards)]
        self._ready = [prefix + bytes((shard, 1)) for shard in range(shards)]
        self._slots = [prefix + bytes((shard, 2)) for shard in range(shards)]
        self._holds = [prefix + bytes((shard, 3)) for shard in range(shards)]

    def add(self, txn: Transaction, shard: int, time_us: int, entry: bytes) -> None:
        """Make the entry due at `time_us`. The same entry may be due at several times."""
        self._lower_floor(txn, shard, time_us)
        txn.set(self._ready[shard] + _u64(time_us) + entry, b"")

    def remove(self, txn: Transaction, shard: int, time_us: int, entry: bytes) -> None:
        """Take back what `add` did."""
        txn.clear(self._ready[shard] + _u64(time_us) + entry)

    def due(self, txn: Transaction, shard: int, now_us: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` (time, entry) pairs due at `now_us`, earliest first."""
        ready = self._ready[shard]
        skip = len(ready)
        begin = ready + _u64(self._floor_us(txn, shard))
        return [
            (int.from_bytes(key[skip : skip + 8], "big"), key[skip + 8 :])
            for key, _ in txn.scan(begin, ready + _u64(now_us + 1), limit)
        ]

    def hold(self, txn: Transaction, shard: int, until_us: int, entry: bytes) -> None:
        """Have `expired` hand the entry out once the slot that `until_us` lies in has ended, unless ended before."""
        self._lower_floor(txn, shard, until_us)
        slot = _u64(-(-until_us // SLOT_US))
        txn.add(self._slots[shard] + slot, 1)
        txn.set(self._holds[shard] + slot + entry, b"")

    def end_hold(self, txn: Transaction, shard: int, until_us: int, entry: bytes) -> None:
        """Take back what `hold` did. Only for a hold that is there: the caller's own record says so."""
        slot = _u64(-(-until_us // SLOT_US))
        txn.add(self._slots[shard] + slot, -1)
        txn.clear(self._holds[shard] + slot + entry)

    def expired(self, txn: Transaction, shard: int, now_us: int, limit: int) -> list[bytes]:
        """Entries, about `limit` at most, whose hold has run out; their holds are ended."""
        slots = self._slots[shard]
        begin = slots + _u64(self._floor_us(txn, shard) // SLOT_US)
        found: list[bytes] = []
        for key, counter in list(txn.scan(begin, slots + _u64(now_us // SLOT_US + 1))):
            n = int.from_bytes(counter, "little", signed=True)
            holds = self._holds[shard] + key[len(slots) :]
            end = holds[:-8] + _u64(int.from_bytes(holds[-8:], "big") + 1)
            if n <= limit - len(found) or (n and not found):
                # A whole slot at a time, unless that alone is too much.
                taken = [k for k, _ in txn.scan(holds, end, limit)] if n else []
                found += [k[len(holds) :] for k in taken]
                if len(taken) == n:
                    txn.clear(key)
                    if n:
                        txn.clear(holds, end)
                    continue
                for k in taken:
                    txn.clear(k)
                txn.add(key, -len(taken))
            break
        return found

    def settle(self, txn: Transaction, shard: int, now_us: int, popped: int) -> None:
        """To be called by who took entries out: raises the floor when enough was removed, or time has passed."""
        floor_us = self._floor_us(txn, shard)
        if now_us - floor_us <= _FLOOR_AGE_US and random.random() * _POPS_TO_A_RAISE >= popped:
            return
        target_us = now_us - _FLOOR_MARGIN_US
        for begin, end, unit_us in (
            (self._ready[shard] + _u64(floor_us), self._ready[shard] + _u64(max(target_us, 0)), 1),
            (self._slots[shard] + _u64(floor_us // SLOT_US), self._slots[shard] + _u64(now_us // SLOT_US + 1), SLOT_US),
        ):
            for key, _ in txn.scan(begin, end, 1):
                first = int.from_bytes(key[len(self._ready[shard]) :][:8], "big")
                target_us = min(target_us, (first - 1) * unit_us if unit_us > 1 else first)
        if target_us > floor_us:
            txn.set(self._floor[shard], _u64(target_us))

    def next_us(self, txn: Transaction, shard: int) -> int | None:
        """When something may fall due next (never later than it does), or None while nothing is scheduled."""
        floor_us = self._floor_us(txn, shard)
        ready = self._ready[shard]
        soonest: int | None = None
        for key, _ in txn.scan(ready + _u64(floor_us), ready + b"\xff" * 9, 1):
            soonest = int.from_bytes(key[len(ready) :][:8], "big")
        slots = self._slots[shard]
        looked = 0
        for key, counter in txn.scan(slots + _u64(floor_us // SLOT_US), slots + b"\xff" * 9, _SLOTS_AHEAD):
            looked += 1
            ends_us = int.from_bytes(key[len(slots) :], "big") * SLOT_US
            # Past so many empty slots it is cheaper to say "look again then" than to look further.
            if any(counter) or looked == _SLOTS_AHEAD:
                return ends_us if soonest is None else min(soonest, ends_us)
        return soonest

    def _floor_us(self, txn: Transaction, shard: int) -> int:
        stored = txn.get(self._floor[shard])
        return 0 if stored is None else int.from_bytes(stored, "big")

    def _lower_floor(self, txn: Transaction, shard: int, time_us: int) -> None:
        if time_us < self._floor_us(txn, shard):
            txn.set(self._floor[shard], _u64(time_us))
