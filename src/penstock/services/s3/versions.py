"""Inside a transaction: the versions of an object, what they are called, and which of them is current.

Every write of a versioned bucket makes a version of its own; the one before it steps aside. A delete makes a marker.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from penstock.services.s3 import keys
from penstock.services.s3.records import Bucket, ObjectRecord, decode_object, encode
from penstock.store.api import Transaction
from penstock.store.chunked import clear_large, get_large, set_large
from penstock.wire.errors import AwsError

ENABLED, SUSPENDED = "Enabled", "Suspended"
NULL = "null"
_ID_CHARACTERS = 32


def make_id(order: int) -> str:
    """The id of a key's version with that order: 32 characters that nobody has to keep, and nobody makes up by chance."""
    raw = order.to_bytes(8, "big")
    seal = hashlib.blake2b(raw, digest_size=16, person=b"penstock version").digest()
    return base64.urlsafe_b64encode(raw + seal).decode().replace("-", ".")


def id_of(record: ObjectRecord) -> str:
    return make_id(record.order) if record.versioned else NULL


def told_id(bucket: Bucket, record: ObjectRecord) -> str:
    """The version id that answers tell: "" in a bucket that never was versioned."""
    return id_of(record) if bucket.versioning else ""


def written_id(bucket: Bucket, record: ObjectRecord) -> str:
    """What PutObject and CompleteMultipartUpload tell: "" while versioning is suspended (CopyObject tells "null" then)."""
    return make_id(record.order) if record.versioned and bucket.versioning == ENABLED else ""


def parse_id(version_id: str) -> int:
    """The order behind a version id, 0 for "null". Raises AwsError InvalidArgument for what never was an id."""
    if version_id == NULL:
        return 0
    raw = b""
    if len(version_id) == _ID_CHARACTERS:
        try:
            raw = base64.urlsafe_b64decode(version_id.replace(".", "-"))
        except (binascii.Error, ValueError):
            raw = b""
    order = int.from_bytes(raw[:8], "big")
    if len(raw) != 24 or not 0 < order < 1 << 63 or make_id(order) != version_id:
        raise invalid_id(version_id)
    return order


def invalid_id(version_id: str) -> AwsError:
    return AwsError(
        "InvalidArgument", "Invalid version id specified", 400,
        members={"ArgumentName": "versionId", "ArgumentValue": version_id},
    )  # fmt: skip


def no_such_version(key: str, version_id: str) -> AwsError:
    return AwsError(
        "NoSuchVersion", "The specified version does not exist.", 404, members={"Key": key, "VersionId": version_id}
    )


def version_action(plain: str, versioned: str) -> Any:
    """For `@operation(action_of=...)`: the action that a call needs, which is another one where it names a version."""

    def action(params: Mapping[str, Any]) -> str:
        return versioned if "VersionId" in params else plain

    return action


def locate(txn: Transaction, name: str, key: str, version_id: str) -> tuple[bytes, ObjectRecord] | None:
    """Where that version's record is, and the record (which may be a marker). Raises AwsError InvalidArgument."""
    order = parse_id(version_id)
    at = keys.record(name, key)
    raw = txn.get(at)
    if raw is not None:
        record = decode_object(raw)
        if (record.order == order and record.versioned) if order else not record.versioned:
            return at, record
    if not order:
        pointer = txn.get(keys.null(name, key))
        if pointer is None:
            return None
        order = int.from_bytes(pointer, "big")
    at = keys.version(name, key, order)
    raw = txn.get(at)
    return None if raw is None else (at, decode_object(raw))


def newest_aside(txn: Transaction, name: str, key: str) -> ObjectRecord | None:
    """The newest version that is not at the current place: a marker, where that place is empty."""
    for _, raw in txn.scan(*keys.versions_of(name, key), limit=1):
        return decode_object(raw)
    return None


def step_aside(txn: Transaction, name: str, key: str, record: ObjectRecord) -> None:
    """Make what is current a version among the others. The caller fills or clears the current place."""
    if not record.order:  # it was written without versions: its body moves to where a version's is
        record.order = record.sequencer
        if record.far:
            set_large(
                txn, keys.version_extents(name, key, record.order), get_large(txn, keys.extents(name, key)) or b""
            )
            clear_large(txn, keys.extents(name, key))
        elif not record.segments:
            txn.set(keys.version_body(name, key, record.order), txn.get(keys.body(name, key)) or b"")
            txn.clear(keys.body(name, key))
    put_aside(txn, name, key, record)


def put_aside(txn: Transaction, name: str, key: str, record: ObjectRecord) -> None:
    """Write a version that is not current."""
    txn.set(keys.version(name, key, record.order), encode(record))
    if not record.versioned:
        txn.set(keys.null(name, key), record.order.to_bytes(8, "big"))


def take_aside(txn: Transaction, name: str, key: str, record: ObjectRecord) -> None:
    """Forget the record of a version that is not current; its bytes stay."""
    txn.clear(keys.version(name, key, record.order))
    if not record.versioned:
        txn.clear(keys.null(name, key))


def take_null(txn: Transaction, name: str, key: str) -> ObjectRecord | None:
    """Forget the null version, if it is not the current one, and return it."""
    pointer = txn.get(keys.null(name, key))
    if pointer is None:
        return None
    raw = txn.get(keys.version(name, key, int.from_bytes(pointer, "big")))
    if raw is None:
        return None
    record = decode_object(raw)
    take_aside(txn, name, key, record)
    return record


def promote(txn: Transaction, name: str, key: str) -> None:
    """The current place is empty: the newest version takes it, unless that is a marker."""
    newest = newest_aside(txn, name, key)
    if newest is not None and not newest.marker:
        take_aside(txn, name, key, newest)
        txn.set(keys.record(name, key), encode(newest))
