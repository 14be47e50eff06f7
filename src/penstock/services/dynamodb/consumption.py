"""What provisioned tables and global indexes consume: measured here, under CloudWatch's names, for who scales them.

On-demand tables have no capacity that could be scaled, and cost nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core.call import Call
from penstock.core.metrics import Metrics, series
from penstock.services.dynamodb.index import Index
from penstock.services.dynamodb.table import Table

NAMESPACE = "AWS/DynamoDB"
READ, WRITE = "ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"


def note(call: Call, of: Table, which: str, units: float, indexes: Iterable[tuple[Index, float]] = ()) -> None:
    """Count units of a table (`READ` or `WRITE`) and those of its indexes; a local index's are the table's."""
    if of.record.on_demand:
        return
    metrics = call.node.own(Metrics)
    name = ("TableName", of.record.name)
    for index, used in indexes:
        if index.record.is_global:
            own = ("GlobalSecondaryIndexName", index.record.name)
            metrics.add(series(call.account, call.region, NAMESPACE, which, name, own), used)
        else:
            units += used
    if units:
        metrics.add(series(call.account, call.region, NAMESPACE, which, name), units)
