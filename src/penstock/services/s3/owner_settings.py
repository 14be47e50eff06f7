"""What a bucket's owner may set of logging, of who pays, and of acceleration.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerLogs.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/RequesterPaysBuckets.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/transfer-acceleration.html
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import keys, settings
from penstock.services.s3.access import BUCKET_ARN, get_bucket, load_policy, require_bucket
from penstock.services.s3.buckets import DEFAULT_REGION
from penstock.services.s3.records import Bucket, encode
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented
from penstock.wire.s3_quirks import malformed_xml


async def _bucket(call: Call, params: Params) -> Bucket:
    return await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)


def _save(txn: Transaction, name: str, bucket: Bucket, **changes: Any) -> None:
    txn.set(keys.bucket(name), encode(msgspec.structs.replace(bucket, **changes)))


@operation("s3:PutBucketLogging", resource=BUCKET_ARN, policy=load_policy)
async def put_bucket_logging(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLogging.html

    That the target's policy lets logging.s3.amazonaws.com write is seen at delivery, as on AWS.
    """
    name = params["Bucket"]
    enabled = params["BucketLoggingStatus"].get("LoggingEnabled")
    if enabled is not None:
        if enabled.get("TargetGrants"):
            raise not_implemented("TargetGrants of logs: give access to them by the target bucket's policy")
        form = enabled.get("TargetObjectKeyFormat") or {}
        if len(form) > 1:
            raise malformed_xml()

    def body(txn: Transaction) -> None:
        bucket = require_bucket(txn, call, params)
        if enabled is None:
            txn.clear(keys.setting(name, keys.LOGGING))
        else:
            _check_target(bucket, get_bucket(txn, enabled["TargetBucket"]), enabled["TargetBucket"])
            txn.set(keys.setting(name, keys.LOGGING), encode({"LoggingEnabled": enabled}))
        _save(txn, name, bucket, logging=enabled is not None)

    await call.store.transact(body)
    return {}


def _check_target(bucket: Bucket, target: Bucket | None, name: str) -> None:
    """Logs stay with their owner and in their Region. Raises AwsError."""
    if target is None or target.account != bucket.account:
        why = "does not exist" if target is None else "is not owned by you"
        raise AwsError(
            "InvalidTargetBucketForLogging", f"The target bucket for logging {why}", 400, members={"TargetBucket": name}
        )
    if target.region != bucket.region:
        members = {"TargetBucketLocation": target.region}
        if bucket.region != DEFAULT_REGION:
            members["SourceBucketLocation"] = bucket.region
        raise AwsError(
            "CrossLocationLoggingProhibitted", "Cross S3 location logging not allowed. ", 403, members=members
        )


@operation("s3:GetBucketLogging", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_logging(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLogging.html"""

    def body(txn: Transaction) -> bytes | None:
        require_bucket(txn, call, params)
        return txn.get(keys.setting(params["Bucket"], keys.LOGGING))

    raw = await call.store.transact(body, read_only=True)
    return {} if raw is None else dict(settings.decode(raw))


@operation("s3:PutBucketRequestPayment", resource=BUCKET_ARN, policy=load_policy)
async def put_bucket_request_payment(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketRequestPayment.html"""
    payer = params["RequestPaymentConfiguration"]["Payer"]
    if payer not in ("Requester", "BucketOwner"):
        raise malformed_xml()

    def body(txn: Transaction) -> None:
        _save(txn, params["Bucket"], require_bucket(txn, call, params), requester_pays=payer == "Requester")

    await call.store.transact(body)
    return {}


@operation("s3:GetBucketRequestPayment", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_request_payment(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketRequestPayment.html"""
    return {"Payer": "Requester" if (await _bucket(call, params)).requester_pays else "BucketOwner"}


@operation(
    "s3:PutBucketAccelerateConfiguration",
    action="s3:PutAccelerateConfiguration",
    resource=BUCKET_ARN,
    policy=load_policy,
)
async def put_bucket_accelerate_configuration(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketAccelerateConfiguration.html

    There is one way to this server; BUCKET.s3-accelerate.* is another name of it.
    """
    status = params["AccelerateConfiguration"].get("Status")
    await _bucket(call, params)
    if "." in params["Bucket"]:
        raise AwsError(
            "InvalidRequest",
            "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names",
            400,
        )
    if status not in ("Enabled", "Suspended"):
        raise malformed_xml()
    await settings.put(call, params, keys.ACCELERATE, {"Status": status})
    return {}


@operation(
    "s3:GetBucketAccelerateConfiguration",
    action="s3:GetAccelerateConfiguration",
    resource=BUCKET_ARN,
    policy=load_policy,
)
async def get_bucket_accelerate_configuration(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketAccelerateConfiguration.html"""

    def body(txn: Transaction) -> bytes | None:
        require_bucket(txn, call, params)
        return txn.get(keys.setting(params["Bucket"], keys.ACCELERATE))

    raw = await call.store.transact(body, read_only=True)
    return {} if raw is None else dict(settings.decode(raw))
