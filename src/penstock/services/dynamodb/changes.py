"""What a table's stream keeps of a change: written to the open shard's log in the item's own transaction.

Source: "Change data capture for DynamoDB Streams" of the developer guide: a write that changes nothing makes no record,
and of an item's records the order is that of its changes. Here that holds for the whole table.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from penstock.services.dynamodb import records
from penstock.services.dynamodb.attributes import Item, check_item
from penstock.services.dynamodb.table import Table
from penstock.services.dynamodb.table_keys import TableLock
from penstock.store.api import Transaction

INSERT, MODIFY, REMOVE = range(3)
EVENT_NAMES = ("INSERT", "MODIFY", "REMOVE")
_NEW = frozenset(("NEW_IMAGE", "NEW_AND_OLD_IMAGES"))
_OLD = frozenset(("OLD_IMAGE", "NEW_AND_OLD_IMAGES"))
_SETS = frozenset(("SS", "NS", "BS"))


class Change(msgspec.Struct, array_like=True):
    """A record of a shard's log. keys, new, old: JSON in wire form, empty where the view leaves an image out."""

    event: int
    at: float
    size_bytes: int
    keys: bytes
    new: bytes = b""
    old: bytes = b""
    expired: bool = False
    """Whether the item's time to live took it away, and not a caller."""
    sealed: bool = False
    """Whether keys, new and old are encrypted under the table's key."""


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Change).decode


def unseal(change: Change, lock: TableLock | None, table_id: str) -> None:
    """Make an encrypted change's keys and images readable. Raises Locked."""
    assert lock is not None, "a change is encrypted only where there is a key"
    owner = uuid.UUID(table_id).bytes
    change.keys, change.new, change.old = (
        lock.open(each, owner) if each else each for each in (change.keys, change.new, change.old)
    )


def saved(
    txn: Transaction, table: Table, key: bytes, old: bytes | None, item: Item, body: bytes, size: int, now: float
) -> None:
    """Tell the stream that `item` (its JSON: `body`, its size: `size`) is about to be stored over `old`."""
    old_body = b""
    if old is not None:
        old_body = records.body_of(txn, table, key, old)
        if size == records.size_of(old) and (old_body == body or _same(records.decode(old_body), item)):
            return
    view = table.record.stream_view
    given = table.key_attributes(item)
    change = Change(MODIFY if old is not None else INSERT, now, check_item(given), records.encode(given))
    if view in _NEW:
        change.new = body
        change.size_bytes += size
    if old is not None and view in _OLD:
        change.old = old_body
        change.size_bytes += records.size_of(old)
    _append(txn, table, change)


def removed(txn: Transaction, table: Table, key: bytes, old: bytes, now: float, *, expired: bool = False) -> None:
    """Tell the stream that the item stored as `old` is about to go."""
    old_body = records.body_of(txn, table, key, old)
    given = table.key_attributes(records.decode(old_body))
    change = Change(REMOVE, now, check_item(given), records.encode(given), expired=expired)
    if table.record.stream_view in _OLD:
        change.old = old_body
        change.size_bytes += records.size_of(old)
    _append(txn, table, change)


def _append(txn: Transaction, table: Table, change: Change) -> None:
    assert table.shard is not None
    if table.lock is not None:
        change.keys, change.new, change.old = (
            table.lock.seal(each, table.id) if each else each for each in (change.keys, change.new, change.old)
        )
        change.sealed = True
    table.shard.append(txn, (_encode(change),))


def _same(a: Any, b: Any) -> bool:
    """Whether two items, or parts of them, are the same to DynamoDB, to which a set has no order."""
    if a == b:
        return True
    if type(a) is dict and type(b) is dict and a.keys() == b.keys():
        return all(
            sorted(value) == sorted(b[name]) if name in _SETS and _texts(value, b[name]) else _same(value, b[name])
            for name, value in a.items()
        )
    if type(a) is list and type(b) is list and len(a) == len(b):
        return all(map(_same, a, b))
    return False


def _texts(a: Any, b: Any) -> bool:
    """Whether both are lists of strings: an attribute, too, may be called SS."""
    return type(a) is list and type(b) is list and all(type(each) is str for each in (*a, *b))
