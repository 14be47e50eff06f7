"""Grants: permissions on one key, given to one principal. https://docs.aws.amazon.com/kms/latest/developerguide/grants.html"""

from __future__ import annotations

import secrets
from typing import Any

from penstock.core.call import Call
from penstock.core.identity import RequiredPolicy
from penstock.core.operation import Params, Result, operation
from penstock.services.kms import access, errors, finding, grant_tokens, grants_in_force, keys, listing, rules
from penstock.services.kms.records import Grant, Key, decode_grant, encode
from penstock.services.kms.specs import AGREE, ENCRYPT, MAC, SIGN, SPECS
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

PAGE = 50
GRANTS_MAX = 50_000
"""Grants of a key."""
_ANY_KEY = {"CreateGrant", "RetireGrant", "DescribeKey"}
_BY_USAGE = {
    ENCRYPT: {"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo"},
    SIGN: {"Sign", "Verify"},
    MAC: {"GenerateMac", "VerifyMac"},
    AGREE: {"DeriveSharedSecret"},
}
_SYMMETRIC = {
    "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext",
}  # fmt: skip


def _check_operations(key: Key, operations: list[str]) -> None:
    """Raises AwsError ValidationException for an operation that the key's type does not know."""
    allowed = _ANY_KEY | _BY_USAGE[key.usage]
    allowed |= {"GetPublicKey"} if SPECS[key.spec].asymmetric else set()
    allowed |= _SYMMETRIC if key.spec == "SYMMETRIC_DEFAULT" else set()
    for name in operations:
        if name not in allowed:
            raise errors.invalid(
                f"Grant operation {name} is not supported for key spec {key.spec} and usage {key.usage}."
            )


def _made(call: Call, params: Params, key: Key) -> Grant:
    constraints = params.get("Constraints", {})
    grantee, service = params.get("GranteePrincipal"), params.get("GranteeServicePrincipal")
    if (grantee is None) == (service is None):
        raise errors.invalid("Specify either GranteePrincipal or GranteeServicePrincipal.")
    retiring, retiring_service = params.get("RetiringPrincipal"), params.get("RetiringServicePrincipal")
    if retiring and retiring_service:
        raise errors.invalid("Specify either RetiringPrincipal or RetiringServicePrincipal.")
    for named in (grantee, retiring):
        if named is not None and not named.startswith("arn:"):
            raise AwsError("InvalidArnException", f"ARN is not valid: {named}")
    has_context = "EncryptionContextEquals" in constraints or "EncryptionContextSubset" in constraints
    if has_context and key.spec != "SYMMETRIC_DEFAULT":
        raise errors.invalid("Encryption context constraints are for symmetric encryption keys alone.")
    return Grant(
        secrets.token_hex(32), call.now, str(grantee or service), sorted(set(params["Operations"])), call.principal.account,
        retiring or retiring_service or "", params.get("Name", ""), constraints.get("EncryptionContextEquals"),
        constraints.get("EncryptionContextSubset"), constraints.get("SourceArn", ""), service is not None,
        bool(retiring_service),
    )  # fmt: skip


def _same(a: Grant, b: Grant) -> bool:
    """Whether creating b after a is the same request again: AWS answers a named one with the grant there is."""
    mine, yours = ([*map(str, (g.grantee, g.operations, g.retiring, g.name, g.context_equals, g.context_subset, g.source_arn))]
                   for g in (a, b))  # fmt: skip
    return bool(a.name) and mine == yours


@access.key_operation("CreateGrant", across=True)
async def create_grant(call: Call, params: Params) -> Result:
    grant_tokens.check(params)
    seen = access.seen(call)
    rules.check_state(seen, call.now)
    _check_operations(seen, params["Operations"])
    grant = _made(call, params, seen)
    rules.check_dry_run(params)

    def body(txn: Transaction, key: Key) -> str:
        rules.check_state(key, call.now)
        count = 0
        for other in grants_in_force.of_key(txn, key) if key.granted else ():
            count += 1
            if _same(other, grant):
                return other.id
        if count >= GRANTS_MAX and call.node.settings.limits:
            raise errors.limit(f"The grant limit has been reached for the key: {key.arn}")
        key.granted = True
        where = key.account, key.region
        txn.set(keys.grant(*where, key.id, grant.id), encode(grant))
        txn.set(keys.grantee(*where, key.id, grant.grantee, grant.id), b"")
        if grant.retiring:
            txn.set(keys.retiring(*where, grant.retiring, key.id, grant.id), b"")
        return grant.id

    grant_id = await finding.change(call, seen, body)
    return {"GrantId": grant_id, "GrantToken": grant_tokens.made(seen.account, seen.region, seen.id, grant_id)}


def _remove(txn: Transaction, key: Key, grant_id: str) -> None:
    where = keys.grant(key.account, key.region, key.id, grant_id)
    stored = txn.get(where)
    if stored is None:
        raise _no_grant(grant_id, key.arn)
    grant = decode_grant(stored)
    txn.clear(where)
    txn.clear(keys.grantee(key.account, key.region, key.id, grant.grantee, grant.id))
    if grant.retiring:
        txn.clear(keys.retiring(key.account, key.region, grant.retiring, key.id, grant.id))


def _no_grant(grant_id: str, arn: str) -> AwsError:
    return errors.not_found(f"Grant ID {grant_id} not found for key {arn}")


@access.key_operation("RevokeGrant", across=True)
async def revoke_grant(call: Call, params: Params) -> Result:
    key = access.seen(call)
    return await _end(call, params, key, params["GrantId"])


async def _end(call: Call, params: Params, key: Key, grant_id: str) -> Result:
    def body(txn: Transaction) -> Result:
        _remove(txn, key, grant_id)
        # After it is known that it would have succeeded: nothing of this transaction is kept.
        rules.check_dry_run(params)
        return {}

    return await call.store.transact(body)


def _retired_key(call: Call, params: Params) -> str:
    """The key whose grant is to be retired: the token names it, or the request does. Raises AwsError."""
    if "GrantToken" in params:
        named = grant_tokens.read(params["GrantToken"])
        return f"arn:aws:kms:{named.region}:{named.account}:key/{named.key_id}"
    if "KeyId" not in params or "GrantId" not in params:
        raise errors.invalid("Either a grant token, or a key ID and a grant ID, must be specified.")
    return str(params["KeyId"])


def _retired_grant(params: Params) -> str:
    return grant_tokens.read(params["GrantToken"]).grant_id if "GrantToken" in params else params["GrantId"]


_load_key_policy = access.policy_of(_retired_key, across=True)


async def _retiring_policy(call: Call, params: Params) -> RequiredPolicy | None:
    """The key's policy; and the grant's retiring principal may retire it, whatever that says."""
    policy = await _load_key_policy(call, params)
    key = call.seen
    if not isinstance(key, Key) or not isinstance(policy, RequiredPolicy):
        return None
    where = keys.grant(key.account, key.region, key.id, _retired_grant(params))
    stored = await call.store.transact(lambda txn: txn.get(where), read_only=True)
    grant = None if stored is None else decode_grant(stored)
    if grant is None:
        return policy
    by = grants_in_force.retiring(grant)
    return RequiredPolicy(grants_in_force.with_statement(policy, by, "RetireGrant"))


@operation(
    "kms:RetireGrant", resource=access.resource_of(_retired_key), policy=_retiring_policy, conditions=access.conditions
)
async def retire_grant(call: Call, params: Params) -> Result:
    key = access.seen(call)
    return await _end(call, params, key, _retired_grant(params))


def _view(key_arn: str, grant: Grant) -> dict[str, Any]:
    found: dict[str, Any] = {
        "KeyId": key_arn, "GrantId": grant.id, "CreationDate": grant.created_at, "Operations": grant.operations,
        "IssuingAccount": f"arn:aws:iam::{grant.account}:root", "Name": grant.name,
        "GranteeServicePrincipal" if grant.by_service else "GranteePrincipal": grant.grantee,
    }  # fmt: skip
    if grant.retiring:
        found["RetiringServicePrincipal" if grant.retired_by_service else "RetiringPrincipal"] = grant.retiring
    constraints: dict[str, Any] = {}
    if grant.context_equals is not None:
        constraints["EncryptionContextEquals"] = grant.context_equals
    if grant.context_subset is not None:
        constraints["EncryptionContextSubset"] = grant.context_subset
    if grant.source_arn:
        constraints["SourceArn"] = grant.source_arn
    return found | {"Constraints": constraints} if constraints else found


@access.key_operation("ListGrants", across=True)
async def list_grants(call: Call, params: Params) -> Result:
    key = access.seen(call)
    only_id, limit = params.get("GrantId"), params.get("Limit", PAGE)
    grantee, service = params.get("GranteePrincipal"), params.get("GranteeServicePrincipal")
    begin, end = keys.range_under(keys.grants(key.account, key.region, key.id))
    scope = listing.scope(call, key.id, only_id or "", grantee or "", service or "")

    def wanted(grant: Grant) -> bool:
        return (
            (only_id is None or grant.id == only_id)
            and (grantee is None or (grant.grantee == grantee and not grant.by_service))
            and (service is None or (grant.grantee == service and grant.by_service))
        )

    def body(txn: Transaction) -> Result:
        found: list[dict[str, Any]] = []
        last = b""
        for stored, value in txn.scan(listing.after(params, scope, begin), end):
            grant = decode_grant(value)
            if not wanted(grant):
                continue
            if len(found) == limit:
                return listing.page("Grants", found, scope, last)
            found.append(_view(key.arn, grant))
            last = stored
        if only_id is not None and not found:
            raise _no_grant(only_id, key.arn)
        return listing.page("Grants", found)

    return await call.store.transact(body, read_only=True)


@operation("kms:ListRetirableGrants")
async def list_retirable_grants(call: Call, params: Params) -> Result:
    principal, service = params.get("RetiringPrincipal"), params.get("RetiringServicePrincipal")
    if (principal is None) == (service is None):
        raise errors.invalid("Specify either RetiringPrincipal or RetiringServicePrincipal.")
    named = str(principal or service)
    limit = params.get("Limit", PAGE)
    begin, end = keys.range_under(keys.all_retiring(call.account, call.region, named))
    scope = listing.scope(call, named)

    def body(txn: Transaction) -> Result:
        found: list[dict[str, Any]] = []
        last = b""
        for stored, _ in txn.scan(listing.after(params, scope, begin), end):
            *_, key_id, grant_id = keys.parts(stored)
            value = txn.get(keys.grant(call.account, call.region, str(key_id), str(grant_id)))
            if value is None:
                continue
            if len(found) == limit:
                return listing.page("Grants", found, scope, last)
            found.append(_view(f"arn:aws:kms:{call.region}:{call.account}:key/{key_id}", decode_grant(value)))
            last = stored
        return listing.page("Grants", found)

    return await call.store.transact(body, read_only=True)
