"""GetItem, PutItem, UpdateItem, DeleteItem. Each is one transaction."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import (
    capacity,
    consumption,
    names,
    permissions,
    records,
    resource_policies,
    table,
    throughput,
    writes,
)
from penstock.services.dynamodb.attributes import MAX_ITEM_BYTES, Item, check_item
from penstock.services.dynamodb.errors import INVALID, detected, invalid
from penstock.services.dynamodb.expressions.condition import Predicate
from penstock.services.dynamodb.expressions.request import NO_VALUES
from penstock.services.dynamodb.expressions.scope import Values
from penstock.services.dynamodb.expressions.update import Update
from penstock.services.dynamodb.index import bad_update
from penstock.services.dynamodb.legacy import compile_either
from penstock.services.dynamodb.rules import check_expression_parameters, check_return_values
from penstock.services.dynamodb.table import Table
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

_LEGACY_READ = ("AttributesToGet",)
_LEGACY_WRITE = ("Expected", "ConditionalOperator")
_LEGACY_UPDATE = ("AttributeUpdates", *_LEGACY_WRITE)
_BARE_READ = frozenset(("TableName", "Key", "ConsistentRead"))
_BARE_PUT = frozenset(("TableName", "Item"))


@operation("dynamodb:GetItem", resource=permissions.resource, policy=resource_policies.load)
async def get_item(call: Call, params: Params) -> Result:
    """One item by its key: the stored bytes as they are, unless a projection wants less."""
    projection = None
    bare = params.keys() <= _BARE_READ
    if not bare:
        check_expression_parameters(params, ("ProjectionExpression",), _LEGACY_READ)
    key = params["Key"]
    check_item(key)
    if not bare:
        expressions, _ = compile_either(params)
        projection = expressions.projection
        head_names = expressions.projected
    record_key = names.record_key(call, params["TableName"])

    def body(txn: Transaction) -> tuple[Table, bytes | None, bytes]:
        found = table.load(txn, record_key, call)
        item_key = found.key_of_key(key)
        stored = txn.get(item_key)
        if found.is_metered:
            size = 0 if stored is None else records.size_of(stored)
            units = capacity.read_units(size, bool(params.get("ConsistentRead")))
            throughput.read(call, found, None, units, at=item_key)
        if stored is None:
            return found, None, b""
        return found, stored, records.body_of(txn, found, item_key, stored)

    found, stored, item_json = await call.store.transact(body, read_only=True)
    result: Result = {}
    if projection is not None:
        refuse_below_keys(found, {str(path[0]): len(path) > 1 for path in head_names})
    if stored is not None:
        if projection is None:
            result["Item"] = msgspec.Raw(item_json)
        else:
            result["Item"] = projection(records.decode(item_json))
    if not bare or not found.record.on_demand:
        units = capacity.read_units(
            0 if stored is None else records.size_of(stored), bool(params.get("ConsistentRead"))
        )
        consumption.note(call, found, consumption.READ, units)
        used = capacity.consumed(params, found.record.name, units)
        if used is not None:
            result["ConsumedCapacity"] = used
    return result


def refuse_below_keys(found: Table, heads: dict[str, bool]) -> None:
    """Key attributes are scalars: raises ValidationException for a path below one."""
    for name in found.key_names:
        if heads.get(name):
            raise invalid(
                "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: "
                f"Key: {name}"
            )


@operation("dynamodb:PutItem", resource=permissions.resource, policy=resource_policies.load)
async def put_item(call: Call, params: Params) -> Result:
    """Write an item whole, in place of any of that key."""
    condition: Predicate | None = None
    values: Values = NO_VALUES
    bare = params.keys() <= _BARE_PUT
    try:
        if not bare:
            check_expression_parameters(params, ("ConditionExpression",), _LEGACY_WRITE)
            check_return_values(params, ("ALL_OLD", "NONE"))
        item = params["Item"]
        size = check_item(item)
        if size > MAX_ITEM_BYTES:
            raise invalid("Item size has exceeded the maximum allowed size")
        if not bare:
            expressions, values = compile_either(params)
            condition = expressions.condition
    except AwsError as error:
        raise detected(error) from None
    want_old = not bare and params.get("ReturnValues") == "ALL_OLD"
    record_key = names.record_key(call, params["TableName"])
    item_json = records.encode(item)

    def body(txn: Transaction) -> Written:
        found = table.load(txn, record_key, call)
        key = found.key_of(item)
        old = txn.get(key)
        if condition is not None:
            require(call, txn, found, key, old, condition, values, params)
        old_json = records.body_of(txn, found, key, old) if want_old and old is not None else b""
        used = writes.save(txn, found, key, old, item, item_json, size, call.node)
        if found.is_metered:
            take(call, found, key, size, old, used)
        shown = msgspec.Raw(old_json) if old_json else None
        return Written(found, size, old, used, shown, None if bare else measured(txn, params, found, item))

    done = await call.store.transact(body)
    return {} if bare and done.table.record.on_demand else reply(call, params, done)


def take(call: Call, found: Table, key: bytes, size: int, old: bytes | None, used: list[writes.IndexUnits]) -> None:
    """Take what a write cost from what the table has left. Raises the throttling error."""
    throughput.write(call, found, key, capacity.write_units(size, 0 if old is None else records.size_of(old)), used)


def require(
    call: Call,
    txn: Transaction,
    found: Table,
    key: bytes,
    old: bytes | None,
    condition: Predicate,
    values: Values,
    params: Params,
) -> Item:
    """The item that is there, if the condition holds for it. Raises ConditionalCheckFailedException if not."""
    item = records.item_of(txn, found, key, old)
    if condition(item, values):
        return item
    if found.is_metered:
        take(call, found, key, 0, old, writes.NO_UNITS)
    members = {}
    if item and params.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
        members["Item"] = item
    raise AwsError("ConditionalCheckFailedException", "The conditional request failed", members=members)


class Written(msgspec.Struct, eq=False):
    """What a single write did. old: what was stored before; attributes: what the reply shows of the item."""

    table: Table
    size: int
    old: bytes | None
    used: list[writes.IndexUnits]
    attributes: Any
    collection: dict[str, Any] | None = None


def reply(call: Call, params: Params, done: Written) -> Result:
    """The reply of a single write, whose units are noted."""
    result: Result = {}
    if done.attributes:
        result["Attributes"] = done.attributes
    units = capacity.write_units(done.size, 0 if done.old is None else records.size_of(done.old))
    consumption.note(call, done.table, consumption.WRITE, units, done.used)
    used = capacity.consumed(params, done.table.record.name, units, done.used)
    if used is not None:
        result["ConsumedCapacity"] = used
    if done.collection is not None:
        result["ItemCollectionMetrics"] = done.collection
    return result


def measured(txn: Transaction, params: Params, found: Table, item: Item) -> dict[str, Any] | None:
    """The ItemCollectionMetrics member where the request wants it, after the write."""
    if params.get("ReturnItemCollectionMetrics") != "SIZE":
        return None
    return writes.collection_metrics(txn, found, item)


@operation("dynamodb:DeleteItem", resource=permissions.resource, policy=resource_policies.load)
async def delete_item(call: Call, params: Params) -> Result:
    """Remove an item; one that is not there is no error."""
    try:
        check_expression_parameters(params, ("ConditionExpression",), _LEGACY_WRITE)
        check_return_values(params, ("ALL_OLD", "NONE"))
        key = params["Key"]
        check_item(key)
        expressions, values = compile_either(params)
    except AwsError as error:
        raise detected(error) from None
    condition = expressions.condition
    want_old = params.get("ReturnValues") == "ALL_OLD"
    record_key = names.record_key(call, params["TableName"])

    def body(txn: Transaction) -> Written:
        found = table.load(txn, record_key, call)
        item_key = found.key_of_key(key)
        old = txn.get(item_key)
        if condition is not None:
            require(call, txn, found, item_key, old, condition, values, params)
        old_json, used = b"", writes.NO_UNITS
        if old is not None:
            if want_old:
                old_json = records.body_of(txn, found, item_key, old)
            used = writes.remove(txn, found, item_key, old, call.node)
        if found.is_metered:
            take(call, found, item_key, 0, old, used)
        shown = msgspec.Raw(old_json) if old_json else None
        return Written(found, 0, old, used, shown, measured(txn, params, found, key))

    return reply(call, params, await call.store.transact(body))


@operation("dynamodb:UpdateItem", resource=permissions.resource, policy=resource_policies.load)
async def update_item(call: Call, params: Params) -> Result:
    """Change parts of an item, or make it."""
    try:
        check_expression_parameters(params, ("UpdateExpression", "ConditionExpression"), _LEGACY_UPDATE)
        key = params["Key"]
        check_item(key)
        expressions, values = compile_either(params)
    except AwsError as error:
        raise detected(error) from None
    update, condition = expressions.update, expressions.condition
    wanted = params.get("ReturnValues", "NONE")
    record_key = names.record_key(call, params["TableName"])

    def body(txn: Transaction) -> Written:
        found = table.load(txn, record_key, call)
        item_key = found.key_of_key(key)
        if update is not None:
            refuse_key_updates(found, update)
        old = txn.get(item_key)
        if condition is not None:
            item = require(call, txn, found, item_key, old, condition, values, params)
        else:
            item = records.item_of(txn, found, item_key, old)
        before = _shown(wanted, "OLD", item, update)
        size, new_json = updated(key, old, item, update, values)
        used = writes.NO_UNITS
        if new_json:
            try:
                used = writes.save(txn, found, item_key, old, item, new_json, size, call.node)
            except AwsError as error:
                raise bad_update(error) from None
        if found.is_metered:
            take(call, found, item_key, size, old, used)
        if wanted == "ALL_NEW":
            shown = msgspec.Raw(new_json) if new_json else None
        else:
            shown = before or _shown(wanted, "NEW", item, update)
        return Written(found, size, old, used, shown, measured(txn, params, found, key))

    return reply(call, params, await call.store.transact(body))


def _shown(wanted: str, which: str, item: Item, update: Update | None) -> Any:
    """The Attributes of a reply that wants the item, or its updated parts, as it is at this moment."""
    if not item or not wanted.endswith(which):
        return None
    if wanted.startswith("ALL"):
        return msgspec.Raw(records.encode(item))
    touched = None if update is None else update.touched(item)
    # Encoded at once: the item is about to be changed in place.
    return msgspec.Raw(records.encode(touched)) if touched else None


def refuse_key_updates(found: Table, update: Update) -> None:
    """Raises ValidationException for an update of a key attribute."""
    for name in found.key_names:
        if name in update.heads:
            if update.heads[name]:
                refuse_below_keys(found, update.heads)
            raise invalid(f"{INVALID}Cannot update attribute {name}. This attribute is part of the key")


def updated(key: Item, old: bytes | None, item: Item, update: Update | None, values: Values) -> tuple[int, bytes]:
    """Update `item` (empty: none is there) in place. Returns its size and JSON; nothing where no item comes to be."""
    if old is None:
        if update is not None and not update.creates:
            # REMOVE and DELETE alone make no item, but their operands and paths are checked all the same.
            update.apply(dict(key), values)
            return 0, b""
        item.update(key)
    if update is not None:
        update.apply(item, values)
    size = check_item(item)
    if size > MAX_ITEM_BYTES:
        raise invalid("Item size to update has exceeded the maximum allowed size")
    return size, records.encode(item)
