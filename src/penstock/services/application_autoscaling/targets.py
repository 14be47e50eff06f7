"""RegisterScalableTarget, DescribeScalableTargets, DeregisterScalableTarget."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from penstock.core import identity, tags
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.application_autoscaling import keys
from penstock.services.application_autoscaling.listing import page
from penstock.services.application_autoscaling.records import (
    ANY_TARGET,
    NAMESPACE,
    ROLE_NAME,
    ROLE_SERVICE,
    Target,
    conditions,
    encode,
    invalid,
    load_target,
    place_of,
    require_target,
    target_arn,
)
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError


@operation("application-autoscaling:RegisterScalableTarget", resource=ANY_TARGET, conditions=conditions)
async def register_scalable_target(call: Call, params: Params) -> Result:
    """Say between what capacity is to be kept, or change that. RoleARN is ignored, as AWS does for DynamoDB: the
    service-linked role is made, where there is none yet, with the caller's permission."""
    place = place_of(call, params)
    try:
        given_tags = tags.check(dict(params.get("Tags") or {}))
    except tags.TagProblem as problem:
        raise invalid(str(problem)) from None
    await _make_role(call)

    def body(txn: Transaction) -> Target:
        known = load_target(txn, place)
        least = params.get("MinCapacity", known.least if known else None)
        most = params.get("MaxCapacity", known.most if known else None)
        if least is None or most is None:
            raise invalid("Both MinCapacity and MaxCapacity must be specified for a new scalable target")
        if least < 1 or most < least:
            raise invalid("MinCapacity must be at least 1 and cannot be greater than MaxCapacity")
        if known is None:
            known = Target(
                uuid.uuid4().hex, place.resource, place.dimension, least, most, call.now,
                params.get("SuspendedState") or {}, given_tags,
            )  # fmt: skip
        elif given_tags:
            raise invalid("Tags cannot be given for a scalable target that is registered already: use TagResource")
        else:
            suspended = {**known.suspended, **(params.get("SuspendedState") or {})}
            known = msgspec.structs.replace(known, least=least, most=most, suspended=suspended)
        txn.set(place.key, encode(known))
        return known

    found = await call.store.transact(body)
    return {"ScalableTargetARN": target_arn(call.account, call.region, found.id)}


async def _make_role(call: Call) -> None:
    root = identity.root(call.account)
    try:
        await call.node.call(
            "iam", "GetRole", {"RoleName": ROLE_NAME}, principal=root, account=call.account, region=call.region
        )
    except AwsError as error:
        if error.code not in ("NoSuchEntity", "NoSuchEntityException"):
            raise
        try:
            await call.invoke("iam", "CreateServiceLinkedRole", {"AWSServiceName": ROLE_SERVICE})
        except AwsError as refused:
            if "has been taken" not in refused.message:  # by somebody at the same time
                raise


@operation("application-autoscaling:DescribeScalableTargets", resource="*")
async def describe_scalable_targets(call: Call, params: Params) -> Result:
    """All of them, or those of some resources."""
    wanted = params.get("ResourceIds")

    def show(target: Target) -> dict[str, Any]:
        suspended = {
            "DynamicScalingInSuspended": False,
            "DynamicScalingOutSuspended": False,
            "ScheduledScalingSuspended": False,
        }
        return {
            "ServiceNamespace": NAMESPACE,
            "ResourceId": target.resource,
            "ScalableDimension": target.dimension,
            "MinCapacity": target.least,
            "MaxCapacity": target.most,
            "RoleARN": f"arn:aws:iam::{call.account}:role/aws-service-role/{ROLE_SERVICE}/{ROLE_NAME}",
            "CreationTime": target.created_at,
            "SuspendedState": {**suspended, **target.suspended},
            "ScalableTargetARN": target_arn(call.account, call.region, target.id),
        }

    return await page(
        call, params, Target, keys.targets(call.account, call.region, NAMESPACE),
        right=lambda target: not wanted or target.resource in wanted, show=show, member="ScalableTargets",
    )  # fmt: skip


@operation("application-autoscaling:DeregisterScalableTarget", resource=ANY_TARGET, conditions=conditions)
async def deregister_scalable_target(call: Call, params: Params) -> Result:
    """Forget a target with its policies and scheduled actions. The capacity stays as it is."""
    place = place_of(call, params)

    def body(txn: Transaction) -> None:
        require_target(txn, place)
        txn.clear(place.key)
        for kind in ("policy", "action"):
            txn.clear(*place.all_named(kind))

    await call.store.transact(body)
    return {}
