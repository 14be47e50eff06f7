"""Listings of current objects: ListObjects and ListObjectsV2.

Keys come in the order of their UTF-8 bytes. A common prefix is stepped over by seeking past it, however many keys it
holds, and a page never holds more than 1,000 entries.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import keys, zones
from penstock.services.s3.access import BUCKET_ARN, load_policy, owner, require_bucket
from penstock.services.s3.records import Bucket, Listed, ObjectRecord, decode_listed, decode_object
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end
from penstock.wire.errors import AwsError
from penstock.wire.listed_objects import ListedObjects

PAGE = 1000
NO_RESTORES: dict[str, tuple[Any, ...]] = {"OptionalObjectAttributes": ([], ["RestoreStatus"])}
"""RestoreStatus may be asked for, as Mountpoint does with every listing: only archived objects have one."""


class Page(NamedTuple):
    """One page: entries are (key, record) and (common prefix, None), in order. resume: where the next page begins."""

    entries: list[tuple[str, Listed | None]]
    resume: bytes | None


def scan_page(
    txn: Transaction,
    space: bytes,
    prefix: bytes,
    delimiter: bytes,
    begin: bytes,
    most: int,
    decode: Callable[[bytes], Listed] = decode_listed,
) -> Page:
    """Entries from `begin` on (a key, without the key space's own prefix) that start with `prefix`."""
    at = space + max(begin, prefix)
    end = prefix_end(space + prefix)
    skip = len(space)
    found: list[tuple[str, Listed | None]] = []
    if not delimiter:
        rows = list(txn.scan(at, end, limit=most + 1))
        more = rows.pop()[0][skip:] if len(rows) > most else None
        return Page([(stored[skip:].decode(), decode(raw)) for stored, raw in rows], more)
    past_prefix = skip + len(prefix)
    while at < end:
        common = None
        for stored, raw in txn.scan(at, end):
            if len(found) == most:
                return Page(found, stored[skip:])
            cut = stored.find(delimiter, past_prefix)
            if cut >= 0:
                common = stored[: cut + len(delimiter)]
                found.append((common[skip:].decode(), None))
                break
            found.append((stored[skip:].decode(), decode(raw)))
        if common is None:
            break
        at = prefix_end(common)
    return Page(found, None)


def page_size(params: Params, name: str = "MaxKeys") -> int:
    """How many entries a page may hold. Raises AwsError InvalidArgument."""
    most = int(params.get(name, PAGE))
    if most < 0:
        raise AwsError(
            "InvalidArgument", f"Argument {_DASHED[name]} must be an integer between 0 and 2147483647", 400,
            members={"ArgumentName": _DASHED[name], "ArgumentValue": str(most)},
        )  # fmt: skip
    return min(most, PAGE)


_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*").fullmatch


def _percent_encoded(text: str) -> str:
    return text if _PLAIN(text) else quote(text, safe="/")


_DASHED = {"MaxKeys": "max-keys", "MaxUploads": "max-uploads", "MaxParts": "max-parts"}


def encoder(params: Params) -> Callable[[str], str]:
    """How names are written in the answer. Raises AwsError InvalidArgument."""
    wanted = params.get("EncodingType")
    if wanted is None:
        return str
    if wanted != "url":
        raise AwsError(
            "InvalidArgument", "Invalid Encoding Method specified in Request", 400,
            members={"ArgumentName": "encoding-type", "ArgumentValue": wanted},
        )  # fmt: skip
    return _percent_encoded


def after(marker: str, delimiter: str, prefix: str, *, inside: bool = True) -> bytes:
    """The first key that a page after `marker` may show; a marker that is a common prefix stands for all it holds.

    inside: so does a marker inside of one, as in every listing but ListObjectsV2.
    """
    raw = marker.encode()
    if delimiter and marker.startswith(prefix):
        cut = marker.find(delimiter, len(prefix)) + len(delimiter)
        if cut >= len(prefix) + len(delimiter) and (inside or cut == len(marker)):
            return prefix_end(marker[:cut].encode())
    return raw + b"\0" if raw else raw


def list_conditions(call: Call, params: Params) -> dict[str, Any]:
    """Condition keys of listings."""
    found: dict[str, Any] = {}
    if "Prefix" in params:
        found["s3:prefix"] = params["Prefix"]
    if "Delimiter" in params:
        found["s3:delimiter"] = params["Delimiter"]
    if "MaxKeys" in params:
        found["s3:max-keys"] = params["MaxKeys"]
    return found


async def _page(call: Call, params: Params, begin: bytes, most: int) -> tuple[Page, Bucket]:
    name = params["Bucket"]
    prefix, delimiter = params.get("Prefix", "").encode(), params.get("Delimiter", "").encode()

    def body(txn: Transaction) -> tuple[Page, Bucket]:
        bucket = require_bucket(txn, call, params)
        if most == 0:
            return Page([], None), bucket
        decode = decode_object if bucket.ownership else decode_listed  # whose an object is is not at its record's front
        return scan_page(txn, keys.objects(name), prefix, delimiter, begin, most, decode), bucket

    return await call.store.transact(body, read_only=True)


def _contents(page: Page, encode: Callable[[str], str], shown_owner: dict[str, str] | None) -> Result:
    """Contents and CommonPrefixes of a page."""
    objects = [(key, record) for key, record in page.entries if record is not None]
    result: Result = {}
    if objects:
        result["Contents"] = ListedObjects(
            objects, encode, None if shown_owner is None else _owner_or(shown_owner["ID"])
        )
    if len(objects) < len(page.entries):
        result["CommonPrefixes"] = [{"Prefix": encode(key)} for key, record in page.entries if record is None]
    return result


def _owner_or(usual: str) -> Callable[[Listed], str]:
    """Who owns an object: whom its record names, else the bucket's owner."""

    def owner_id(record: Listed) -> str:
        foreign = record.owner if isinstance(record, ObjectRecord) else ""
        return owner(foreign)["ID"] if foreign else usual

    return owner_id


@operation(
    "s3:ListObjects",
    action="s3:ListBucket",
    resource=BUCKET_ARN,
    policy=load_policy,
    conditions=list_conditions,
    unsupported=NO_RESTORES,
)
async def list_objects(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjects.html"""
    most = page_size(params)
    encode = encoder(params)
    marker, delimiter, prefix = params.get("Marker", ""), params.get("Delimiter", ""), params.get("Prefix", "")
    page, bucket = await _page(call, params, after(marker, delimiter, prefix), most)
    result: Result = {
        "BucketRegion": bucket.region,
        "Name": params["Bucket"],
        "Prefix": prefix if prefix.isprintable() or prefix.isspace() else encode(prefix),
        "Marker": encode(marker),
        "MaxKeys": most,
        "IsTruncated": page.resume is not None,
        **_contents(page, encode, owner(bucket.account)),
    }
    if delimiter:
        result["Delimiter"] = encode(delimiter)
        if page.resume is not None:
            result["NextMarker"] = encode(page.entries[-1][0])
    if "EncodingType" in params:
        result["EncodingType"] = "url"
    return result


@operation(
    "s3:ListObjectsV2",
    action="s3:ListBucket",
    resource=BUCKET_ARN,
    policy=load_policy,
    conditions=list_conditions,
    unsupported=NO_RESTORES,
)
async def list_objects_v2(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"""
    if zones.zone_of(params["Bucket"]):
        zones.check_listing(params)
    most = page_size(params)
    encode = encoder(params)
    delimiter, prefix, start = params.get("Delimiter", ""), params.get("Prefix", ""), params.get("StartAfter", "")
    if "ContinuationToken" in params:
        begin = _read_token(params["ContinuationToken"])
    else:
        begin = after(start, delimiter, prefix, inside=False)
    page, bucket = await _page(call, params, begin, most)
    result: Result = {
        "BucketRegion": bucket.region,
        "Name": params["Bucket"],
        "Prefix": encode(prefix),
        "MaxKeys": most,
        "KeyCount": len(page.entries),
        "IsTruncated": page.resume is not None,
        **_contents(page, encode, owner(bucket.account) if params.get("FetchOwner") else None),
    }
    if "ContinuationToken" in params:
        result["ContinuationToken"] = params["ContinuationToken"]
    if page.resume is not None:
        result["NextContinuationToken"] = _token(page.resume)
    if start and "ContinuationToken" not in params:
        result["StartAfter"] = encode(start)
    if delimiter:
        result["Delimiter"] = encode(delimiter)
    if "EncodingType" in params:
        result["EncodingType"] = "url"
    return result


def _token(resume: bytes) -> str:
    return base64.urlsafe_b64encode(b"1" + resume).decode()


def _read_token(token: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(token)
    except (binascii.Error, ValueError):
        raw = b""
    if raw[:1] != b"1":
        raise AwsError(
            "InvalidArgument", "The continuation token provided is incorrect", 400,
            members={"ArgumentName": "continuation-token"},
        )  # fmt: skip
    return raw[1:]
