"""Inside a transaction: putting an object in place of another, taking one away, and all that hangs on its record."""

from __future__ import annotations

import msgspec

from penstock.blobs.api import Blobs
from penstock.core.call import Call
from penstock.services.s3 import keys
from penstock.services.s3.records import (
    Extents,
    ObjectRecord,
    PartShape,
    Segment,
    decode_extents,
    decode_object,
    encode,
)
from penstock.services.s3.rules import check_key
from penstock.store.api import Transaction
from penstock.store.chunked import clear_large, get_large, set_large

NEAR = 64
"""Up to so many segments and parts stay in the object's own record."""


def current(txn: Transaction, name: str, key: str) -> ObjectRecord | None:
    """The object there is now, or None. Raises AwsError KeyTooLongError."""
    check_key(key)
    raw = txn.get(keys.record(name, key))
    return None if raw is None else decode_object(raw)


def extents(txn: Transaction, name: str, key: str, record: ObjectRecord) -> tuple[list[Segment], list[PartShape]]:
    """Where the object's bytes are, and its parts."""
    if not record.far:
        return record.segments, record.parts
    found = decode_extents(get_large(txn, keys.extents(name, key)) or b"")
    return found.segments, found.parts


def next_sequencer(call: Call, old: ObjectRecord | None) -> int:
    """Larger than the one of the key's last write: microseconds, or one more where the clock has not moved."""
    now = int(call.node.clock.now() * 1e6)
    return now if old is None else max(now, old.sequencer + 1)


def replace(
    txn: Transaction,
    call: Call,
    name: str,
    key: str,
    old: ObjectRecord | None,
    new: ObjectRecord,
    inline: bytes | None,
    *,
    adopted: bool = False,
) -> None:
    """Make `new` the object. inline: its body, where it is kept in the store.

    adopted: the new record takes its blobs over from another one (uploaded parts), so that they are not counted again.
    Sets the record's sequencer. Raises BlobMissing where a blob was swept meanwhile.
    """
    new.sequencer = next_sequencer(call, old)
    if not adopted:
        for segment in new.segments:
            call.blobs.adopt(txn, segment[0])
    if old is not None:
        _release(txn, call.blobs, name, key, old, keep_body=inline is not None)
    if len(new.segments) > NEAR or len(new.parts) > NEAR:
        set_large(txn, keys.extents(name, key), encode(Extents(new.segments, new.parts)))
        txn.set(keys.record(name, key), encode(msgspec.structs.replace(new, segments=[], parts=[], far=True)))
    else:
        txn.set(keys.record(name, key), encode(new))
    if inline is not None:
        txn.set(keys.body(name, key), inline)


def remove(txn: Transaction, call: Call, name: str, key: str, old: ObjectRecord) -> None:
    """Take the object away."""
    _release(txn, call.blobs, name, key, old, keep_body=False)
    txn.clear(keys.record(name, key))


def _release(txn: Transaction, blobs: Blobs, name: str, key: str, old: ObjectRecord, *, keep_body: bool) -> None:
    if old.far or old.segments:
        for segment in extents(txn, name, key, old)[0]:
            blobs.release(txn, segment[0])
        if old.far:
            clear_large(txn, keys.extents(name, key))
    elif not keep_body:
        txn.clear(keys.body(name, key))
