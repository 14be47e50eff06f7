"""Customer managed keys: made, enabled, disabled. https://docs.aws.amazon.com/kms/latest/developerguide/create-keys.html"""

from __future__ import annotations

import secrets
import uuid

from penstock.core import authz
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.kms import access, errors, finding, keys, material, policies, rules, tags
from penstock.services.kms.descriptions import metadata
from penstock.services.kms.records import Key
from penstock.store.api import Transaction

KEYS_MAX = 100_000
"""Keys of an account in a Region."""


def check_quota(txn: Transaction, call: Call, account: str, region: str) -> None:
    """Count a key more. Raises AwsError LimitExceededException where there are as many as there may be."""
    where = keys.count(account, region)
    if int.from_bytes(txn.get(where) or b"", "little", signed=True) >= KEYS_MAX and call.node.settings.limits:
        raise errors.limit(f"The account has as many keys as it may have: {KEYS_MAX}")
    txn.add(where, 1)


@operation(
    "kms:CreateKey", conditions=access.conditions, unsupported={"CustomKeyStoreId": (), "XksKeyId": ()}
)  # fmt: skip
async def create_key(call: Call, params: Params) -> Result:
    spec, usage, origin = rules.new_key(params)
    given_tags = tags.checked(params.get("Tags", ()))
    multi_region = params.get("MultiRegion", False)
    key_id = f"mrk-{secrets.token_hex(16)}" if multi_region else str(uuid.uuid4())
    key = Key(
        key_id, call.account, call.region, call.now, spec, usage, "", description=params.get("Description", ""),
        origin=origin, tags=given_tags, primary=call.region if multi_region else "",
    )  # fmt: skip
    if given_tags:
        await authz.require(call, params, "kms:TagResource", key.arn, conditions=access.conditions(call, params))
    key.policy = await policies.checked(call, params, key.arn)
    if origin == "AWS_KMS":
        key.materials = [await material.made(call.node, call.account, key_id, spec)]

    def body(txn: Transaction) -> None:
        check_quota(txn, call, key.account, key.region)
        finding.save(txn, key, 0.0)

    await call.store.transact(body)
    return {"KeyMetadata": metadata(key, call.now)}


async def _set_enabled(call: Call, enabled: bool) -> Result:
    def body(_: Transaction, key: Key) -> Result:
        rules.check_state(key, call.now, disabled=True)
        key.enabled = enabled
        return {}

    return await finding.change(call, access.seen(call), body)


@access.key_operation("EnableKey")
async def enable_key(call: Call, _: Params) -> Result:
    return await _set_enabled(call, True)


@access.key_operation("DisableKey")
async def disable_key(call: Call, _: Params) -> Result:
    return await _set_enabled(call, False)
