"""When and where an item of a global table was last written, which decides between two writes: the later one wins.

Of a table with replicas each write notes the item's version, and its place in the table's log of what the other replicas
have not been told; `replication` tells them. A deleted item keeps its version (a tombstone) for as long as an older write
may still be on its way.
Source: "How DynamoDB global tables work" of the developer guide, on multi-Region eventual consistency.
"""

from __future__ import annotations

from penstock.services.dynamodb import keys
from penstock.services.dynamodb.table import Table
from penstock.store.api import Transaction

UNKNOWN = bytes(keys.MOMENT_BYTES)
"""The version of an item from before its table was global: older than any other."""
_TOMBSTONES_AT_ONCE = 500


def note(txn: Transaction, written: Table, key: bytes, now_us: int, *, gone: bool, version: bytes) -> None:
    """Note a write, or the removal (`gone`) of an item, of a table with replicas.

    version: the one that a replicated write brings along, which is not told again; empty for a write of this region,
    which counts as later than whatever it replaces, even if that came from a region whose clock is ahead.
    """
    place = key[len(written.prefix) :]
    where = keys.version(written.id) + place
    if not version:
        assert written.unreplicated is not None
        known = txn.get(where)
        if known is not None:
            now_us = max(now_us, int.from_bytes(known[: keys.MOMENT_BYTES], "big") + 1)
        version = keys.moment(now_us) + written.region.encode()
        written.unreplicated.append(txn, (place,))
        txn.add(keys.REPLICATIONS, 1)
    txn.set(where, version)
    if gone:
        txn.set(keys.tombstones(written.id) + version[: keys.MOMENT_BYTES] + place, b"")


def of(txn: Transaction, table: Table, place: bytes) -> bytes | None:
    """The version of what is, or was, at a place; None where nobody has written since the table became global."""
    return txn.get(keys.version(table.id) + place)


def forget_tombstones(txn: Transaction, table: Table, before_us: int) -> bool:
    """Forget the versions of items deleted before that time, some at a time. Returns whether there may be more."""
    prefix = keys.tombstones(table.id)
    old = [key for key, _ in txn.scan(prefix, prefix + keys.moment(max(before_us, 0)), _TOMBSTONES_AT_ONCE)]
    for key in old:
        place = key[len(prefix) + keys.MOMENT_BYTES :]
        if txn.get(table.prefix + place) is None:
            version = of(txn, table, place)
            if version is not None and version < keys.moment(max(before_us, 0)):
                txn.clear(keys.version(table.id) + place)
        txn.clear(key)
    return len(old) == _TOMBSTONES_AT_ONCE


def forget(txn: Transaction, table_id: bytes) -> None:
    """Forget all that is kept of a table for its replicas: there are none any more, or the table is deleted."""
    for begin, end in keys.of_replicas(table_id):
        txn.clear(begin, end)
