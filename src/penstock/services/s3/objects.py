"""PutObject, GetObject and HeadObject."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import (
    acls,
    checksums,
    conditions,
    events,
    grants,
    locks,
    rules,
    tagging,
    versions,
    writing,
    zones,
)
from penstock.services.s3.access import OBJECT_ARN, load_policy, require_bucket
from penstock.services.s3.appending import append
from penstock.services.s3.bodies import INLINE_BYTES, receive, take
from penstock.services.s3.encryption import choice, opening
from penstock.services.s3.encryption import headers as encryption_headers
from penstock.services.s3.encryption.data_key import SSE_C
from penstock.services.s3.reading import (
    Found,
    bytes_of,
    existing_tags,
    find_object,
    load_policy_and_object,
    parse_range,
    part_range,
)
from penstock.services.s3.records import ObjectRecord
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

SYSTEM_HEADERS = (
    "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires",
    "WebsiteRedirectLocation",
)  # fmt: skip
"""Headers of an object that its writer sets and its readers get back."""
_PLAIN = frozenset((
    "Bucket", "Key", "Body", "ContentMD5", "ChecksumAlgorithm", *checksums.MEMBERS, "ContentType", "Metadata",
))  # fmt: skip
"""Parameters of a write of which most have no other, so that these need not be asked for one by one."""
_PLAIN_READ = frozenset(("Bucket", "Key", "ChecksumMode"))
"""Parameters of a read of which most have no other."""
DEFAULT_TYPE = "binary/octet-stream"
_OVERRIDES = {
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
    "ResponseExpires": "Expires",
}


def system_headers(params: Params) -> dict[str, str]:
    """The system headers a write carries. aws-chunked is the transfer's encoding, not the object's."""
    headers = {name: params[name] for name in filter(params.__contains__, SYSTEM_HEADERS)}
    if "ContentEncoding" in headers:
        kept = [part for part in headers["ContentEncoding"].split(",") if part.strip() not in ("", "aws-chunked")]
        headers["ContentEncoding"] = ",".join(kept).strip()
        if not headers["ContentEncoding"]:
            del headers["ContentEncoding"]
    if not headers.get("ContentType"):
        headers["ContentType"] = DEFAULT_TYPE
    redirect = headers.get("WebsiteRedirectLocation")
    if redirect is not None and not redirect.startswith(("/", "http://", "https://")):
        raise AwsError(
            "InvalidRedirectLocation",
            "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
            400,
        )
    return headers


def write_conditions(call: Call, params: Params) -> dict[str, Any]:
    """Condition keys of writes that policies speak of."""
    found = {conditions.CREATES: call.operation.name != "CreateMultipartUpload", **grants.conditions(params)}
    if "WebsiteRedirectLocation" in params:
        found["s3:x-amz-website-redirect-location"] = params["WebsiteRedirectLocation"]
    if "StorageClass" in params:
        found["s3:x-amz-storage-class"] = params["StorageClass"]
    if "IfNoneMatch" in params:
        found["s3:if-none-match"] = params["IfNoneMatch"]
    if "IfMatch" in params:
        found["s3:if-match"] = params["IfMatch"]
    if "CopySource" in params:
        found["s3:x-amz-copy-source"] = params["CopySource"]
        if "MetadataDirective" in params:
            found["s3:x-amz-metadata-directive"] = params["MetadataDirective"]
    found.update(encryption_headers.conditions(params))
    found.update(locks.conditions(call, params))
    if "Tagging" in params:
        tags = tagging.parse_header(params["Tagging"])
        found["s3:RequestObjectTagKeys"] = [key for key, _ in tags]
        found.update({f"s3:RequestObjectTag/{key}": value for key, value in tags})
    return found


@operation(
    "s3:PutObject",
    resource=OBJECT_ARN,
    policy=load_policy,
    conditions=write_conditions,
    unsupported=rules.UNSUPPORTED_WRITE,
)
async def put_object(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html"""
    name, key = params["Bucket"], params["Key"]
    rules.check_key(key)
    plain = params.keys() <= _PLAIN
    if not plain:
        conditions.check_write_parameters(params)
    metadata = rules.metadata_of(params)
    directory = name.endswith(zones.ENDING)
    storage_class = rules.storage_class(params) if directory or "StorageClass" in params else ""
    if "WriteOffsetBytes" in params:
        if not directory:
            raise zones.for_directories("x-amz-write-offset-bytes")
        appended = await append(call, params)
        if appended is not None:
            return appended
    tags = await tagging.asked_for(call, params) if "Tagging" in params else []
    headers = {"ContentType": params.get("ContentType") or DEFAULT_TYPE} if plain else system_headers(params)
    source, seen, lock = params.get("Body", b""), 0, None
    streamed = not isinstance(source, bytes)
    if streamed:
        seen = await call.store.transact(lambda txn: _may_write(txn, call, params), read_only=True)
    if not plain:
        lock = await locks.asked_for(call, params)
        await acls.check_permission(call, params)
    under = choice.usual(call, params) or await choice.choose(call, params)
    small = not streamed and len(source) <= INLINE_BYTES
    received = take(params, source, under) if small else await receive(call, params, under)
    etag = under.etag(received.md5)
    record = ObjectRecord(
        etag, received.size, int(call.now * 1000), received.algorithm, checksums.FULL_OBJECT, storage_class,
        received.checksum, crc=received.crc, segments=received.segments, headers=headers, metadata=metadata, tags=tags,
        encryption=under.record,
    )  # fmt: skip

    def body(txn: Transaction) -> str:
        bucket = require_bucket(txn, call, params)
        old = writing.current(txn, name, key)
        if not plain:
            conditions.check_write(params, old)
            if streamed:
                conditions.check_unchanged(params, old, seen)
        locks.put_on(call, bucket, record, lock)
        if record.lock is not None:
            checksums.require_one(call, params, "Put Object")
        if bucket.ownership or not plain:
            acls.put_on(call, bucket, record, params)
        writing.replace(txn, call, bucket, name, key, old, record, received.inline)
        if bucket.has_notification:
            by_form = call.context is not None and call.context.get("s3:authType") == "POST"
            events.emit(txn, call, name, bucket, f"ObjectCreated:{'Post' if by_form else 'Put'}", key, record)
        return versions.written_id(bucket, record)

    version_id = await received.commit(call, body)
    result: Result = {"ETag": f'"{etag}"'}
    if version_id:
        result["VersionId"] = version_id
    encryption_headers.tell(result, under.record, under.customer_md5, with_context=True)
    checksums.tell(result, received.algorithm, received.checksum, checksums.FULL_OBJECT)
    return result


def _may_write(txn: Transaction, call: Call, params: Params) -> int:
    """Refuse before the body is taken what would be refused after it; the writing transaction looks again.

    Gives the sequencer of the object there is, for a write on a condition.
    """
    bucket = require_bucket(txn, call, params)
    if not bucket.ownership:
        rules.check_acl_parameters(params)
    if "IfMatch" in params or "IfNoneMatch" in params:
        old = writing.current(txn, params["Bucket"], params["Key"])
        conditions.check_write(params, old)
        return old.sequencer if old is not None else 0
    return 0


_READ_ACTION = versions.version_action("s3:GetObject", "s3:GetObjectVersion")


@operation(
    "s3:GetObject",
    action_of=_READ_ACTION,
    resource=OBJECT_ARN,
    policy=load_policy_and_object,
    conditions=existing_tags,
)
async def get_object(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html"""
    found = await find_object(call, params)
    result, begin, end = _describe(call, params, found)
    result["Body"] = await bytes_of(call, params, found, begin, end)
    return result


@operation(
    "s3:HeadObject",
    action="s3:GetObject",
    action_of=_READ_ACTION,
    resource=OBJECT_ARN,
    policy=load_policy_and_object,
    conditions=existing_tags,
)
async def head_object(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html"""
    found = await find_object(call, params)
    return _describe(call, params, found)[0]


def _describe(call: Call, params: Params, found: Found) -> tuple[Result, int, int]:
    """The answer but for its body, and which bytes that is."""
    record = found.record
    plain, customer_md5 = params.keys() <= _PLAIN_READ, ""
    if not plain or (record.encryption is not None and record.encryption.mode == SSE_C):
        customer_md5 = opening.check(call, params, record.encryption)
        conditions.check_read(params, record, call.now)
    result: Result = {
        "AcceptRanges": "bytes",
        "LastModified": record.modified_ms // 1000,
        "ETag": f'"{record.etag}"',
        **record.headers,
    }
    if found.version_id:
        result["VersionId"] = found.version_id
    if record.storage_class:
        result["StorageClass"] = record.storage_class
    if record.lock is not None:
        result.update(locks.told(record))
    encryption_headers.tell(result, record.encryption, customer_md5)
    if record.metadata:
        result["Metadata"] = rules.told_metadata(record.metadata)
    if record.tags:
        result["TagCount"] = len(record.tags)
    begin, end = (0, record.size) if plain and "ChecksumMode" not in params else _wanted(params, found, result)
    result["ContentLength"] = end - begin
    for parameter in () if plain else filter(params.__contains__, _OVERRIDES):
        override = params[parameter]
        if call.principal.kind is Kind.ANONYMOUS:
            raise AwsError(
                "InvalidRequest",
                "Request specific response headers cannot be used for anonymous GET requests.",
                400,
            )
        result[_OVERRIDES[parameter]] = override if isinstance(override, str) else formatdate(override, usegmt=True)
    return result, begin, end


def _wanted(params: Params, found: Found, result: Result) -> tuple[int, int]:
    """Which bytes; with what belongs to a partial answer put into the result."""
    record = found.record
    size = record.size
    with_checksum = params.get("ChecksumMode", "").upper() == "ENABLED"
    if "PartNumber" in params:
        if "Range" in params:
            raise AwsError("InvalidRequest", "Cannot specify both Range header and partNumber query parameter", 400)
        begin, end, part = part_range(params["PartNumber"], record, found.parts)
        if record.part_count:
            result["PartsCount"] = record.part_count
        if size:
            result["ContentRange"] = f"bytes {begin}-{end - 1}/{size}"
            result["StatusCode"] = 206
        if with_checksum and (record.part_count < 2 or record.checksum_type == checksums.COMPOSITE):  # as on AWS
            value = part.checksum if part is not None else record.checksum_value
            checksums.tell(result, record.checksum, value, record.checksum_type)
        return begin, end
    wanted = parse_range(params["Range"], size) if "Range" in params else None
    if wanted is not None:
        result["ContentRange"] = f"bytes {wanted[0]}-{wanted[1] - 1}/{size}"
        result["StatusCode"] = 206
        if with_checksum and wanted == (0, size):
            checksums.tell(result, record.checksum, record.checksum_value, record.checksum_type)
        return wanted
    if with_checksum:
        checksums.tell(result, record.checksum, record.checksum_value, record.checksum_type)
    return 0, size
