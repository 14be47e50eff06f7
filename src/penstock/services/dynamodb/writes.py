"""Writing an item: its record, its counters, and its entries in every index, in one transaction."""

from __future__ import annotations

from typing import Any, NamedTuple

from penstock.core.node import Node
from penstock.services.dynamodb import capacity, changes, expirations, keys, records, versions
from penstock.services.dynamodb.attributes import Item, check_item
from penstock.services.dynamodb.errors import collection_full
from penstock.services.dynamodb.history import Moments, note
from penstock.services.dynamodb.index import Index
from penstock.services.dynamodb.key_space import KeySpace
from penstock.services.dynamodb.table import Table
from penstock.store.api import LIMITS, Transaction
from penstock.store.chunked import clear_large, set_large

_INLINE_BYTES = LIMITS.value_bytes - records.HEADER_BYTES


class IndexUnits(NamedTuple):
    """Write units that an index took."""

    owner: Index
    units: float


NO_UNITS: list[IndexUnits] = []


def save(
    txn: Transaction, table: Table, key: bytes, old: bytes | None, item: Item, body: bytes, size: int, node: Node,
    version: bytes = b"", *, checked: bool = False,
) -> list[IndexUnits]:  # fmt: skip
    """Write an item of `size` bytes, whose JSON is `body`, over `old` (as stored). Returns what its indexes took.

    version: of an item that comes from another replica of a global table, where it was checked. checked: of one that was an
    item before: either may have attributes from before an index, which then has no entry of it.
    Raises ValidationException where an attribute cannot be an index's key, ItemCollectionSizeLimitExceededException.
    """
    used = NO_UNITS
    if table.keeps_history:
        note(txn, table, key, old, node.own(Moments).of(txn))
    if table.shard is not None:
        changes.saved(txn, table, key, old, item, body, size, node.clock.now())
    if table.expires:
        expirations.saved(txn, table, key, old, item)
    if table.unreplicated is not None:
        versions.note(txn, table, key, node.own(Moments).of(txn), gone=False, version=version)
    if table.indexes or table.vectors:
        new = not (version or checked)
        if new:
            table.check_indexes(item)
        old_item = None if old is None else records.item_of(txn, table, key, old)
        most_bytes = node.settings.item_collection_bytes if new else 0
        used = _index(txn, table, key, old_item, 0 if old is None else records.size_of(old), item, size, most_bytes)
        for vectors in table.vectors:
            vectors.keep(txn, key[len(table.prefix) :], old_item, item, checked=new)
    store(txn, table, key, old, body, size)
    if old is None:
        txn.add(table.counted, 1)
        txn.add(table.sized, size)
    elif (grown := size - records.size_of(old)) != 0:
        txn.add(table.sized, grown)
    return used


def store(txn: Transaction, space: KeySpace, key: bytes, old: bytes | None, body: bytes, size: int) -> None:
    """Write an item, or an entry, over `old`: encrypted where the table is. Raises Locked."""
    sealed = space.lock is not None
    if space.lock is not None:
        body = space.lock.seal(body, key)
    if len(body) <= _INLINE_BYTES:
        if old is not None and records.is_large(old):
            clear_large(txn, space.large_key(key))
        txn.set(key, records.inline(body, size, sealed=sealed))
    else:
        set_large(txn, space.large_key(key), body)
        txn.set(key, records.large_header(size, sealed=sealed))


def remove(
    txn: Transaction, table: Table, key: bytes, old: bytes, node: Node, *, expired: bool = False, version: bytes = b""
) -> list[IndexUnits]:
    """Remove the item stored as `old`. Returns what its indexes took.

    expired: by its time to live, which streams tell. version: see `save`.
    """
    used = NO_UNITS
    if table.keeps_history:
        note(txn, table, key, old, node.own(Moments).of(txn))
    if table.shard is not None:
        changes.removed(txn, table, key, old, node.clock.now(), expired=expired)
    if table.expires:
        expirations.saved(txn, table, key, old, None)
    if table.unreplicated is not None:
        versions.note(txn, table, key, node.own(Moments).of(txn), gone=True, version=version)
    if table.indexes or table.vectors:
        old_item = records.item_of(txn, table, key, old)
        used = _index(txn, table, key, old_item, records.size_of(old), None, 0)
        for vectors in table.vectors:
            vectors.keep(txn, key[len(table.prefix) :], old_item, None, checked=True)
    if records.is_large(old):
        clear_large(txn, table.large_key(key))
    txn.clear(key)
    txn.add(table.counted, -1)
    txn.add(table.sized, -records.size_of(old))
    return used


def _index(
    txn: Transaction, table: Table, key: bytes, old: Item | None, old_size: int, new: Item | None, new_size: int,
    most_bytes: int = 0,
) -> list[IndexUnits]:  # fmt: skip
    """Keep the entries of all indexes. most_bytes: of an item collection; 0: no matter.

    Raises ItemCollectionSizeLimitExceededException for a collection that would grow beyond it.
    """
    suffix = table.suffix_of(key)
    place = key[len(table.prefix) :]
    used = []
    grown = new_size - old_size
    for index in table.indexes:
        before = None if old is None else index.entry_key(old, suffix)
        if before is not None and index.record.backfilling and txn.get(before) is None:
            before = None  # not filled in yet
        after = None if new is None else index.entry_key(new, suffix)
        if before is None and after is None:
            continue
        old_entry, old_bytes = _entry(index, old, old_size, before)
        new_entry, new_bytes = _entry(index, new, new_size, after)
        if before == after and old_entry == new_entry:
            continue
        if before is not None and before != after:
            _clear_entry(txn, index, before)
        if after is not None and new_entry is not None and not (index.projects_all and before == after):
            _set_entry(txn, index, after, new_entry, new_bytes, place)
        if (count := (after is not None) - (before is not None)) != 0:
            txn.add(index.counted, count)
        if new_bytes != old_bytes:
            txn.add(index.sized, new_bytes - old_bytes)
        if not index.record.is_global:
            grown += new_bytes - old_bytes
        used.append(IndexUnits(index, _units(before, after, old_bytes, new_bytes)))
    if table.has_local and grown:
        item = new if new is not None else old
        assert item is not None
        counter = keys.collection(table.id, table.partition_of(item[table.hash_name]))
        if most_bytes and grown > 0 and _counted(txn, counter) + grown > most_bytes:
            raise collection_full()
        txn.add(counter, grown)
    return used


def _counted(txn: Transaction, counter: bytes) -> int:
    return int.from_bytes(txn.get(counter) or b"", "little", signed=True)


def _clear_entry(txn: Transaction, index: Index, key: bytes) -> None:
    if not index.projects_all:
        stored = txn.get(key)
        if stored is not None and records.is_large(stored):
            clear_large(txn, index.large_key(key))
    txn.clear(key)


def _set_entry(txn: Transaction, index: Index, key: bytes, entry: Item, size: int, place: bytes) -> None:
    if index.projects_all:
        txn.set(key, place)
    else:
        store(txn, index, key, txn.get(key), records.encode(entry), size)


def _entry(index: Index, item: Item | None, size: int, key: bytes | None) -> tuple[Item | None, int]:
    """The attributes of an entry and their size."""
    if item is None or key is None:
        return None, 0
    if index.projects_all:
        return item, size
    entry = index.entry_of(item)
    return entry, check_item(entry)


def _units(before: bytes | None, after: bytes | None, old_bytes: int, new_bytes: int) -> float:
    """A changed entry is one write, one that moves is two: a removal and a new one."""
    if before is None or after is None or before == after:
        return capacity.write_units(old_bytes, new_bytes)
    return capacity.write_units(old_bytes) + capacity.write_units(new_bytes)


def collection_metrics(txn: Transaction, table: Table, item: Item) -> dict[str, Any] | None:
    """The ItemCollectionMetrics of the item's partition; None for a table without local indexes."""
    if not table.has_local:
        return None
    value = item[table.hash_name]
    gigabytes = _counted(txn, keys.collection(table.id, table.partition_of(value))) >> 30
    return {"ItemCollectionKey": {table.hash_name: value}, "SizeEstimateRangeGB": [float(gigabytes), gigabytes + 1.0]}


def add_entry(txn: Transaction, table: Table, index: Index, key: bytes, stored: bytes) -> None:
    """Put an item that is there into an index that is being filled; does nothing if it has an entry already."""
    item = records.item_of(txn, table, key, stored)
    entry_key = index.entry_key(item, table.suffix_of(key))
    if entry_key is None or txn.get(entry_key) is not None:
        return
    entry, size = _entry(index, item, records.size_of(stored), entry_key)
    assert entry is not None
    _set_entry(txn, index, entry_key, entry, size, key[len(table.prefix) :])
    txn.add(index.counted, 1)
    txn.add(index.sized, size)
