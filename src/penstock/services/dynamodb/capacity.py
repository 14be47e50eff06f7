"""Capacity units by AWS's formulas, and the ConsumedCapacity member of replies.

Source: "DynamoDB on-demand and provisioned capacity" of the developer guide: a write unit for each 1 KB, a read unit
for each 4 KB, half of it for an eventually consistent read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.services.dynamodb.index import Index

WRITE_UNIT_BYTES = 1024
READ_UNIT_BYTES = 4096


def write_units(size_bytes: int, other_bytes: int = 0) -> float:
    """Units of a write: of the item before or after it, whichever is larger; at least one."""
    if other_bytes > size_bytes:
        size_bytes = other_bytes
    return 1.0 if size_bytes <= WRITE_UNIT_BYTES else float(-(-size_bytes // WRITE_UNIT_BYTES))


def read_units(size_bytes: int, consistent: bool) -> float:
    """Units of a read of so many bytes in all; at least that of the smallest item."""
    units = max(1, -(-size_bytes // READ_UNIT_BYTES))
    return float(units) if consistent else units / 2


def consumed(
    params: Mapping[str, Any],
    table_name: str,
    units: float,
    indexes: Iterable[tuple[Index, float]] = (),
    which: str = "",
) -> dict[str, Any] | None:
    """The ConsumedCapacity member, or None where the request does not want it.

    units: the table's own. indexes: each one's share. which: the member beside CapacityUnits that transactions have.
    """
    wanted = params.get("ReturnConsumedCapacity", "NONE")
    if wanted == "NONE":
        return None
    by_index: dict[Index, float] = {}
    for index, used in indexes:
        by_index[index] = by_index.get(index, 0.0) + used
    found: dict[str, Any] = {"TableName": table_name, **_units(units + sum(by_index.values()), which)}
    if wanted == "INDEXES":
        found["Table"] = _units(units, which)
        for index, used in by_index.items():
            kind = "GlobalSecondaryIndexes" if index.record.is_global else "LocalSecondaryIndexes"
            found.setdefault(kind, {})[index.record.name] = _units(used, which)
    return found


def _units(units: float, which: str) -> dict[str, float]:
    return {"CapacityUnits": units, which: units} if which else {"CapacityUnits": units}
