"""CopyObject. Under SSE-S3 bytes are not copied: the new record adopts the blobs of the old one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import unquote_plus

from penstock.blobs.checksums import Running, encode, running
from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import acls, checksums, conditions, events, locks, reading, rules, versions, writing
from penstock.services.s3.access import OBJECT_ARN, load_policy, may, require_bucket
from penstock.services.s3.bodies import INLINE_BYTES, Received, receive
from penstock.services.s3.encryption import choice, customer_keys, opening
from penstock.services.s3.encryption import headers as encryption_headers
from penstock.services.s3.encryption.data_key import AES256, DataKey
from penstock.services.s3.objects import system_headers, write_conditions
from penstock.services.s3.records import Bucket, ObjectRecord
from penstock.services.s3.tagging import parse_header, require_permission
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError
from penstock.wire.message import OutgoingStream

MOST_BYTES = 5 * 1024**3
_ATTEMPTS = 5
_UNSUPPORTED = {**rules.UNSUPPORTED_WRITE, "AnnotationDirective": ("EXCLUDE",)}


class Copied(NamedTuple):
    """A copy that is ready to be committed. received: bytes that were encrypted anew, None where blobs are shared."""

    record: ObjectRecord
    received: Received | None


class Piped:
    """An object's bytes as the body of a write."""

    __slots__ = ("_chunks", "length", "trailers")

    def __init__(self, source: OutgoingStream) -> None:
        self._chunks = source.chunks
        self.length = source.length
        self.trailers: dict[str, str] = {}

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks


class Source(NamedTuple):
    """What a copy reads: the call as which it reads it, its parameters, and the object found."""

    call: Call
    params: Params
    found: reading.Found


def parse_source(text: str) -> Params:
    """Bucket and key (and version) of x-amz-copy-source, which may be a URL, and where "+" is a space.

    Raises AwsError InvalidArgument.
    """
    path, separator, version = text.partition("?versionId=")
    if path.startswith(("http://", "https://")):
        path = path.split("/", 3)[-1]
    bucket, slash, key = unquote_plus(path).removeprefix("/").partition("/")
    if not slash or not bucket or not key or bucket.startswith("arn:"):
        raise AwsError(
            "InvalidArgument", f"Invalid copy source {'object key' if bucket else 'bucket name'}", 400,
            members={"ArgumentName": "x-amz-copy-source", "ArgumentValue": "x-amz-copy-source"},
        )  # fmt: skip
    found: Params = {"Bucket": bucket, "Key": key}
    if separator:
        found["VersionId"] = version
    return found


async def find_source(call: Call, params: Params) -> Source:
    """The object to copy from, which the caller may read and whose conditions hold. Raises AwsError."""
    if call.principal.kind is Kind.ANONYMOUS:
        raise AwsError("AccessDenied", "Anonymous users cannot copy objects.  Please authenticate.", 403)
    source = parse_source(params["CopySource"])
    source.update((own, params[name]) for name, own in customer_keys.OF_SOURCE.items() if name in params)
    if "ExpectedSourceBucketOwner" in params:
        source["ExpectedBucketOwner"] = params["ExpectedSourceBucketOwner"]
    as_reader = await may(call, "GetObject", source, reading.load_policy_and_object)
    try:
        found = await reading.find_object(as_reader, source)
    except AwsError as error:
        if error.code != "MethodNotAllowed":
            raise
        why = "The source of a copy request may not specifically refer to a delete marker by version id."
        raise AwsError("InvalidRequest", why, 400) from None
    opening.check(as_reader, source, found.record.encryption)
    conditions.check_copy_source(params, found.record, call.now)
    return Source(as_reader, source, found)


def may_share(source: Source, under: DataKey | None) -> bool:
    """Whether a copy can adopt the source's blobs: both are under keys of the service's own."""
    old = source.found.record.encryption
    return (
        source.found.inline is None
        and old is not None
        and under is not None
        and old.mode == AES256
        and under.record.mode == AES256
    )


async def encrypted_anew(
    call: Call,
    params: Params,
    source: Source,
    span: tuple[int, int],
    under: DataKey | None,
    wanted: str,
    inline_bytes: int = INLINE_BYTES,
) -> Received:
    """The source's bytes (begin, end), read and encrypted for where they go. Raises AwsError."""
    content = await reading.bytes_of(source.call, source.params, source.found, *span)
    body = content if isinstance(content, bytes) else Piped(content)
    fresh = {"Bucket": params["Bucket"], "Key": params["Key"], "Body": body}
    return await receive(call, fresh, under, wanted, inline_bytes=inline_bytes)


async def digests(source: Source, begin: int, end: int, algorithms: list[str]) -> list[bytes]:
    """Checksums over the object's bytes begin <= i < end, computed off the event-loop thread. Raises AwsError."""
    running_ones = [running(algorithm) for algorithm in algorithms]
    body = await reading.bytes_of(source.call, source.params, source.found, begin, end)
    if isinstance(body, OutgoingStream):
        gathered: list[bytes] = []
        async for piece in body.chunks:
            gathered.append(piece)
            if len(gathered) == 4:
                await asyncio.to_thread(_feed, running_ones, gathered)
                gathered = []
        await asyncio.to_thread(_feed, running_ones, gathered)
    else:
        await asyncio.to_thread(_feed, running_ones, [body])
    return [one.digest() for one in running_ones]


def _feed(running_ones: list[Running], pieces: list[bytes]) -> None:
    for piece in pieces:
        for one in running_ones:
            one.update(piece)


def unchanged(txn: Transaction, source: Source) -> bool:
    """Whether the source is still the object that was found: its blobs can be adopted only while it holds them."""
    bucket = require_bucket(txn, source.call, source.params)
    now = reading.find_record(txn, bucket, source.params)
    return now is not None and now.sequencer == source.found.record.sequencer


def tell_versions(version_id: str, source: Source) -> Result:
    """The version ids of what was written and of what was read, in buckets that have versions."""
    told: Result = {}
    if version_id:
        told["VersionId"] = version_id
    if source.found.record.versioned:
        told["CopySourceVersionId"] = source.found.version_id
    return told


def busy() -> AwsError:
    return AwsError(
        "OperationAborted",
        "A conflicting conditional operation is currently in progress against this resource. Please try again.",
        409,
    )


@operation(
    "s3:CopyObject",
    action="s3:PutObject",
    resource=OBJECT_ARN,
    policy=load_policy,
    conditions=write_conditions,
    unsupported=_UNSUPPORTED,
)
async def copy_object(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html"""
    name, key = params["Bucket"], params["Key"]
    rules.check_key(key)
    conditions.check_write_parameters(params)
    lock = await locks.asked_for(call, params)
    await acls.check_permission(call, params)
    bucket = await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)
    under = await choice.choose(call, params)
    for _ in range(_ATTEMPTS):
        source = await find_source(call, params)
        _check_itself(params, source, bucket)
        await _may_tag(call, params, source)
        record, received = await _copied(call, params, source, under)

        def body(
            txn: Transaction,
            source: Source = source,
            record: ObjectRecord = record,
            inline: bytes | None = received.inline if received is not None else None,
        ) -> str | None:
            now = require_bucket(txn, call, params)
            if not unchanged(txn, source):
                return None
            old = writing.current(txn, name, key)
            conditions.check_write(params, old)
            locks.put_on(call, now, record, lock)
            acls.put_on(call, now, record, params)
            writing.replace(txn, call, now, name, key, old, record, inline)
            if now.has_notification:
                events.emit(txn, call, name, now, "ObjectCreated:Copy", key, record)
            return versions.told_id(now, record)

        version_id = await (received.commit(call, body) if received is not None else call.store.transact(body))
        if version_id is not None:
            told: Result = tell_versions(version_id, source)
            encryption_headers.tell(told, record.encryption, under.customer_md5, with_context=True)
            result: Result = {"ETag": f'"{record.etag}"', "LastModified": record.modified_ms // 1000}
            checksums.tell(result, record.checksum, record.checksum_value, record.checksum_type)
            return {"CopyObjectResult": result, **told}
        if received is not None:
            await received.discard()
    raise busy()


async def _may_tag(call: Call, params: Params, source: Source) -> None:
    """Copied or replaced, tags take permissions of their own: to read them there and to write them here."""
    if params.get("TaggingDirective", "COPY") == "REPLACE":
        tags = parse_header(params.get("Tagging", ""))
    else:
        tags = source.found.record.tags
        if tags:
            await may(call, "GetObjectTagging", source.params, reading.load_policy_and_object)
    if tags:
        await require_permission(call, params, tags)


def _check_itself(params: Params, source: Source, bucket: Bucket) -> None:
    if source.found.record.size > MOST_BYTES:
        raise AwsError(
            "InvalidRequest",
            f"The specified copy source is larger than the maximum allowable size for a copy source: {MOST_BYTES}",
            400,
        )
    old = source.found.record.encryption
    same = (source.params["Bucket"], source.params["Key"]) == (params["Bucket"], params["Key"])
    changes = (
        params.get("MetadataDirective") == "REPLACE"
        or "WebsiteRedirectLocation" in params
        or choice.asks(params)
        or bucket.encryption is not None
        or customer_keys.KEY in source.params
        or (old is not None and old.mode != AES256)
    )
    if same and not changes and "StorageClass" not in params and "VersionId" not in source.params:
        raise AwsError(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes.",
            400,
        )


async def _copied(call: Call, params: Params, source: Source, under: DataKey) -> Copied:
    """The new object. A copy is one part: its ETag is that of the whole, its checksum over the whole."""
    old = source.found.record
    record = ObjectRecord(
        old.etag, old.size, int(call.now * 1000), old.checksum, checksums.FULL_OBJECT, rules.storage_class(params),
        old.checksum_value, crc=old.crc, headers=_headers(params, old), metadata=rules.metadata_of(params), tags=old.tags,
    )  # fmt: skip
    if params.get("MetadataDirective", "COPY") != "REPLACE":
        record.metadata = old.metadata
    if params.get("TaggingDirective", "COPY") == "REPLACE":
        record.tags = parse_header(params.get("Tagging", ""))
    wanted = checksums.declared(params) or old.checksum
    if not may_share(source, under):
        received = await encrypted_anew(call, params, source, (0, old.size), under, wanted)
        record.etag, record.crc, record.segments = under.etag(received.md5), received.crc, received.segments
        record.checksum, record.checksum_value = received.algorithm, received.checksum
        record.encryption = under.record
        return Copied(record, received)
    record.segments, record.encryption = list(source.found.segments), old.encryption
    needs_md5 = old.part_count > 0
    if wanted != old.checksum or old.checksum_type != checksums.FULL_OBJECT or needs_md5:
        md5, value = await digests(source, 0, old.size, ["MD5", wanted])
        record.checksum, record.checksum_value = wanted, encode(value)
        if needs_md5:
            record.etag = md5.hex()
    return Copied(record, None)


def _headers(params: Params, old: ObjectRecord) -> dict[str, str]:
    """REPLACE takes the request's headers, COPY the source's, except for the redirect, which is never copied."""
    if params.get("MetadataDirective", "COPY") == "REPLACE":
        return system_headers(params)
    headers = {name: value for name, value in old.headers.items() if name != "WebsiteRedirectLocation"}
    if "WebsiteRedirectLocation" in params:
        headers["WebsiteRedirectLocation"] = system_headers(params)["WebsiteRedirectLocation"]
    return headers


def etag_of_parts(md5s: list[str]) -> str:
    """The ETag of a multipart object: the MD5 of its parts' MD5s, and how many there are."""
    joined = b"".join(bytes.fromhex(md5) for md5 in md5s)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(md5s)}"
