"""Rotation: fresh material for a key, while what it encrypted before stays readable.

https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html
"""

from __future__ import annotations

from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.services.kms import access, errors, finding, listing, material, rules
from penstock.services.kms.records import (
    CURRENT,
    DOES_NOT_EXPIRE,
    EXPIRES,
    NON_CURRENT,
    PENDING_REPLICAS,
    PENDING_ROTATION,
    Key,
    Material,
)
from penstock.services.kms.specs import SYMMETRIC
from penstock.store.api import Transaction
from penstock.store.tuples import pack

PERIOD_DAYS = 365
ON_DEMAND_MAX = 25
AUTOMATIC, ON_DEMAND = "AUTOMATIC", "ON_DEMAND"
PAGE = 100


def _check_symmetric(key: Key, *, imported: bool = False) -> None:
    if key.spec != SYMMETRIC:
        raise errors.unsupported()
    if key.origin != "AWS_KMS" and not imported:
        raise errors.unsupported(f"{key.arn} origin is {key.origin} which is not valid for this operation.")


def _check_primary(key: Key) -> None:
    if key.primary and key.primary != key.region:
        raise errors.unsupported(f"{key.arn} is a multi-region replica key, which is rotated with its primary key.")


def turn(key: Key, fresh: Material, now: float, how: str) -> None:
    """Make `fresh` the current material of a key."""
    key.materials = [m for m in key.materials if m.id != fresh.id]
    for old in key.materials:
        if old.state == CURRENT:
            old.state = NON_CURRENT
    key.materials.append(
        Material(fresh.id, fresh.sealed, fresh.public, CURRENT, now, how, fresh.valid_to, fresh.description)
    )


def turn_all(txn: Transaction, key: Key, fresh: Material, now: float, how: str) -> None:
    """Rotate a key, and its replicas with it. The key itself is for the caller to save.

    What was imported into a replica is its own, with an expiry of its own.
    """
    turn(key, fresh, now, how)
    for other in finding.family(txn, key, now):
        due = other.due_at()
        turn(other, other.material(fresh.id) or fresh, now, how)
        finding.save(txn, other, due)


async def _set_period(call: Call, days: int) -> Result:
    def body(_: Transaction, key: Key) -> Result:
        rules.check_state(key, call.now)
        _check_symmetric(key)
        _check_primary(key)
        if days != key.rotation_days:
            key.rotation_days = days
            key.next_rotation_at = call.now + days * rules.DAY_S if days else 0.0
        return {}

    return await finding.change(call, access.seen(call), body)


@access.key_operation("EnableKeyRotation")
async def enable_key_rotation(call: Call, params: Params) -> Result:
    before = access.seen(call).rotation_days
    return await _set_period(call, params.get("RotationPeriodInDays") or before or PERIOD_DAYS)


@access.key_operation("DisableKeyRotation")
async def disable_key_rotation(call: Call, _: Params) -> Result:
    return await _set_period(call, 0)


@access.key_operation("GetKeyRotationStatus", across=True)
async def get_key_rotation_status(call: Call, _: Params) -> Result:
    """Of a key that has no rotation (asymmetric, HMAC), it is off: Terraform asks for it of every key."""
    key = access.seen(call)
    if key.primary and key.primary != key.region:
        key = await call.store.transact(
            lambda txn: finding.get(txn, key.account, key.primary, key.id, call.now), read_only=True
        )
    enabled = bool(key.rotation_days) and not access.seen(call).window_days
    answer: Result = {"KeyId": access.seen(call).arn, "KeyRotationEnabled": enabled}
    if enabled:
        answer |= {"RotationPeriodInDays": key.rotation_days, "NextRotationDate": key.next_rotation_at}
    return answer


@access.key_operation("RotateKeyOnDemand")
async def rotate_key_on_demand(call: Call, _: Params) -> Result:
    seen = access.seen(call)
    rules.check_state(seen, call.now)
    _check_symmetric(seen, imported=True)
    fresh = None
    if seen.origin == "AWS_KMS":
        fresh = await material.made(call.node, seen.account, seen.id, seen.spec)

    def body(txn: Transaction, key: Key) -> Result:
        rules.check_state(key, call.now)
        _check_primary(key)
        if key.on_demand_rotations >= ON_DEMAND_MAX:
            raise errors.limit(
                "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be "
                f"performed for this key: {key.arn}"
            )
        key.on_demand_rotations += 1
        turn_all(txn, key, fresh or _pending(key, call.now), call.now, ON_DEMAND)
        return {"KeyId": key.arn}

    return await finding.change(call, seen, body)


def _pending(key: Key, now: float) -> Material:
    for found in key.materials:
        if found.state == PENDING_REPLICAS:
            raise errors.bad_state(
                f"Key material {found.id} has not been imported into every replica key of {key.arn}."
            )
        if found.state == PENDING_ROTATION and found.sealed and not 0.0 < found.valid_to <= now:
            return found
    raise errors.bad_state(f"No available key material pending rotation for the key: {key.arn}.")


@access.key_operation("ListKeyRotations")
async def list_key_rotations(call: Call, params: Params) -> Result:
    key = access.seen(call)
    _check_symmetric(key, imported=True)
    everything = params.get("IncludeKeyMaterial") == "ALL_KEY_MATERIAL"
    scope = listing.scope(call, key.id, str(everything))
    position = listing.after(params, scope, b"")
    limit = params.get("Limit", PAGE)
    wanted = [
        (pack((number,)), m) for number, m in enumerate(key.materials)
        if (everything or m.rotation) and pack((number,)) >= position
    ]  # fmt: skip
    last = wanted[limit - 1][0] if len(wanted) > limit else None
    return listing.page("Rotations", [_view(key, m, call.now) for _, m in wanted[:limit]], scope, last)


def _view(key: Key, material: Material, now: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "KeyId": key.arn, "KeyMaterialId": material.id, "KeyMaterialState": material.state,
    }  # fmt: skip
    if material.rotation:
        found |= {"RotationDate": material.since, "RotationType": material.rotation}
    if key.origin == "EXTERNAL":
        there = bool(material.sealed) and not 0.0 < material.valid_to <= now
        found["ImportState"] = "IMPORTED" if there else "PENDING_IMPORT"
        if there:
            found["ExpirationModel"] = EXPIRES if material.valid_to else DOES_NOT_EXPIRE
        if there and material.valid_to:
            found["ValidTo"] = material.valid_to
        if material.description:
            found["KeyMaterialDescription"] = material.description
    return found
