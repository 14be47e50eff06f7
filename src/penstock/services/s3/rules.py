"""How things may be named and how large they may be: rules between fields, which the model does not hold.

Sources: the pages "Bucket naming rules", "Naming Amazon S3 objects", "Working with object metadata" and "Categorizing
your objects using tags" of the S3 User Guide, and "Error responses" of the API reference.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Iterable, Mapping
from email.errors import MessageError
from email.header import decode_header, make_header
from typing import Any

from penstock.services.s3 import zones
from penstock.wire.errors import AwsError, not_implemented

KEY_BYTES = 1024
METADATA_BYTES = 2048
OBJECT_BYTES_PER_PUT = 5 * 1024**3
OBJECT_BYTES = 5 * 1024**4
OBJECT_TAGS = 10
STANDARD = "STANDARD"
_AT_ONCE = ("STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "REDUCED_REDUNDANCY", "GLACIER_IR")
BUCKET_TAGS = 50
POLICY_BYTES = 20 * 1024

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3", "-an")
_GRANTS = frozenset(("GrantFullControl", "GrantRead", "GrantReadACP", "GrantWrite", "GrantWriteACP"))
_RESERVED = {
    "Bucket": "System tags cannot be added/updated by requester",
    "New bucket": 'User-defined tag keys can\'t start with "aws:". This prefix is reserved for system tags. Remove "aws:" from '
    "your tag keys and try again.",
    "Object": "Your TagKey cannot be prefixed with aws:",
}
_TAG = re.compile(r"[\w\s+\-=.:/@]*", re.UNICODE)


def check_new_bucket_name(name: str) -> None:
    """Raises AwsError InvalidBucketName for what no new bucket may be called."""
    good = (
        _BUCKET.fullmatch(name) is not None
        and ".." not in name
        and not name.startswith(_PREFIXES)
        and not name.endswith(_SUFFIXES)
        and not _is_address(name)
    )
    if not good:
        raise AwsError(
            "InvalidBucketName", "The specified bucket is not valid.", 400, members={"BucketName": name}
        )  # fmt: skip


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def check_key(key: str) -> None:
    """Raises AwsError KeyTooLongError."""
    if len(key) * 4 > KEY_BYTES and (size := len(key.encode())) > KEY_BYTES:
        raise AwsError(
            "KeyTooLongError", "Your key is too long", 400,
            members={"Size": str(size), "MaxSizeAllowed": str(KEY_BYTES)},
        )  # fmt: skip


def metadata_of(params: Mapping[str, Any]) -> dict[str, str]:
    """A write's user metadata, as it will be told: UTF-8 in headers, and what is encoded by RFC 2047, is decoded.

    Raises AwsError MetadataTooLarge.
    """
    metadata: dict[str, str] = params.get("Metadata") or {}
    if metadata:
        check_metadata(metadata)
        for name, value in metadata.items():
            if "=?" in value or not value.isascii():
                metadata = {**metadata, name: _decoded(value)}
    return metadata


def _decoded(value: str) -> str:
    try:
        if not value.isascii():
            return value.encode("latin-1").decode()
        return str(make_header(decode_header(value))) or value
    except (UnicodeError, LookupError, ValueError, MessageError):
        return value


def told_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """User metadata as answers tell it: what ASCII cannot say is encoded by RFC 2047, as Java's mail library does it."""
    if all(value.isascii() and value.isprintable() for value in metadata.values()):
        return metadata
    return {
        name: value if value.isascii() and value.isprintable() else _encoded(value) for name, value in metadata.items()
    }


def _encoded(value: str) -> str:
    plain = sum(1 for character in value if character.isascii() and character.isprintable())
    raw = value.encode("utf-8", "replace")
    if plain <= len(value) - plain:
        return f"=?UTF-8?B?{base64.b64encode(raw).decode()}?="
    text = "".join(
        "_" if byte == 0x20 else chr(byte) if 0x20 < byte < 0x7F and byte not in b"=_?" else f"={byte:02X}"
        for byte in raw
    )
    return f"=?UTF-8?Q?{text}?="


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Names and values of user metadata come to 2 KB at most. Raises AwsError MetadataTooLarge."""
    size = sum(len(k.encode()) + len(v.encode()) for k, v in metadata.items())
    if size > METADATA_BYTES:
        raise AwsError(
            "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size", 400,
            members={"Size": str(size), "MaxSizeAllowed": str(METADATA_BYTES)},
        )  # fmt: skip


def tag_set(tags: Iterable[Mapping[str, Any]], most: int, *, what: str) -> list[tuple[str, str]]:
    """Checked (key, value) pairs, in the order given. Raises AwsError InvalidTag or BadRequest."""
    pairs = [(str(tag.get("Key", "")), str(tag.get("Value", ""))) for tag in tags]
    if len(pairs) > most:
        raise AwsError("BadRequest", f"{what} tags cannot be greater than {most}", 400)
    seen = set()
    for key, value in pairs:
        if not key or len(key) > 128 or not _TAG.fullmatch(key):
            raise AwsError("InvalidTag", "The TagKey you have provided is invalid", 400, members={"TagKey": key})
        if len(value) > 256 or not _TAG.fullmatch(value):
            raise AwsError(
                "InvalidTag", "The TagValue you have provided is invalid", 400,
                members={"TagKey": key, "TagValue": value},
            )  # fmt: skip
        if key.lower().startswith("aws:"):
            raise AwsError(
                "InvalidTag", _RESERVED[what], 400, members={} if what == "New bucket" else {"TagKey": key}
            )  # fmt: skip
        if key in seen:
            raise AwsError(
                "InvalidTag", "Cannot provide multiple Tags with the same key", 400, members={"TagKey": key}
            )  # fmt: skip
        seen.add(key)
    return pairs


def check_acl_parameters(params: Mapping[str, Any]) -> None:
    """For a bucket without ACLs (bucket owner enforced, the default). Raises AwsError AccessControlListNotSupported.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
    """
    acl = params.get("ACL")
    if (acl and acl != "bucket-owner-full-control") or not _GRANTS.isdisjoint(params):
        raise no_acls()


def storage_class(params: Mapping[str, Any]) -> str:
    """The storage class that a write asks for, "" for STANDARD. Raises AwsError InvalidStorageClass, NotImplemented.

    Those whose objects are read at once are kept as the name they are; those that need a restore first are refused.
    """
    if zones.zone_of(params["Bucket"]):
        zones.check_write(params)
        return zones.STORAGE_CLASS
    wanted = params.get("StorageClass", STANDARD)
    if wanted == STANDARD:
        return ""
    if wanted in _AT_ONCE:
        return str(wanted)
    if wanted in ("GLACIER", "DEEP_ARCHIVE"):
        raise not_implemented(f"StorageClass={wanted}, whose objects must be restored before they can be read")
    raise AwsError(
        "InvalidStorageClass", "The storage class you specified is not valid", 400,
        members={"StorageClassRequested": wanted},
    )  # fmt: skip


def no_acls() -> AwsError:
    return AwsError("AccessControlListNotSupported", "The bucket does not allow ACLs", 400)


UNSUPPORTED_WRITE: dict[str, tuple[Any, ...]] = {
    "ObjectLockEventHold": (),
    "ObjectLockEventHoldDurationDays": (),
    "ObjectLockEventHoldDurationYears": (),
}
"""What a write may ask for and this server does not do (see docs/services/s3.md)."""


def malformed_xml() -> AwsError:
    return AwsError(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
        400,
    )


def refuse_member(structure: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    """Raises AwsError NotImplemented where a structure has one of these members."""
    for name in names:
        if structure.get(name):
            raise not_implemented(f"{name} in {where}")
