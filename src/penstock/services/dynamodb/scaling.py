"""What DynamoDB asks of Application Auto Scaling: whether it keeps a table's capacity, and to keep a new replica's alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from penstock.core.call import Call, forwarded
from penstock.core.identity import Principal, root
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.table_records import TableRecord
from penstock.wire.errors import AwsError

_SERVICE = "application-autoscaling"
_COPIED = ("TargetValue", "DisableScaleIn", "ScaleInCooldown", "ScaleOutCooldown")
SettingsOf: TypeAlias = Callable[[str, str], dict[str, Any]]
"""An index's name ("": the table), and Read or Write -> AutoScalingSettings."""


async def ask(call: Call, region: str, name: str, *, principal: Principal | None = None, **params: Any) -> Any:
    """Call Application Auto Scaling in a region, as the caller unless it says otherwise. Raises AwsError."""
    return await call.node.call(
        _SERVICE, name, {"ServiceNamespace": "dynamodb", **params}, principal=principal or call.principal,
        account=call.account, region=region, context=forwarded("dynamodb", call.context) if principal is None else None,
    )  # fmt: skip


async def pages(
    call: Call, region: str, name: str, member: str, *, principal: Principal | None = None, **params: Any
) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    while True:
        page = await ask(call, region, name, principal=principal, **params)
        found += page[member]
        if "NextToken" not in page:
            return found
        params["NextToken"] = page["NextToken"]


def resource(record: TableRecord, index: str) -> str:
    """The ResourceId of a table, or of an index of it."""
    return f"table/{record.name}/index/{index}" if index else f"table/{record.name}"


def dimension(index: str, kind: str) -> str:
    """The ScalableDimension of Read or Write capacity."""
    return f"dynamodb:{'index' if index else 'table'}:{kind}CapacityUnits"


async def targets_of(call: Call, record: TableRecord) -> list[dict[str, Any]]:
    """What is kept of a table and its global indexes in the call's region; seen with the service's own permissions."""
    resources = [resource(record, name) for name in ("", *(each.name for each in record.indexes if each.is_global))]
    return await pages(
        call, call.region, "DescribeScalableTargets", "ScalableTargets", principal=root(call.account),
        ResourceIds=resources,
    )  # fmt: skip


async def require_scaled_writes(call: Call, record: TableRecord) -> None:
    """Raises ValidationException for a provisioned table that is to get a replica while nothing scales its writes.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2globaltables_reqs_bestpractices.html
    """
    if record.on_demand or not call.node.settings.limits:
        return
    wanted = (resource(record, ""), dimension("", "Write"))
    if wanted not in [(each["ResourceId"], each["ScalableDimension"]) for each in await targets_of(call, record)]:
        raise invalid("Table write capacity should either be Pay-Per-Request or AutoScaled.")


async def keep_alike(call: Call, record: TableRecord, regions: list[str]) -> None:
    """Have the capacity of new replicas kept as the table's own is."""
    if record.on_demand or not regions:
        return
    service = root(call.account)
    policies = await pages(call, call.region, "DescribeScalingPolicies", "ScalingPolicies", principal=service)
    for target in await targets_of(call, record):
        place = {name: target[name] for name in ("ResourceId", "ScalableDimension")}
        bounds = {name: target[name] for name in ("MinCapacity", "MaxCapacity")}
        mine = [each for each in policies if {name: each[name] for name in place} == place]
        for region in regions:
            await ask(call, region, "RegisterScalableTarget", principal=service, **place, **bounds)
            for policy in mine:
                given = {
                    name: policy[name]
                    for name in ("PolicyName", "PolicyType", "TargetTrackingScalingPolicyConfiguration")
                }
                await ask(call, region, "PutScalingPolicy", principal=service, **place, **given)


async def settings_of(call: Call, region: str, record: TableRecord) -> SettingsOf:
    """A function of an index's name ("": the table) and "Read" or "Write" that gives AutoScalingSettings there."""
    resources = [resource(record, name) for name in ("", *(each.name for each in record.indexes if each.is_global))]
    targets = await pages(call, region, "DescribeScalableTargets", "ScalableTargets", ResourceIds=resources)
    policies = await pages(call, region, "DescribeScalingPolicies", "ScalingPolicies")

    def settings(index: str, kind: str) -> dict[str, Any]:
        place = (resource(record, index), dimension(index, kind))
        target = next((each for each in targets if (each["ResourceId"], each["ScalableDimension"]) == place), None)
        if target is None:
            return {"AutoScalingDisabled": True}
        return {
            "MinimumUnits": target["MinCapacity"],
            "MaximumUnits": target["MaxCapacity"],
            "AutoScalingDisabled": False,
            "AutoScalingRoleArn": target["RoleARN"],
            "ScalingPolicies": [
                {
                    "PolicyName": policy["PolicyName"],
                    "TargetTrackingScalingPolicyConfiguration": {
                        name: value
                        for name, value in policy["TargetTrackingScalingPolicyConfiguration"].items()
                        if name in _COPIED
                    },
                }
                for policy in policies
                if (policy["ResourceId"], policy["ScalableDimension"]) == place
            ],
        }

    return settings


async def keep(call: Call, region: str, record: TableRecord, index: str, kind: str, update: dict[str, Any]) -> None:
    """Have a capacity scaled as an AutoScalingSettingsUpdate says, or no longer, with the caller's permissions."""
    place: dict[str, Any] = {"ResourceId": resource(record, index), "ScalableDimension": dimension(index, kind)}
    if update.get("AutoScalingDisabled"):
        try:
            await ask(call, region, "DeregisterScalableTarget", **place)
        except AwsError as error:
            if error.code != "ObjectNotFoundException":
                raise
        return
    target = {"MinCapacity": update.get("MinimumUnits"), "MaxCapacity": update.get("MaximumUnits")}
    target["RoleARN"] = update.get("AutoScalingRoleArn")
    given = {name: value for name, value in target.items() if value is not None}
    await ask(call, region, "RegisterScalableTarget", **place, **given)
    if "ScalingPolicyUpdate" not in update:
        return
    policy = update["ScalingPolicyUpdate"]
    configuration = policy["TargetTrackingScalingPolicyConfiguration"]
    await ask(
        call, region, "PutScalingPolicy", **place,
        PolicyName=policy.get("PolicyName") or f"DynamoDB{kind}CapacityUtilization:{place['ResourceId']}",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            **{name: configuration[name] for name in _COPIED if name in configuration},
            "PredefinedMetricSpecification": {"PredefinedMetricType": f"DynamoDB{kind}CapacityUtilization"},
        },
    )  # fmt: skip
