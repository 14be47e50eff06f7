"""Values larger than one value may be (`Limits.value_bytes`), cut into chunks that are kept out of the way of scans.

At the key itself is one byte of tag, then the whole value (tag 0) or its size (tag 1), whose chunks are at
("chunks", key, number). So a scan over such keys sees one pair a value, and `expand` makes the value of it.
"""

from __future__ import annotations

from penstock.store.api import LIMITS, StoreError, Transaction
from penstock.store.tuples import pack, range_of

CHUNK_BYTES = LIMITS.value_bytes - 4096
INLINE = b"\0"
"""What stands before a value of up to `CHUNK_BYTES` that nothing was written at before: as good as `set_large`, and quicker."""
_WHOLE = 0
_CUT = 1


def set_large(txn: Transaction, key: bytes, value: bytes) -> None:
    """Write `value`, of any size that fits the transaction (`Limits.transaction_bytes`), at `key`."""
    clear_large(txn, key)
    if len(value) <= CHUNK_BYTES:
        txn.set(key, b"\0" + value)
        return
    txn.set(key, b"\x01" + len(value).to_bytes(8, "big"))
    for number, at in enumerate(range(0, len(value), CHUNK_BYTES)):
        txn.set(pack(("chunks", key, number)), value[at : at + CHUNK_BYTES])


def get_large(txn: Transaction, key: bytes) -> bytes | None:
    """The value that `set_large` wrote at `key`, or None."""
    head = txn.get(key)
    return None if head is None else expand(txn, key, head)


def expand(txn: Transaction, key: bytes, head: bytes) -> bytes:
    """The value whose pair (key, head) a scan has met. Raises StoreError if chunks are missing."""
    if head[0] == _WHOLE:
        return head[1:]
    size_bytes = int.from_bytes(head[1:], "big")
    value = b"".join(chunk for _, chunk in txn.scan(*range_of(("chunks", key))))
    if head[0] != _CUT or len(value) != size_bytes:
        raise StoreError(f"the large value at {key!r} is not whole")
    return value


def clear_large(txn: Transaction, key: bytes) -> None:
    """Remove what `set_large` wrote at `key`, if anything."""
    head = txn.get(key)
    if head is None:
        return
    txn.clear(key)
    if head[0] == _CUT:
        txn.clear(*range_of(("chunks", key)))


def clear_large_range(txn: Transaction, begin: bytes, end: bytes) -> None:
    """Remove all large values with begin <= key < end, and their chunks."""
    txn.clear(begin, end)
    txn.clear(pack(("chunks", begin)), pack(("chunks", end)))
