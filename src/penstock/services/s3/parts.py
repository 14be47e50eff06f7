"""Parts of multipart uploads: UploadPart, UploadPartCopy, ListParts."""

from __future__ import annotations

import re
from typing import Any

from penstock.blobs.checksums import CRC64NVME
from penstock.blobs.checksums import encode as encode_checksum
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import checksums, conditions, keys, reading
from penstock.services.s3.access import OBJECT_ARN, load_policy, owner, require_bucket
from penstock.services.s3.bodies import receive
from penstock.services.s3.copying import (
    Source,
    busy,
    digests,
    encrypted_anew,
    find_source,
    may_share,
    tell_versions,
    unchanged,
)
from penstock.services.s3.encryption import headers as encryption_headers
from penstock.services.s3.encryption import opening
from penstock.services.s3.encryption.data_key import DataKey
from penstock.services.s3.listing import page_size
from penstock.services.s3.records import PartRecord, Upload, decode_part, encode
from penstock.services.s3.uploads import initiator, load_policy_of_initiator, require_upload
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end
from penstock.wire.errors import AwsError

MOST_PARTS = 10_000
PART_BYTES = 5 * 1024**3
_COPY_RANGE = re.compile(r"bytes=(\d+)-(\d+)", re.ASCII)
_ATTEMPTS = 5


def check_number(number: int) -> None:
    if not 1 <= number <= MOST_PARTS:
        raise AwsError(
            "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive", 400,
            members={"ArgumentName": "partNumber", "ArgumentValue": str(number)},
        )  # fmt: skip


def part_conditions(_: Call, params: Params) -> dict[str, Any]:
    """Condition keys of an uploaded part."""
    found = {conditions.CREATES: False, **encryption_headers.conditions(params)}
    if "CopySource" in params:
        found["s3:x-amz-copy-source"] = params["CopySource"]
    return found


def etag_of(under: DataKey | None, md5: bytes) -> str:
    """The ETag of bytes under that key."""
    return md5.hex() if under is None else under.etag(md5)


def _find_upload(txn: Transaction, call: Call, params: Params) -> Upload:
    require_bucket(txn, call, params)
    return require_upload(txn, params)


def _begin_part(txn: Transaction, call: Call, params: Params) -> Upload:
    bucket, upload = require_bucket(txn, call, params), require_upload(txn, params)
    if upload.lock is not None or (bucket.object_lock and bucket.retention.mode):
        checksums.require_one(call, params, "Put Part")
    return upload


def _put(txn: Transaction, call: Call, params: Params, part: PartRecord) -> None:
    """Make it the part of that number, in place of an earlier one."""
    _find_upload(txn, call, params)
    key = keys.part(params["UploadId"], params["PartNumber"])
    for segment in part.segments:
        call.blobs.adopt(txn, segment[0])
    old = txn.get(key)
    if old is not None:
        for segment in decode_part(old).segments:
            call.blobs.release(txn, segment[0])
    txn.set(key, encode(part))


@operation(
    "s3:UploadPart",
    action="s3:PutObject",
    resource=OBJECT_ARN,
    policy=load_policy,
    conditions=part_conditions,
)
async def upload_part(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html"""
    check_number(params["PartNumber"])
    upload = await call.store.transact(lambda txn: _begin_part(txn, call, params), read_only=True)
    given = checksums.given(params)
    if given is not None and upload.checksum and given[0] != upload.checksum:
        raise _other_algorithm(upload.checksum, given[0])
    under = await opening.upload_key(call, params, upload)
    received = await receive(call, params, under, upload.checksum, inline_bytes=0)
    kept = received.checksum if upload.checksum == received.algorithm else ""
    part = PartRecord(
        etag_of(under, received.md5), received.size, int(call.now * 1000), kept, received.segments, received.crc
    )  # fmt: skip
    if upload.checksum and not kept:  # the trailer brought another one
        await received.discard()
        raise _other_algorithm(upload.checksum, received.algorithm)
    await received.commit(call, lambda txn: _put(txn, call, params, part))
    result: Result = {"ETag": f'"{part.md5}"'}
    _tell_encryption(result, upload, under)
    if upload.checksum or given is not None:
        result[checksums.MEMBER_OF[received.algorithm]] = received.checksum
    return result


def _tell_encryption(result: Result, upload: Upload, under: DataKey | None) -> None:
    encryption_headers.tell(result, upload.encryption, under.customer_md5 if under is not None else "")


def _other_algorithm(expected: str, actual: str) -> AwsError:
    return AwsError(
        "InvalidRequest",
        f"Checksum Type mismatch occurred, expected checksum Type: {expected.lower()}, "
        f"actual checksum Type: {actual.lower()}",
        400,
    )


@operation(
    "s3:UploadPartCopy",
    action="s3:PutObject",
    resource=OBJECT_ARN,
    policy=load_policy,
    conditions=part_conditions,
)
async def upload_part_copy(call: Call, params: Params) -> Result:
    """A part made of another object's bytes, which are shared, not copied.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html
    """
    check_number(params["PartNumber"])
    upload = await call.store.transact(lambda txn: _find_upload(txn, call, params), read_only=True)
    under = await opening.upload_key(call, params, upload)
    told: Result = {}
    _tell_encryption(told, upload, under)
    for _ in range(_ATTEMPTS):
        source = await find_source(call, params)
        begin, end = _copied_range(params.get("CopySourceRange"), source.found.record.size)
        if not may_share(source, under) or source.found.record.encryption != upload.encryption:
            part = await _encrypt_anew(call, params, upload, source, (begin, end), under)
            return {"CopyPartResult": _copy_result(part, upload), **told, **tell_versions("", source)}
        part = await _shared_part(call, upload, source, begin, end)

        def body(txn: Transaction, source: Source = source, part: PartRecord = part) -> bool:
            if not unchanged(txn, source):
                return False
            _put(txn, call, params, part)
            return True

        if await call.store.transact(body):
            return {"CopyPartResult": _copy_result(part, upload), **told, **tell_versions("", source)}
    raise busy()


def _copied_range(text: str | None, size: int) -> tuple[int, int]:
    if text is None:
        begin, end = 0, size
    else:
        match = _COPY_RANGE.fullmatch(text)
        if match is None or int(match.group(1)) > int(match.group(2)):
            raise AwsError(
                "InvalidArgument",
                "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
                "zero-based offsets of the first and last bytes to copy",
                400,
                members={"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": text},
            )
        begin, end = int(match.group(1)), int(match.group(2)) + 1
        if begin >= size:
            raise AwsError("InvalidRequest", "The specified copy range is invalid for the source object size", 400)
        if end > size:
            raise AwsError(
                "InvalidArgument", f"Range specified is not valid for source object of size: {size}", 400,
                members={"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": text},
            )  # fmt: skip
    if end - begin > PART_BYTES:
        raise AwsError(
            "InvalidRequest",
            f"The specified copy source is larger than the maximum allowable size for a copy source: {PART_BYTES}",
            400,
        )
    return begin, end


async def _shared_part(call: Call, upload: Upload, source: Source, begin: int, end: int) -> PartRecord:
    """The part that shares the source's blobs."""
    wanted = upload.checksum or CRC64NVME
    md5, crc, value = await digests(source, begin, end, ["MD5", CRC64NVME, wanted])
    return PartRecord(
        md5.hex(), end - begin, int(call.now * 1000), encode_checksum(value) if upload.checksum else "",
        reading.spans(source.found.segments, begin, end), int.from_bytes(crc, "big"),
    )  # fmt: skip


async def _encrypt_anew(
    call: Call, params: Params, upload: Upload, source: Source, span: tuple[int, int], under: DataKey | None
) -> PartRecord:
    """A source that is small, or under another key, is copied after all, into a blob of the part's own."""
    received = await encrypted_anew(call, params, source, span, under, upload.checksum, inline_bytes=0)
    part = PartRecord(
        etag_of(under, received.md5), received.size, int(call.now * 1000), received.checksum if upload.checksum else "",
        received.segments, received.crc,
    )  # fmt: skip
    await received.commit(call, lambda txn: _put(txn, call, params, part))
    return part


def _copy_result(part: PartRecord, upload: Upload) -> dict[str, Any]:
    told: dict[str, Any] = {"ETag": f'"{part.md5}"', "LastModified": part.modified_ms // 1000}
    if upload.checksum:
        told[checksums.MEMBER_OF[upload.checksum]] = part.checksum
    return told


@operation(
    "s3:ListParts",
    action="s3:ListMultipartUploadParts",
    resource=OBJECT_ARN,
    policy=load_policy_of_initiator,
)
async def list_parts(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html"""
    most = page_size(params, "MaxParts")
    marker = int(params.get("PartNumberMarker") or 0)
    space = keys.parts(params["UploadId"])

    def body(txn: Transaction) -> tuple[str, Upload, list[tuple[int, PartRecord]]]:
        account = require_bucket(txn, call, params).account
        upload = require_upload(txn, params)
        begin = space + min(marker + 1, 65535).to_bytes(2, "big")
        found = txn.scan(begin, prefix_end(space), limit=most + 1)
        return account, upload, [(int.from_bytes(key[-2:], "big"), decode_part(raw)) for key, raw in found]

    account, upload, parts = await call.store.transact(body, read_only=True)
    opening.check_upload(call, params, upload)
    shown = parts[:most]
    result: Result = {
        "Bucket": params["Bucket"],
        "Key": params["Key"],
        "UploadId": params["UploadId"],
        "PartNumberMarker": marker,
        "NextPartNumberMarker": shown[-1][0] if shown else 0,
        "MaxParts": most,
        "IsTruncated": len(parts) > most,
        "Parts": [_told(number, part, upload) for number, part in shown],
        "Initiator": initiator(account, upload),
        "Owner": owner(account),
        "StorageClass": upload.storage_class or "STANDARD",
    }
    if upload.checksum:
        result["ChecksumAlgorithm"] = upload.checksum
        result["ChecksumType"] = upload.checksum_type
    return result


def _told(number: int, part: PartRecord, upload: Upload) -> dict[str, Any]:
    told: dict[str, Any] = {
        "PartNumber": number,
        "LastModified": part.modified_ms // 1000,
        "ETag": f'"{part.md5}"',
        "Size": part.size,
    }
    if upload.checksum:
        told[checksums.MEMBER_OF[upload.checksum]] = part.checksum
    return told
