"""CompleteMultipartUpload: the parts' blobs become the object's, without a byte being copied."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple
from urllib.parse import quote

from penstock.blobs.checksums import COMBINABLE, CRC64NVME, combine, decode, digest, encode
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import checksums, conditions, events, keys, locks, rules, versions, writing
from penstock.services.s3.access import OBJECT_ARN, load_policy, require_bucket
from penstock.services.s3.copying import etag_of_parts
from penstock.services.s3.encryption import headers as encryption_headers
from penstock.services.s3.encryption import opening
from penstock.services.s3.encryption.data_key import AES256, SSE_C
from penstock.services.s3.objects import write_conditions
from penstock.services.s3.parts import MOST_PARTS
from penstock.services.s3.records import ObjectRecord, PartRecord, PartShape, Upload, decode_part, decode_upload
from penstock.services.s3.uploads import no_such_upload
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end
from penstock.wire.errors import AwsError

SMALLEST_PART_BYTES = 5 * 1024**2


class Named(NamedTuple):
    """A part as the request names it."""

    number: int
    etag: str
    checksum: tuple[str, str] | None


def _named_parts(params: Params) -> list[Named]:
    """The request's list of parts. Raises AwsError MalformedXML, InvalidPartOrder."""
    items = (params.get("MultipartUpload") or {}).get("Parts") or []
    if not items:
        raise AwsError("InvalidRequest", "You must specify at least one part", 400)
    if len(items) > MOST_PARTS or any("PartNumber" not in item or "ETag" not in item for item in items):
        raise rules.malformed_xml()
    if any(item["PartNumber"] < 1 for item in items):
        raise AwsError("InvalidArgument", "PartNumber must be >= 1", 400)
    named = [Named(item["PartNumber"], item["ETag"].strip('"'), checksums.given(item)) for item in items]
    if any(a.number >= b.number for a, b in itertools.pairwise(named)):
        raise AwsError(
            "InvalidPartOrder",
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
            400,
            members={"UploadId": params["UploadId"]},
        )
    return named


def _invalid_part(params: Params, named: Named) -> AwsError:
    return AwsError(
        "InvalidPart",
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the "
        "specified entity tag may not match the part's entity tag.",
        400,
        members={"UploadId": params["UploadId"], "PartNumber": str(named.number), "ETag": named.etag},
    )


def _choose(
    params: Params, upload: Upload, named: list[Named], parts: dict[int, PartRecord]
) -> list[tuple[int, PartRecord]]:
    """The parts that the object is made of. Raises AwsError InvalidPart, EntityTooSmall, InvalidRequest."""
    chosen: list[tuple[int, PartRecord]] = []
    for item in named:
        part = parts.get(item.number)
        if part is None or part.md5 != item.etag:
            raise _invalid_part(params, item)
        if item.checksum is not None and upload.checksum and item.checksum[0] != upload.checksum:
            raise AwsError(
                "BadDigest",
                f"The {item.checksum[0].lower()} you specified for part {item.number} did not match what we received.",
                400,
            )
        if item.checksum is not None and item.checksum != (upload.checksum, part.checksum):
            raise _invalid_part(params, item)
        if upload.checksum_type == checksums.COMPOSITE and item.checksum is None:
            raise AwsError(
                "InvalidRequest",
                f"The upload was created using a {upload.checksum.lower()} checksum. The complete request must "
                f"include the checksum for each part. It was missing for part {item.number} in the request.",
                400,
            )
        chosen.append((item.number, part))
    for number, part in chosen[:-1]:
        if part.size < SMALLEST_PART_BYTES:
            raise AwsError(
                "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", 400,
                members={
                    "ETag": part.md5, "MinSizeAllowed": str(SMALLEST_PART_BYTES), "PartNumber": str(number),
                    "ProposedSize": str(part.size),
                },
            )  # fmt: skip
    return chosen


def _checksum(upload: Upload, chosen: list[tuple[int, PartRecord]]) -> tuple[str, str, str]:
    """(algorithm, type, value) of the whole. AWS keeps none by itself of what is under a customer's key."""
    if not upload.checksum:
        if upload.encryption is not None and upload.encryption.mode == SSE_C:
            return "", "", ""
        whole = combine(CRC64NVME, [(part.crc.to_bytes(8, "big"), part.size) for _, part in chosen])
        return CRC64NVME, checksums.FULL_OBJECT, encode(whole)
    values = [(decode(upload.checksum, part.checksum) or b"", part.size) for _, part in chosen]
    if upload.checksum_type == checksums.FULL_OBJECT and upload.checksum in COMBINABLE:
        return upload.checksum, checksums.FULL_OBJECT, encode(combine(upload.checksum, values))
    composite = digest(upload.checksum, b"".join(value for value, _ in values))
    return upload.checksum, checksums.COMPOSITE, f"{encode(composite)}-{len(chosen)}"


def _check_type(params: Params, upload: Upload) -> None:
    """Raises AwsError InvalidRequest where the request names another checksum type than the upload's, which may have none."""
    wanted = params.get("ChecksumType")
    if wanted and wanted != upload.checksum_type:
        raise AwsError(
            "InvalidRequest",
            f"The upload was created using the {upload.checksum_type or 'null'} checksum mode. The complete request must "
            "use the same checksum mode.",
            400,
        )


def _check_whole(params: Params, upload: Upload, record: ObjectRecord) -> None:
    """What the request says of the whole object. Raises AwsError InvalidRequest, BadDigest, EntityTooLarge."""
    if record.size > rules.OBJECT_BYTES:
        raise AwsError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", 400)
    size = params.get("MpuObjectSize")
    if size is not None and int(size) != record.size:
        raise AwsError(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {size} does not match what was computed: {record.size}",
            400,
        )
    for member, algorithm in checksums.MEMBERS.items():
        value = params.get(member)
        if value is not None and (upload.checksum or algorithm == record.checksum):  # else ignored, as on AWS
            expected = record.checksum_value
            kind = params.get("ChecksumType") or checksums.usual_type(algorithm)
            if (
                kind != record.checksum_type
                or algorithm != record.checksum
                or value not in (expected, expected.partition("-")[0])
            ):
                raise checksums.mismatch(record.checksum.lower())


@operation(
    "s3:CompleteMultipartUpload",
    action="s3:PutObject",
    resource=OBJECT_ARN,
    policy=load_policy,
    conditions=write_conditions,
)
async def complete_multipart_upload(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html

    Completing again gives the same answer for as long as the object is what the upload made it.
    """
    conditions.check_write_parameters(params)
    record, version_id = await call.store.transact(lambda txn: _complete(txn, call, params))
    result: Result = {
        "Location": f"{call.endpoint}/{params['Bucket']}/{quote(params['Key'])}",
        "Bucket": params["Bucket"],
        "Key": params["Key"],
        "ETag": f'"{record.etag}"',
    }
    if version_id:
        result["VersionId"] = version_id
    encryption = record.encryption
    if encryption is not None and encryption.mode != SSE_C:
        encryption_headers.tell(result, encryption)
    if encryption is None or encryption.mode == AES256 or record.checksum != CRC64NVME:
        checksums.tell(result, record.checksum, record.checksum_value, record.checksum_type)
    return result


def _complete(txn: Transaction, call: Call, params: Params) -> tuple[ObjectRecord, str]:
    """The object, and its version id where the bucket has versions."""
    name, key, upload_id = params["Bucket"], params["Key"], params["UploadId"]
    bucket = require_bucket(txn, call, params)
    old = writing.current(txn, name, key)
    raw = txn.get(keys.upload(name, key, upload_id)) if len(upload_id) < 200 and "\0" not in upload_id else None
    if raw is None:
        if old is not None and old.upload_id == upload_id and old.etag == _etag(params):
            return old, versions.written_id(bucket, old)
        raise no_such_upload(upload_id)
    upload = decode_upload(raw)
    opening.check_upload(call, params, upload)
    _check_type(params, upload)
    named = _named_parts(params)
    begin = keys.parts(upload_id)
    end = prefix_end(begin)
    parts = {int.from_bytes(k[-2:], "big"): decode_part(v) for k, v in txn.scan(begin, end)}
    chosen = _choose(params, upload, named, parts)
    record = _assembled(upload, chosen)
    _check_whole(params, upload, record)
    conditions.check_write(params, old)
    conditions.check_undisturbed(params, old, upload)
    record.upload_id = upload_id
    used = {number for number, _ in chosen}
    for number, part in parts.items():
        if number not in used:
            for segment in part.segments:
                call.blobs.release(txn, segment[0])
    txn.clear(begin, end)
    txn.clear(keys.upload(name, key, upload_id))
    locks.put_on(call, bucket, record, upload.lock)
    writing.replace(txn, call, bucket, name, key, old, record, None, adopted=True)
    if bucket.has_notification:
        events.emit(txn, call, name, bucket, "ObjectCreated:CompleteMultipartUpload", key, record)
    return record, versions.written_id(bucket, record)


def _etag(params: Params) -> str:
    try:
        return etag_of_parts([item.etag for item in _named_parts(params)])
    except (ValueError, AwsError):
        return ""


def _assembled(upload: Upload, chosen: list[tuple[int, PartRecord]]) -> ObjectRecord:
    """The object that the parts make. Its date is that of the upload's creation, as on AWS."""
    algorithm, checksum_type, value = _checksum(upload, chosen)
    fields: dict[str, Any] = {
        "headers": upload.headers,
        "metadata": upload.metadata,
        "tags": upload.tags,
        "owner": upload.owner,
        "acl": upload.acl,
        "segments": [segment for _, part in chosen for segment in part.segments],
        "parts": [PartShape(number, part.size, part.checksum) for number, part in chosen],
        "part_count": len(chosen),
        "encryption": upload.encryption,
    }
    return ObjectRecord(
        etag_of_parts([part.md5 for _, part in chosen]), sum(part.size for _, part in chosen), upload.initiated_ms,
        algorithm, checksum_type, upload.storage_class, value, **fields,
    )  # fmt: skip
