"""Multi-Region keys: one material under one key id in several Regions, each with a policy, tags and state of its own.

https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-overview.html
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.core import authz
from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.services.kms import access, customer_keys, errors, finding, policies, rules, tags
from penstock.services.kms.descriptions import metadata
from penstock.services.kms.records import Key, decode_key, encode
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError


def _check_primary(key: Key) -> None:
    if not key.primary or key.primary != key.region:
        raise errors.unsupported(f"{key.arn} is not a multi-region primary key.")


def _of_all(txn: Transaction, key: Key, now: float, body: Callable[[Key], None]) -> None:
    """Do the same to every record of a family. The key itself is for the caller to save."""
    for other in finding.family(txn, key, now):
        due = other.due_at()
        body(other)
        finding.save(txn, other, due)
    body(key)


@access.key_operation("ReplicateKey")
async def replicate_key(call: Call, params: Params) -> Result:
    seen = access.seen(call)
    region = params["ReplicaRegion"]
    _check_primary(seen)
    rules.check_state(seen, call.now)
    arn = f"arn:aws:kms:{region}:{seen.account}:key/{seen.id}"
    await authz.require(call, params, "kms:CreateKey", f"arn:aws:kms:{region}:{seen.account}:*")
    given_tags = tags.checked(params.get("Tags", ()))
    policy = await policies.checked(call, params, arn)

    def body(txn: Transaction, key: Key) -> Key:
        _check_primary(key)
        rules.check_state(key, call.now)
        if region == key.region or region in key.replicas:
            raise AwsError("AlreadyExistsException", f"Key {arn} already exists")
        customer_keys.check_quota(txn, call, key.account, region)
        _of_all(txn, key, call.now, lambda each: each.replicas.append(region))
        replica = decode_key(encode(key))
        replica = msgspec.structs.replace(
            replica, region=region, created_at=call.now, policy=policy, description=params.get("Description", ""),
            tags=given_tags, aliases=[], granted=False, enabled=True, rotation_days=0, next_rotation_at=0.0,
        )  # fmt: skip
        if replica.origin == "EXTERNAL":
            # Its owner imports the same material into each Region.
            for each in replica.materials:
                each.sealed, each.valid_to = b"", 0.0
        finding.save(txn, replica, 0.0)
        return replica

    replica = await finding.change(call, seen, body)
    # AWS answers while it is still at it.
    described = metadata(replica, call.now) | {"KeyState": "Creating", "Enabled": False}
    described.pop("CurrentKeyMaterialId", None)
    answer: Result = {"ReplicaKeyMetadata": described, "ReplicaPolicy": policy}
    return answer | {"ReplicaTags": tags.to_list(given_tags)} if given_tags else answer


@access.key_operation("UpdatePrimaryRegion")
async def update_primary_region(call: Call, params: Params) -> Result:
    region = params["PrimaryRegion"]

    def body(txn: Transaction, key: Key) -> Result:
        _check_primary(key)
        rules.check_state(key, call.now)
        if region not in key.replicas:
            raise errors.not_found(f"Key 'arn:aws:kms:{region}:{key.account}:key/{key.id}' does not exist")
        rules.check_state(finding.get(txn, key.account, region, key.id, call.now), call.now)
        old, rotation, next_at = key.region, key.rotation_days, key.next_rotation_at

        def move(each: Key) -> None:
            each.primary = region
            each.replicas = [old if r == region else r for r in each.replicas]
            is_primary = each.region == region
            each.rotation_days, each.next_rotation_at = (rotation, next_at) if is_primary else (0, 0.0)

        _of_all(txn, key, call.now, move)
        return {}

    return await finding.change(call, access.seen(call), body)
