"""Capacity units by AWS's formulas, and the ConsumedCapacity member of replies.

Source: "DynamoDB on-demand and provisioned capacity" of the developer guide: a write unit for each 1 KB, a read unit
for each 4 KB, half of it for an eventually consistent read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WRITE_UNIT_BYTES = 1024
READ_UNIT_BYTES = 4096


def write_units(*sizes_bytes: int) -> float:
    """Units of a write: of the item before or after it, whichever is larger; at least one."""
    return float(max(1, -(-max(sizes_bytes) // WRITE_UNIT_BYTES)))


def read_units(size_bytes: int, consistent: bool) -> float:
    """Units of a read of so many bytes in all; at least that of the smallest item."""
    units = max(1, -(-size_bytes // READ_UNIT_BYTES))
    return float(units) if consistent else units / 2


def consumed(params: Mapping[str, Any], table_name: str, units: float) -> dict[str, Any] | None:
    """The ConsumedCapacity member, or None where the request does not want it."""
    wanted = params.get("ReturnConsumedCapacity", "NONE")
    if wanted == "NONE":
        return None
    found: dict[str, Any] = {"TableName": table_name, "CapacityUnits": units}
    if wanted == "INDEXES":
        found["Table"] = {"CapacityUnits": units}
    return found
