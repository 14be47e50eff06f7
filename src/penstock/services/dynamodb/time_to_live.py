"""Time to live: UpdateTimeToLive, DescribeTimeToLive, and taking away what has expired.

The worker reads only what is due. It takes an item away in a transaction that looks at it once more, so one that was
given more time meanwhile stays.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import (
    expirations,
    keys,
    names,
    records,
    replicas,
    resource_policies,
    table,
    table_keys,
)
from penstock.services.dynamodb.errors import invalid, table_missing_by_name
from penstock.services.dynamodb.expirations import Expiring, encode
from penstock.services.dynamodb.table import Table
from penstock.services.dynamodb.table_keys import KmsRefused
from penstock.services.dynamodb.tables import refuse_busy
from penstock.services.dynamodb.writes import remove
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end

_REMOVED_AT_ONCE = 25
_REMOVED_BYTES = 1_000_000
_FILLED_AT_ONCE = 200
_FILLED_BYTES = 1_000_000


_decode = msgspec.json.Decoder(Expiring).decode


def _load(txn: Transaction, key: bytes, name: str) -> Table:
    stored = txn.get(key)
    if stored is None:
        raise table_missing_by_name(name)
    return table.decode(stored)


@operation("dynamodb:UpdateTimeToLive", resource=names.resource, policy=resource_policies.load)
async def update_time_to_live(call: Call, params: Params) -> Result:
    """Name the attribute that says when an item expires, or none. Done at once, so it may be changed again at once."""
    name, wanted = params["TableName"], params["TimeToLiveSpecification"]
    key, attribute = names.record_key(call, name), wanted["AttributeName"]

    def body(txn: Transaction) -> None:
        found = _load(txn, key, name)
        record = found.record
        refuse_busy(record)
        if wanted["Enabled"] and record.ttl_attribute == attribute:
            raise invalid("TimeToLive is already enabled")
        if not wanted["Enabled"] and not record.ttl_attribute:
            raise invalid("TimeToLive is already disabled")
        if record.ttl_attribute not in ("", attribute):
            raise invalid(
                f"TimeToLive is active on a different AttributeName: current AttributeName is {record.ttl_attribute}"
            )
        for each_key, each in ((key, record), *replicas.alike(txn, record)):
            switched = expirations.switch(txn, each_key, each, attribute if wanted["Enabled"] else "")
            txn.set(each_key, table.encode(switched))

    await call.store.transact(body)
    return {"TimeToLiveSpecification": wanted}


@operation("dynamodb:DescribeTimeToLive", resource=names.resource, policy=resource_policies.load)
async def describe_time_to_live(call: Call, params: Params) -> Result:
    """Which attribute says when an item expires."""
    name = params["TableName"]
    key = names.record_key(call, name)
    record = await call.store.transact(lambda txn: _load(txn, key, name).record, read_only=True)
    described: dict[str, Any] = {"TimeToLiveStatus": "ENABLED" if record.ttl_attribute else "DISABLED"}
    if record.ttl_attribute:
        described["AttributeName"] = record.ttl_attribute
    return {"TimeToLiveDescription": described}


async def expire(node: Node) -> int:
    """Take away every item whose time has come, in all tables. Returns how many. Two nodes may do it together."""
    removed = 0
    for state_key, _ in await node.store.transact(lambda txn: list(txn.scan(*keys.all_expiring())), read_only=True):
        # What cannot be opened waits until KMS allows it again.
        with contextlib.suppress(KmsRefused):
            while await table_keys.transact(node, partial(_fill_some, state_key=state_key)):
                pass
            while found := await table_keys.transact(node, partial(_expire_some, state_key=state_key, node=node)):
                removed += found
    return removed


def _current(txn: Transaction, state_key: bytes) -> tuple[Table, Expiring] | None:
    """The table and its state; None where it has no time to live any more."""
    stored, record = txn.get(state_key), txn.get(keys.record_of_expiring(state_key))
    if stored is None or record is None:
        return None
    found, state = table.decode(record), _decode(stored)
    return (found, state) if found.record.id == state.table_id and found.record.ttl_attribute else None


def _fill_some(txn: Transaction, state_key: bytes) -> bool:
    """Note when some of the items expire that were there before. Returns whether there may be more."""
    current = _current(txn, state_key)
    if current is None or current[1].filled:
        return False
    found, state = current
    begin = state.after + b"\0" if state.after else found.prefix
    seen = size_bytes = 0
    for item_key, stored in txn.scan(begin, prefix_end(found.prefix), _FILLED_AT_ONCE):
        expirations.add(txn, found, item_key, stored)
        state.after = item_key
        seen += 1
        size_bytes += records.size_of(stored)
        if size_bytes > _FILLED_BYTES:
            break
    state.filled = seen < _FILLED_AT_ONCE and size_bytes <= _FILLED_BYTES
    txn.set(state_key, encode(state))
    return not state.filled


def _expire_some(txn: Transaction, state_key: bytes, node: Node) -> int:
    """Take away some of what is due. Returns how many were looked at."""
    current = _current(txn, state_key)
    if current is None:
        return 0
    found, now = current[0], node.clock.now()
    listed = expirations.due(txn, found, now, _REMOVED_AT_ONCE)
    looked_at = size_bytes = 0
    for index_key, at, item_key in listed:
        stored = txn.get(item_key)
        item = records.item_of(txn, found, item_key, stored)
        is_due = expirations.due_at(item, found.record.ttl_attribute) == at > now - expirations.TOO_OLD_S
        if stored is not None and is_due:
            remove(txn, found, item_key, stored, node, expired=True)
        txn.clear(index_key)
        looked_at += 1
        size_bytes += 0 if stored is None else records.size_of(stored)
        if size_bytes > _REMOVED_BYTES:
            break
    return looked_at
