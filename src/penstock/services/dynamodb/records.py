"""How an item lies in the store: a header, then its JSON as it goes over the wire.

header: 1 byte, 0 if the JSON follows, 1 if it is at `keys.large`; 3 bytes of the item's size by AWS's formula,
big-endian. So reads splice stored bytes into the reply, and capacity and pages are measured without decoding.
"""

from __future__ import annotations

import msgspec

from penstock.services.dynamodb import keys
from penstock.services.dynamodb.attributes import Item
from penstock.services.dynamodb.table import Table
from penstock.store.api import LIMITS, StoreError, Transaction
from penstock.store.chunked import clear_large, get_large, set_large

HEADER_BYTES = 4
_INLINE_BYTES = LIMITS.value_bytes - HEADER_BYTES
_LARGE = 1

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(dict[str, dict]).decode  # type: ignore[type-arg]


def size_of(stored: bytes) -> int:
    """The item's size in bytes by AWS's formula."""
    return int.from_bytes(stored[1:4], "big")


def body_of(txn: Transaction, table: Table, key: bytes, stored: bytes) -> bytes:
    """The item's JSON."""
    if stored[0] != _LARGE:
        return stored[HEADER_BYTES:]
    body = get_large(txn, keys.large(table.id, key))
    if body is None:
        raise StoreError(f"the large item at {key!r} has no body")
    return body


def item_of(txn: Transaction, table: Table, key: bytes, stored: bytes | None) -> Item:
    """The item; an empty one where nothing is stored."""
    return {} if stored is None else decode(body_of(txn, table, key, stored))


def save(txn: Transaction, table: Table, key: bytes, old: bytes | None, body: bytes, size: int) -> None:
    """Write an item of `size` bytes over `old` (as stored), and count the difference."""
    if len(body) <= _INLINE_BYTES:
        if old is not None and old[0] == _LARGE:
            clear_large(txn, keys.large(table.id, key))
        txn.set(key, size.to_bytes(4, "big") + body)
    else:
        set_large(txn, keys.large(table.id, key), body)
        txn.set(key, (_LARGE << 24 | size).to_bytes(4, "big"))
    if old is None:
        txn.add(keys.item_count(table.id), 1)
        txn.add(keys.item_bytes(table.id), size)
    elif (grown := size - size_of(old)) != 0:
        txn.add(keys.item_bytes(table.id), grown)


def remove(txn: Transaction, table: Table, key: bytes, old: bytes) -> None:
    """Remove the item stored as `old`, and count it."""
    if old[0] == _LARGE:
        clear_large(txn, keys.large(table.id, key))
    txn.clear(key)
    txn.add(keys.item_count(table.id), -1)
    txn.add(keys.item_bytes(table.id), -size_of(old))
