"""DeleteObject and DeleteObjects."""

from __future__ import annotations

import functools
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import conditions, events, keys, locks, rules, versions, writing
from penstock.services.s3.access import BUCKET_ARN, OBJECT_ARN, load_policy, may, require_bucket
from penstock.services.s3.reading import load_policy_and_object
from penstock.services.s3.records import Bucket, ObjectRecord
from penstock.services.s3.uploads import disturb, has_uploads
from penstock.store.api import Transaction, TransactionTooLarge
from penstock.wire.errors import AwsError

MOST = 1000
_PER_TRANSACTION = 100


def _delete_conditions(call: Call, params: Params) -> dict[str, Any]:
    return {"s3:VersionId": params["VersionId"]} if "VersionId" in params else {}


async def _load_policy(call: Call, params: Params) -> str | None:
    """As `access.load_policy`. Where lists hold, who has written an object may delete it, if writing is still allowed."""
    document = await load_policy(call, params)
    if isinstance(call.seen, Bucket) and call.seen.ownership:
        return await load_policy_and_object(call, params)
    return document


@operation(
    "s3:DeleteObject",
    action_of=versions.version_action("s3:DeleteObject", "s3:DeleteObjectVersion"),
    resource=OBJECT_ARN,
    policy=_load_policy,
    conditions=_delete_conditions,
    unsupported={"MFA": ()},
)
async def delete_object(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html"""
    rules.check_key(params["Key"])
    bypass = await locks.may_bypass(call, params)

    def body(txn: Transaction) -> Result:
        bucket = require_bucket(txn, call, params)
        locks.check_bypass(bucket, params)
        return _delete(txn, call, params["Bucket"], bucket, params, bypass=bypass)

    return await call.store.transact(body)


def _delete(
    txn: Transaction, call: Call, name: str, bucket: Bucket, params: Params, *, bypass: bool, uploads: bool = True
) -> Result:
    """Delete what the parameters name: a version for good, the object, or (with versions) put a marker in front of it.

    uploads: whether there may be some in progress.
    """
    key = params["Key"]
    if "VersionId" in params:
        return _delete_version(txn, call, name, bucket, params, bypass=bypass, uploads=uploads)
    old = writing.current(txn, name, key)
    conditions.check_delete(params, old, directory=bool(bucket.zone))
    if uploads and old is not None:
        disturb(txn, name, key)
    if bucket.versioning:
        marker = writing.mark_deleted(txn, call, bucket, name, key, old)
        _tell(txn, call, name, bucket, "ObjectRemoved:DeleteMarkerCreated", key, marker)
        return {"DeleteMarker": True, "VersionId": versions.id_of(marker)}
    if old is None:
        return {}
    writing.remove(txn, call, name, key, old)
    old.sequencer = writing.next_sequencer(call, old)
    _tell(txn, call, name, bucket, "ObjectRemoved:Delete", key, old)
    return {}


def _delete_version(
    txn: Transaction, call: Call, name: str, bucket: Bucket, params: Params, *, bypass: bool, uploads: bool
) -> Result:
    """That there is no such version is as good as that it was deleted."""
    key, version_id = params["Key"], params["VersionId"]
    if not bucket.versioning and version_id != versions.NULL:
        raise versions.invalid_id(version_id)
    located = versions.locate(txn, name, key, version_id)
    conditions.check_delete(params, None if located is None else located[1], directory=bool(bucket.zone))
    told: Result = {"VersionId": version_id} if bucket.versioning or version_id != versions.NULL else {}
    if located is None:
        return told
    at, record = located
    locks.check_delete(call, record, bypass=bypass)
    if uploads and at == keys.record(name, key):
        disturb(txn, name, key)
    writing.remove_version(txn, call, name, key, at, record)
    if record.marker:
        told["DeleteMarker"] = True
    record.sequencer = writing.next_sequencer(call, record)
    _tell(txn, call, name, bucket, "ObjectRemoved:Delete", key, record)
    return told


def _tell(txn: Transaction, call: Call, name: str, bucket: Bucket, event: str, key: str, record: ObjectRecord) -> None:
    if bucket.has_notification:
        events.emit(txn, call, name, bucket, event, key, record)


@operation(
    "s3:DeleteObjects",
    action="",  # each key is authorized as a DeleteObject of its own
    resource=BUCKET_ARN,
    policy=load_policy,  # for sessions of directory buckets, which may do nothing unless it says so
    unsupported={"MFA": ()},
)
async def delete_objects(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html

    As on AWS, the keys are not one transaction: what can be deleted is.
    """
    wanted = params["Delete"]["Objects"]
    if not 1 <= len(wanted) <= MOST:
        raise rules.malformed_xml()
    await load_policy(call, params)
    locks.check_bypass(await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True), params)
    quiet = params["Delete"].get("Quiet", False)
    deleted: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    allowed = [item for item in wanted if await _may_delete(call, params["Bucket"], item, errors)]
    bypassing = frozenset(
        {(item["Key"], item.get("VersionId")) for item in allowed if await _may_bypass(call, params, item)}
    )
    for at in range(0, len(allowed), _PER_TRANSACTION):
        batch = allowed[at : at + _PER_TRANSACTION]
        await _delete_together(call, params, batch, bypassing, deleted, errors)
    result: Result = {}
    if deleted and not quiet:
        result["Deleted"] = deleted
    if errors:
        result["Errors"] = errors
    return result


async def _delete_together(
    call: Call,
    params: Params,
    batch: list[dict[str, Any]],
    bypassing: frozenset[tuple[str, str | None]],
    deleted: list[dict[str, Any]],
    errors: list[dict[str, Any]],
) -> None:
    """In one transaction, or in two where that would be too large: objects of thousands of parts have much to give up."""
    try:
        done, failed = await call.store.transact(
            functools.partial(_delete_batch, call=call, params=params, batch=batch, bypassing=bypassing)
        )
    except TransactionTooLarge:
        if len(batch) == 1:
            raise
        half = len(batch) // 2
        await _delete_together(call, params, batch[:half], bypassing, deleted, errors)
        await _delete_together(call, params, batch[half:], bypassing, deleted, errors)
        return
    deleted += done
    errors += failed


async def _may_bypass(call: Call, params: Params, item: dict[str, Any]) -> bool:
    """Whether governance may be bypassed for this item; asked only where the request says so."""
    if not params.get("BypassGovernanceRetention") or "VersionId" not in item:
        return False
    return await locks.may_bypass(call, {**params, "Key": item["Key"]})


async def _may_delete(call: Call, name: str, item: dict[str, Any], errors: list[dict[str, Any]]) -> bool:
    try:
        rules.check_key(item["Key"])
        what = {"Bucket": name, "Key": item["Key"]}
        if "VersionId" in item:
            what["VersionId"] = item["VersionId"]
        await may(call, "DeleteObject", what, _load_policy)
    except AwsError as error:
        errors.append(_error(item, error))
        return False
    return True


def _delete_batch(
    txn: Transaction,
    call: Call,
    params: Params,
    batch: list[dict[str, Any]],
    bypassing: frozenset[tuple[str, str | None]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    name = params["Bucket"]
    bucket, uploads = require_bucket(txn, call, params), has_uploads(txn, name)
    deleted: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for item in batch:
        condition: Params = {member: item[member] for member in ("Key", "VersionId") if member in item}
        if "ETag" in item:
            condition["IfMatch"] = item["ETag"]
        if "LastModifiedTime" in item:
            condition["IfMatchLastModifiedTime"] = item["LastModifiedTime"]
        if "Size" in item:
            condition["IfMatchSize"] = item["Size"]
        try:
            bypass = (item["Key"], item.get("VersionId")) in bypassing
            done = _delete(txn, call, name, bucket, condition, bypass=bypass, uploads=uploads)
        except AwsError as error:
            errors.append(_error(item, error))
        else:
            told: dict[str, Any] = {member: item[member] for member in ("Key", "VersionId") if member in item}
            if done.get("DeleteMarker"):
                told["DeleteMarker"] = True
                told["DeleteMarkerVersionId"] = done["VersionId"]
            deleted.append(told)
    return deleted, errors


def _error(item: dict[str, Any], error: AwsError) -> dict[str, Any]:
    if error.code == "InvalidArgument" and "VersionId" in item:
        error = versions.no_such_version(item["Key"], item["VersionId"])
    told = {"Key": item["Key"], "Code": error.code, "Message": error.message}
    if "VersionId" in item:
        told["VersionId"] = item["VersionId"]
    return told
