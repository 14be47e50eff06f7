"""Settings that every bucket has as AWS sets them today and that cannot be changed here yet: only what is true is told.

The operations that would change them are not registered, so that they are refused.
"""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.operation import Handler, Params, Result, operation
from penstock.services.s3.access import BUCKET_ARN, load_policy, require_bucket
from penstock.services.s3.records import Bucket
from penstock.wire.errors import AwsError


async def _bucket(call: Call, params: Params) -> Bucket:
    return await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)


@operation("s3:GetBucketRequestPayment", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_request_payment(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketRequestPayment.html"""
    await _bucket(call, params)
    return {"Payer": "BucketOwner"}


@operation("s3:GetBucketLogging", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_logging(call: Call, params: Params) -> Result:
    """Off. https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLogging.html"""
    await _bucket(call, params)
    return {}


@operation(
    "s3:GetBucketAccelerateConfiguration",
    action="s3:GetAccelerateConfiguration",
    resource=BUCKET_ARN,
    policy=load_policy,
)
async def get_bucket_accelerate_configuration(call: Call, params: Params) -> Result:
    """Off. https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketAccelerateConfiguration.html"""
    await _bucket(call, params)
    return {}


_ABSENT = {
    "GetBucketLifecycleConfiguration": (
        "s3:GetLifecycleConfiguration",
        "NoSuchLifecycleConfiguration",
        "The lifecycle configuration does not exist",
    ),
    "GetBucketReplication": (
        "s3:GetReplicationConfiguration",
        "ReplicationConfigurationNotFoundError",
        "The replication configuration was not found",
    ),
}
"""Settings that no bucket can have here: operation -> IAM action, and AWS's error for a bucket without one."""


def _absent(code: str, message: str) -> Handler:
    async def get_setting(call: Call, params: Params) -> Result:
        await _bucket(call, params)
        raise AwsError(code, message, 404, members={"BucketName": params["Bucket"]})

    return get_setting


for _name, (_action, _code, _message) in _ABSENT.items():
    operation(f"s3:{_name}", action=_action, resource=BUCKET_ARN, policy=load_policy)(_absent(_code, _message))
