"""Buckets: create, list, head, location, delete."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from penstock.core.authz import require
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import acls, grants, keys, rules, zones
from penstock.services.s3.access import BUCKET_ARN, load_policy, owner, require_bucket
from penstock.services.s3.records import Bucket, decode_bucket, encode
from penstock.services.s3.uploads import forget_upload
from penstock.services.s3.versions import ENABLED
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end
from penstock.wire import models
from penstock.wire.errors import AwsError

DEFAULT_REGION = "us-east-1"
_OLD_NAMES = {"eu-west-1": ("EU",)}
_PAGE = 10_000


def _region_of(call: Call, params: Params) -> str:
    """Where a new bucket is to be. Raises AwsError InvalidLocationConstraint, IllegalLocationConstraintException.

    A request to us-east-1 may ask for any region; one to another region must name just that one.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    """
    configuration = params.get("CreateBucketConfiguration") or {}
    rules.refuse_member(configuration, ("Location", "Bucket"), "CreateBucketConfiguration")
    wanted = configuration.get("LocationConstraint")
    if call.region != DEFAULT_REGION and wanted not in (None, "", call.region, *_OLD_NAMES.get(call.region, ())):
        raise _illegal_location(str(wanted))
    if wanted == "EU":
        wanted = "eu-west-1"
    if wanted is None or wanted == "":
        if call.region != DEFAULT_REGION:
            raise _illegal_location("unspecified")
        return DEFAULT_REGION
    if wanted == DEFAULT_REGION or wanted not in models.regions():
        raise AwsError(
            "InvalidLocationConstraint", "The specified location-constraint is not valid", 400,
            members={"LocationConstraint": wanted},
        )  # fmt: skip
    return str(wanted)


def _illegal_location(wanted: str) -> AwsError:
    return AwsError(
        "IllegalLocationConstraintException",
        f"The {wanted} location constraint is incompatible for the region specific endpoint this request was sent to.",
        400,
    )


def _new_bucket_arn(call: Call, params: Params) -> str:
    name = params["Bucket"]
    return zones.arn(call.region, call.account, name) if zones.zone_of(name) else f"arn:aws:s3:::{name}"


async def _for_session(call: Call, params: Params) -> None:
    """A new bucket has no policy; but a session of a directory bucket to be may create it, if its maker may."""
    if zones.session_of(call)[1] == params["Bucket"]:
        call.instead = ("s3express:CreateBucket", _new_bucket_arn(call, params))


def _create_conditions(call: Call, params: Params) -> dict[str, Any]:
    found: dict[str, Any] = {}
    constraint = (params.get("CreateBucketConfiguration") or {}).get("LocationConstraint")
    if constraint:
        found["s3:LocationConstraint"] = constraint
    found.update(grants.conditions(params))
    if "ObjectOwnership" in params:
        found["s3:x-amz-object-ownership"] = params["ObjectOwnership"]
    tags = _request_tags(params)
    if tags:
        found.update((f"aws:RequestTag/{tag.get('Key')}", tag.get("Value", "")) for tag in tags)
        found["aws:TagKeys"] = [tag.get("Key", "") for tag in tags]
    return found


@operation(
    "s3:CreateBucket",
    action_of=lambda params: "s3express:CreateBucket" if zones.zone_of(params["Bucket"]) else "s3:CreateBucket",
    resource=_new_bucket_arn,
    policy=_for_session,
    conditions=_create_conditions,
    unsupported={"BucketNamespace": ("global",)},
)
async def create_bucket(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html"""
    name = params["Bucket"]
    zone = zones.zone_of(name)
    if zone:
        zones.check_new(params, call.region)
        region = call.region
    else:
        rules.check_new_bucket_name(name)
        region = _region_of(call, params)
    ownership, wanted = acls.new_bucket(params, call.account)
    constraint = (params.get("CreateBucketConfiguration") or {}).get("LocationConstraint")
    configuration = params.get("CreateBucketConfiguration") or {}
    tags = rules.tag_set(configuration.get("Tags") or [], rules.BUCKET_TAGS, what="New bucket")
    if not zone:
        await _require_settings(call, params)

    def body(txn: Transaction) -> None:
        raw = txn.get(keys.bucket(name))
        if raw is not None:
            _exists(decode_bucket(raw), call, name, with_tags=bool(tags))
            return
        mine = keys.owned(call.account)
        if call.node.settings.limits and _is_full(txn, call, mine, directory=bool(zone)):
            raise AwsError(
                "TooManyBuckets", "You have attempted to create more buckets than allowed", 400
            )  # fmt: skip
        bucket = Bucket(
            call.account,
            region,
            int(call.now * 1000),
            ownership=ownership,
            zone=zone,
            old_location="EU" if constraint == "EU" else "",
        )
        if params.get("ObjectLockEnabledForBucket"):
            bucket = msgspec.structs.replace(bucket, versioning=ENABLED, object_lock=True)
        txn.set(keys.bucket(name), encode(bucket))
        txn.set(mine + name.encode(), b"")
        if wanted is not None:
            txn.set(keys.setting(name, keys.ACL), encode(wanted))
        if tags:
            txn.set(keys.setting(name, keys.TAGS), encode(tags))

    await call.store.transact(body)
    location = f"/{name}" if region == DEFAULT_REGION else f"http://{name}.s3.amazonaws.com/"
    return {"Location": location, "BucketArn": _new_bucket_arn(call, params)}


async def _require_settings(call: Call, params: Params) -> None:
    """Demand what it takes to make a bucket with settings that have permissions of their own. Raises AwsError AccessDenied.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html ("Permissions")
    """
    asked = {
        "s3:PutBucketAcl": params.get("ACL") != "private" and grants.conditions(params),
        "s3:PutBucketObjectLockConfiguration": params.get("ObjectLockEnabledForBucket"),
        "s3:PutBucketVersioning": params.get("ObjectLockEnabledForBucket"),
        "s3:PutBucketOwnershipControls": params.get("ObjectOwnership"),
        "s3:TagResource": _request_tags(params),
    }
    for action, wanted in asked.items():
        if wanted:
            found = _create_conditions(call, params)
            await require(call, params, action, _new_bucket_arn(call, params), owner=call.account, conditions=found)


def _request_tags(params: Params) -> list[dict[str, str]]:
    return (params.get("CreateBucketConfiguration") or {}).get("Tags") or []


def _is_full(txn: Transaction, call: Call, mine: bytes, *, directory: bool) -> bool:
    """Whether the account has as many buckets of the kind as it may have; directory buckets count by region."""
    quota = call.node.settings.s3_directory_buckets if directory else call.node.settings.s3_buckets
    count = 0
    for key, _ in txn.scan(mine, prefix_end(mine)):
        name = key[len(mine) :].decode()
        if bool(zones.zone_of(name)) != directory:
            continue
        raw = txn.get(keys.bucket(name)) if directory else None
        count += raw is None or decode_bucket(raw).region == call.region
        if count >= quota:
            return True
    return False


def _exists(bucket: Bucket, call: Call, name: str, *, with_tags: bool) -> None:
    """Creating one's own bucket again is fine in us-east-1, and nowhere else. Raises AwsError."""
    if bucket.account != call.account:
        raise AwsError(
            "BucketAlreadyExists",
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
            "Please select a different name and try again.",
            409,
            members={"BucketName": name},
        )
    if bucket.region != DEFAULT_REGION or call.region != DEFAULT_REGION or with_tags:
        raise AwsError(
            "BucketAlreadyOwnedByYou",
            "Your previous request to create the named bucket succeeded and you already own it.",
            409,
            members={"BucketName": name},
        )


def _listed_region(call: Call, params: Params) -> str:
    """The Region whose buckets are to be listed, or "". us-east-1 is asked for any, another Region for its own.

    Raises AwsError InvalidArgument.
    """
    wanted = params.get("BucketRegion") or ""
    why = ""
    if wanted and wanted != call.region:
        if wanted not in models.regions():
            why = f"Argument value {wanted} is not a valid AWS Region"
        elif call.region != DEFAULT_REGION:
            why = "Requests with bucket-region specified must be made to the corresponding regional endpoint"
    if why:
        raise AwsError("InvalidArgument", why, 400, members={"ArgumentName": "bucket-region"})
    return wanted


@operation("s3:ListBuckets", action="s3:ListAllMyBuckets")
async def list_buckets(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html"""
    prefix = params.get("Prefix", "")
    most = params.get("MaxBuckets", _PAGE)
    if not 1 <= most <= _PAGE:
        raise AwsError(
            "InvalidArgument", f"MaxBuckets must be between 1 and {_PAGE}", 400,
            members={"ArgumentName": "max-buckets", "ArgumentValue": str(most)},
        )  # fmt: skip
    wanted_region = _listed_region(call, params)
    mine = keys.owned(call.account)
    begin = mine + prefix.encode()
    if params.get("ContinuationToken"):
        begin = max(begin, mine + _token(params["ContinuationToken"]) + b"\0")

    def body(txn: Transaction) -> tuple[list[dict[str, Any]], str]:
        found: list[dict[str, Any]] = []
        for key, _ in txn.scan(begin, prefix_end(mine + prefix.encode())):
            name = key[len(mine) :].decode()
            raw = txn.get(keys.bucket(name))
            if raw is None:
                continue
            bucket = decode_bucket(raw)
            if bucket.zone or (wanted_region and bucket.region != wanted_region):
                continue
            if len(found) == most:
                return found, found[-1]["Name"]
            found.append(
                {
                    "Name": name,
                    "CreationDate": bucket.created_ms // 1000,
                    "BucketRegion": bucket.region,
                    "BucketArn": f"arn:aws:s3:::{name}",
                }
            )
        return found, ""

    found, last = await call.store.transact(body, read_only=True)
    if params.keys().isdisjoint(("MaxBuckets", "BucketRegion", "ContinuationToken", "Prefix")):
        for item in found:
            item.pop("BucketRegion")
    result: Result = {"Owner": owner(call.account), "Buckets": found}
    if last:
        result["ContinuationToken"] = base64.urlsafe_b64encode(last.encode()).decode()
    if prefix:
        result["Prefix"] = prefix
    return result


def _token(text: str) -> bytes:
    try:
        name = base64.urlsafe_b64decode(text)
    except (binascii.Error, ValueError):
        name = b""
    if not name:
        raise AwsError(
            "InvalidArgument", "The continuation token provided is incorrect", 400,
            members={"ArgumentName": "continuation-token"},
        )  # fmt: skip
    return name


@operation("s3:HeadBucket", action="s3:ListBucket", resource=BUCKET_ARN, policy=load_policy)
async def head_bucket(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html"""
    bucket = await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)
    name = params["Bucket"]
    told: Result = {"BucketRegion": bucket.region, "AccessPointAlias": False, "ContentType": "application/xml"}
    if bucket.zone:
        place = {"BucketLocationType": "AvailabilityZone", "BucketLocationName": bucket.zone}
        return {**told, **place, "BucketArn": zones.arn(bucket.region, bucket.account, name)}
    return {**told, "BucketArn": f"arn:aws:s3:::{name}"}


@operation("s3:GetBucketLocation", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_location(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html"""
    bucket = await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)
    if bucket.region == DEFAULT_REGION:
        return {}
    return {"LocationConstraint": bucket.old_location or bucket.region}


@operation("s3:DeleteBucket", resource=BUCKET_ARN, policy=load_policy)
async def delete_bucket(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucket.html

    Uploads in progress do not keep a bucket from being deleted: they go with it.
    """
    while await call.store.transact(lambda txn: _delete(txn, call, params)):
        pass
    return {}


def _delete(txn: Transaction, call: Call, params: Params) -> bool:
    """Delete the bucket, or one of its uploads; whether to come again. Raises AwsError BucketNotEmpty."""
    name = params["Bucket"]
    bucket = require_bucket(txn, call, params)
    for space, message in (
        (keys.objects(name), "The bucket you tried to delete is not empty"),
        (
            keys.versions(name),
            "The bucket you tried to delete is not empty. You must delete all versions in the bucket.",
        ),
    ):
        if next(txn.scan(space, prefix_end(space), limit=1), None) is not None:
            raise AwsError("BucketNotEmpty", message, 409, members={"BucketName": name})
    space = keys.uploads(name)
    upload = next(txn.scan(space, prefix_end(space), limit=1), None)
    if upload is not None:
        forget_upload(txn, call, name, *keys.split_upload(upload[0][len(space) :]))
        return True
    txn.clear(keys.bucket(name))
    txn.clear(keys.owned(bucket.account) + name.encode())
    txn.clear(*keys.settings(name))
    txn.clear(keys.held(name))
    return False
