"""Bucket policies and Block Public Access.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html says what is public.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from penstock.core.authz import require
from penstock.core.authz.document import PolicyError
from penstock.core.authz.validate import Purpose, validate
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import keys, zones
from penstock.services.s3.access import BUCKET_ARN, load_policy, load_policy_but_for_root, require_bucket
from penstock.services.s3.records import BLOCK_PUBLIC_POLICY, NO_BLOCK, Bucket, encode
from penstock.services.s3.rules import POLICY_BYTES
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_METHODS = {"Put": "PUT", "Get": "GET", "Del": "DELETE"}
_RESTRICTING_KEYS = frozenset(
    {
        "aws:sourceip", "aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceaccount", "aws:sourceowner",
        "aws:userid", "aws:principalorgid", "aws:principalorgpaths", "aws:principalarn", "aws:principalaccount",
        "s3:dataaccesspointaccount", "s3:dataaccesspointarn", "s3:x-amz-server-side-encryption-aws-kms-key-id",
    }
)  # fmt: skip
_RESTRICTING_OPERATORS = ("stringequals", "stringlike", "arnequals", "arnlike", "ipaddress", "stringequalsignorecase")


def _malformed(message: str) -> AwsError:
    return AwsError("MalformedPolicy", message, 400)


def check_policy(text: str, bucket: str) -> dict[str, Any]:
    """The parsed policy of a bucket. Raises AwsError MalformedPolicy."""
    if len(text.encode()) > POLICY_BYTES:
        raise _malformed(f"Normalized policy document exceeds the maximum allowed size of {POLICY_BYTES} bytes.")
    if not text.lstrip().startswith("{"):
        raise _malformed("Policies must be valid JSON and the first byte must be '{'")
    if text.strip() == "{}":
        raise _malformed("Missing required field Statement")
    try:
        policy = validate(text, Purpose.RESOURCE)
    except PolicyError as error:
        raise _malformed(str(error)) from None
    for statement in _statements(policy):
        if statement["Effect"] == "Allow" and "NotPrincipal" in statement:
            raise _malformed("Allow with NotPrincipal is not allowed.")
        actions = _texts(statement.get("Action", statement.get("NotAction")))
        service = "s3express:" if zones.zone_of(bucket) else "s3:"
        if not all(action == "*" or action.lower().startswith(service) for action in actions):
            raise _malformed("Policy has invalid action")
        resources = _texts(statement.get("Resource", statement.get("NotResource")))
        if not resources:
            raise _malformed("Missing required field Resource")
        if not all(_is_about(resource, bucket) for resource in resources):
            raise _malformed("Policy has invalid resource")
    return policy


def _is_about(resource: str, bucket: str) -> bool:
    """Whether a resource of a policy can be this bucket or something in it."""
    if zones.zone_of(bucket):  # arn:aws:s3express:REGION:ACCOUNT:bucket/NAME
        service, _, name = resource.partition(":bucket/")
        rightly = service.startswith("arn:aws:s3express:")
    else:
        name = resource.removeprefix("arn:aws:s3:::").partition("/")[0]
        rightly = resource.startswith("arn:aws:s3:::")
    return resource == "*" or (rightly and fnmatchcase(bucket, name.replace("[", "[[]")))


def is_public(policy: Mapping[str, Any]) -> bool:
    """Whether a statement allows the world in, not narrowed to fixed values of a key that tells callers apart."""
    return any(
        statement.get("Effect") == "Allow"
        and ("NotPrincipal" in statement or _is_everybody(statement.get("Principal")))
        and not _is_narrowed(statement.get("Condition") or {})
        for statement in _statements(policy)
    )


def _is_everybody(principal: Any) -> bool:
    if isinstance(principal, Mapping):
        return any("*" in _texts(names) for names in principal.values())
    return bool(principal == "*")


def _is_narrowed(condition: Mapping[str, Any]) -> bool:
    for operator, pairs in condition.items():
        if operator.lower().removeprefix("forallvalues:").removeprefix("foranyvalue:") in _RESTRICTING_OPERATORS:
            for key, values in pairs.items():
                if key.lower() in _RESTRICTING_KEYS and not any(_is_wide(key, v) for v in _texts(values)):
                    return True
    return False


def _is_wide(key: str, value: str) -> bool:
    if key.lower() == "aws:sourceip":
        return value.endswith(("/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"))
    return "*" in value or "?" in value or "${" in value


def _statements(policy: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    statements = policy.get("Statement", [])
    return [statements] if isinstance(statements, Mapping) else statements


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _update(txn: Transaction, name: str, bucket: Bucket, **changes: Any) -> None:
    txn.set(keys.bucket(name), encode(msgspec.structs.replace(bucket, **changes)))


def _check_owner(call: Call) -> None:
    """Who may, but is of another account than the bucket, may not after all. Raises AwsError MethodNotAllowed."""
    if call.principal.account != call.account:
        raise AwsError(
            "MethodNotAllowed", "The specified method is not allowed against this resource.", 405,
            members={"Method": _METHODS[call.operation.name[:3]], "ResourceType": "BUCKETPOLICY"},
        )  # fmt: skip


@operation("s3:PutBucketPolicy", resource=BUCKET_ARN, policy=load_policy_but_for_root)
async def put_bucket_policy(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html

    A policy under which its author could not change it again is refused, unless that is confirmed.
    """
    _check_owner(call)
    name, text = params["Bucket"], params.get("Policy", "")
    bucket = await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)
    check_policy(text, name)
    if not params.get("ConfirmRemoveSelfBucketAccess"):
        action, arn = call.instead or ("s3:PutBucketPolicy", f"arn:aws:s3:::{name}")
        await require(call, params, action, arn, owner=bucket.account, policy=text)

    def body(txn: Transaction) -> None:
        bucket = require_bucket(txn, call, params)
        public = is_public(check_policy(text, name))
        if public and bucket.public_access_block & BLOCK_PUBLIC_POLICY:
            raise AwsError(
                "AccessDenied",
                f"User: {call.principal.arn} is not authorized to perform: s3:PutBucketPolicy on resource: "
                f'"arn:aws:s3:::{name}" because public policies are prevented by the BlockPublicPolicy setting in S3 '
                "Block Public Access.",
                403,
            )
        txn.set(keys.setting(name, keys.POLICY), text.encode())
        _update(txn, name, bucket, has_policy=True, has_public_policy=public)

    await call.store.transact(body)
    return {}


@operation("s3:GetBucketPolicy", resource=BUCKET_ARN, policy=load_policy_but_for_root)
async def get_bucket_policy(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketPolicy.html"""
    _check_owner(call)
    return {"Policy": (await _stored_policy(call, params)).decode()}


@operation("s3:GetBucketPolicyStatus", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_policy_status(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketPolicyStatus.html"""
    return {"PolicyStatus": {"IsPublic": is_public(msgspec.json.decode(await _stored_policy(call, params)))}}


async def _stored_policy(call: Call, params: Params) -> bytes:
    def body(txn: Transaction) -> bytes | None:
        require_bucket(txn, call, params)
        return txn.get(keys.setting(params["Bucket"], keys.POLICY))

    document = await call.store.transact(body, read_only=True)
    if document is None:
        raise AwsError(
            "NoSuchBucketPolicy", "The bucket policy does not exist", 404, members={"BucketName": params["Bucket"]}
        )  # fmt: skip
    return document


@operation("s3:DeleteBucketPolicy", resource=BUCKET_ARN, policy=load_policy_but_for_root)
async def delete_bucket_policy(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketPolicy.html"""
    _check_owner(call)

    def body(txn: Transaction) -> None:
        bucket = require_bucket(txn, call, params)
        txn.clear(keys.setting(params["Bucket"], keys.POLICY))
        _update(txn, params["Bucket"], bucket, has_policy=False, has_public_policy=False)

    await call.store.transact(body)
    return {}


@operation("s3:GetPublicAccessBlock", action="s3:GetBucketPublicAccessBlock", resource=BUCKET_ARN, policy=load_policy)
async def get_public_access_block(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetPublicAccessBlock.html"""
    bucket = await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)
    if bucket.public_access_block == NO_BLOCK:
        raise AwsError(
            "NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found", 404,
            members={"BucketName": params["Bucket"]},
        )  # fmt: skip
    return {
        "PublicAccessBlockConfiguration": {
            name: bool(bucket.public_access_block & 1 << i) for i, name in enumerate(_BLOCKS)
        }
    }


@operation("s3:PutPublicAccessBlock", action="s3:PutBucketPublicAccessBlock", resource=BUCKET_ARN, policy=load_policy)
async def put_public_access_block(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutPublicAccessBlock.html"""
    wanted = params["PublicAccessBlockConfiguration"]
    bits = sum(1 << i for i, name in enumerate(_BLOCKS) if wanted.get(name))

    def body(txn: Transaction) -> None:
        _update(txn, params["Bucket"], require_bucket(txn, call, params), public_access_block=bits)

    await call.store.transact(body)
    return {}


@operation(
    "s3:DeletePublicAccessBlock", action="s3:PutBucketPublicAccessBlock", resource=BUCKET_ARN, policy=load_policy
)
async def delete_public_access_block(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeletePublicAccessBlock.html"""

    def body(txn: Transaction) -> None:
        _update(txn, params["Bucket"], require_bucket(txn, call, params), public_access_block=NO_BLOCK)

    await call.store.transact(body)
    return {}
