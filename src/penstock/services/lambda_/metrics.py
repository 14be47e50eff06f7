"""Lambda's metrics at /_penstock/metrics: AWS's names in Prometheus's spelling, by account, region and function.

| AWS's metric | here, after penstock_lambda_ |
|---|---|
| Invocations, Errors, Throttles | invocations_total, errors_total, throttles_total |
| Duration | duration_ms_total: divide by invocations |
| InitDuration (of REPORT lines) | inits_total, init_duration_ms_total |
| billed duration, GB-seconds, and what AWS would charge | billed_ms_total, billed_gb_seconds_total, cost_usd_total |
| ConcurrentExecutions, UnreservedConcurrentExecutions | gauges concurrent_executions, unreserved_concurrent_executions |
| AsyncEventsReceived, AsyncEventsDropped | async_events_received_total, async_events_dropped_total |
| AsyncEventAge | async_event_age_ms_total |
| DestinationDeliveryFailures, DeadLetterErrors | destination_delivery_failures_total, dead_letter_errors_total |

https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.node import Node
from penstock.runtime.api import FunctionSpec, Outcome
from penstock.runtime.billing import cost_usd, gb_seconds
from penstock.services.lambda_.records import Function
from penstock.telemetry import Labels

if TYPE_CHECKING:
    from penstock.services.lambda_.concurrency import Gate

DESTINATION_DELIVERY_FAILURES = "penstock_lambda_destination_delivery_failures_total"
DEAD_LETTER_ERRORS = "penstock_lambda_dead_letter_errors_total"
_PREFIX = "penstock_lambda_"


def labels(account: str, region: str, name: str) -> Labels:
    """A function's labels, in the order in which telemetry sorts them."""
    return (("account", account), ("function", name), ("region", region))


def count(node: Node, name: str, account: str, region: str, function: str, n: float = 1) -> None:
    """Add to one of the counters of the table, by the name after the prefix."""
    node.telemetry.add(_PREFIX + name, labels(account, region, function), n)


def ran(node: Node, function: Function, outcome: Outcome) -> None:
    """Count an invocation that ran, whatever came of it."""
    add = node.telemetry.add
    own = labels(function.account, function.region, function.name)
    memory_mb = function.memory_mb
    add("penstock_lambda_invocations_total", own)
    add("penstock_lambda_duration_ms_total", own, outcome.duration_ms)
    add("penstock_lambda_billed_ms_total", own, outcome.billed_ms)
    add("penstock_lambda_billed_gb_seconds_total", own, gb_seconds(outcome.billed_ms, memory_mb))
    add("penstock_lambda_cost_usd_total", own, cost_usd(1, outcome.billed_ms, memory_mb, function.ephemeral_mb))
    if outcome.init_ms is not None:
        add("penstock_lambda_inits_total", own)
        add("penstock_lambda_init_duration_ms_total", own, outcome.init_ms)
    if outcome.error:
        add("penstock_lambda_errors_total", own)


def forget(node: Node, functions: list[FunctionSpec]) -> None:
    """Drop the counters of functions that were deleted."""
    node.telemetry.forget(_PREFIX, {labels(*_place(function.arn)) for function in functions})


def _place(arn: str) -> tuple[str, str, str]:
    _, _, _, region, account, _, name = arn.split(":")
    return account, region, name


def watch(node: Node, gate: Gate) -> None:
    """Have the gauges read from what is under way."""
    node.telemetry.gauges("penstock_lambda_concurrent_executions", gate.by_function)
    node.telemetry.gauges("penstock_lambda_unreserved_concurrent_executions", gate.unreserved)
