"""TransactWriteItems and TransactGetItems: all or nothing, in one transaction of the store.

Source: "Amazon DynamoDB Transactions: How it works" of the developer guide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from penstock.core.authz import require as require_permission
from penstock.core.call import Call
from penstock.core.identity import Kind
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
    tokens,
    writes,
)
from penstock.services.dynamodb.attributes import MAX_ITEM_BYTES, Item, check_item
from penstock.services.dynamodb.batches import Done, add_collections, add_consumed
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.expressions.request import Expressions, compile_request
from penstock.services.dynamodb.expressions.scope import Values
from penstock.services.dynamodb.index import bad_update
from penstock.services.dynamodb.items import measured, refuse_below_keys, refuse_key_updates, require, updated
from penstock.services.dynamodb.key_space import EMPTY_KEY
from penstock.services.dynamodb.table import Table
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

MAX_ACTIONS = 100
MAX_BYTES = 4 * 1024 * 1024
_KINDS = ("ConditionCheck", "Put", "Delete", "Update")
_ACTIONS = {
    "ConditionCheck": "dynamodb:ConditionCheckItem",
    "Put": "dynamodb:PutItem",
    "Delete": "dynamodb:DeleteItem",
    "Update": "dynamodb:UpdateItem",
}
_TWICE = "Transaction request cannot include multiple operations on one item"
_NO_REASON = {"Code": "None"}


class _Action(NamedTuple):
    """One action, checked as far as it can be without its table."""

    kind: str
    params: dict[str, Any]
    record_key: bytes
    item: Item
    """The item of a Put, the key of the others."""
    expressions: Expressions
    values: Values


class _Change(NamedTuple):
    """What an action does once all conditions hold. body: the new item's JSON; empty for none, where `item` is too."""

    table: Table
    key: bytes
    old: bytes | None
    body: bytes
    size: int
    item: Item
    given: Item
    """The item or key of the request."""
    removes: bool = False


# Each of its actions needs a permission of its own, which the operation demands.
@operation("dynamodb:TransactWriteItems", action="")
async def transact_write_items(call: Call, params: Params) -> Result:
    """Carry out all actions, or none and say why."""
    given = params["TransactItems"]
    if len(given) > MAX_ACTIONS:
        raise invalid(f"Member must have length less than or equal to {MAX_ACTIONS}")
    await _require_permissions(call, params)
    digest = b""
    if "ClientRequestToken" in params:
        digest = hashlib.sha256(msgspec.json.encode(given, order="sorted")).digest()
    return await write(call, params, given, digest)


async def write(call: Call, params: Params, given: list[dict[str, Any]], digest: bytes) -> Result:
    """Carry out what is permitted already. digest: what makes the request the same as another of its token."""
    actions = [_check_action(call, each) for each in given]
    token = params.get("ClientRequestToken")

    def body(txn: Transaction) -> list[Done]:
        if token is not None and tokens.is_repeated(txn, call.account, call.region, token, digest, call.now):
            return []
        changes = _changes(call, txn, actions)
        if sum(change.size for change in changes) > MAX_BYTES:
            raise invalid("Transaction request exceeds the maximum aggregate item size of 4 MB")
        done = []
        for number, change in enumerate(changes):
            try:
                units, doubled = _carry_out(call, txn, change)
            except AwsError as error:
                raise _cancelled_at(number, len(changes), error) from None
            done.append(
                Done(change.table, units, doubled, measured(txn, params, change.table, change.item or change.given))
            )
        if token is not None:
            tokens.remember(txn, call.account, call.region, token, digest, call.now)
        return done

    result: Result = {}
    done = await call.store.transact(body)
    add_consumed(call, params, result, done, consumption.WRITE, "WriteCapacityUnits")
    add_collections(result, done)
    return result


def _carry_out(call: Call, txn: Transaction, change: _Change) -> tuple[float, list[writes.IndexUnits]]:
    """Make a change. Returns the write units that it took, and those of each index. Raises what cancels for them."""
    used = writes.NO_UNITS
    if change.body:
        used = writes.save(txn, change.table, change.key, change.old, change.item, change.body, change.size, call.node)
    elif change.removes and change.old is not None:
        used = writes.remove(txn, change.table, change.key, change.old, call.node)
    units = 2 * capacity.write_units(change.size, 0 if change.old is None else records.size_of(change.old))
    doubled = [each._replace(units=2 * each.units) for each in used]
    if change.table.is_metered:
        throughput.write(call, change.table, change.key, units, doubled)
    return units, doubled


async def _require_permissions(call: Call, params: Params) -> None:
    """What each action needs, on its table, with its condition keys. Raises AwsError AccessDenied."""
    policies = await resource_policies.load_all(
        call, [part["TableName"] for each in params["TransactItems"] for part in each.values()]
    )
    if call.principal.kind is Kind.ROOT and call.principal.account == call.account and not policies:
        return
    for each in params["TransactItems"]:
        for kind, part in each.items():
            name = part["TableName"]
            noted = {**await permissions.facts(call, name, [part]), **permissions.enclosing(call, params)}
            await require_permission(
                call, params, _ACTIONS[kind], names.resource(call, part), policy=policies.get(name),
                even_root=True, conditions=noted,
            )  # fmt: skip


def _check_action(call: Call, given: Mapping[str, dict[str, Any]]) -> _Action:
    kinds = [kind for kind in _KINDS if kind in given]
    if len(kinds) != 1:
        raise invalid("TransactItems can only contain one of Check, Put, Update or Delete")
    params = given[kinds[0]]
    item = params["Item"] if kinds[0] == "Put" else params["Key"]
    size = check_item(item)
    if size > MAX_ITEM_BYTES:
        raise invalid("Item size has exceeded the maximum allowed size")
    expressions, values = compile_request(params)
    return _Action(kinds[0], params, names.record_key(call, params["TableName"]), item, expressions, values)


def _changes(call: Call, txn: Transaction, actions: list[_Action]) -> list[_Change]:
    """What all actions do. Raises TransactionCanceledException with a reason for each that cannot be done."""
    changes: list[_Change] = []
    reasons: list[dict[str, Any]] = []
    seen: set[bytes] = set()
    tables = [table.load(txn, action.record_key, call) for action in actions]
    for action, found in zip(actions, tables, strict=True):
        try:
            key = found.key_of(action.item) if action.kind == "Put" else found.key_of_key(action.item)
            if key in seen:
                raise invalid(_TWICE)
            seen.add(key)
            changes.append(_change(call, txn, action, found, key))
            reasons.append(_NO_REASON)
        except AwsError as error:
            if error.message == _TWICE or error.message.startswith(EMPTY_KEY):
                raise
            reasons.append(_reason(error))
    _cancel_for(reasons)
    return changes


_CODES = {
    "ConditionalCheckFailedException": "ConditionalCheckFailed",
    "ValidationException": "ValidationError",
    "ProvisionedThroughputExceededException": "ProvisionedThroughputExceeded",
    "ThrottlingException": "ThrottlingError",
    "ItemCollectionSizeLimitExceededException": "ItemCollectionSizeLimitExceeded",
}


def _reason(error: AwsError) -> dict[str, Any]:
    if error.code not in _CODES:
        raise error
    more = {"Item": error.members["Item"]} if "Item" in error.members else {}
    return {"Code": _CODES[error.code], "Message": error.message, **more}


def _cancelled_at(number: int, count: int, error: AwsError) -> AwsError:
    """The TransactionCanceledException of `count` actions for what one of them met."""
    return cancelled([_reason(error) if i == number else _NO_REASON for i in range(count)])


def _cancel_for(reasons: list[dict[str, Any]]) -> None:
    """Raises TransactionCanceledException if there is any reason to."""
    if all(reason is _NO_REASON for reason in reasons):
        return
    raise cancelled(reasons)


def cancelled(reasons: list[dict[str, Any]]) -> AwsError:
    """The TransactionCanceledException for these reasons, one an action."""
    listed = ", ".join(reason["Code"] for reason in reasons)
    return AwsError(
        "TransactionCanceledException",
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{listed}]",
        members={"CancellationReasons": reasons},
    )


def _change(call: Call, txn: Transaction, action: _Action, found: Table, key: bytes) -> _Change:
    old = txn.get(key)
    condition, update = action.expressions.condition, action.expressions.update
    if update is not None:
        refuse_key_updates(found, update)
    if condition is not None:
        item = require(call, txn, found, key, old, condition, action.values, action.params)
    else:
        item = {} if update is None else records.item_of(txn, found, key, old)
    match action.kind:
        case "Put":
            found.check_indexes(action.item)
            return _Change(
                found, key, old, records.encode(action.item), check_item(action.item), action.item, action.item
            )
        case "Update":
            size, body = updated(action.item, old, item, update, action.values)
            try:
                found.check_indexes(item)
            except AwsError as error:
                raise bad_update(error) from None
            return _Change(found, key, old, body, size, item, action.item)
        case kind:
            return _Change(found, key, old, b"", 0, {}, action.item, kind == "Delete")


@operation(
    "dynamodb:TransactGetItems",
    action="dynamodb:GetItem",
    resource=permissions.get_resources,
    policy=resource_policies.load,
)
async def transact_get_items(call: Call, params: Params) -> Result:
    """Up to 100 items as they are at one moment."""
    wanted = []
    for each in params["TransactItems"]:
        get = each["Get"]
        check_item(get["Key"])
        wanted.append((get, compile_request(get)[0]))
    return await read(call, params, wanted)


async def read(call: Call, params: Params, gets: list[tuple[dict[str, Any], Expressions]]) -> Result:
    """The items of Gets, each with its compiled expressions, in one transaction."""
    wanted = [(get, expressions, names.record_key(call, get["TableName"])) for get, expressions in gets]

    def body(txn: Transaction) -> list[tuple[Table, bytes | None, bytes]]:
        found = []
        reasons: list[dict[str, Any]] = []
        seen: set[bytes] = set()
        tables = [table.load(txn, record_key, call) for _, _, record_key in wanted]
        for (get, expressions, _), its_table in zip(wanted, tables, strict=True):
            try:
                refuse_below_keys(its_table, {str(path[0]): len(path) > 1 for path in expressions.projected})
                key = its_table.key_of_key(get["Key"])
            except AwsError as error:
                reasons.append(_reason(error))
                continue
            if key in seen:
                raise invalid(_TWICE)
            seen.add(key)
            stored = txn.get(key)
            if its_table.is_metered:
                units = 2 * capacity.read_units(0 if stored is None else records.size_of(stored), True)
                try:
                    throughput.read(call, its_table, None, units, at=key)
                except AwsError as error:
                    reasons.append(_reason(error))
                    continue
            reasons.append(_NO_REASON)
            found.append((its_table, stored, b"" if stored is None else records.body_of(txn, its_table, key, stored)))
        _cancel_for(reasons)
        if sum(records.size_of(stored) for _, stored, _ in found if stored is not None) > MAX_BYTES:
            raise invalid("Transaction request exceeds the maximum aggregate item size of 4 MB")
        return found

    found = await call.store.transact(body, read_only=True)
    responses: list[dict[str, Any]] = []
    for (_, expressions, _), (_, stored, item_json) in zip(wanted, found, strict=True):
        if stored is None:
            responses.append({})
        elif expressions.projection is None:
            responses.append({"Item": msgspec.Raw(item_json)})
        else:
            responses.append({"Item": expressions.projection(records.decode(item_json))})
    result: Result = {"Responses": responses}
    sizes = [(its_table, 0 if stored is None else records.size_of(stored)) for its_table, stored, _ in found]
    used = [Done(each, 2 * capacity.read_units(size, True), writes.NO_UNITS) for each, size in sizes]
    add_consumed(call, params, result, used, consumption.READ, "ReadCapacityUnits")
    return result
