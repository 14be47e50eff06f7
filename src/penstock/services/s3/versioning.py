"""Turning a bucket's versioning on and off, and the list of all versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import keys, versions
from penstock.services.s3.access import BUCKET_ARN, load_policy, owner, require_bucket
from penstock.services.s3.listing import NO_RESTORES, after, encoder, list_conditions, page_size
from penstock.services.s3.records import ObjectRecord, decode_object, encode
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end
from penstock.wire.errors import AwsError


@operation("s3:PutBucketVersioning", resource=BUCKET_ARN, policy=load_policy, unsupported={"MFA": ()})
async def put_bucket_versioning(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html

    MFA delete needs a device of the root user's, of which there are none here: turning it on is refused.
    """
    wanted = params["VersioningConfiguration"]
    status = wanted.get("Status")
    if status not in (versions.ENABLED, versions.SUSPENDED):
        raise AwsError(
            "IllegalVersioningConfigurationException",
            "The Versioning element must be specified" if status is None else "Invalid versioning status",
            400,
        )
    if wanted.get("MFADelete", "Disabled") != "Disabled":
        raise AwsError(
            "NotImplemented", "Penstock does not support MFA delete: it has no MFA devices. See docs/compatibility.md.", 501
        )  # fmt: skip

    def body(txn: Transaction) -> None:
        bucket = require_bucket(txn, call, params)
        if bucket.object_lock and status != versions.ENABLED:
            raise AwsError(
                "InvalidBucketState",
                "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
                409,
            )
        txn.set(keys.bucket(params["Bucket"]), encode(msgspec.structs.replace(bucket, versioning=status)))

    await call.store.transact(body)
    return {}


@operation("s3:GetBucketVersioning", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_versioning(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketVersioning.html"""
    bucket = await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)
    return {"Status": bucket.versioning} if bucket.versioning else {}


class Entry(NamedTuple):
    """One version in a listing, or (record None) a common prefix."""

    key: bytes
    record: ObjectRecord | None
    is_latest: bool = False


class _Asked(NamedTuple):
    """Where a page of versions begins: at the key `begin`; of the key `marker` only versions with an order below `below`."""

    prefix: bytes
    delimiter: bytes
    begin: bytes
    marker: str = ""
    below: int = 0


def _walk(txn: Transaction, name: str, asked: _Asked) -> Iterator[Entry]:
    """All versions of all keys that start with the prefix: by key, the newest of each first."""
    prefix, marker = asked.prefix, asked.marker.encode()
    space, aside = keys.objects(name), keys.versions(name)
    skip, skip_aside = len(space), len(aside)
    begin = max(asked.begin, prefix)
    last = None
    begin_aside = aside + keys.escape(begin)
    if asked.below:
        begin_aside = max(begin_aside, keys.version(name, asked.marker, asked.below - 1))
        if _has_newer(txn, name, asked):
            last = marker
    current = txn.scan(space + begin, prefix_end(space + prefix))
    others = txn.scan(begin_aside, prefix_end(aside + keys.escape(prefix)))
    one, other = next(current, None), next(others, None)
    if one is not None and asked.below and one[0][skip:] == marker:
        record = decode_object(one[1])
        if (record.order or record.sequencer) >= asked.below:
            one = next(current, None)
    while one is not None or other is not None:
        other_key = keys.split_version(other[0][skip_aside:])[0] if other is not None else b""
        if one is not None and (other is None or one[0][skip:] <= other_key):
            last = one[0][skip:]
            yield Entry(last, decode_object(one[1]), True)
            one = next(current, None)
        elif other is not None:
            yield Entry(other_key, decode_object(other[1]), other_key != last)
            last = other_key
            other = next(others, None)


def _has_newer(txn: Transaction, name: str, asked: _Asked) -> bool:
    """Whether the marker's key has a version that an earlier page has told of, so that none that follows is the latest."""
    if txn.get(keys.record(name, asked.marker)) is not None:
        return True
    newest = versions.newest_aside(txn, name, asked.marker)
    return newest is not None and newest.order >= asked.below


def _page(txn: Transaction, name: str, asked: _Asked, most: int) -> tuple[list[Entry], bool]:
    """The entries of a page, and whether more follow."""
    found: list[Entry] = []
    past = len(asked.prefix)
    while True:
        common = None
        for entry in _walk(txn, name, asked):
            if len(found) == most:
                return found, True
            cut = entry.key.find(asked.delimiter, past) if asked.delimiter else -1
            if cut >= 0:
                common = entry.key[: cut + len(asked.delimiter)]
                found.append(Entry(common, None))
                break
            found.append(entry)
        if common is None:
            return found, False
        asked = _Asked(asked.prefix, asked.delimiter, prefix_end(common))


def _begin(txn: Transaction, params: Params) -> tuple[bytes, int]:
    """The first key of the page, and the order below which its versions are still to come (0: all keys after it)."""
    name, marker, version_marker = params["Bucket"], params.get("KeyMarker", ""), params.get("VersionIdMarker")
    if not version_marker:
        return after(marker, params.get("Delimiter", ""), params.get("Prefix", "")), 0
    order = versions.parse_id(version_marker)
    if not order:
        located = versions.locate(txn, name, marker, version_marker)
        if located is None:  # deleted since the page before: its place is not known, so the key's versions come again
            return marker.encode(), 0
        order = located[1].order or located[1].sequencer
    return marker.encode(), order


@operation(
    "s3:ListObjectVersions",
    action="s3:ListBucketVersions",
    resource=BUCKET_ARN,
    policy=load_policy,
    conditions=list_conditions,
    unsupported=NO_RESTORES,
)
async def list_object_versions(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html"""
    name, most, encode_key = params["Bucket"], page_size(params), encoder(params)
    delimiter, prefix, marker = params.get("Delimiter", ""), params.get("Prefix", ""), params.get("KeyMarker", "")
    if params.get("VersionIdMarker") and not marker:
        raise AwsError(
            "InvalidArgument", "A version-id marker cannot be specified without a key marker.", 400,
            members={"ArgumentName": "version-id-marker", "ArgumentValue": params["VersionIdMarker"]},
        )  # fmt: skip

    def body(txn: Transaction) -> tuple[list[Entry], bool, str]:
        account = require_bucket(txn, call, params).account
        if most == 0:
            return [], False, account
        begin, below = _begin(txn, params)
        asked = _Asked(prefix.encode(), delimiter.encode(), begin, marker, below)
        return *_page(txn, name, asked, most), account

    entries, more, account = await call.store.transact(body, read_only=True)
    shown: dict[str, list[dict[str, Any]]] = {"Versions": [], "DeleteMarkers": [], "CommonPrefixes": []}
    for entry in entries:
        key = entry.key.decode()
        if entry.record is None:
            shown["CommonPrefixes"].append({"Prefix": encode_key(key)})
            continue
        told = _told(name, key, entry.record, owner(account))
        told["Key"], told["IsLatest"] = encode_key(key), entry.is_latest
        shown["DeleteMarkers" if entry.record.marker else "Versions"].append(told)
    result: Result = {
        "Name": name,
        "Prefix": encode_key(prefix),
        "KeyMarker": encode_key(marker),
        "VersionIdMarker": params.get("VersionIdMarker", ""),
        "MaxKeys": most,
        "IsTruncated": more,
        **{member: items for member, items in shown.items() if items},
    }
    if more:
        last = entries[-1]
        result["NextKeyMarker"] = encode_key(last.key.decode())
        if last.record is not None:
            result["NextVersionIdMarker"] = versions.id_of(last.record)
    if delimiter:
        result["Delimiter"] = encode_key(delimiter)
    if "EncodingType" in params:
        result["EncodingType"] = "url"
    return result


def _told(name: str, key: str, record: ObjectRecord, shown_owner: dict[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "VersionId": versions.id_of(record),
        "LastModified": record.modified_ms // 1000,
        "Owner": owner(record.owner) if record.owner else shown_owner,
    }
    if not record.marker:
        told["ETag"] = f'"{record.etag}"'
        told["Size"] = record.size
        told["StorageClass"] = record.storage_class or "STANDARD"
        if record.checksum:
            told["ChecksumAlgorithm"] = [record.checksum]
            told["ChecksumType"] = record.checksum_type
    return told
