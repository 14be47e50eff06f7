"""Inside a transaction: putting an object in place of another, taking one away, and all that hangs on its record."""

from __future__ import annotations

import msgspec

from penstock.blobs.api import Blobs
from penstock.core.call import Call
from penstock.services.s3 import keys, versions
from penstock.services.s3.records import (
    Bucket,
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
    found = decode_extents(get_large(txn, _extents_key(name, key, record)) or b"")
    return found.segments, found.parts


def body_key(name: str, key: str, record: ObjectRecord) -> bytes:
    """Where a small body is."""
    return keys.version_body(name, key, record.order) if record.order else keys.body(name, key)


def _extents_key(name: str, key: str, record: ObjectRecord) -> bytes:
    return keys.version_extents(name, key, record.order) if record.order else keys.extents(name, key)


def next_sequencer(call: Call, old: ObjectRecord | None) -> int:
    """Larger than the one of the key's last write: microseconds, or one more where the clock has not moved."""
    now = int(call.node.clock.now() * 1e6)
    return now if old is None else max(now, old.sequencer + 1)


def replace(
    txn: Transaction,
    call: Call,
    bucket: Bucket,
    name: str,
    key: str,
    old: ObjectRecord | None,
    new: ObjectRecord,
    inline: bytes | None,
    *,
    adopted: bool = False,
) -> None:
    """Make `new` the object, a version of its own in a bucket with versions. inline: its body, if kept in the store.

    adopted: the new record takes its blobs over from another one (uploaded parts), so that they are not counted again.
    Sets the record's sequencer. Raises BlobMissing where a blob was swept meanwhile.
    """
    if bucket.versioning:
        new.sequencer = next_sequencer(call, old or versions.newest_aside(txn, name, key))
        old = _make_way(txn, call, bucket, name, key, old)
        if bucket.versioning == versions.ENABLED:
            new.order, new.versioned = new.sequencer, True
    else:
        new.sequencer = next_sequencer(call, old)
    if not adopted:
        for segment in new.segments:
            call.blobs.adopt(txn, segment[0])
    if old is not None and (inline is None or old.segments or old.far or old.order != new.order):
        _release(txn, call.blobs, name, key, old)
    if len(new.segments) > NEAR or len(new.parts) > NEAR:
        set_large(txn, _extents_key(name, key, new), encode(Extents(new.segments, new.parts)))
        txn.set(keys.record(name, key), encode(msgspec.structs.replace(new, segments=[], parts=[], far=True)))
    else:
        txn.set(keys.record(name, key), encode(new))
    if inline is not None:
        txn.set(body_key(name, key, new), inline)


def _make_way(
    txn: Transaction, call: Call, bucket: Bucket, name: str, key: str, old: ObjectRecord | None
) -> ObjectRecord | None:
    """What is current steps aside, if it stays; else it is returned. While versioning is suspended, the null version goes."""
    if old is not None and (old.versioned or bucket.versioning == versions.ENABLED):
        versions.step_aside(txn, name, key, old)
        old = None
    if bucket.versioning == versions.SUSPENDED:
        hidden = versions.take_null(txn, name, key)
        if hidden is not None and not hidden.marker:
            _release(txn, call.blobs, name, key, hidden)
    return old


def remove(txn: Transaction, call: Call, name: str, key: str, old: ObjectRecord) -> None:
    """Take the object away, of a bucket that never had versions."""
    _release(txn, call.blobs, name, key, old)
    txn.clear(keys.record(name, key))


def mark_deleted(
    txn: Transaction, call: Call, bucket: Bucket, name: str, key: str, old: ObjectRecord | None
) -> ObjectRecord:
    """Put a delete marker in front of the object's versions, and return it."""
    sequencer = next_sequencer(call, old or versions.newest_aside(txn, name, key))
    if old is not None:
        gone = _make_way(txn, call, bucket, name, key, old)
        if gone is not None:
            _release(txn, call.blobs, name, key, gone)
        txn.clear(keys.record(name, key))
    else:
        _make_way(txn, call, bucket, name, key, None)
    marker = ObjectRecord(
        "", 0, int(call.now * 1000), sequencer=sequencer, order=sequencer, marker=True,
        versioned=bucket.versioning == versions.ENABLED,
    )  # fmt: skip
    versions.put_aside(txn, name, key, marker)
    return marker


def remove_version(txn: Transaction, call: Call, name: str, key: str, at: bytes, record: ObjectRecord) -> None:
    """Take one version away for good; the newest of the others becomes current if this one was. at: where its record is."""
    if not record.marker:
        _release(txn, call.blobs, name, key, record)
    current_place = keys.record(name, key)
    if at == current_place:
        txn.clear(at)
        versions.promote(txn, name, key)
        return
    versions.take_aside(txn, name, key, record)
    if txn.get(current_place) is None:
        versions.promote(txn, name, key)


def _release(txn: Transaction, blobs: Blobs, name: str, key: str, old: ObjectRecord) -> None:
    if old.far or old.segments:
        for segment in extents(txn, name, key, old)[0]:
            blobs.release(txn, segment[0], held=True)  # see `reading.Found`
        if old.far:
            clear_large(txn, _extents_key(name, key, old))
    else:
        txn.clear(body_key(name, key, old))
