"""Tags of buckets and of objects."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import events, keys, writing
from penstock.services.s3.access import BUCKET_ARN, OBJECT_ARN, load_policy, no_such_key, require_bucket
from penstock.services.s3.reading import existing_tags, load_policy_and_object
from penstock.services.s3.records import Bucket, ObjectRecord, encode
from penstock.services.s3.rules import BUCKET_TAGS, OBJECT_TAGS, check_version, tag_set
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
    return tag_set([{"Key": key, "Value": value} for key, value in pairs], OBJECT_TAGS, what="Object")


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


def _retag(txn: Transaction, call: Call, params: Params, tags: list[tuple[str, str]], event: str) -> None:
    bucket, record = _find(txn, call, params)
    record.tags = tags
    record.sequencer = writing.next_sequencer(call, record)
    txn.set(keys.record(params["Bucket"], params["Key"]), encode(record))
    if bucket.has_notification:
        events.emit(txn, call, params["Bucket"], bucket, event, params["Key"], record)


def _find(txn: Transaction, call: Call, params: Params) -> tuple[Bucket, ObjectRecord]:
    bucket = require_bucket(txn, call, params)
    record = writing.current(txn, params["Bucket"], params["Key"])
    if record is None:
        raise no_such_key(params["Key"])
    return bucket, record


def _tagging_conditions(call: Call, params: Params) -> dict[str, Any]:
    tags = params["Tagging"].get("TagSet") or []
    found: dict[str, Any] = {f"s3:RequestObjectTag/{tag.get('Key')}": tag.get("Value", "") for tag in tags}
    return {**existing_tags(call, params), **found, "s3:RequestObjectTagKeys": [tag.get("Key") for tag in tags]}


@operation("s3:PutObjectTagging", resource=OBJECT_ARN, policy=load_policy_and_object, conditions=_tagging_conditions)
async def put_object_tagging(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html"""
    check_version(params)
    tags = tag_set(params["Tagging"].get("TagSet") or [], OBJECT_TAGS, what="Object")
    await call.store.transact(lambda txn: _retag(txn, call, params, tags, "ObjectTagging:Put"))
    return {}


@operation("s3:GetObjectTagging", resource=OBJECT_ARN, policy=load_policy_and_object, conditions=existing_tags)
async def get_object_tagging(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectTagging.html"""
    check_version(params)
    _, record = await call.store.transact(lambda txn: _find(txn, call, params), read_only=True)
    return {"TagSet": _tag_list(record.tags)}


@operation("s3:DeleteObjectTagging", resource=OBJECT_ARN, policy=load_policy_and_object, conditions=existing_tags)
async def delete_object_tagging(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjectTagging.html"""
    check_version(params)
    await call.store.transact(lambda txn: _retag(txn, call, params, [], "ObjectTagging:Delete"))
    return {}
