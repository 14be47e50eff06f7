"""Whose a bucket is, and the errors that say it is not there or not yours. Every operation comes through here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from penstock.core.authz import authorize
from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.core.operation import Params, find
from penstock.services.s3 import keys, log_lines, records, zones
from penstock.services.s3.grants import canonical_id, policy_with
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented

LoadPolicy = Callable[[Call, Params], Awaitable[str | None]]
BUCKET_ARN = "arn:aws:s3:::{Bucket}"
OBJECT_ARN = "arn:aws:s3:::{Bucket}/{Key}"


def no_such_bucket(name: str) -> AwsError:
    if name.startswith("arn:"):
        return not_implemented(f"access points and Object Lambda ({name[:200]})")
    return AwsError("NoSuchBucket", "The specified bucket does not exist", 404, members={"BucketName": name})


def no_such_key(key: str) -> AwsError:
    return AwsError("NoSuchKey", "The specified key does not exist.", 404, members={"Key": key})


def access_denied() -> AwsError:
    return AwsError("AccessDenied", "Access Denied", 403)


def require_bucket(txn: Transaction, call: Call, params: Params) -> records.Bucket:
    """The bucket that the call names, which is its account's. Raises AwsError NoSuchBucket, AccessDenied."""
    return check_bucket(get_bucket(txn, params["Bucket"]), call, params)


def get_bucket(txn: Transaction, name: str) -> records.Bucket | None:
    raw = txn.get_often(keys.BUCKET + name.encode())
    return None if raw is None else records.decode_bucket(raw)


def check_bucket(found: records.Bucket | None, call: Call, params: Params) -> records.Bucket:
    """The bucket, if it is there and the call's account's. Raises AwsError NoSuchBucket, AccessDenied."""
    if found is None:
        raise no_such_bucket(params["Bucket"])
    if found.account != call.account:
        raise access_denied()
    if "ExpectedBucketOwner" in params:
        _check_expected(found.account, params["ExpectedBucketOwner"])
    if params.get("RequestPayer", "requester") != "requester":
        raise AwsError("InvalidArgument", "Invalid request payer", 400, members={"ArgumentName": "x-amz-request-payer"})
    if found.requester_pays and call.principal.account != found.account and call.operation.name in log_lines.CHARGED:
        offered = "RequestPayer" in params and call.principal.kind is not Kind.ANONYMOUS
        if not offered and call.principal.kind is not Kind.SERVICE:
            raise access_denied()
    return found


def _check_expected(account: str, expected: str) -> None:
    if not (len(expected) == 12 and expected.isdigit()):
        raise AwsError(
            "InvalidBucketOwnerAWSAccountID",
            f"The value of the expected bucket owner parameter must be an AWS Account ID... [{expected}]",
            400,
        )
    if expected != account:
        raise access_denied()


def get_policy(txn: Transaction, name: str, found: records.Bucket | None) -> bytes | None:
    """The bucket's policy document, if it has one."""
    return txn.get(keys.setting(name, keys.POLICY)) if found is not None and found.has_policy else None


def get_grants(txn: Transaction, name: str, found: records.Bucket | None) -> tuple[records.Grant, ...] | None:
    """The bucket's access control list; None where it has the default, or none at all."""
    if found is None or not found.ownership:
        return None
    raw = txn.get(keys.setting(name, keys.ACL))
    return None if raw is None else records.decode_grants(raw)


def make_owners(
    call: Call,
    name: str,
    found: records.Bucket | None,
    document: bytes | None,
    grants: tuple[records.Grant, ...] | None,
    record: records.ObjectRecord | None = None,
    *,
    looked: bool = False,
) -> str | None:
    """Make the call one about the bucket owner's account. Returns the policy that holds for its principal.

    record: the object that the call is about, where its own list counts; looked: None means that there is none.
    Raises AwsError NoSuchBucket to whoever has not signed: no identity can be asked whether it may know.
    """
    if found is None:
        if call.principal.kind is Kind.ANONYMOUS:
            raise no_such_bucket(name)
        return None
    call.account = found.account
    if (
        found.has_public_policy
        and found.public_access_block & records.RESTRICT_PUBLIC_BUCKETS
        and call.principal.account != found.account
    ):
        document = None
    policy = None if document is None else document.decode()
    if not found.ownership:
        return policy
    return policy_with(policy, call.principal, name, found, grants or (), record, looked=looked)


async def load_policy(call: Call, params: Params) -> str | None:
    """The bucket's own policy, for `@operation(policy=...)`. Makes the call one about the bucket owner's account.

    Leaves the bucket's record in `call.seen`.
    """
    name = params["Bucket"]

    def body(txn: Transaction) -> tuple[records.Bucket | None, bytes | None, tuple[records.Grant, ...] | None]:
        found = get_bucket(txn, name)
        return found, get_policy(txn, name, found), get_grants(txn, name, found)

    raw = call.store.known(keys.bucket(name))
    found, document, grants = None if raw is None else records.decode_bucket(raw), None, None
    if found is None or found.has_policy or found.ownership:
        found, document, grants = await call.store.transact(body, read_only=True)
    call.seen = found
    log_lines.watch(call, params, found)
    if found is not None and found.zone:
        zones.decide(call, params, found)
    return make_owners(call, name, found, document, grants)


async def load_policy_but_for_root(call: Call, params: Params) -> str | None:
    """As `load_policy`, for the operations on the policy itself: no policy can lock the owner's root user out of them.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketPolicy.html
    """
    document = await load_policy(call, params)
    if call.principal.kind is Kind.ROOT and call.principal.account == call.account:
        return None
    return document


async def may(call: Call, operation: str, params: Params, load: LoadPolicy = load_policy) -> Call:
    """Authorize another S3 operation for this call's principal, e.g. reading a copy's source.

    load: another loader of the policy, where the object's own list counts.
    Returns the call as it would be carried out: about the account that owns the bucket. Raises AwsError AccessDenied.
    """
    principal_account = call.principal.account or call.account
    other = Call(
        call.node, find("s3", operation), call.principal, principal_account, call.region, call.request_id,
        source_ip=call.source_ip, secure=call.secure, endpoint=call.endpoint, user_agent=call.user_agent,
        context=call.context, request=call.request,
    )  # fmt: skip
    await load(other, params)  # first, so that the account is the owner's when it is decided who is root
    await authorize(other, params)
    return other


def owner(account: str) -> dict[str, str]:
    """As S3 names an owner. (AWS stopped sending DisplayName in November 2025.)"""
    return {"ID": canonical_id(account)}
