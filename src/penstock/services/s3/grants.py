"""Grants of access control lists: what they may say, how they are told, and what they allow a caller to do.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from penstock.core.identity import Kind, Principal
from penstock.services.s3.records import IGNORE_PUBLIC_ACLS, Bucket, Grant, ObjectRecord
from penstock.wire.errors import AwsError

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"
PUBLIC = (ALL_USERS, AUTHENTICATED_USERS)
ANONYMOUS = "anonymous"
"""In place of an account: who wrote an object without signing."""

FULL_CONTROL, READ, WRITE, READ_ACP, WRITE_ACP = "FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP"
PERMISSIONS = (FULL_CONTROL, READ, WRITE, READ_ACP, WRITE_ACP)
HEADERS = {
    "GrantFullControl": FULL_CONTROL,
    "GrantRead": READ,
    "GrantWrite": WRITE,
    "GrantReadACP": READ_ACP,
    "GrantWriteACP": WRITE_ACP,
}
_EC2 = "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c"
_CANNED: dict[str, tuple[Grant, ...]] = {
    "private": (),
    "public-read": (Grant(ALL_USERS, READ),),
    "public-read-write": (Grant(ALL_USERS, READ), Grant(ALL_USERS, WRITE)),
    "authenticated-read": (Grant(AUTHENTICATED_USERS, READ),),
    "aws-exec-read": (Grant(_EC2, READ),),
    "log-delivery-write": (Grant(LOG_DELIVERY, WRITE), Grant(LOG_DELIVERY, READ_ACP)),
}
_OF_BUCKET_OWNER = {"bucket-owner-read": READ, "bucket-owner-full-control": FULL_CONTROL}
_GRANTEE = re.compile(r"\s*(\w+)\s*=\s*(?:\"([^\"]*)\"|([^,\"]*?))\s*(?:,|$)")
MOST = 100

_BUCKET_ACTIONS = {
    READ: ("s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"),
    WRITE: ("s3:PutObject",),
    READ_ACP: ("s3:GetBucketAcl",),
    WRITE_ACP: ("s3:PutBucketAcl",),
}
_OBJECT_ACTIONS = {
    READ: ("s3:GetObject", "s3:GetObjectVersion"),
    READ_ACP: ("s3:GetObjectAcl", "s3:GetObjectVersionAcl"),
    WRITE_ACP: ("s3:PutObjectAcl", "s3:PutObjectVersionAcl"),
}
_OF_OBJECT_OWNER = (
    *(action for actions in _OBJECT_ACTIONS.values() for action in actions),
    "s3:GetObjectTagging", "s3:GetObjectVersionTagging", "s3:PutObjectTagging", "s3:PutObjectVersionTagging",
    "s3:GetObjectAttributes", "s3:GetObjectVersionAttributes",
)  # fmt: skip


@functools.lru_cache(1024)
def canonical_id(account: str) -> str:
    """The account's canonical user id: 64 hex digits, always the same for an account."""
    if account == ANONYMOUS:
        return "65a011a29cdf8ec533ec3d1ccaae921c"
    return hashlib.sha256(b"s3 canonical user " + account.encode()).hexdigest()


def writer(principal: Principal) -> str:
    """Whose an object is that the principal writes."""
    return ANONYMOUS if principal.kind is Kind.ANONYMOUS else principal.account


def is_public(grants: Iterable[Grant]) -> bool:
    return any(grant.grantee in PUBLIC for grant in grants)


# what requests say


def conditions(params: Mapping[str, Any]) -> dict[str, Any]:
    """The condition keys that tell a request's x-amz-acl and x-amz-grant-* headers."""
    found = {"s3:x-amz-acl": params["ACL"]} if "ACL" in params else {}
    for name, permission in HEADERS.items():
        if name in params:
            found[f"s3:x-amz-grant-{permission.lower().replace('_', '-')}"] = params[name]
    return found


def asked_for(params: Mapping[str, Any], owner: str, bucket_owner: str = "") -> tuple[Grant, ...] | None:
    """The grants that a request's x-amz-acl or x-amz-grant-* headers ask for, None if it has none. owner: the account
    that the bucket or object belongs to; bucket_owner: for an object. Raises AwsError InvalidRequest, InvalidArgument.
    """
    canned = params.get("ACL")
    headers = {name: params[name] for name in HEADERS if name in params}
    if canned is None:
        if not headers:
            return None
        return tuple(
            Grant(grantee, HEADERS[name]) for name, text in headers.items() for grantee in _header_grantees(name, text)
        )
    if headers:
        raise AwsError("InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed", 400)
    mine = Grant(canonical_id(owner), FULL_CONTROL)
    if canned in _OF_BUCKET_OWNER:
        if not bucket_owner or bucket_owner == owner:
            return (mine,)
        return (mine, Grant(canonical_id(bucket_owner), _OF_BUCKET_OWNER[canned]))
    if canned not in _CANNED:
        raise _invalid("", "x-amz-acl", canned)
    return (mine, *_CANNED[canned])


def _header_grantees(name: str, text: str) -> Iterable[str]:
    at = 0
    while at < len(text):
        match = _GRANTEE.match(text, at)
        if match is None:
            raise _invalid(
                "Argument format not recognized", f"x-amz-grant-{HEADERS[name].lower().replace('_', '-')}", text
            )
        at = match.end()
        kind, value = match.group(1).lower(), match.group(2) if match.group(2) is not None else match.group(3)
        if kind == "id":
            yield _checked_id(value, "id")
        elif kind == "uri":
            yield _checked_group(value, "uri")
        elif kind == "emailaddress":
            raise _no_email()
        else:
            raise _invalid(
                "Argument format not recognized", f"x-amz-grant-{HEADERS[name].lower().replace('_', '-')}", text
            )


def of_document(document: Mapping[str, Any], owner: str) -> tuple[Grant, ...]:
    """The grants of an AccessControlPolicy. Raises AwsError MalformedACLError, InvalidArgument, AccessDenied."""
    if "Owner" not in document or "ID" not in document["Owner"]:
        raise _malformed()
    if _checked_id(document["Owner"]["ID"]) != canonical_id(owner):
        raise AwsError("AccessDenied", "Access Denied", 403)
    found = []
    for item in document.get("Grants") or []:
        grantee, permission = item.get("Grantee") or {}, item.get("Permission")
        if permission not in PERMISSIONS:
            raise _malformed()
        kind = grantee.get("Type")
        if kind == "CanonicalUser" and "ID" in grantee:
            found.append(Grant(_checked_id(grantee["ID"]), permission))
        elif kind == "Group" and "URI" in grantee:
            found.append(Grant(_checked_group(grantee["URI"]), permission))
        elif kind == "AmazonCustomerByEmail":
            raise _no_email()
        else:
            raise _malformed()
    if len(found) > MOST:
        raise AwsError("InvalidRequest", f"Number of grants must not exceed {MOST}", 400)
    return tuple(found)


def _checked_id(text: str, name: str = "CanonicalUser/ID") -> str:
    if re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{32}", text) is None:
        raise _invalid("Invalid id", name, text)
    return text


def _checked_group(text: str, name: str = "Group/URI") -> str:
    if text not in (*PUBLIC, LOG_DELIVERY):
        raise _invalid("Invalid group uri", name, text)
    return text


def _no_email() -> AwsError:
    return AwsError(  # since October 2025, as AWS announced in "Email grantee ACLs"
        "MethodNotAllowed", "Grants to email addresses are no longer supported; use a canonical user ID.", 405
    )


def _malformed() -> AwsError:
    return AwsError(
        "MalformedACLError",
        "The XML you provided was not well-formed or did not validate against our published schema",
        400,
    )


def _invalid(message: str, name: str, value: str) -> AwsError:
    return AwsError("InvalidArgument", message, 400, members={"ArgumentName": name, "ArgumentValue": value})


def told(owner: str, grants: tuple[Grant, ...] | None) -> dict[str, Any]:
    """Owner and Grants of an answer. grants None: the default, full control for the owner."""
    me = canonical_id(owner)
    shown = []
    for grant in (Grant(me, FULL_CONTROL),) if grants is None else grants:
        kind = (
            {"Type": "Group", "URI": grant.grantee}
            if ":" in grant.grantee
            else {"Type": "CanonicalUser", "ID": grant.grantee}
        )
        shown.append({"Grantee": kind, "Permission": grant.permission})
    return {"Owner": {"ID": me}, "Grants": shown}


# what they allow


def _permissions(principal: Principal, grants: Iterable[Grant], bucket: Bucket) -> set[str]:
    """What the grants give the caller. Grants to the bucket owner's own account do not stand in for IAM's."""
    names = (
        set() if bucket.public_access_block & IGNORE_PUBLIC_ACLS and bucket.public_access_block != 16 else {ALL_USERS}
    )
    if principal.kind is not Kind.ANONYMOUS:
        if names:
            names.add(AUTHENTICATED_USERS)
        if principal.account != bucket.account:
            names.add(canonical_id(principal.account))
    found = {grant.permission for grant in grants if grant.grantee in names}
    return set(PERMISSIONS) if FULL_CONTROL in found else found


def policy_with(
    policy: str | None,
    principal: Principal,
    name: str,
    bucket: Bucket,
    bucket_grants: tuple[Grant, ...],
    record: ObjectRecord | None,
    *,
    looked: bool = False,
) -> str | None:
    """The bucket's policy, and beside it what the lists of the bucket and of the object allow this caller.

    An object that another account has written is that account's: the bucket's owner needs a grant to read it.
    looked: that there is no record means that there is no object, which whoever may list the bucket may know.
    """
    held = _permissions(principal, bucket_grants, bucket)
    allowed = [action for permission in held for action in _BUCKET_ACTIONS.get(permission, ())]
    denied: list[str] = []
    if looked and (record is None or record.marker) and READ in held:
        allowed += _OBJECT_ACTIONS[READ]
    if record is not None and not record.marker:
        object_actions: list[str] = []
        if record.owner and record.owner == writer(principal):
            object_actions += _OF_OBJECT_OWNER
            if WRITE in held:
                object_actions.append("s3:DeleteObject")
        else:
            grants = record.acl or ()
            mine = _permissions(principal, grants, bucket)
            if record.owner and principal.account == bucket.account:
                own = {grant.permission for grant in grants if grant.grantee == canonical_id(bucket.account)}
                mine |= set(PERMISSIONS) if FULL_CONTROL in own else own
            object_actions += [action for permission in mine for action in _OBJECT_ACTIONS.get(permission, ())]
            if FULL_CONTROL in mine:
                object_actions += _OF_OBJECT_OWNER
            if record.owner:
                denied = [action for action in _OF_OBJECT_OWNER if action not in object_actions]
                if principal.account == bucket.account:
                    object_actions = []
        allowed += object_actions
    if not allowed and not denied:
        return policy
    return _merged(policy, name, tuple(sorted(set(allowed))), tuple(denied))


def allowing(policy: str | None, name: str, *actions: str) -> str:
    """A bucket's policy that allows these actions, too. name: the bucket's."""
    return _merged(policy, name, actions, ())


@functools.lru_cache(512)
def _merged(policy: str | None, name: str, allowed: tuple[str, ...], denied: tuple[str, ...]) -> str:
    document: dict[str, Any] = (
        {"Version": "2012-10-17", "Statement": []} if policy is None else msgspec.json.decode(policy)
    )
    statements = document["Statement"]
    document["Statement"] = statements = list(statements) if isinstance(statements, list) else [statements]
    about = {"Principal": "*", "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]}
    if allowed:
        statements.append({"Effect": "Allow", "Action": list(allowed), **about})
    if denied:
        statements.append({"Effect": "Deny", "Action": list(denied), **about})
    return msgspec.json.encode(document).decode()
