"""What a target's capacity is to be, and how it becomes that.

As AWS's target tracking of DynamoDB does: out, when consumption was above the target in each of the last two minutes; in, when
it was more than 20 points below in each of the last fifteen; to the capacity at which what was consumed is the target.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/AutoScaling.html
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from penstock.services.application_autoscaling.records import Policy, Target

OUT_MINUTES = 2
IN_MINUTES = 15
_IN_MARGIN = 20.0
_MINUTE_S = 60


class Decision(NamedTuple):
    """The capacity that is wanted, and why."""

    units: int
    cause: str


def decide(target: Target, policies: list[Policy], units: int, consumed: list[float], now: float) -> Decision | None:
    """What a target that has `units` is to have; None: what it has.

    consumed: units in each of the last fifteen whole minutes, the latest last. Of several policies the one that wants most
    counts, and capacity is taken away only if all want less.
    """
    found: Decision | None = None
    for policy in policies:
        wanted = _wanted(target, policy.configuration, policy.created_at, units, consumed, now)
        if wanted is None:
            wanted = units
        if found is None or wanted > found.units:
            found = Decision(wanted, f"policy {policy.name}")
    if found is None:
        return None
    bounded = min(max(found.units, target.least), target.most)
    suspended = target.suspended.get(
        "DynamicScalingOutSuspended" if bounded > units else "DynamicScalingInSuspended", False
    )
    return None if bounded == units or suspended else Decision(bounded, found.cause)


def _wanted(
    target: Target, configuration: dict[str, Any], since: float, units: int, consumed: list[float], now: float
) -> int | None:
    share = float(configuration["TargetValue"]) / 100
    rates = [each / _MINUTE_S for each in consumed]
    lately = rates[-OUT_MINUTES:]
    if all(rate > units * share for rate in lately):
        if now - target.scaled_out_at < configuration.get("ScaleOutCooldown", 0):
            return None
        return math.ceil(max(lately) / share)
    below = units * max(share - _IN_MARGIN / 100, 0.01)
    # Fifteen whole minutes under this policy and since the capacity was changed last.
    settled = now - max(since, target.scaled_in_at, target.scaled_out_at) >= IN_MINUTES * _MINUTE_S
    if settled and not configuration.get("DisableScaleIn") and all(rate < below for rate in rates):
        if now - target.scaled_in_at < configuration.get("ScaleInCooldown", 0):
            return None
        return max(math.ceil(max(rates) / share), 1)
    return None
