"""When items expire: an index of a table's items in order of their time to live, kept in the item's own transaction.

Only items that can expire are in it: AWS takes a Number of whole seconds since the epoch, not more than five years ago,
and leaves all others alone. Source: "Using time to live (TTL) in DynamoDB" of the developer guide.
"""

from __future__ import annotations

import uuid
from decimal import Decimal, InvalidOperation

import msgspec

from penstock.services.dynamodb import keys, records
from penstock.services.dynamodb.attributes import Item
from penstock.services.dynamodb.table import Table, changed
from penstock.services.dynamodb.table_records import TableRecord
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end

TOO_OLD_S = 5 * 365 * 86400
"""An item whose time is longer ago than this never expires."""
_MOST = (1 << 63) - 1


def due_at(item: Item, attribute: str) -> int | None:
    """When the item expires, in seconds since the epoch; None if never."""
    raw = item.get(attribute, {}).get("N")
    if raw is None:
        return None
    try:
        seconds = int(Decimal(raw))
    except InvalidOperation:
        return None
    return seconds if 0 < seconds <= _MOST else None


def saved(txn: Transaction, table: Table, key: bytes, old: bytes | None, item: Item | None) -> None:
    """Bring the index up to date before the item stored as `old` is replaced by `item` (None: removed)."""
    attribute = table.record.ttl_attribute
    before = None if old is None else due_at(records.item_of(txn, table, key, old), attribute)
    after = None if item is None else due_at(item, attribute)
    if before == after:
        return
    prefix, place = keys.expirations(table.id), key[len(table.prefix) :]
    if before is not None:
        txn.clear(prefix + keys.second(before) + place)
    if after is not None:
        txn.set(prefix + keys.second(after) + place, b"")


def add(txn: Transaction, table: Table, key: bytes, stored: bytes) -> None:
    """Put an item that is there into the index; does no harm if it is there already."""
    at = due_at(records.item_of(txn, table, key, stored), table.record.ttl_attribute)
    if at is not None:
        txn.set(keys.expirations(table.id) + keys.second(at) + key[len(table.prefix) :], b"")


def due(txn: Transaction, table: Table, now: float, most: int) -> list[tuple[bytes, int, bytes]]:
    """(key in the index, time, key of the item) of the first that are due."""
    prefix = keys.expirations(table.id)
    found = txn.scan(prefix, prefix + keys.second(int(now) + 1), most)
    cut = len(prefix) + keys.SECOND_BYTES
    return [(key, int.from_bytes(key[len(prefix) : cut], "big"), table.prefix + key[cut:]) for key, _ in found]


class Expiring(msgspec.Struct, omit_defaults=True):
    """What is stored of a table with a time to live. after: the last item whose time has been noted."""

    table_id: str
    filled: bool = False
    after: bytes = b""


encode = msgspec.json.Encoder().encode


def switch(txn: Transaction, record_key: bytes, record: TableRecord, attribute: str) -> TableRecord:
    """Have a table's items expire by an attribute, or not at all ("" for none). The caller saves what is returned."""
    if attribute:
        txn.set(keys.expiring(record_key), encode(Expiring(record.id)))
    else:
        forget(txn, record_key, uuid.UUID(record.id).bytes)
    return changed(record, ttl_attribute=attribute)


def forget(txn: Transaction, record_key: bytes, table_id: bytes) -> None:
    """Remove a table's index, and what says that it has one."""
    prefix = keys.expirations(table_id)
    txn.clear(prefix, prefix_end(prefix))
    txn.clear(keys.expiring(record_key))
