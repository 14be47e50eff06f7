"""Billing modes, and what throughput a table and its indexes are to have: provisioned, at most, and from the start.

Sources: "Service, account, and table quotas" (how often throughput may be decreased and modes be switched), "Maximum throughput
for on-demand tables" and "Understanding DynamoDB warm throughput" of the developer guide.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.core.operation import Params
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.table_records import IndexRecord, TableRecord
from penstock.services.dynamodb.table_rules import check_units
from penstock.wire.errors import AwsError

MAX_DECREASES_A_DAY = 27
MAX_DECREASES_AT_ONCE = 4
"""Decreases of a UTC day that need not be an hour apart."""
MAX_SWITCHES_A_DAY = 4
"""Switches to on-demand within 24 hours."""
WARM_ON_DEMAND = (12000, 4000)
"""Read and write units a second that a table on demand bears from the start."""
_HOUR_S = 3600.0
_DAY_S = 86400.0
NO_MAXIMUM = -1


def maximums(given: Mapping[str, Any], on_demand: bool, current: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """Read and write units of an OnDemandThroughput member; 0 for none. Raises ValidationException."""
    wanted: dict[str, int] | None = given.get("OnDemandThroughput")
    if wanted is None:
        return current
    if not on_demand:
        raise invalid(
            f"{INVALID}Neither MaxReadRequestUnits nor MaxWriteRequestUnits can be specified when BillingMode is PROVISIONED"
        )
    found = []
    for name, before in zip(("MaxReadRequestUnits", "MaxWriteRequestUnits"), current, strict=True):
        units = wanted.get(name, before or NO_MAXIMUM)
        if units < 1 and units != NO_MAXIMUM:
            raise invalid(f"{INVALID}{name} must be at least 1, or -1 for no maximum")
        found.append(0 if units == NO_MAXIMUM else units)
    return found[0], found[1]


def warm(
    given: Mapping[str, Any], base: tuple[int, int], current: tuple[int, int], what: str, *, is_update: bool = False
) -> tuple[int, int]:
    """Read and write units of a WarmThroughput member; 0 where nobody said. Raises ValidationException for a decrease."""
    wanted: dict[str, int] | None = given.get("WarmThroughput")
    if wanted is None:
        return current
    found = []
    for name, at_least, before in zip(("ReadUnitsPerSecond", "WriteUnitsPerSecond"), base, current, strict=True):
        least = max(at_least, before)
        units = wanted.get(name, least)
        if units < least and not is_update:
            mode = "OnDemand" if base == WARM_ON_DEMAND else "Provisioned"
            raise invalid(
                f"{INVALID}Requested {name} for WarmThroughput for {what} is lower than initial throughput for {mode}"
            )
        if units < least:
            raise invalid(
                f"{INVALID}Requested {name} for WarmThroughput for {what} is lower than current WarmThroughput, decreasing "
                "WarmThroughput is not supported"
            )
        found.append(units)
    return found[0], found[1]


def describe(record: TableRecord | IndexRecord, on_demand: bool) -> dict[str, Any]:
    """The OnDemandThroughput (where it was set) and WarmThroughput members."""
    found: dict[str, Any] = {}
    if record.max_read_units or record.max_write_units:
        found["OnDemandThroughput"] = {
            "MaxReadRequestUnits": record.max_read_units or NO_MAXIMUM,
            "MaxWriteRequestUnits": record.max_write_units or NO_MAXIMUM,
        }
    base = WARM_ON_DEMAND if on_demand else (record.read_units, record.write_units)
    found["WarmThroughput"] = {
        "ReadUnitsPerSecond": max(base[0], record.warm_read_units),
        "WriteUnitsPerSecond": max(base[1], record.warm_write_units),
        "Status": "ACTIVE",
    }
    return found


def set_created(record: TableRecord, params: Mapping[str, Any]) -> None:
    """Set what CreateTable says of a new table's throughput beyond what is provisioned. Raises ValidationException."""
    record.max_read_units, record.max_write_units = maximums(params, record.on_demand)
    base = WARM_ON_DEMAND if record.on_demand else (record.read_units, record.write_units)
    record.warm_read_units, record.warm_write_units = warm(params, base, (0, 0), "table")


def set_index(index: IndexRecord, given: Mapping[str, Any], on_demand: bool) -> None:
    """The same for a global index, new or changed. Raises ValidationException."""
    index.max_read_units, index.max_write_units = maximums(
        given, on_demand, (index.max_read_units, index.max_write_units)
    )
    base = WARM_ON_DEMAND if on_demand else (index.read_units, index.write_units)
    index.warm_read_units, index.warm_write_units = warm(
        given, base, (index.warm_read_units, index.warm_write_units), f"index {index.name}"
    )


def change(record: TableRecord, params: Params, now: float, *, limits: bool) -> None:
    """Carry out what an UpdateTable says of mode and throughput. Raises ValidationException, LimitExceededException."""
    mode = params.get("BillingMode")
    was_on_demand = record.on_demand
    if mode == "PAY_PER_REQUEST":
        if not record.on_demand:
            _switch(record, now, limits)
        record.on_demand, record.read_units, record.write_units = True, 0, 0
    elif "ProvisionedThroughput" in params:
        _set_provisioned(record, params["ProvisionedThroughput"], mode, now, limits)
    if record.on_demand != was_on_demand:
        record.indexes = _switched_indexes(record, params)
        if not record.on_demand:
            record.max_read_units = record.max_write_units = 0
    record.max_read_units, record.max_write_units = maximums(
        params, record.on_demand, (record.max_read_units, record.max_write_units)
    )
    base = WARM_ON_DEMAND if record.on_demand else (record.read_units, record.write_units)
    record.warm_read_units, record.warm_write_units = warm(
        params, base, (record.warm_read_units, record.warm_write_units), "table", is_update=True
    )


def _switch(record: TableRecord, now: float, limits: bool) -> None:
    recent = [each for each in record.on_demand_switches if each > now - _DAY_S]
    if limits and len(recent) >= MAX_SWITCHES_A_DAY:
        raise AwsError(
            "LimitExceededException",
            f"Subscriber limit exceeded: Update to PayPerRequest mode are limited to {MAX_SWITCHES_A_DAY} times in 1 day(s). "
            f"Last update at {_written(recent[-1])}. Next update can be made at {_written(recent[0] + _DAY_S)}",
        )
    record.on_demand_since = now
    record.on_demand_switches = [*recent, now]


def _switched_indexes(record: TableRecord, params: Params) -> list[IndexRecord]:
    """The indexes as they go with the new mode. Raises ValidationException for one that is told no throughput."""
    told = {
        each["Update"]["IndexName"]: each["Update"].get("ProvisionedThroughput")
        for each in params.get("GlobalSecondaryIndexUpdates") or ()
        if "Update" in each
    }
    found = []
    for index in record.indexes:
        if not index.is_global:
            found.append(index)
        elif record.on_demand:
            found.append(msgspec.structs.replace(index, read_units=0, write_units=0))
        elif not told.get(index.name):
            raise invalid(f"{INVALID}ProvisionedThroughput must be specified for index: {index.name}")
        else:
            found.append(msgspec.structs.replace(index, max_read_units=0, max_write_units=0))
    return found


def _set_provisioned(
    record: TableRecord, throughput: dict[str, int], mode: str | None, now: float, limits: bool
) -> None:
    """Raises ValidationException where nothing would change or the table is on-demand."""
    if record.on_demand and mode is None:
        raise invalid(
            f"{INVALID}Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST"
        )
    check_units(throughput)
    read, write = throughput["ReadCapacityUnits"], throughput["WriteCapacityUnits"]
    was_read, was_write = record.read_units, record.write_units
    if (read, write) == (was_read, was_write) and not record.on_demand:
        raise invalid(
            "The provisioned throughput for the table will not change. The requested value equals the current value. "
            f"Current ReadCapacityUnits provisioned for the table: {was_read}. Requested ReadCapacityUnits: {read}. "
            f"Current WriteCapacityUnits provisioned for the table: {was_write}. Requested WriteCapacityUnits: "
            f"{write}. Refer to the Amazon DynamoDB Developer Guide for current limits and how to request higher "
            "limits."
        )
    if not record.on_demand:
        if read > was_read or write > was_write:
            record.increased_at = now
        if read < was_read or write < was_write:
            _note_decrease(record, now, limits)
    record.on_demand, record.read_units, record.write_units = False, read, write


def _note_decrease(record: TableRecord, now: float, limits: bool) -> None:
    """Raises LimitExceededException for a fifth decrease within an hour of the last one, or a 28th in a day."""
    same_day = time.gmtime(record.decreased_at)[:3] == time.gmtime(now)[:3]
    today = record.decreases_today if same_day else 0
    too_soon = today >= MAX_DECREASES_AT_ONCE and now < record.decreased_at + _HOUR_S
    if limits and (too_soon or today >= MAX_DECREASES_A_DAY):
        tomorrow = (now // _DAY_S + 1) * _DAY_S
        next_at = tomorrow if today >= MAX_DECREASES_A_DAY else min(record.decreased_at + _HOUR_S, tomorrow)
        raise AwsError(
            "LimitExceededException",
            "Subscriber limit exceeded: Provisioned throughput decreases are limited within a given UTC day. After the first "
            f"{MAX_DECREASES_AT_ONCE} decreases, each subsequent decrease in the same UTC day can be performed at most once "
            f"every {int(_HOUR_S)} seconds. Number of decreases today: {today}. Last decrease at "
            f"{_written(record.decreased_at)}. Next decrease can be made at {_written(next_at)}",
        )
    record.decreases_today = today + 1
    record.decreased_at = now


def _written(time_s: float) -> str:
    return time.strftime("%A, %B %d, %Y at %I:%M:%S %p Coordinated Universal Time", time.gmtime(time_s))
