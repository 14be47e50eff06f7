"""BatchGetItem and BatchWriteItem. A batch is no transaction on AWS, and none is promised here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

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
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.expressions.projection import Projector
from penstock.services.dynamodb.items import measured, refuse_below_keys
from penstock.services.dynamodb.legacy import compile_either
from penstock.services.dynamodb.rules import check_expression_parameters
from penstock.services.dynamodb.table import Table
from penstock.store.api import Transaction, TransactionTooLarge
from penstock.wire.errors import AwsError

MAX_GETS = 100
MAX_WRITES = 25
MAX_REPLY_BYTES = 16 * 1024 * 1024
_COMMIT_BYTES = 4_000_000
"""JSON written in one transaction of a batch."""
_DUPLICATES = "Provided list of item keys contains duplicates"


class Done(msgspec.Struct, eq=False):
    """What one part of a batch took of its table, and of the indexes."""

    table: Table
    units: float
    used: list[writes.IndexUnits]
    collection: dict[str, Any] | None = None


class _Gets(NamedTuple):
    """What a batch wants of one table."""

    name: str
    record_key: bytes
    params: dict[str, Any]
    projection: Projector | None
    heads: dict[str, bool]


class _Got(NamedTuple):
    """What a batch found in one table."""

    table: Table
    bodies: list[bytes]
    units: float
    unread: list[Item]
    throttled: AwsError | None = None
    """Why keys are left, where the table has no throughput left."""


@operation("dynamodb:BatchGetItem", resource=permissions.batch_resources, policy=resource_policies.load)
async def batch_get_item(call: Call, params: Params) -> Result:
    """Up to 100 items by their keys, 16 MB; what is past that comes back as UnprocessedKeys."""
    wanted = _check_gets(call, params["RequestItems"])

    def body(txn: Transaction) -> list[_Got]:
        room = MAX_REPLY_BYTES
        found = []
        for gets in wanted:
            got, room = _get(call, txn, gets, room)
            found.append(got)
        throttled = next((got.throttled for got in found if got.throttled is not None), None)
        if throttled is not None and not any(got.units for got in found):
            raise throttled
        return found

    found = await call.store.transact(body, read_only=True)
    responses: dict[str, list[Any]] = {}
    unprocessed: dict[str, Any] = {}
    for gets, got in zip(wanted, found, strict=True):
        if gets.projection is None:
            responses[gets.name] = [msgspec.Raw(each) for each in got.bodies]
        else:
            responses[gets.name] = [gets.projection(records.decode(each)) for each in got.bodies]
        if got.unread:
            unprocessed[gets.name] = {**gets.params, "Keys": got.unread}
    result: Result = {"Responses": responses, "UnprocessedKeys": unprocessed}
    read = [Done(got.table, got.units, writes.NO_UNITS) for got in found]
    add_consumed(call, params, result, read, consumption.READ)
    return result


def _check_gets(call: Call, requested: dict[str, dict[str, Any]]) -> list[_Gets]:
    wanted = []
    count = 0
    for name, each in requested.items():
        check_expression_parameters(each, ("ProjectionExpression",), ("AttributesToGet",))
        expressions, _ = compile_either(each)
        seen: set[Any] = set()
        for key in each["Keys"]:
            check_item(key)
            _refuse_twice(seen, name, key)
        count += len(each["Keys"])
        if count > MAX_GETS:
            raise invalid("Too many items requested for the BatchGetItem call")
        heads = {str(path[0]): len(path) > 1 for path in expressions.projected}
        wanted.append(_Gets(name, names.record_key(call, name), each, expressions.projection, heads))
    return wanted


def _refuse_twice(seen: set[Any], name: str, key: Item) -> None:
    """Raises ValidationException for a key that the batch has already; only key types can be told apart here."""
    identity = (
        name,
        frozenset((part, kind, str(inner)) for part, value in key.items() for kind, inner in value.items()),
    )
    if identity in seen:
        raise invalid(_DUPLICATES)
    seen.add(identity)


def _get(call: Call, txn: Transaction, gets: _Gets, room: int) -> tuple[_Got, int]:
    found = table.load(txn, gets.record_key, call)
    refuse_below_keys(found, gets.heads)
    consistent = bool(gets.params.get("ConsistentRead"))
    bodies: list[bytes] = []
    units = 0.0
    all_keys = gets.params["Keys"]
    item_keys = [found.key_of_key(key) for key in all_keys]
    for i, item_key in enumerate(item_keys):
        stored = txn.get(item_key)
        size = 0 if stored is None else records.size_of(stored)
        if size > room:
            return _Got(found, bodies, units, all_keys[i:]), 0
        taken = capacity.read_units(size, consistent)
        if found.is_metered:
            try:
                throughput.read(call, found, None, taken, at=item_key)
            except AwsError as error:
                return _Got(found, bodies, units, all_keys[i:], error), room
        room -= size
        units += taken
        if stored is not None:
            bodies.append(records.body_of(txn, found, item_key, stored))
    return _Got(found, bodies, units, []), room


class _Write(msgspec.Struct, eq=False):
    """One request of a batch: put the item whose JSON is `body`, or delete what is at the key (body is empty)."""

    name: str
    request: dict[str, Any]
    record_key: bytes
    item: Item
    body: bytes
    size: int


@operation("dynamodb:BatchWriteItem", resource=permissions.batch_resources, policy=resource_policies.load)
async def batch_write_item(call: Call, params: Params) -> Result:
    """Up to 25 puts and deletes. If one is not valid, none is carried out; what is throttled comes back unprocessed."""
    batch = _check_writes(call, params["RequestItems"])
    commits = list(_commits(batch))
    if len(commits) > 1:

        def check(txn: Transaction) -> None:
            _resolve(call, txn, batch)

        await call.store.transact(check, read_only=True)
    done: list[Done] = []
    left: list[_Write] = []
    throttled: AwsError | None = None
    while commits:
        part = commits.pop(0)

        def body(txn: Transaction, part: list[_Write] = part) -> _Carried:
            return _carry_out(call, txn, part, params)

        try:
            carried = await call.store.transact(body)
        except TransactionTooLarge:
            # Streams, recovery and indexes may each write an item once more.
            half = len(part) // 2
            if not half:
                raise
            commits[:0] = [part[:half], part[half:]]
            continue
        done += carried.done
        left += carried.left
        throttled = throttled or carried.throttled
    if throttled is not None and not done:
        raise throttled
    unprocessed: dict[str, list[dict[str, Any]]] = {}
    for write in left:
        unprocessed.setdefault(write.name, []).append(write.request)
    result: Result = {"UnprocessedItems": unprocessed}
    add_consumed(call, params, result, done, consumption.WRITE)
    add_collections(result, done)
    return result


def _check_writes(call: Call, requested: dict[str, list[dict[str, Any]]]) -> list[_Write]:
    batch = []
    for name, requests in requested.items():
        record_key = names.record_key(call, name)
        for request in requests:
            if len(request) != 1:
                raise invalid(
                    "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the "
                    "supported datatypes"
                )
            put = request.get("PutRequest")
            if put is not None:
                item = put["Item"]
                size = check_item(item)
                if size > MAX_ITEM_BYTES:
                    raise invalid("Item size has exceeded the maximum allowed size")
                batch.append(_Write(name, request, record_key, item, records.encode(item), size))
            else:
                key = request["DeleteRequest"]["Key"]
                check_item(key)
                batch.append(_Write(name, request, record_key, key, b"", 0))
    if len(batch) > MAX_WRITES:
        raise invalid("Too many items requested for the BatchWriteItem call")
    return batch


def _commits(batch: list[_Write]) -> Iterable[list[_Write]]:
    if sum([len(write.body) for write in batch]) <= _COMMIT_BYTES:
        yield batch
        return
    part: list[_Write] = []
    size = 0
    for write in batch:
        if part and size + len(write.body) > _COMMIT_BYTES:
            yield part
            part, size = [], 0
        part.append(write)
        size += len(write.body)
    yield part


def _resolve(call: Call, txn: Transaction, batch: list[_Write]) -> list[tuple[Table, bytes]]:
    """The table and key of each write. Raises ValidationException, also for a key that is there twice."""
    resolved = []
    seen: set[bytes] = set()
    tables: dict[bytes, Table] = {}
    for write in batch:
        found = tables.get(write.record_key)
        if found is None:
            found = tables[write.record_key] = table.load(txn, write.record_key, call)
        key = found.key_of(write.item) if write.body else found.key_of_key(write.item)
        if key in seen:
            raise invalid(_DUPLICATES)
        seen.add(key)
        resolved.append((found, key))
    return resolved


class _Carried(NamedTuple):
    """What was done of a batch, and what was left because of which error."""

    done: list[Done]
    left: list[_Write]
    throttled: AwsError | None


def _carry_out(call: Call, txn: Transaction, batch: list[_Write], params: Params) -> _Carried:
    done: list[Done] = []
    left: list[_Write] = []
    throttled: AwsError | None = None
    measuring = params.get("ReturnItemCollectionMetrics") == "SIZE"
    for write, (found, key) in zip(batch, _resolve(call, txn, batch), strict=True):
        if found.is_metered:
            try:
                throughput.admit_write(call, found, key)
            except AwsError as error:
                left.append(write)
                throttled = error
                continue
        old = txn.get(key)
        used = writes.NO_UNITS
        if write.body:
            used = writes.save(txn, found, key, old, write.item, write.body, write.size, call.node)
        elif old is not None:
            used = writes.remove(txn, found, key, old, call.node)
        units = capacity.write_units(write.size, 0 if old is None else records.size_of(old))
        if found.is_metered:
            throughput.write(call, found, key, units, used)
        done.append(Done(found, units, used, measured(txn, params, found, write.item) if measuring else None))
    return _Carried(done, left, throttled)


def add_consumed(call: Call, params: Params, result: Result, done: list[Done], kind: str, which: str = "") -> None:
    """Note units (kind: see `consumption`), and add ConsumedCapacity to a result, summed by table. which: see
    `capacity.consumed`."""
    for each in done:
        if not each.table.record.on_demand:
            consumption.note(call, each.table, kind, each.units, each.used)
    if params.get("ReturnConsumedCapacity", "NONE") == "NONE":
        return
    units: dict[str, float] = {}
    indexes: dict[str, list[writes.IndexUnits]] = {}
    for each in done:
        name = each.table.record.name
        units[name] = units.get(name, 0.0) + each.units
        indexes.setdefault(name, []).extend(each.used)
    result["ConsumedCapacity"] = [
        capacity.consumed(params, name, total, indexes[name], which) for name, total in units.items()
    ]


def add_collections(result: Result, done: Iterable[Done]) -> None:
    """Add ItemCollectionMetrics to a result, where any were wanted: by table, each collection once."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in done:
        if each.collection is not None:
            listed = found.setdefault(each.table.record.name, [])
            if each.collection not in listed:
                listed.append(each.collection)
    if found:
        result["ItemCollectionMetrics"] = found
