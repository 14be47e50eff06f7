"""How an item lies in the store: a header, then its JSON as it goes over the wire.

header: 1 byte of flags, 1 if the JSON is at `keys.large` and does not follow, 2 if it is encrypted under the table's key (see
`table_keys`); 3 bytes of the item's size by AWS's formula,
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
_SEALED = 2

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(dict[str, dict]).decode  # type: ignore[type-arg]


def inline(body: bytes, size: int, *, sealed: bool = False) -> bytes:
    """A stored item with its JSON, or (sealed) with what that was encrypted to."""
    return (_SEALED << 24 | size if sealed else size).to_bytes(4, "big") + body


def large_header(size: int, *, sealed: bool = False) -> bytes:
    """A stored item whose JSON, or what that was encrypted to, is at `keys.large`."""
    return ((_LARGE | _SEALED if sealed else _LARGE) << 24 | size).to_bytes(4, "big")


def is_large(stored: bytes) -> bool:
    """Whether the JSON is at `keys.large`."""
    return bool(stored[0] & _LARGE)


def is_sealed(stored: bytes) -> bool:
    """Whether the JSON is encrypted."""
    return bool(stored[0] & _SEALED)


def size_of(stored: bytes) -> int:
    """The item's size in bytes by AWS's formula."""
    return int.from_bytes(stored[1:4], "big")


def body_of(txn: Transaction, space: KeySpace, key: bytes, stored: bytes) -> bytes:
    """The JSON of an item of a table, or of an entry of an index."""
    flags = stored[0]
    if not flags:
        return stored[HEADER_BYTES:]
    body = _large_body(txn, space, key) if flags & _LARGE else stored[HEADER_BYTES:]
    return _open(space, key, body) if flags & _SEALED else body


def _large_body(txn: Transaction, space: KeySpace, key: bytes) -> bytes:
    body = get_large(txn, space.large_key(key))
    if body is None:
        raise StoreError(f"the large item at {key!r} has no body")
    return body


def _open(space: KeySpace, key: bytes, body: bytes) -> bytes:
    if space.lock is None:
        raise StoreError(f"the item at {key!r} is encrypted, and its table has no key")
    return space.lock.open(body, key)


def whole(txn: Transaction, space: KeySpace, key: bytes, stored: bytes) -> bytes:
    """What is stored of an item as one value, encrypted if it is: what `inline` would have made of it."""
    if not is_large(stored):
        return stored
    return inline(_large_body(txn, space, key), size_of(stored), sealed=is_sealed(stored))


def opened(space: KeySpace, key: bytes, kept: bytes) -> bytes:
    """The same with its JSON as it is; key: the item's, which what was encrypted is bound to. Raises Locked."""
    return kept if not kept[0] else inline(_open(space, key, kept[HEADER_BYTES:]), size_of(kept))


def item_of(txn: Transaction, space: KeySpace, key: bytes, stored: bytes | None) -> Item:
    """The item; an empty one where nothing is stored."""
    return {} if stored is None else decode(body_of(txn, space, key, stored))
