"""How an item lies in the store: a header, then its JSON as it goes over the wire.

header: 1 byte, 0 if the JSON follows, 1 if it is at `keys.large`; 3 bytes of the item's size by AWS's formula,
big-endian. So reads splice stored bytes into the reply, and capacity and pages are measured without decoding.
"""

from __future__ import annotations

import msgspec

from penstock.services.dynamodb.attributes import Item
from penstock.services.dynamodb.key_space import KeySpace
from penstock.store.api import StoreError, Transaction
from penstock.store.chunked import get_large

HEADER_BYTES = 4
_LARGE = 1

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(dict[str, dict]).decode  # type: ignore[type-arg]


def inline(body: bytes, size: int) -> bytes:
    """A stored item with its JSON."""
    return size.to_bytes(4, "big") + body


def large_header(size: int) -> bytes:
    """A stored item whose JSON is at `keys.large`."""
    return (_LARGE << 24 | size).to_bytes(4, "big")


def is_large(stored: bytes) -> bool:
    """Whether the JSON is at `keys.large`."""
    return stored[0] == _LARGE


def size_of(stored: bytes) -> int:
    """The item's size in bytes by AWS's formula."""
    return int.from_bytes(stored[1:4], "big")


def body_of(txn: Transaction, space: KeySpace, key: bytes, stored: bytes) -> bytes:
    """The JSON of an item of a table, or of an entry of an index."""
    if stored[0] != _LARGE:
        return stored[HEADER_BYTES:]
    body = get_large(txn, space.large_key(key))
    if body is None:
        raise StoreError(f"the large item at {key!r} has no body")
    return body


def item_of(txn: Transaction, space: KeySpace, key: bytes, stored: bytes | None) -> Item:
    """The item; an empty one where nothing is stored."""
    return {} if stored is None else decode(body_of(txn, space, key, stored))
