"""What runs by itself: watching consumption and the clock, and changing capacity.

One node does it at a time, by a lease. The service acts in the account as its service-linked role lets it on AWS; as nobody
can change or take that role, the account itself is the one who calls.
"""

from __future__ import annotations

import logging
import uuid
from functools import partial
from typing import Any

from penstock.core import identity, metrics
from penstock.core.node import Node
from penstock.core.worker import worker
from penstock.services.application_autoscaling import keys, scheduled_actions
from penstock.services.application_autoscaling.activities import KEPT_S
from penstock.services.application_autoscaling.records import (
    NAMESPACE,
    Action,
    Activity,
    Place,
    Policy,
    Target,
    decode,
    encode,
    load_target,
)
from penstock.services.application_autoscaling.scaling import IN_MINUTES, Decision, decide
from penstock.store.api import Transaction
from penstock.store.lease import Leases
from penstock.store.tuples import unpack
from penstock.wire.errors import AwsError

log = logging.getLogger(__name__)

_EVERY_S = 10.0
_LEASE_S = 60.0
_SETTLED_S = 10
"""A minute's consumption is looked at once all nodes have written theirs."""
_PRUNED_AT_ONCE = 500
_LEASES = Leases(keys.LEASES)


@worker("application-autoscaling:scale")
async def scale(node: Node) -> None:
    """Every ten seconds, carry out what is due and look at what was consumed in the minutes since."""
    while True:
        await node.clock.sleep(_EVERY_S)
        await scale_once(node)


async def scale_once(node: Node) -> None:
    """Look at every target, unless another node does."""
    now = node.clock.now()
    token = await node.store.transact(lambda txn: _LEASES.acquire(txn, "scale", node.id, now, _LEASE_S))
    if token is None:
        return
    begin, end = keys.targets()
    found = await node.store.transact(lambda txn: [key for key, _ in txn.scan(begin, end)], read_only=True)
    for key in found:
        account, region, _, resource, dimension = unpack(key)[2:]
        place = Place(account, region, resource, dimension)
        try:
            await _scheduled(node, place)
            await _tracked(node, place)
        except AwsError as error:
            log.warning("%s of %s was not scaled: %s", dimension, resource, error)
    for account, region in {unpack(key)[2:4] for key in found}:
        await node.store.transact(partial(_prune, account, region, node.clock.now()))


def _prune(account: str, region: str, now: float, txn: Transaction) -> None:
    begin, end = keys.activities(account, region, NAMESPACE, max(int((now - KEPT_S) * 1e6), 1))
    for key, _ in list(txn.scan(begin, end, _PRUNED_AT_ONCE)):
        txn.clear(key)


async def _scheduled(node: Node, place: Place) -> None:
    """Carry out the scheduled actions that are due: new bounds, and capacity within them."""

    def body(txn: Transaction) -> list[str]:
        now = node.clock.now()
        target = load_target(txn, place)
        done = []
        for key, stored in list(txn.scan(*place.all_named("action"))):
            action = decode(stored, Action)
            if not action.due or action.due > now or target is None:
                continue
            action.due = scheduled_actions.next_due(action, now)
            txn.set(key, encode(action))
            if target.suspended.get("ScheduledScalingSuspended"):
                continue
            if action.least is not None:
                target.least = action.least
                target.most = max(target.most, target.least)
            if action.most is not None:
                target.most = action.most
                target.least = min(target.least, target.most)
            txn.set(place.key, encode(target))
            done.append(action.name)
        return done

    done = await node.store.transact(body)
    if not done:
        return
    target = await node.store.transact(lambda txn: load_target(txn, place), read_only=True)
    units = await _capacity(node, place)
    if target is None or units is None:
        return
    wanted = min(max(units, target.least), target.most)
    if wanted != units:
        await _change(node, place, units, Decision(wanted, f"scheduled action name {done[-1]} was triggered"))


async def _tracked(node: Node, place: Place) -> None:
    """Look at the minutes that have passed since the last look, and change capacity if they ask for it."""
    now = node.clock.now()
    minute = int(now - _SETTLED_S) // metrics.MINUTE_S - 1

    def body(txn: Transaction) -> tuple[Target, list[Policy], list[float]] | None:
        target = load_target(txn, place)
        if target is None or target.looked_minute >= minute:
            return None
        policies = [decode(stored, Policy) for _, stored in txn.scan(*place.all_named("policy"))]
        if not policies:
            return None
        name = "ConsumedReadCapacityUnits" if place.reads else "ConsumedWriteCapacityUnits"
        dimensions = [("TableName", place.table_name)]
        if place.index_name:
            dimensions.append(("GlobalSecondaryIndexName", place.index_name))
        of = metrics.series(place.account, place.region, "AWS/DynamoDB", name, *dimensions)
        target.looked_minute = minute
        txn.set(place.key, encode(target))
        return target, policies, metrics.read(txn, of, minute - IN_MINUTES + 1, minute)

    found = await node.store.transact(body)
    if found is None:
        return
    units = await _capacity(node, place)
    if units is None:
        return
    decision = decide(found[0], found[1], units, found[2], now)
    if decision is not None:
        await _change(node, place, units, decision)


async def _call(node: Node, place: Place, operation: str, params: dict[str, Any]) -> dict[str, Any]:
    return await node.call(
        NAMESPACE, operation, {"TableName": place.table_name, **params}, principal=identity.root(place.account),
        account=place.account, region=place.region,
    )  # fmt: skip


async def _described(node: Node, place: Place) -> dict[str, Any] | None:
    """The table, or the index; None where there is none, or it cannot be changed now."""
    try:
        shown: dict[str, Any] = (await _call(node, place, "DescribeTable", {}))["Table"]
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return None
        raise
    if shown["TableStatus"] != "ACTIVE" or shown.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST":
        return None
    if not place.index_name:
        return shown
    return next(
        (each for each in shown.get("GlobalSecondaryIndexes", ()) if each["IndexName"] == place.index_name), None
    )


async def _capacity(node: Node, place: Place) -> int | None:
    """The capacity that there is."""
    shown = await _described(node, place)
    if shown is None:
        return None
    return int(shown["ProvisionedThroughput"]["ReadCapacityUnits" if place.reads else "WriteCapacityUnits"])


async def _change(node: Node, place: Place, units: int, decision: Decision) -> None:
    """Change capacity, and note what came of it."""
    began = node.clock.now()
    shown = await _described(node, place)
    if shown is None:
        return
    given = {name: shown["ProvisionedThroughput"][name] for name in ("ReadCapacityUnits", "WriteCapacityUnits")}
    given["ReadCapacityUnits" if place.reads else "WriteCapacityUnits"] = decision.units
    params: dict[str, Any] = {"ProvisionedThroughput": given}
    if place.index_name:
        params = {"GlobalSecondaryIndexUpdates": [{"Update": {"IndexName": place.index_name, **params}}]}
    what = f"{'read' if place.reads else 'write'} capacity units to {decision.units}."
    status, message = "Successful", f"Successfully set {what} Change successfully fulfilled by dynamodb."
    try:
        await _call(node, place, "UpdateTable", params)
    except AwsError as error:
        status, message = "Failed", f"Failed to set {what} Reason: {error.message}"
        log.warning("%s of %s could not be changed: %s", place.dimension, place.resource, error)
    ended = node.clock.now()
    activity = Activity(
        str(uuid.uuid4()),
        place.resource,
        place.dimension,
        f"Setting {what}",
        decision.cause,
        began,
        ended,
        status,
        message,
    )

    def body(txn: Transaction) -> None:
        key = keys.activity(place.account, place.region, NAMESPACE, int(began * 1e6), activity.id)
        txn.set(key, encode(activity))
        target = load_target(txn, place)
        if target is not None and status == "Successful":
            if decision.units > units:
                target.scaled_out_at = ended
            else:
                target.scaled_in_at = ended
            txn.set(place.key, encode(target))

    await node.store.transact(body)
