"""Settings that every bucket has as AWS sets them today and that cannot be changed here yet: only what is true is told.

The operations that would change them are not registered, so that they are refused.
"""

from __future__ import annotations

from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Handler, Params, Result, operation
from penstock.services.s3 import rules
from penstock.services.s3.access import BUCKET_ARN, OBJECT_ARN, load_policy, owner, require_bucket
from penstock.services.s3.reading import existing_tags, load_policy_and_object
from penstock.services.s3.records import Bucket
from penstock.services.s3.tagging import find_version
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented


async def _bucket(call: Call, params: Params) -> Bucket:
    return await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)


def _owner_controls(account: str) -> Result:
    grantee: dict[str, Any] = {"Type": "CanonicalUser", **owner(account)}
    return {"Owner": owner(account), "Grants": [{"Grantee": grantee, "Permission": "FULL_CONTROL"}]}


@operation("s3:GetBucketAcl", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_acl(call: Call, params: Params) -> Result:
    """ACLs are off: the owner has full control. https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketAcl.html"""
    return _owner_controls((await _bucket(call, params)).account)


@operation("s3:GetObjectAcl", resource=OBJECT_ARN, policy=load_policy_and_object, conditions=existing_tags)
async def get_object_acl(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAcl.html"""

    def body(txn: Transaction) -> Bucket:
        return find_version(txn, call, params)[0]

    return _owner_controls((await call.store.transact(body, read_only=True)).account)


def _refuse_acl(params: Params) -> None:
    """Raises AwsError AccessControlListNotSupported unless the ACL is what holds anyway: full control for the owner."""
    rules.check_acl_parameters(params)
    grants = (params.get("AccessControlPolicy") or {}).get("Grants") or []
    if "ACL" not in params and "AccessControlPolicy" not in params:
        raise AwsError(
            "MissingSecurityHeader", "Your request was missing a required header", 400,
            members={"MissingHeaderName": "x-amz-acl"},
        )  # fmt: skip
    if any(grant.get("Permission") != "FULL_CONTROL" for grant in grants) or len(grants) > 1:
        raise AwsError("AccessControlListNotSupported", "The bucket does not allow ACLs", 400)


@operation("s3:PutBucketAcl", resource=BUCKET_ARN, policy=load_policy)
async def put_bucket_acl(call: Call, params: Params) -> Result:
    """ACLs are off. https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketAcl.html"""
    await _bucket(call, params)
    _refuse_acl(params)
    return {}


@operation("s3:PutObjectAcl", resource=OBJECT_ARN, policy=load_policy_and_object, conditions=existing_tags)
async def put_object_acl(call: Call, params: Params) -> Result:
    """ACLs are off. https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectAcl.html"""
    await get_object_acl(call, params)
    _refuse_acl(params)
    return {}


@operation("s3:PutBucketOwnershipControls", resource=BUCKET_ARN, policy=load_policy)
async def put_bucket_ownership_controls(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketOwnershipControls.html"""
    await _bucket(call, params)
    for rule in params["OwnershipControls"].get("Rules") or []:
        if rule.get("ObjectOwnership") != "BucketOwnerEnforced":
            raise not_implemented(f"ObjectOwnership={rule.get('ObjectOwnership')}: ACLs are off in every bucket")
    return {}


@operation("s3:GetBucketOwnershipControls", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_ownership_controls(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketOwnershipControls.html"""
    await _bucket(call, params)
    return {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}}


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
    "GetBucketCors": ("s3:GetBucketCORS", "NoSuchCORSConfiguration", "The CORS configuration does not exist"),
    "GetBucketWebsite": (
        "s3:GetBucketWebsite",
        "NoSuchWebsiteConfiguration",
        "The specified bucket does not have a website configuration",
    ),
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
