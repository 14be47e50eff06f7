"""Whose requests a table serves: the keys of tables and indexes with Contributor Insights, by units of capacity a minute.

Counted in memory and written to the store every minute, so a crash loses a minute at most. Of a minute's keys the ones with
the most units are kept: what is rare among very many different keys is not. A Query counts for its partition, a Scan for
no key; an index's report is of its reads.
Source: "Contributor Insights for DynamoDB: How it works" of the developer guide.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from penstock.core.node import Node
from penstock.services.dynamodb import keys
from penstock.services.dynamodb.index import Index
from penstock.services.dynamodb.key_space import KeySpace
from penstock.services.dynamodb.table import Table
from penstock.store.api import Transaction

KEPT_S = 15 * 86400
"""As CloudWatch keeps what Contributor Insights found."""
MINUTE_S = 60
MOST_KEYS = 500
"""Of a table or index in a minute, written to the store."""
_COUNTED = 4 * MOST_KEYS
_TRIMMED_AT_ONCE = 200


class Minute(msgspec.Struct, array_like=True):
    """What is stored of a minute. keys: place of a key, or of a whole partition -> units, or requests that were throttled."""

    total: float = 0.0
    keys: dict[bytes, float] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Minute).decode
Slot = tuple[bytes, int, bool]
"""Table id, index id (0: the table), whether it is of what was throttled."""


class Contributors:
    """What this process has counted and not written yet. By `node.own(Contributors)`."""

    __slots__ = ("minutes",)

    def __init__(self, node: Node) -> None:
        self.minutes: dict[Slot, Minute] = {}

    def add(self, slot: Slot, place: bytes, units: float) -> None:
        """Count units for a place."""
        minute = self.minutes.get(slot)
        if minute is None:
            minute = self.minutes[slot] = Minute(keys={})
        minute.total += units
        minute.keys[place] = minute.keys.get(place, 0.0) + units
        if len(minute.keys) > _COUNTED:
            minute.keys = dict(_largest(minute.keys, _COUNTED // 2))


def _largest(counted: dict[bytes, float], most: int) -> list[tuple[bytes, float]]:
    return sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[:most]


def note(node: Node, found: Table, index: Index | None, at: bytes, units: float, *, throttled: bool = False) -> None:
    """Count a request, if its table or index wants it. at: an item's key, or what a partition's keys begin with."""
    mode = found.record.insights.get("" if index is None else index.record.name)
    if mode is None or not at or not units or not (throttled or mode.counts_access):
        return
    space: KeySpace = found if index is None else index
    slot = (found.id, 0 if index is None else index.record.id, throttled)
    node.own(Contributors).add(slot, at[len(space.prefix) :], units)


async def flush(node: Node) -> None:
    """Write what has been counted since the last time, and forget what is too old."""
    own, now = node.own(Contributors), node.clock.now()
    taken, own.minutes = own.minutes, {}
    for slot, minute in taken.items():
        key = keys.contributors(int(now) // MINUTE_S, *slot, node.id)
        kept = Minute(minute.total, dict(_largest(minute.keys, MOST_KEYS)))
        await node.store.transact(partial(_write, key=key, kept=kept))
    while await node.store.transact(partial(_trim, minute=int(now - KEPT_S) // MINUTE_S)):
        pass


def _write(txn: Transaction, key: bytes, kept: Minute) -> None:
    stored = txn.get(key)
    if stored is not None:  # the clock was asked twice within a minute
        kept = _merged([_decode(stored), kept])
    txn.set(key, _encode(kept))


def _trim(txn: Transaction, minute: int) -> bool:
    begin, end = keys.contributors_before(minute)
    old = [key for key, _ in txn.scan(begin, end, _TRIMMED_AT_ONCE)]
    if old:
        txn.clear(begin, old[-1] + b"\0")
    return len(old) == _TRIMMED_AT_ONCE


def _merged(minutes: list[Minute]) -> Minute:
    found = Minute(keys={})
    for minute in minutes:
        found.total += minute.total
        for place, units in minute.keys.items():
            found.keys[place] = found.keys.get(place, 0.0) + units
    return found


def read(txn: Transaction, slot: Slot, begin: float, end: float) -> Minute:
    """What is stored of the minutes that touch the time from `begin` to `end`."""
    found = []
    for minute in range(int(begin) // MINUTE_S, int(end) // MINUTE_S + 1):
        found += [_decode(stored) for _, stored in txn.scan(*keys.contributors_of(minute, *slot))]
    return _merged(found)


def top(space: KeySpace, minute: Minute, *, whole_keys: bool, most: int) -> tuple[list[dict[str, Any]], int]:
    """The contributors with the most units, as CloudWatch reports them, and how many different ones were seen.

    whole_keys: by partition and sort key, else by partition key.
    """
    by_values: dict[tuple[str, ...], float] = {}
    for place, units in minute.keys.items():
        values = keys.values_of(place, space.hash_types, space.range_types)
        if not whole_keys:
            values = values[: len(space.hash_types)]
        elif len(values) == len(space.hash_types):
            continue
        by_values[values] = by_values.get(values, 0.0) + units
    ordered = sorted(by_values.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
    return [{"Keys": list(values), "ApproximateAggregateValue": units} for values, units in ordered], len(by_values)
