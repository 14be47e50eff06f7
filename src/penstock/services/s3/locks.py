"""Object Lock: versions that cannot be deleted until a date, or for as long as a legal hold is on them.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from penstock.core.authz import require
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import keys, versions
from penstock.services.s3.access import BUCKET_ARN, OBJECT_ARN, load_policy, require_bucket
from penstock.services.s3.reading import existing_tags, load_policy_and_object
from penstock.services.s3.records import Bucket, Lock, ObjectRecord, Retention, encode
from penstock.services.s3.rules import malformed_xml
from penstock.services.s3.tagging import find_version
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented

GOVERNANCE, COMPLIANCE = "GOVERNANCE", "COMPLIANCE"
_MODES = (GOVERNANCE, COMPLIANCE)
_PARAMETERS = frozenset(("ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus"))
_DAYS, _YEARS = 36_500, 100
_DAY_MS = 86_400_000
_SEATTLE = ZoneInfo("America/Los_Angeles")
"""Whose time AWS tells in the error for a date that is past."""


def _protected() -> AwsError:
    return AwsError("AccessDenied", "Access Denied because object protected by object lock.", 403)


def _invalid(message: str, name: str = "", value: str = "") -> AwsError:
    members = {"ArgumentName": name, "ArgumentValue": value} if name else {}
    return AwsError("InvalidArgument", message, 400, members=members)


async def asked_for(call: Call, params: Params) -> Lock | None:
    """The lock that a write asks for by its headers. Raises AwsError InvalidArgument, InvalidRequest, AccessDenied."""
    if _PARAMETERS.isdisjoint(params):
        return None
    mode, until = params.get("ObjectLockMode"), params.get("ObjectLockRetainUntilDate")
    hold = params.get("ObjectLockLegalHoldStatus")
    if (mode is None) != (until is None):
        raise AwsError(
            "InvalidArgument",
            "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
            400,
            members={"ArgumentName": f"x-amz-object-lock-{'mode' if mode is None else 'retain-until-date'}"},
        )
    if mode is not None and mode not in _MODES:
        raise _invalid("Unknown wormMode directive.", "x-amz-object-lock-mode", mode)
    if hold is not None and hold not in ("ON", "OFF"):
        raise _invalid("Legal Hold must be either of 'ON' or 'OFF'", "x-amz-object-lock-legal-hold", hold)
    if until is not None and until <= call.now:
        raise _invalid("The retain until date must be in the future!", "x-amz-object-lock-retain-until-date")
    arn = f"arn:aws:s3:::{params['Bucket']}/{params['Key']}"
    policy = await load_policy(call, params)
    for action, used in (("s3:PutObjectRetention", mode is not None), ("s3:PutObjectLegalHold", hold is not None)):
        if used:
            await require(
                call, params, action, arn, owner=call.account, policy=policy, conditions=conditions(call, params)
            )
    return Lock(mode or "", int((until or 0) * 1000), hold or "")


def conditions(call: Call, params: Params) -> dict[str, Any]:
    """Condition keys of calls that put a lock on an object."""
    found: dict[str, Any] = {}
    retention = params.get("Retention") or {}
    mode = params.get("ObjectLockMode", retention.get("Mode"))
    until = params.get("ObjectLockRetainUntilDate", retention.get("RetainUntilDate"))
    hold = params.get("ObjectLockLegalHoldStatus", (params.get("LegalHold") or {}).get("Status"))
    if mode is not None:
        found["s3:object-lock-mode"] = mode
    if until is not None:
        found["s3:object-lock-retain-until-date"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(until)))
        found["s3:object-lock-remaining-retention-days"] = int((until - call.now) // 86_400) + 1
    if hold is not None:
        found["s3:object-lock-legal-hold"] = hold
    return found


def put_on(call: Call, bucket: Bucket, record: ObjectRecord, wanted: Lock | None) -> None:
    """Give a new version the lock that was asked for, else the bucket's default. Raises AwsError InvalidRequest."""
    if not bucket.object_lock:
        if wanted is not None:
            raise no_configuration()
        return
    lock = wanted or Lock()
    if not lock.mode and bucket.retention.mode:
        lock = Lock(bucket.retention.mode, _until_ms(call.now, bucket), lock.hold)
    if lock != Lock():
        record.lock = lock


def _until_ms(now: float, bucket: Bucket) -> int:
    """When the bucket's default retention ends for a version made now; a year is a year of the calendar."""
    days, years = bucket.retention.days, bucket.retention.years
    if days:
        return int(now * 1000) + days * _DAY_MS
    year, *rest = time.gmtime(now)[:6]
    if rest[0] == 2 and rest[1] == 29 and not calendar.isleap(year + years):
        rest[1] = 28
    whole = calendar.timegm((year + years, *rest))
    return whole * 1000 + int(now * 1000) % 1000


def check_delete(call: Call, record: ObjectRecord, *, bypass: bool) -> None:
    """May this version be deleted for good? bypass: the caller may bypass governance. Raises AwsError AccessDenied."""
    lock = record.lock
    if lock is None:
        return
    active = lock.until_ms > call.now * 1000
    if lock.hold == "ON" or (active and (lock.mode == COMPLIANCE or not bypass)):
        raise _protected()


def check_bypass(bucket: Bucket, params: Params) -> None:
    """Raises AwsError InvalidArgument where a request speaks of bypassing what the bucket does not have."""
    if "BypassGovernanceRetention" in params and not bucket.object_lock:
        raise AwsError(
            "InvalidArgument",
            "x-amz-bypass-governance-retention is only applicable to Object Lock enabled buckets.",
            400,
            members={"ArgumentName": "x-amz-bypass-governance-retention"},
        )


async def may_bypass(call: Call, params: Params) -> bool:
    """Whether the caller asks to bypass governance, and may."""
    if not params.get("BypassGovernanceRetention"):
        return False
    arn = f"arn:aws:s3:::{params['Bucket']}/{params['Key']}"
    policy = await load_policy(call, params)
    try:
        await require(call, params, "s3:BypassGovernanceRetention", arn, owner=call.account, policy=policy)
    except AwsError:
        return False
    return True


def told(record: ObjectRecord) -> Result:
    """What GetObject and HeadObject say of a version's lock."""
    lock = record.lock
    if lock is None:
        return {}
    found: Result = {}
    if lock.mode:
        found["ObjectLockMode"] = lock.mode
        found["ObjectLockRetainUntilDate"] = lock.until_ms / 1000
    if lock.hold:
        found["ObjectLockLegalHoldStatus"] = lock.hold
    return found


# the bucket's configuration


@operation(
    "s3:PutObjectLockConfiguration",
    action="s3:PutBucketObjectLockConfiguration",
    resource=BUCKET_ARN,
    policy=load_policy,
    unsupported={"Token": ()},
)
async def put_object_lock_configuration(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLockConfiguration.html

    Can be turned on for any bucket with versions, and never off again.
    """
    wanted = params.get("ObjectLockConfiguration") or {}
    if wanted.get("ObjectLockEnabled") != "Enabled":
        raise malformed_xml()
    retention = _default_retention(wanted)

    def body(txn: Transaction) -> None:
        bucket = require_bucket(txn, call, params)
        if bucket.versioning != versions.ENABLED:
            raise AwsError(
                "InvalidBucketState",
                "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
                409,
            )
        changed = msgspec.structs.replace(bucket, object_lock=True, retention=retention)
        txn.set(keys.bucket(params["Bucket"]), encode(changed))

    await call.store.transact(body)
    return {}


def _default_retention(configuration: Mapping[str, Any]) -> Retention:
    """Raises AwsError MalformedXML, InvalidArgument, NotImplemented."""
    rule = configuration.get("Rule")
    if rule is None:
        return Retention()
    default = rule.get("DefaultRetention") or {}
    if default.get("DefaultEventHold"):
        raise not_implemented("DefaultEventHold in an Object Lock configuration")
    days, years = default.get("Days"), default.get("Years")
    if default.get("Mode") not in _MODES or (days is None) == (years is None):
        raise malformed_xml()
    if min(1 if days is None else days, 1 if years is None else years) <= 0:
        raise AwsError("InvalidRetentionPeriod", "Default retention period must be a positive integer value.", 400)
    if (days or 0) > _DAYS or (years or 0) > _YEARS:
        raise _invalid("Default retention period is too large.")
    return Retention(default["Mode"], days or 0, years or 0)


@operation(
    "s3:GetObjectLockConfiguration",
    action="s3:GetBucketObjectLockConfiguration",
    resource=BUCKET_ARN,
    policy=load_policy,
)
async def get_object_lock_configuration(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectLockConfiguration.html"""
    bucket = await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)
    if not bucket.object_lock:
        raise AwsError(
            "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket", 404,
            members={"BucketName": params["Bucket"]},
        )  # fmt: skip
    told: dict[str, Any] = {"ObjectLockEnabled": "Enabled"}
    retention = bucket.retention
    if retention.mode:
        period = {"Days": retention.days} if retention.days else {"Years": retention.years}
        told["Rule"] = {"DefaultRetention": {"Mode": retention.mode, **period}}
    return {"ObjectLockConfiguration": told}


# an object's retention and legal hold


def no_configuration() -> AwsError:
    return AwsError("InvalidRequest", "Bucket is missing Object Lock Configuration", 400)


def _no_lock() -> AwsError:
    return AwsError(
        "NoSuchObjectLockConfiguration", "The specified object does not have a ObjectLock configuration", 404
    )


def _find(txn: Transaction, call: Call, params: Params) -> tuple[bytes, ObjectRecord]:
    if not require_bucket(txn, call, params).object_lock:
        raise no_configuration()
    _, at, record = find_version(txn, call, params)
    return at, record


@operation(
    "s3:PutObjectRetention",
    resource=OBJECT_ARN,
    policy=load_policy_and_object,
    conditions=lambda call, params: {**existing_tags(call, params), **conditions(call, params)},
)
async def put_object_retention(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectRetention.html"""
    retention = params.get("Retention") or {}
    if retention.get("EventHold") or retention.get("EventHoldDuration"):
        raise not_implemented("EventHold in a retention")
    mode, until = retention.get("Mode"), retention.get("RetainUntilDate")
    if (mode is None) != (until is None) or (mode is not None and mode not in _MODES):
        raise malformed_xml()
    bypass = await may_bypass(call, params)

    def body(txn: Transaction) -> None:
        at, record = _find(txn, call, params)
        if until is not None and until <= call.now:
            told = datetime.fromtimestamp(until, _SEATTLE).strftime("%a %b %d %H:%M:%S %Z %Y")
            raise _invalid("The retain until date must be in the future!", "RetainUntilDate", told)
        old = record.lock or Lock()
        new = Lock(mode or "", int((until or 0) * 1000), old.hold)
        weaker = old.until_ms > call.now * 1000 and (new.mode != old.mode or new.until_ms < old.until_ms)
        if weaker and (old.mode == COMPLIANCE or not bypass):
            raise _protected()
        record.lock = new
        txn.set(at, encode(record))

    await call.store.transact(body)
    return {}


@operation("s3:GetObjectRetention", resource=OBJECT_ARN, policy=load_policy_and_object, conditions=existing_tags)
async def get_object_retention(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectRetention.html"""
    _, record = await call.store.transact(lambda txn: _find(txn, call, params), read_only=True)
    if record.lock is None or not record.lock.mode:
        raise _no_lock()
    return {"Retention": {"Mode": record.lock.mode, "RetainUntilDate": record.lock.until_ms / 1000}}


@operation(
    "s3:PutObjectLegalHold",
    resource=OBJECT_ARN,
    policy=load_policy_and_object,
    conditions=lambda call, params: {**existing_tags(call, params), **conditions(call, params)},
)
async def put_object_legal_hold(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLegalHold.html"""
    status = (params.get("LegalHold") or {}).get("Status")
    if status not in ("ON", "OFF"):
        raise malformed_xml()

    def body(txn: Transaction) -> None:
        at, record = _find(txn, call, params)
        old = record.lock or Lock()
        record.lock = Lock(old.mode, old.until_ms, status)
        txn.set(at, encode(record))

    await call.store.transact(body)
    return {}


@operation("s3:GetObjectLegalHold", resource=OBJECT_ARN, policy=load_policy_and_object, conditions=existing_tags)
async def get_object_legal_hold(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectLegalHold.html"""
    _, record = await call.store.transact(lambda txn: _find(txn, call, params), read_only=True)
    if record.lock is None or not record.lock.hold:
        raise _no_lock()
    return {"LegalHold": {"Status": record.lock.hold}}
