"""What a key looks like from outside: DescribeKey, ListKeys."""

from __future__ import annotations

from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.kms import access, finding, grant_tokens, keys, listing, rules
from penstock.services.kms.records import DOES_NOT_EXPIRE, EXPIRES, Key, decode_key
from penstock.services.kms.specs import ALGORITHM_MEMBERS, SPECS, SYMMETRIC
from penstock.store.api import Transaction

PAGE = 100


def metadata(key: Key, now: float) -> dict[str, Any]:
    """A KeyMetadata."""
    state = key.state(now)
    found: dict[str, Any] = {
        "AWSAccountId": key.account, "KeyId": key.id, "Arn": key.arn, "CreationDate": key.created_at,
        "Enabled": state == "Enabled", "Description": key.description, "KeyUsage": key.usage, "KeyState": state,
        "Origin": key.origin, "KeyManager": key.manager, "CustomerMasterKeySpec": key.spec, "KeySpec": key.spec,
        "MultiRegion": bool(key.primary),
        ALGORITHM_MEMBERS[key.usage]: list(SPECS[key.spec].algorithms[key.usage]),
    }  # fmt: skip
    if key.primary:
        found["MultiRegionConfiguration"] = multi_region(key)
    if key.deletion_at:
        found["DeletionDate"] = key.deletion_at
    elif key.window_days:
        found["PendingDeletionWindowInDays"] = key.window_days
    current = key.current
    if current is not None and key.spec == SYMMETRIC:
        found["CurrentKeyMaterialId"] = current.id
    if current is not None and key.origin == "EXTERNAL" and state != "PendingImport":
        found["ExpirationModel"] = EXPIRES if current.valid_to else DOES_NOT_EXPIRE
        if current.valid_to:
            found["ValidTo"] = current.valid_to
    return found


def multi_region(key: Key) -> dict[str, Any]:
    """A MultiRegionConfiguration."""

    def place(region: str) -> dict[str, str]:
        return {"Arn": f"arn:aws:kms:{region}:{key.account}:key/{key.id}", "Region": region}

    return {
        "MultiRegionKeyType": "PRIMARY" if key.primary == key.region else "REPLICA",
        "PrimaryKey": place(key.primary),
        "ReplicaKeys": [place(region) for region in key.replicas],
    }


@access.key_operation("DescribeKey", across=True)
async def describe_key(call: Call, params: Params) -> Result:
    grant_tokens.check(params)
    return {"KeyMetadata": metadata(access.seen(call), call.now)}


@operation("kms:ListKeys", unsupported={"ResourceOwners": ([], ["SELF"])})
async def list_keys(call: Call, params: Params) -> Result:
    begin, end = keys.range_under(keys.all_keys(call.account, call.region))
    limit = params.get("Limit", PAGE)
    scope = listing.scope(call)

    def body(txn: Transaction) -> Result:
        found: list[dict[str, Any]] = []
        last = b""
        for stored, value in txn.scan(listing.after(params, scope, begin), end):
            key = decode_key(value)
            if key.dead(call.now):
                continue
            if len(found) == limit:
                return listing.page("Keys", found, scope, last)
            found.append({"KeyId": key.id, "KeyArn": key.arn})
            last = stored
        return listing.page("Keys", found)

    return await call.store.transact(body, read_only=True)


@access.key_operation("UpdateKeyDescription")
async def update_key_description(call: Call, params: Params) -> Result:
    def body(_: Transaction, key: Key) -> Result:
        rules.check_state(key, call.now, disabled=True, pending_import=True)
        key.description = params["Description"]
        return {}

    return await finding.change(call, access.seen(call), body)
