"""PutScalingPolicy (target tracking), DescribeScalingPolicies, DeleteScalingPolicy."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.application_autoscaling import keys
from penstock.services.application_autoscaling.listing import page
from penstock.services.application_autoscaling.records import (
    ANY_TARGET,
    DIMENSIONS,
    NAMESPACE,
    Place,
    Policy,
    conditions,
    decode,
    encode,
    invalid,
    place_of,
    require_target,
)
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented

LEAST_TARGET, MOST_TARGET = 20.0, 90.0
MAX_POLICIES = 50
_KIND = "TargetTrackingScaling"


@operation("application-autoscaling:PutScalingPolicy", resource=ANY_TARGET, conditions=conditions)
async def put_scaling_policy(call: Call, params: Params) -> Result:
    """Make a policy, or change one of that name. No alarms are made: consumption is watched without them."""
    place = place_of(call, params)
    configuration = _checked(params, place)
    name = params["PolicyName"]

    def body(txn: Transaction) -> Policy:
        require_target(txn, place)
        key = place.named("policy", name)
        stored = txn.get(key)
        if stored is not None:
            known = msgspec.structs.replace(decode(stored, Policy), configuration=configuration)
        else:
            others = [decode(each, Policy) for _, each in txn.scan(*place.all_named("policy"))]
            if len(others) >= MAX_POLICIES:
                raise AwsError("LimitExceededException", f"A scalable target can have up to {MAX_POLICIES} policies")
            if others:
                raise invalid(
                    "Only one TargetTrackingScaling policy for a given metric specification is allowed: "
                    f"{others[0].name} exists"
                )
            known = Policy(str(uuid.uuid4()), name, place.resource, place.dimension, call.now, configuration)
        txn.set(key, encode(known))
        return known

    found = await call.store.transact(body)
    return {"PolicyARN": found.arn(call.account, call.region), "Alarms": []}


def _checked(params: Params, place: Place) -> dict[str, Any]:
    """The configuration. Raises ValidationException for what DynamoDB's capacity cannot be scaled by."""
    configuration: dict[str, Any] | None = params.get("TargetTrackingScalingPolicyConfiguration")
    if params.get("PolicyType", _KIND) != _KIND or "StepScalingPolicyConfiguration" in params or configuration is None:
        raise invalid("Only TargetTrackingScaling policies, with their configuration, are supported for dynamodb")
    if "PredictiveScalingPolicyConfiguration" in params:
        raise invalid("PredictiveScaling policies are not supported for dynamodb")
    if "CustomizedMetricSpecification" in configuration:
        raise not_implemented("application-autoscaling policies with a CustomizedMetricSpecification")
    metric = configuration.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType")
    if metric != DIMENSIONS[place.dimension]:
        raise invalid(f"PredefinedMetricType {metric} is not valid for scalable dimension {place.dimension}")
    if "ResourceLabel" in configuration["PredefinedMetricSpecification"]:
        raise invalid(f"ResourceLabel is not valid for PredefinedMetricType {metric}")
    if not LEAST_TARGET <= configuration["TargetValue"] <= MOST_TARGET:
        raise invalid(f"TargetValue must be between {LEAST_TARGET:g} and {MOST_TARGET:g} for {metric}")
    for name in ("ScaleInCooldown", "ScaleOutCooldown"):
        if configuration.get(name, 0) < 0:
            raise invalid(f"{name} must not be negative")
    return configuration


@operation("application-autoscaling:DescribeScalingPolicies", resource="*")
async def describe_scaling_policies(call: Call, params: Params) -> Result:
    """All of them, those of a resource, or some by name."""
    wanted, resource = params.get("PolicyNames"), params.get("ResourceId")

    def show(policy: Policy) -> dict[str, Any]:
        return {
            "PolicyARN": policy.arn(call.account, call.region),
            "PolicyName": policy.name,
            "ServiceNamespace": NAMESPACE,
            "ResourceId": policy.resource,
            "ScalableDimension": policy.dimension,
            "PolicyType": _KIND,
            "TargetTrackingScalingPolicyConfiguration": policy.configuration,
            "Alarms": [],
            "CreationTime": policy.created_at,
        }

    def right(policy: Policy) -> bool:
        return resource in (None, policy.resource) and (not wanted or policy.name in wanted)

    return await page(
        call, params, Policy, keys.all_named("policy", call.account, call.region, NAMESPACE), right=right, show=show,
        member="ScalingPolicies",
    )  # fmt: skip


@operation("application-autoscaling:DeleteScalingPolicy", resource=ANY_TARGET, conditions=conditions)
async def delete_scaling_policy(call: Call, params: Params) -> Result:
    """Forget a policy."""
    place = place_of(call, params)
    key = place.named("policy", params["PolicyName"])

    def body(txn: Transaction) -> None:
        if txn.get(key) is None:
            raise AwsError(
                "ObjectNotFoundException",
                f"No scaling policy found for service namespace: {NAMESPACE}, resource ID: {place.resource}, scalable "
                f"dimension: {place.dimension}, policy name: {params['PolicyName']}",
            )
        txn.clear(key)

    await call.store.transact(body)
    return {}
