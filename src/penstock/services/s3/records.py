"""What the store holds for S3, as bytes and back. Arrays of MessagePack: small, and decoded only as far as is needed.

A field is only ever added at the end, with a default.
"""

from __future__ import annotations

import functools

import msgspec

Segment = tuple[str, int, int]
"""(blob, begin, end): a stretch of a blob's bytes."""


BLOCK_PUBLIC_ACLS, IGNORE_PUBLIC_ACLS, BLOCK_PUBLIC_POLICY, RESTRICT_PUBLIC_BUCKETS, ALL_BLOCKED, NO_BLOCK = (
    1,
    2,
    4,
    8,
    15,
    16,
)
"""Bits of a bucket's Block Public Access, in AWS's order of the four settings; NO_BLOCK: the setting was deleted."""


class Retention(msgspec.Struct, array_like=True, frozen=True):
    """A bucket's default retention, in days or in years. mode: "" where it has none."""

    mode: str = ""
    days: int = 0
    years: int = 0


class Lock(msgspec.Struct, array_like=True, frozen=True):
    """A version's Object Lock. mode: "" without retention. until_ms: since the epoch. hold: "ON", "OFF" or ""."""

    mode: str = ""
    until_ms: int = 0
    hold: str = ""


class Encryption(msgspec.Struct, array_like=True, frozen=True):
    """How the bytes of an object, or of an upload's parts, are encrypted. See `encryption`.

    mode: as in x-amz-server-side-encryption, or "SSE-C". service_key: id of the service's own key (SSE-S3, and DSSE's
    outer layer). key_arn, sealed: the KMS key, and the data key as KMS has encrypted it for context_arn and `context`
    (the client's own, base64 of JSON). salt, check: of a customer's key, which is not kept.
    """

    mode: str
    service_key: str = ""
    key_arn: str = ""
    sealed: bytes = b""
    context_arn: str = ""
    context: str = ""
    bucket_key: bool = False
    salt: bytes = b""
    check: bytes = b""


class BucketEncryption(msgspec.Struct, array_like=True, frozen=True):
    """What a bucket's objects are encrypted with by default. key_id: as it was given, or "". blocked: "SSE-C"."""

    algorithm: str = "AES256"
    key_id: str = ""
    bucket_key: bool = False
    blocked: tuple[str, ...] = ()


class Grant(msgspec.Struct, array_like=True, frozen=True):
    """One entry of an access control list. grantee: a canonical user id, or a group's URI."""

    grantee: str
    permission: str


class Bucket(msgspec.Struct, array_like=True, frozen=True):
    """A bucket. created_ms: since the epoch. The flags say which settings are worth reading on every request.

    versioning: "" (never), "Enabled" or "Suspended". ownership: "" for BucketOwnerEnforced: there are no ACLs.
    old_location: "EU", where that is what eu-west-1 was called when the bucket was made.
    """

    account: str
    region: str
    created_ms: int
    has_policy: bool = False
    has_notification: bool = False
    public_access_block: int = ALL_BLOCKED
    has_public_policy: bool = False
    versioning: str = ""
    object_lock: bool = False
    retention: Retention = Retention()
    encryption: BucketEncryption | None = None
    ownership: str = ""
    logging: bool = False
    requester_pays: bool = False
    zone: str = ""
    old_location: str = ""


class Listed(msgspec.Struct, array_like=True):
    """As much of an object's record as a listing shows. etag: without quotes. checksum: algorithm, or "".

    storage_class: "" for STANDARD.
    """

    etag: str
    size: int
    modified_ms: int
    checksum: str = ""
    checksum_type: str = ""
    storage_class: str = ""


class PartShape(msgspec.Struct, array_like=True):
    """A part of a completed multipart upload. checksum: base64, or "" where the upload had none for parts."""

    number: int
    size: int
    checksum: str = ""


class ObjectRecord(Listed):
    """One object. The first fields are `Listed`.

    checksum_value: base64, for a composite one without "-N". crc: CRC64NVME of a body that is kept in the store;
    segments: the blobs of one that is not (empty for an inline body). part_count: 0 unless it was a multipart upload.
    sequencer: grows with every write of the key, microseconds at heart. headers: the system headers by member name.
    far: segments and parts are at the extents key. upload_id: the multipart upload that made it, or "".
    order: grows with every version of the key; 0 for a null version that was never anything but the current one. versioned:
    it has a version id of its own. marker: no object, but a delete marker. encryption: None for what was stored before there
    was any. owner: the account that wrote it, if that is not the bucket's. acl: None for the default, full control for the
    owner.
    """

    checksum_value: str = ""
    crc: int = 0
    segments: list[Segment] = []
    part_count: int = 0
    sequencer: int = 0
    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    tags: list[tuple[str, str]] = []
    parts: list[PartShape] = []
    far: bool = False
    upload_id: str = ""
    order: int = 0
    versioned: bool = False
    marker: bool = False
    lock: Lock | None = None
    encryption: Encryption | None = None
    owner: str = ""
    acl: tuple[Grant, ...] | None = None


class Extents(msgspec.Struct, array_like=True):
    """What an object's record cannot hold: thousands of segments and parts."""

    segments: list[Segment]
    parts: list[PartShape]


class Upload(msgspec.Struct, array_like=True):
    """A multipart upload in progress. checksum, checksum_type: as asked for at its creation, or "".

    disturbed: an object of its key was deleted since, so that it cannot be completed on a condition.
    """

    initiated_ms: int
    initiator: str
    checksum: str = ""
    checksum_type: str = ""
    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    tags: list[tuple[str, str]] = []
    lock: Lock | None = None
    encryption: Encryption | None = None
    owner: str = ""
    acl: tuple[Grant, ...] | None = None
    storage_class: str = ""
    disturbed: bool = False


class PartRecord(msgspec.Struct, array_like=True):
    """An uploaded part. md5: hex. checksum: base64 of the upload's algorithm, or "". crc: CRC64NVME."""

    md5: str
    size: int
    modified_ms: int
    checksum: str
    segments: list[Segment]
    crc: int


encode = msgspec.msgpack.Encoder().encode
_bucket = msgspec.msgpack.Decoder(Bucket).decode
decode_listed = msgspec.msgpack.Decoder(Listed).decode
decode_object = msgspec.msgpack.Decoder(ObjectRecord).decode
decode_grants = msgspec.msgpack.Decoder(tuple[Grant, ...]).decode
decode_extents = msgspec.msgpack.Decoder(Extents).decode
decode_upload = msgspec.msgpack.Decoder(Upload).decode
decode_part = msgspec.msgpack.Decoder(PartRecord).decode


@functools.lru_cache(4096)
def decode_bucket(raw: bytes) -> Bucket:
    """A bucket's record. The same bytes give the same (immutable) object, so that hot buckets are decoded once."""
    return _bucket(raw)
