"""DescribeScalingActivities: what was done in the last six weeks, the latest first."""

from __future__ import annotations

from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.application_autoscaling import keys
from penstock.services.application_autoscaling.listing import page
from penstock.services.application_autoscaling.records import NAMESPACE, Activity

KEPT_S = 6 * 7 * 86400.0


@operation(
    "application-autoscaling:DescribeScalingActivities",
    resource="*",
    unsupported={"IncludeNotScaledActivities": (False,)},
)
async def describe_scaling_activities(call: Call, params: Params) -> Result:
    """All of them, or those of a resource."""
    resource = params.get("ResourceId")

    def show(activity: Activity) -> dict[str, Any]:
        return {
            "ActivityId": activity.id,
            "ServiceNamespace": NAMESPACE,
            "ResourceId": activity.resource,
            "ScalableDimension": activity.dimension,
            "Description": activity.description,
            "Cause": activity.cause,
            "StartTime": activity.began_at,
            "EndTime": activity.ended_at,
            "StatusCode": activity.status,
            "StatusMessage": activity.message,
        }

    def right(activity: Activity) -> bool:
        return resource in (None, activity.resource) and activity.began_at + KEPT_S > call.now

    return await page(
        call, params, Activity, keys.activities(call.account, call.region, NAMESPACE), right=right, show=show,
        member="ScalingActivities", reverse=True,
    )  # fmt: skip
