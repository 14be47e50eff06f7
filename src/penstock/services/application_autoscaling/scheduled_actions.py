"""PutScheduledAction, DescribeScheduledActions, DeleteScheduledAction."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.core.schedules import BadScheduleError, Schedule
from penstock.services.application_autoscaling import keys
from penstock.services.application_autoscaling.listing import page
from penstock.services.application_autoscaling.records import (
    ANY_TARGET,
    NAMESPACE,
    Action,
    conditions,
    decode,
    encode,
    invalid,
    place_of,
    require_target,
)
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

MAX_ACTIONS = 200


def next_due(action: Action, after: float) -> float:
    """When an action is next carried out, later than `after`; 0: never again."""
    began = action.begins_at or action.created_at
    due = Schedule(action.schedule, action.zone).next_after(max(after, action.begins_at - 1), began)
    return 0.0 if due is None or (action.ends_at and due > action.ends_at) else due


@operation("application-autoscaling:PutScheduledAction", resource=ANY_TARGET, conditions=conditions)
async def put_scheduled_action(call: Call, params: Params) -> Result:
    """Make a scheduled action, or change one of that name: what is not given stays as it is."""
    place = place_of(call, params)
    name, bounds = params["ScheduledActionName"], params.get("ScalableTargetAction")
    if bounds is not None and not bounds:
        raise invalid("ScalableTargetAction must have MinCapacity, MaxCapacity or both")

    def body(txn: Transaction) -> None:
        require_target(txn, place)
        key = place.named("action", name)
        stored = txn.get(key)
        if stored is not None:
            action = decode(stored, Action)
        else:
            if sum(1 for _ in txn.scan(*place.all_named("action"))) >= MAX_ACTIONS:
                raise AwsError(
                    "LimitExceededException", f"A scalable target can have up to {MAX_ACTIONS} scheduled actions"
                )
            if "Schedule" not in params or bounds is None:
                raise invalid("Schedule and ScalableTargetAction must be specified for a new scheduled action")
            action = Action(str(uuid.uuid4()), name, place.resource, place.dimension, call.now, params["Schedule"])
        action = msgspec.structs.replace(
            action,
            schedule=params.get("Schedule", action.schedule),
            zone=params.get("Timezone", action.zone),
            begins_at=params.get("StartTime", action.begins_at),
            ends_at=params.get("EndTime", action.ends_at),
            least=action.least if bounds is None else bounds.get("MinCapacity"),
            most=action.most if bounds is None else bounds.get("MaxCapacity"),
        )
        _check(action)
        action.due = next_due(action, call.now)
        txn.set(key, encode(action))

    await call.store.transact(body)
    return {}


def _check(action: Action) -> None:
    """Raises ValidationException."""
    try:
        Schedule(action.schedule, action.zone)
    except BadScheduleError as error:
        raise invalid(f"Invalid schedule: {error}") from None
    if action.least is not None and action.most is not None and action.least > action.most:
        raise invalid("MinCapacity cannot be greater than MaxCapacity")
    if action.ends_at and action.ends_at <= action.begins_at:
        raise invalid("EndTime must be after StartTime")


@operation("application-autoscaling:DescribeScheduledActions", resource="*")
async def describe_scheduled_actions(call: Call, params: Params) -> Result:
    """All of them, those of a resource, or some by name."""
    wanted, resource = params.get("ScheduledActionNames"), params.get("ResourceId")

    def show(action: Action) -> dict[str, Any]:
        bounds = {"MinCapacity": action.least, "MaxCapacity": action.most}
        shown = {
            "ScheduledActionName": action.name,
            "ScheduledActionARN": action.arn(call.account, call.region),
            "ServiceNamespace": NAMESPACE,
            "Schedule": action.schedule,
            "ResourceId": action.resource,
            "ScalableDimension": action.dimension,
            "ScalableTargetAction": {name: units for name, units in bounds.items() if units is not None},
            "CreationTime": action.created_at,
        }
        given = {"Timezone": action.zone, "StartTime": action.begins_at, "EndTime": action.ends_at}
        return {**shown, **{name: value for name, value in given.items() if value}}

    def right(action: Action) -> bool:
        return resource in (None, action.resource) and (not wanted or action.name in wanted)

    return await page(
        call, params, Action, keys.all_named("action", call.account, call.region, NAMESPACE), right=right, show=show,
        member="ScheduledActions",
    )  # fmt: skip


@operation("application-autoscaling:DeleteScheduledAction", resource=ANY_TARGET, conditions=conditions)
async def delete_scheduled_action(call: Call, params: Params) -> Result:
    """Forget a scheduled action."""
    place = place_of(call, params)
    key = place.named("action", params["ScheduledActionName"])

    def body(txn: Transaction) -> None:
        if txn.get(key) is None:
            raise AwsError(
                "ObjectNotFoundException",
                f"No scheduled action found for service namespace: {NAMESPACE}, resource ID: {place.resource}, scalable "
                f"dimension: {place.dimension}, scheduled action name: {params['ScheduledActionName']}",
            )
        txn.clear(key)

    await call.store.transact(body)
    return {}
