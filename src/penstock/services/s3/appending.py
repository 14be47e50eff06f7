"""Directory buckets: adding bytes at an object's end (x-amz-write-offset-bytes)."""

from __future__ import annotations

from penstock.blobs.checksums import COMBINABLE, combine, decode, encode
from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.services.s3 import checksums, conditions, reading, writing
from penstock.services.s3.access import may, require_bucket
from penstock.services.s3.bodies import receive
from penstock.services.s3.encryption import headers as encryption_headers
from penstock.services.s3.encryption import opening
from penstock.services.s3.records import ObjectRecord
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented

MOST_APPENDS = 10_000


async def append(call: Call, params: Params) -> Result | None:
    """Add the body at the object's end; None where there is no object yet and the offset is 0, for a plain write.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-buckets-objects-append.html. Raises AwsError
    InvalidWriteOffset, InvalidRequest, TooManyParts.
    """
    wanted = {"Bucket": params["Bucket"], "Key": params["Key"]}
    offset = int(params["WriteOffsetBytes"])
    as_reader = await may(call, "GetObject", wanted)
    try:
        found = await reading.find_object(as_reader, wanted)
    except AwsError as error:
        if error.code == "NoSuchKey" and offset == 0:
            return None
        raise
    old = found.record
    if offset != old.size:
        raise AwsError(
            "InvalidWriteOffset",
            "The write offset value that you specified does not match the current object size.",
            400,
        )
    if len(found.segments) >= MOST_APPENDS:
        why = "You have attempted to add more parts than the maximum of 10000 that are allowed."
        raise AwsError("TooManyParts", why, 400)
    if old.encryption is None:
        raise not_implemented("appending to an object that was stored before there was encryption")
    if old.size and old.checksum not in COMBINABLE:
        raise AwsError("InvalidRequest", "Objects with a SHA checksum cannot be appended to.", 400)
    under = await opening.data_key(as_reader, wanted, old.encryption)
    first, kept = None, list(found.segments)
    if found.inline is not None:  # what was kept in the store becomes a blob
        before = await reading.bytes_of(as_reader, wanted, found, 0, old.size)
        assert isinstance(before, bytes)
        if before:
            first = await receive(call, {**wanted, "Body": before}, under, old.checksum, inline_bytes=0)
            kept = first.segments
    received = await receive(call, params, under, old.checksum, inline_bytes=0)
    if old.size and received.algorithm != old.checksum:
        await received.discard()
        raise AwsError("InvalidRequest", f"The object's checksum algorithm is {old.checksum}.", 400)
    whole = decode(received.algorithm, received.checksum) or b""
    if old.size:
        before_it = decode(old.checksum, old.checksum_value) or b""
        whole = combine(old.checksum, [(before_it, old.size), (whole, received.size)])
    record = ObjectRecord(
        under.etag(received.md5), old.size + received.size, int(call.now * 1000), received.algorithm,
        checksums.FULL_OBJECT, old.storage_class, encode(whole), headers=old.headers, metadata=old.metadata,
        encryption=old.encryption, segments=[*kept, *received.segments],
    )  # fmt: skip

    def commit(txn: Transaction) -> bool:
        bucket = require_bucket(txn, call, params)
        now = writing.current(txn, wanted["Bucket"], wanted["Key"])
        if now is None or now.sequencer != old.sequencer:
            return False
        conditions.check_write(params, now)
        writing.replace(txn, call, bucket, wanted["Bucket"], wanted["Key"], now, record, None)
        return True

    if not await received.commit(call, commit):
        await received.discard()
        if first is not None:
            await first.discard()
        raise AwsError("OperationAborted", "The object was written to at the same time. Please try again.", 409)
    result: Result = {"ETag": f'"{record.etag}"', "Size": record.size}
    encryption_headers.tell(result, record.encryption)
    checksums.tell(result, record.checksum, record.checksum_value, record.checksum_type)
    return result
