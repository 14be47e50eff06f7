"""Tags of buckets and of objects."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from penstock.core.authz import require
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import events, keys, versions, writing
from penstock.services.s3.access import BUCKET_ARN, OBJECT_ARN, load_policy, require_bucket
from penstock.services.s3.reading import check_there, existing_tags, load_policy_and_object
from penstock.services.s3.records import Bucket, ObjectRecord, encode
from penstock.services.s3.rules import BUCKET_TAGS, OBJECT_TAGS, tag_set
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

_decode = msgspec.msgpack.Decoder(list[tuple[str, str]]).decode


def parse_header(text: str) -> list[tuple[str, str]]:
    """The tags of an x-amz-tagging header, which looks like a query. Raises AwsError InvalidArgument, InvalidTag."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
    except ValueError:
        raise _bad_header(text) from None
    if len({key for key, _ in pairs}) != len(pairs):
        raise _bad_header(text)
    if any("," in value for _, value in pairs):
        raise _bad_header(text)
    return tag_set([{"Key": key, "Value": value} for key, value in pairs], OBJECT_TAGS, what="Object")


async def asked_for(call: Call, params: Params) -> list[tuple[str, str]]:
    """The tags that a write gives its object, which takes a permission of its own.

    Raises AwsError InvalidArgument, InvalidTag, AccessDenied.
    """
    if "Tagging" not in params:
        return []
    tags = parse_header(params["Tagging"])
    await require_permission(call, params, tags)
    return tags


async def require_permission(call: Call, params: Params, tags: list[tuple[str, str]]) -> None:
    """Demand what it takes to write an object with tags. Raises AwsError AccessDenied.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
    """
    await require(
        call, params, "s3:PutObjectTagging", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}", owner=call.account,
        policy=await load_policy(call, params), even_root=True, conditions=_of_request(tags),
    )  # fmt: skip


def _of_request(tags: list[tuple[str, str]]) -> dict[str, Any]:
    """The condition keys of tags that a request gives an object."""
    found: dict[str, Any] = {f"s3:RequestObjectTag/{key}": value for key, value in tags}
    return {**found, "s3:RequestObjectTagKeys": [key for key, _ in tags]}


def _bad_header(text: str) -> AwsError:
    return AwsError(
        "InvalidArgument",
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters "
        "without tag name duplicates.",
        400,
        members={"ArgumentName": "x-amz-tagging", "ArgumentValue": text},
    )


def _tag_list(tags: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags]


# buckets


@operation("s3:PutBucketTagging", resource=BUCKET_ARN, policy=load_policy)
async def put_bucket_tagging(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketTagging.html"""
    tags = tag_set(params["Tagging"].get("TagSet") or [], BUCKET_TAGS, what="Bucket")

    def body(txn: Transaction) -> None:
        require_bucket(txn, call, params)
        txn.set(keys.setting(params["Bucket"], keys.TAGS), encode(tags))

    await call.store.transact(body)
    return {}


@operation("s3:GetBucketTagging", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_tagging(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketTagging.html"""

    def body(txn: Transaction) -> bytes | None:
        require_bucket(txn, call, params)
        return txn.get(keys.setting(params["Bucket"], keys.TAGS))

    raw = await call.store.transact(body, read_only=True)
    tags = [] if raw is None else _decode(raw)
    if not tags:
        raise AwsError(
            "NoSuchTagSet", "The TagSet does not exist", 404, members={"BucketName": params["Bucket"]}
        )  # fmt: skip
    return {"TagSet": _tag_list(tags)}


@operation("s3:DeleteBucketTagging", action="s3:PutBucketTagging", resource=BUCKET_ARN, policy=load_policy)
async def delete_bucket_tagging(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketTagging.html"""

    def body(txn: Transaction) -> None:
        require_bucket(txn, call, params)
        txn.clear(keys.setting(params["Bucket"], keys.TAGS))

    await call.store.transact(body)
    return {}


# objects


def _retag(txn: Transaction, call: Call, params: Params, tags: list[tuple[str, str]], event: str) -> Result:
    bucket, at, record = find_version(txn, call, params)
    record.tags = tags
    record.sequencer = writing.next_sequencer(call, record)
    txn.set(at, encode(record))
    if bucket.has_notification:
        events.emit(txn, call, params["Bucket"], bucket, event, params["Key"], record)
    return _told_version(bucket, params, record)


def _told_version(bucket: Bucket, params: Params, record: ObjectRecord) -> Result:
    version_id = versions.told_id(bucket, record)
    return {"VersionId": version_id} if version_id else {}


def find_version(txn: Transaction, call: Call, params: Params) -> tuple[Bucket, bytes, ObjectRecord]:
    """(bucket, where the record is, the record) of the version that a call names.

    Raises AwsError NoSuchBucket, NoSuchKey, NoSuchVersion, MethodNotAllowed (a delete marker).
    """
    name, key = params["Bucket"], params["Key"]
    bucket = require_bucket(txn, call, params)
    if "VersionId" in params:
        located = versions.locate(txn, name, key, params["VersionId"])
    else:
        record = writing.current(txn, name, key)
        if record is None and bucket.versioning:
            record = versions.newest_aside(txn, name, key)
        located = None if record is None else (keys.record(name, key), record)
    at, found = (b"", None) if located is None else located
    return bucket, at, check_there(call, params, found, "" if found is None else versions.id_of(found))


def _tagging_conditions(call: Call, params: Params) -> dict[str, Any]:
    tags = [(tag.get("Key", ""), tag.get("Value", "")) for tag in params["Tagging"].get("TagSet") or []]
    return {**existing_tags(call, params), **_of_request(tags)}


@operation(
    "s3:PutObjectTagging",
    action_of=versions.version_action("s3:PutObjectTagging", "s3:PutObjectVersionTagging"),
    resource=OBJECT_ARN,
    policy=load_policy_and_object,
    conditions=_tagging_conditions,
)
async def put_object_tagging(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html"""
    tags = tag_set(params["Tagging"].get("TagSet") or [], OBJECT_TAGS, what="Object")
    return await call.store.transact(lambda txn: _retag(txn, call, params, tags, "ObjectTagging:Put"))


@operation(
    "s3:GetObjectTagging",
    action_of=versions.version_action("s3:GetObjectTagging", "s3:GetObjectVersionTagging"),
    resource=OBJECT_ARN,
    policy=load_policy_and_object,
    conditions=existing_tags,
)
async def get_object_tagging(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectTagging.html"""
    bucket, _, record = await call.store.transact(lambda txn: find_version(txn, call, params), read_only=True)
    return {"TagSet": _tag_list(record.tags), **_told_version(bucket, params, record)}


@operation(
    "s3:DeleteObjectTagging",
    action_of=versions.version_action("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging"),
    resource=OBJECT_ARN,
    policy=load_policy_and_object,
    conditions=existing_tags,
)
async def delete_object_tagging(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjectTagging.html"""
    return await call.store.transact(lambda txn: _retag(txn, call, params, [], "ObjectTagging:Delete"))
