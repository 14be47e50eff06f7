"""Access control lists of buckets and objects, and whether a bucket has them at all (object ownership).

https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.authz import require
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import events, grants, keys, rules, versions
from penstock.services.s3.access import BUCKET_ARN, OBJECT_ARN, get_grants, load_policy, require_bucket
from penstock.services.s3.reading import existing_tags, load_policy_and_object
from penstock.services.s3.records import BLOCK_PUBLIC_ACLS, NO_BLOCK, Bucket, Grant, ObjectRecord, Upload, encode
from penstock.services.s3.tagging import find_version
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

ENFORCED, PREFERRED, WRITER = "BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"
NO_CONTROLS = "None"
"""Bucket.ownership where the controls were deleted: as ObjectWriter, but not told."""


def new_bucket(params: Params, account: str) -> tuple[str, tuple[Grant, ...] | None]:
    """(Bucket.ownership, grants) of a new bucket.

    Raises AwsError InvalidBucketAclWithObjectOwnership, InvalidBucketAclWithBlockPublicAccessError.
    """
    ownership = params.get("ObjectOwnership", ENFORCED)
    if ownership not in (ENFORCED, PREFERRED, WRITER):
        raise AwsError(
            "InvalidArgument", f"Invalid x-amz-object-ownership header: {ownership}", 400,
            members={"ArgumentName": "x-amz-object-ownership"},
        )  # fmt: skip
    wanted = grants.asked_for(params, account)
    if ownership == ENFORCED:
        if wanted is not None and params.get("ACL") != "private":
            raise _with_ownership()
        return "", None
    if wanted is not None and grants.is_public(wanted):
        raise AwsError(
            "InvalidBucketAclWithBlockPublicAccessError",
            "Bucket cannot have public ACLs set with BlockPublicAccess enabled",
            400,
        )
    return ownership, wanted


def _with_ownership() -> AwsError:
    return AwsError(
        "InvalidBucketAclWithObjectOwnership",
        "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
        400,
    )


def _check_block(call: Call, bucket: Bucket, wanted: tuple[Grant, ...], action: str, arn: str) -> None:
    """Raises AwsError AccessDenied where public lists are blocked."""
    block = bucket.public_access_block
    if block != NO_BLOCK and block & BLOCK_PUBLIC_ACLS and grants.is_public(wanted):
        raise AwsError(
            "AccessDenied",
            f'User: {call.principal.arn} is not authorized to perform: {action} on resource: "{arn}" because public access '
            "control lists (ACLs) are blocked by the BlockPublicAcls setting in S3 Block Public Access.",
            403,
        )


async def check_permission(call: Call, params: Params) -> None:
    """Who writes an object with a list must be allowed to do that, too. Raises AwsError AccessDenied."""
    if ("ACL" in params or not grants.HEADERS.keys().isdisjoint(params)) and call.principal.account == call.account:
        arn = f"arn:aws:s3:::{params['Bucket']}/{params['Key']}"
        await require(call, params, "s3:PutObjectAcl", arn, owner=call.account, policy=await load_policy(call, params))


def put_on(call: Call, bucket: Bucket, target: ObjectRecord | Upload, params: Params) -> None:
    """Give a new object its owner and its list. Raises AwsError AccessControlListNotSupported, AccessDenied."""
    if not bucket.ownership:
        if "ACL" in params or not grants.HEADERS.keys().isdisjoint(params):
            grants.asked_for(params, bucket.account, bucket.account)  # what cannot be understood is said first
            rules.check_acl_parameters(params)
        return
    owner = grants.writer(call.principal)
    if owner != bucket.account and not (
        bucket.ownership == PREFERRED and params.get("ACL") == "bucket-owner-full-control"
    ):
        target.owner = owner
    wanted = grants.asked_for(params, target.owner or bucket.account, bucket.account)
    if wanted is not None:
        arn = f"arn:aws:s3:::{params['Bucket']}/{params['Key']}"
        _check_block(call, bucket, wanted, "s3:PutObject", arn)
        target.acl = wanted


def _asked(params: Params, owner: str, bucket_owner: str = "") -> tuple[Grant, ...]:
    """What a Put...Acl asks for. Raises AwsError."""
    wanted = grants.asked_for(params, owner, bucket_owner)
    document = params.get("AccessControlPolicy")
    if document is not None:
        if wanted is not None:
            raise AwsError("UnexpectedContent", "This request does not support content", 400)
        return grants.of_document(document, owner)
    if wanted is None:
        raise AwsError(
            "MissingSecurityHeader", "Your request was missing a required header", 400,
            members={"MissingHeaderName": "x-amz-acl"},
        )  # fmt: skip
    return wanted


def _check_enabled(bucket: Bucket, params: Params) -> bool:
    """Whether the bucket has lists; where it has none, only what holds anyway may be asked for. Raises AwsError."""
    if bucket.ownership:
        return True
    _asked(params, bucket.account, bucket.account)  # what cannot be understood is said first
    rules.check_acl_parameters(params)
    document = params.get("AccessControlPolicy")
    given = (document or {}).get("Grants") or []
    if any(grant.get("Permission") != grants.FULL_CONTROL for grant in given) or len(given) > 1:
        raise rules.no_acls()
    return False


# buckets


@operation("s3:GetBucketAcl", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_acl(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketAcl.html"""

    def body(txn: Transaction) -> Result:
        bucket = require_bucket(txn, call, params)
        return grants.told(bucket.account, get_grants(txn, params["Bucket"], bucket))

    return await call.store.transact(body, read_only=True)


@operation(
    "s3:PutBucketAcl",
    resource=BUCKET_ARN,
    policy=load_policy,
    conditions=lambda call, params: grants.conditions(params),
)
async def put_bucket_acl(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketAcl.html"""
    name = params["Bucket"]

    def body(txn: Transaction) -> None:
        bucket = require_bucket(txn, call, params)
        if not _check_enabled(bucket, params):
            return
        wanted = _asked(params, bucket.account)
        _check_block(call, bucket, wanted, "s3:PutBucketAcl", f"arn:aws:s3:::{name}")
        txn.set(keys.setting(name, keys.ACL), encode(wanted))

    await call.store.transact(body)
    return {}


@operation("s3:PutBucketOwnershipControls", resource=BUCKET_ARN, policy=load_policy)
async def put_bucket_ownership_controls(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketOwnershipControls.html"""
    found = [rule.get("ObjectOwnership") for rule in params["OwnershipControls"].get("Rules") or []]
    if len(found) != 1 or found[0] not in (ENFORCED, PREFERRED, WRITER):
        raise rules.malformed_xml()
    ownership = "" if found[0] == ENFORCED else found[0]
    name = params["Bucket"]

    def body(txn: Transaction) -> None:
        bucket = require_bucket(txn, call, params)
        mine = grants.canonical_id(bucket.account)
        if not ownership and any(grant.grantee != mine for grant in get_grants(txn, name, bucket) or ()):
            raise _with_ownership()
        txn.set(keys.bucket(name), encode(msgspec.structs.replace(bucket, ownership=ownership)))

    await call.store.transact(body)
    return {}


@operation("s3:GetBucketOwnershipControls", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_ownership_controls(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketOwnershipControls.html"""
    bucket = await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)
    if bucket.ownership == NO_CONTROLS:
        raise AwsError(
            "OwnershipControlsNotFoundError", "The bucket ownership controls were not found", 404,
            members={"BucketName": params["Bucket"]},
        )  # fmt: skip
    return {"OwnershipControls": {"Rules": [{"ObjectOwnership": bucket.ownership or ENFORCED}]}}


@operation(
    "s3:DeleteBucketOwnershipControls", action="s3:PutBucketOwnershipControls", resource=BUCKET_ARN, policy=load_policy
)
async def delete_bucket_ownership_controls(call: Call, params: Params) -> Result:
    """Without controls an object is its writer's, and lists are on.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketOwnershipControls.html
    """

    def body(txn: Transaction) -> None:
        bucket = require_bucket(txn, call, params)
        txn.set(keys.bucket(params["Bucket"]), encode(msgspec.structs.replace(bucket, ownership=NO_CONTROLS)))

    await call.store.transact(body)
    return {}


# objects


@operation(
    "s3:GetObjectAcl",
    action_of=versions.version_action("s3:GetObjectAcl", "s3:GetObjectVersionAcl"),
    resource=OBJECT_ARN,
    policy=load_policy_and_object,
    conditions=existing_tags,
)
async def get_object_acl(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAcl.html"""

    def body(txn: Transaction) -> Result:
        bucket, _, record = find_version(txn, call, params)
        if not bucket.ownership:
            return grants.told(bucket.account, None)
        return grants.told(record.owner or bucket.account, record.acl)

    return await call.store.transact(body, read_only=True)


def _put_conditions(call: Call, params: Params) -> dict[str, Any]:
    found = existing_tags(call, params)
    found.update(grants.conditions(params))
    return found


@operation(
    "s3:PutObjectAcl",
    action_of=versions.version_action("s3:PutObjectAcl", "s3:PutObjectVersionAcl"),
    resource=OBJECT_ARN,
    policy=load_policy_and_object,
    conditions=_put_conditions,
)
async def put_object_acl(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectAcl.html"""

    def body(txn: Transaction) -> None:
        bucket, at, record = find_version(txn, call, params)
        if not _check_enabled(bucket, params):
            return
        wanted = _asked(params, record.owner or bucket.account, bucket.account)
        _check_block(call, bucket, wanted, "s3:PutObjectAcl", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}")
        record.acl = wanted
        txn.set(at, encode(record))
        if bucket.has_notification:
            events.emit(txn, call, params["Bucket"], bucket, "ObjectAcl:Put", params["Key"], record)

    await call.store.transact(body)
    return {}
