"""Finding an object and handing out its bytes, whole or in ranges, verified."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator
from email.utils import formatdate
from typing import Any, cast

import msgspec
from awscrt.checksums import crc64nvme

from penstock.blobs.api import BlobMissing
from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.core.operation import Params
from penstock.core.sealed_bodies import BodyDamaged
from penstock.services.s3 import log_lines, versions, writing, zones
from penstock.services.s3.access import (
    access_denied,
    check_bucket,
    get_bucket,
    get_grants,
    get_policy,
    make_owners,
    may,
    no_such_key,
)
from penstock.services.s3.encryption import opening
from penstock.services.s3.encryption.data_key import SSE_C, bound_to
from penstock.services.s3.records import Bucket, Grant, ObjectRecord, PartShape, Segment
from penstock.services.s3.rules import check_key
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError
from penstock.wire.message import OutgoingStream

log = logging.getLogger(__name__)
_RANGE = re.compile(r"bytes=(?:(\d+)-(\d*)|-(\d+))", re.ASCII)


_AS_IF_NOT_THERE = ("GetObject", "GetObjectAcl", "HeadObject", "GetObjectAttributes", "CopyObject", "UploadPartCopy")
_METHODS = {"Put": "PUT", "Del": "DELETE"}


class Found(msgspec.Struct, eq=False):
    """An object as one transaction saw it. inline: its body, if it is small and was asked for.

    version_id: "" in a bucket that never had versions. The record may be a delete marker's. held: keeps its blobs' bytes
    for as long as this is kept. (A Struct, as is `Sight`, because that is made in C: every read makes one.)
    """

    record: ObjectRecord
    segments: list[Segment]
    parts: list[PartShape]
    inline: bytes | None
    version_id: str = ""
    held: object = None


class Sight(msgspec.Struct, eq=False):
    """A bucket, its policy and one of its objects, as one transaction saw them."""

    bucket: Bucket | None
    policy: bytes | None
    found: Found | None
    grants: tuple[Grant, ...] | None = None


async def load_policy_and_object(call: Call, params: Params) -> str | None:
    """As `access.load_policy`; leaves the object in `call.seen` for `find_object`, so that a read is one look."""
    check_key(params["Key"])
    sight = await call.store.transact(lambda txn: _look(txn, call, params), read_only=True)
    call.seen = sight
    log_lines.watch(call, params, sight.bucket)
    if sight.bucket is not None and sight.bucket.zone:
        zones.decide(call, params, sight.bucket)
    record = None if sight.found is None else sight.found.record
    return make_owners(call, params["Bucket"], sight.bucket, sight.policy, sight.grants, record, looked=True)


def existing_tags(call: Call, params: Params) -> dict[str, Any]:
    """The condition keys that tell an object's tags and version, from what `load_policy_and_object` has seen."""
    sight = call.seen
    told: dict[str, Any] = {}
    if isinstance(sight, Sight) and sight.found is not None:
        told = {f"s3:ExistingObjectTag/{key}": value for key, value in sight.found.record.tags}
    if "VersionId" in params:
        told["s3:VersionId"] = params["VersionId"]
    return told


def _look(txn: Transaction, call: Call, params: Params) -> Sight:
    name, key = params["Bucket"], params["Key"]
    bucket = get_bucket(txn, name)
    if bucket is None:
        return Sight(None, None, None)
    record = find_record(txn, bucket, params)
    found = None
    if record is not None:
        version_id = versions.id_of(record) if bucket.versioning else ""
        if record.segments or record.far:
            segments, parts = writing.extents(txn, name, key, record)
            found = Found(record, segments, parts, None, version_id, call.blobs.hold(segments))
        else:
            wanted = call.operation.name == "GetObject" and not record.marker
            body = txn.get(writing.body_key(name, key, record)) if wanted else None
            found = Found(record, [], record.parts, body, version_id)
    return Sight(bucket, get_policy(txn, name, bucket), found, get_grants(txn, name, bucket))


def find_record(txn: Transaction, bucket: Bucket, params: Params) -> ObjectRecord | None:
    """The version that a call names, or the newest one; it may be a delete marker. Raises AwsError InvalidArgument."""
    name, key = params["Bucket"], params["Key"]
    if "VersionId" in params:
        if not bucket.versioning and params["VersionId"] != versions.NULL:
            raise versions.invalid_id(params["VersionId"])
        located = versions.locate(txn, name, key, params["VersionId"])
        return None if located is None else located[1]
    record = writing.current(txn, name, key)
    if record is None and bucket.versioning:
        record = versions.newest_aside(txn, name, key)
    return record


def check_there(call: Call, params: Params, record: ObjectRecord | None, version_id: str) -> ObjectRecord:
    """The record, if there is an object to it. Raises AwsError NoSuchKey, NoSuchVersion, MethodNotAllowed.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html
    """
    key = params["Key"]
    if record is None:
        if "VersionId" in params:
            raise versions.no_such_version(key, params["VersionId"])
        raise no_such_key(f"{params['Bucket']}/{key}" if call.operation.name == "GetObjectTagging" else key)  # as AWS
    if not record.marker:
        return record
    headers = {"x-amz-delete-marker": "true", "x-amz-version-id": version_id}
    if "VersionId" not in params and call.operation.name in _AS_IF_NOT_THERE:
        error = no_such_key(key)
        error.headers = headers
        raise error
    headers["Last-Modified"] = formatdate(record.modified_ms // 1000, usegmt=True)
    headers["Allow"] = "DELETE"
    raise AwsError(
        "MethodNotAllowed", "The specified method is not allowed against this resource.", 405,
        members={"Method": _METHODS.get(call.operation.name[:3], "GET"), "ResourceType": "DeleteMarker"}, headers=headers,
    )  # fmt: skip


async def find_object(call: Call, params: Params) -> Found:
    """The object that a call names, with its body if it is small and the call a GetObject.

    Raises AwsError NoSuchBucket, NoSuchKey, NoSuchVersion, MethodNotAllowed (a delete marker), AccessDenied.
    """
    sight = call.seen if isinstance(call.seen, Sight) else None
    if sight is None:
        sight = await call.store.transact(lambda txn: _look(txn, call, params), read_only=True)
    check_bucket(sight.bucket, call, params)
    found = sight.found
    if found is None or found.record.marker:
        await hide_from_strangers(call, params)
        check_there(call, params, None if found is None else found.record, "" if found is None else found.version_id)
        raise no_such_key(params["Key"])
    return found


async def hide_from_strangers(call: Call, params: Params) -> None:
    """Who may not list a bucket is not told that a key is not there. Raises AwsError AccessDenied.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html ("Permissions")
    """
    if call.principal.kind is Kind.ROOT and call.principal.account == call.account:
        return
    try:
        await may(call, "ListObjectsV2", {"Bucket": params["Bucket"], "Prefix": params["Key"]})
    except AwsError:
        raise access_denied() from None


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """(begin, end) of a Range header over `size` bytes; None where it is to be ignored. Raises AwsError InvalidRange.

    Several ranges, and what is no range at all, are ignored, as S3 does.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        n = int(suffix)
        if n == 0 or size == 0:
            raise _unsatisfiable(text, size)
        return max(0, size - n), size
    begin = int(first)
    end = min(int(last) + 1, size) if last else size
    if last and int(last) < begin:
        return None
    if begin >= size:
        raise _unsatisfiable(text, size)
    return begin, end


def _unsatisfiable(text: str, size: int) -> AwsError:
    return AwsError(
        "InvalidRange", "The requested range is not satisfiable", 416,
        members={"RangeRequested": text, "ActualObjectSize": str(size)}, headers={"Content-Range": f"bytes */{size}"},
    )  # fmt: skip


def part_range(number: int, record: ObjectRecord, parts: list[PartShape]) -> tuple[int, int, PartShape | None]:
    """(begin, end, part) of a part of the object. Raises AwsError InvalidPartNumber."""
    if not record.part_count:
        if number == 1:
            return 0, record.size, None
    elif 1 <= number <= len(parts):
        begin = sum(part.size for part in parts[: number - 1])
        return begin, begin + parts[number - 1].size, parts[number - 1]
    raise AwsError(
        "InvalidPartNumber", "The requested partnumber is not satisfiable", 416,
        members={"ActualPartCount": str(record.part_count or 1), "PartNumberRequested": str(number)},
    )  # fmt: skip


def spans(segments: list[Segment], begin: int, end: int) -> list[Segment]:
    """The stretches of blobs that hold bytes begin <= i < end of the object."""
    found: list[Segment] = []
    at = 0
    for blob, first, last in segments:
        size = last - first
        low, high = max(begin - at, 0), min(end - at, size)
        if low < high:
            found.append((blob, first + low, first + high))
        at += size
        if at >= end:
            break
    return found


async def bytes_of(call: Call, params: Params, found: Found, begin: int, end: int) -> bytes | OutgoingStream:
    """The object's bytes begin <= i < end: verified bytes, or a stream that verifies.

    params: names the object, and brings the customer's key if it is under one. Raises AwsError InternalError, and what
    `opening.data_key` raises.
    """
    encryption = found.record.encryption
    under = None
    if encryption is not None:
        under = opening.known(call, encryption) or await opening.data_key(call, params, encryption)
    if found.inline is not None:
        data = found.inline
        if under is not None:
            try:
                data = under.bodies.open(data, bound_to(params["Bucket"], params["Key"]))
            except BodyDamaged as error:
                raise damaged(call, str(error)) from None
        if crc64nvme(data) != found.record.crc or len(data) != found.record.size:
            raise damaged(call, "an inline body does not match its checksum")
        return data if end - begin == found.record.size else data[begin:end]
    if begin == end:
        return b""
    if not found.segments:
        raise damaged(call, "an inline body is not there")
    key = b"" if under is None else under.key
    wanted = spans(found.segments, begin, end)
    try:
        if len(wanted) == 1:
            keep = encryption is None or encryption.mode != SSE_C
            whole = call.blobs.at_hand(*wanted[0], key=key, keep=keep)
            if whole is not None:
                return OutgoingStream(None, end - begin, whole)
        pieces = call.blobs.lend_all(wanted, key=key)
        first = await anext(pieces)
    except (BlobMissing, OSError) as error:
        raise damaged(call, str(error)) from error
    return OutgoingStream(_rest(call, first, pieces), end - begin)


async def _rest(
    call: Call, first: memoryview | None, pieces: AsyncGenerator[memoryview, None]
) -> AsyncGenerator[memoryview, None]:
    try:
        yield cast(memoryview, first)
        first = None  # who holds no piece while asking for the next has its memory used again
        async for piece in pieces:
            yield piece
            del piece
    except (BlobMissing, OSError) as error:
        raise damaged(call, str(error)) from error
    finally:
        await pieces.aclose()


def damaged(call: Call, what: str) -> AwsError:
    """The answer in place of wrong bytes; it is logged and counted, because data was lost below us."""
    log.error("damaged data: %s", what)
    call.node.telemetry.count("penstock_s3_damaged_reads_total")
    return AwsError("InternalError", "We encountered an internal error. Please try again.", 500)
