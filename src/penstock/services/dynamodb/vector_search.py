"""SearchVectors: the items whose vectors are nearest to another, found by looking at all of an index or of its partition.

The search is exact, where AWS's is approximate. It reads in short transactions, and lets others have their turn in between,
so what is written meanwhile may be found or not.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import names, records, resource_policies, table
from penstock.services.dynamodb.attributes import Item, Value, check_value
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.expressions.parser import parse_condition
from penstock.services.dynamodb.expressions.request import Expressions, compile_request
from penstock.services.dynamodb.expressions.syntax import AndNode, CompareNode, Node, PathNode, ValueNode
from penstock.services.dynamodb.table import Table
from penstock.services.dynamodb.vector_index import COSINE, EUCLIDEAN, Entry, VectorIndex, digest
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end
from penstock.wire.errors import AwsError

MAX_TOP = 100
MAX_REPLY_BYTES = 16 * 1024 * 1024
_NUMBERS_AT_ONCE = 100_000
"""Of vectors looked at in one transaction: some milliseconds, in which nobody else has their turn."""
_LEAST_BYTES = 1024
"""What a search is counted for at least."""
_INVALID = "Invalid SearchConditionExpression: "
Near: TypeAlias = tuple[float, bytes]
"""How far (a smaller one is nearer), and the item's place."""


def _resource(call: Call, params: Params) -> str:
    return f"{names.resource(call, params)}/index/{params['IndexName']}"


@dataclass(slots=True, frozen=True)
class _Search:
    """A search as it goes through an index."""

    index: VectorIndex
    begin: bytes
    filters: dict[int, bytes]
    """Number of an inline filter -> the digest that is wanted."""
    distance: Callable[[Entry], float]
    top: int


@operation("dynamodb:SearchVectors", resource=_resource, policy=resource_policies.load)
async def search_vectors(call: Call, params: Params) -> Result:
    """The items nearest to a vector, the nearest first."""
    top = params["TopK"]
    if not 1 <= top <= MAX_TOP:
        raise invalid(
            f"Provided TopK value '{top}' is out of valid range. The value must be between 1 and {MAX_TOP} inclusive"
        )
    for value in params["SearchVector"]:
        check_value(value)
    expressions, values = _compile(params)
    record_key = names.record_key(call, params["TableName"])
    found = await call.store.transact(lambda txn: table.load(txn, record_key, call), read_only=True)
    index = _index(found, params["IndexName"])
    search = _search(index, params, values)
    nearest: list[Near] = []
    after, looked = b"", 0
    while True:
        some, after, count = await call.store.transact(partial(_some, search=search, after=after), read_only=True)
        looked += count
        nearest = heapq.nsmallest(top, nearest + some)
        if not after:
            break
        await asyncio.sleep(0)
    items = await call.store.transact(lambda txn: _items(txn, found, nearest), read_only=True)
    sign = -1.0 if index.record.distance not in (COSINE, EUCLIDEAN) else 1.0
    result: Result = {
        "SearchResults": [{"Item": _shown(index, item, expressions), "Score": sign * far + 0.0} for far, item in items]
    }
    if params.get("ReturnConsumedCapacity", "NONE") != "NONE":
        examined = float(max(looked * index.vector_bytes, _LEAST_BYTES))
        result["ConsumedCapacity"] = {"VectorSearchRequestBytes": examined}
    return result


def _compile(params: Params) -> tuple[Expressions, Any]:
    """The projection, and the condition as far as it is like any other. Raises ValidationException."""
    given: dict[str, Any] = {
        name: params[name]
        for name in ("ProjectionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues")
        if name in params
    }
    if "SearchConditionExpression" in params:
        given["FilterExpression"] = params["SearchConditionExpression"]
    try:
        return compile_request(given)
    except AwsError as error:
        if error.message.startswith("Invalid FilterExpression: "):
            raise invalid(_INVALID + error.message.partition(": ")[2]) from None
        raise


def _index(found: Table, name: str) -> VectorIndex:
    index = next((each for each in found.vectors if each.record.name == name), None)
    if index is None:
        if any(each.record.name == name for each in found.indexes):
            raise invalid("SearchVectors operation not supported on this index type.")
        raise invalid(f"The table does not have the specified index: {name}")
    if index.record.backfilling:
        raise invalid(f"Cannot search backfilling vector index: {name}")
    return index


def _search(index: VectorIndex, params: Params, values: dict[str, Value]) -> _Search:
    """Raises ValidationException for a vector or a condition that does not fit the index."""
    given, dimensions = params["SearchVector"], index.record.dimensions
    if len(given) != dimensions:
        raise invalid(f"Input search vector dimension {len(given)} does not match vector index dimension {dimensions}")
    wanted = _equalities(params, values)
    begin = index.prefix
    if index.record.hash_key:
        if index.record.hash_key not in wanted:
            raise invalid("SearchConditionExpression must be provided when SearchSchema has a HASH key")
        value = wanted.pop(index.record.hash_key)
        _check_type(index, index.record.hash_key, value)
        begin = index.partition(value)
    filters = {}
    for name, value in wanted.items():
        if name not in index.record.filters:
            raise invalid(f"{_INVALID}Attribute {name} is not part of the SearchSchema of index {index.record.name}")
        _check_type(index, name, value)
        filters[index.record.filters.index(name)] = digest(value)
    vector = index.floats(given, "SearchVector")
    return _Search(index, begin, filters, _distance(index.record.distance, vector), params["TopK"])


def _check_type(index: VectorIndex, name: str, value: Value) -> None:
    kind = index.type_of(name)
    if kind not in value:
        raise invalid(f"{_INVALID}Condition parameter type does not match schema type; attribute: {name}")


def _equalities(params: Params, values: dict[str, Value]) -> dict[str, Value]:
    """Attribute -> value of a condition of equalities. Raises ValidationException for any other."""
    text = params.get("SearchConditionExpression")
    if text is None:
        return {}
    aliases = params.get("ExpressionAttributeNames") or {}
    found: dict[str, Value] = {}
    root = parse_condition(text).root
    nodes: list[Node] = [root]
    while nodes:
        node = nodes.pop()
        if isinstance(node, AndNode):
            nodes += node.operands
            continue
        if not isinstance(node, CompareNode) or node.operator != "=":
            raise invalid(f"{_INVALID}Invalid comparator used in SearchConditionExpression")
        path, value = (node.left, node.right) if isinstance(node.left, PathNode) else (node.right, node.left)
        if not isinstance(path, PathNode) or not isinstance(value, ValueNode) or len(path.parts) != 1:
            raise invalid(f"{_INVALID}Only top-level attributes can be compared, with values")
        name = str(path.parts[0])
        name = aliases.get(name, name)
        if name in found:
            raise invalid(f"{_INVALID}An attribute can be named once; attribute: {name}")
        found[name] = values[value.name]
    return found


def _distance(kind: str, wanted: tuple[float, ...]) -> Callable[[Entry], float]:
    """How far an entry is from a vector; the dot product is turned round, so that less is nearer."""
    if kind == EUCLIDEAN:
        return lambda entry: math.dist(entry.vector, wanted)
    if kind == COSINE:
        length = math.hypot(*wanted)

        def cosine(entry: Entry) -> float:
            lengths = length * entry.length
            if not lengths:
                return 1.0  # a vector without direction is at right angles to all
            return float(min(max(1.0 - sum(map(operator.mul, entry.vector, wanted)) / lengths, 0.0), 2.0))

        return cosine
    return lambda entry: -sum(map(operator.mul, entry.vector, wanted))


def _some(txn: Transaction, search: _Search, after: bytes) -> tuple[list[Near], bytes, int]:
    """The nearest of some entries, the key to go on after (empty at the end), and how many were looked at."""
    index = search.index
    begin = after + b"\0" if after else search.begin
    most = max(_NUMBERS_AT_ONCE // index.record.dimensions, 1)
    found: list[Near] = []
    looked, key = 0, b""
    for key, stored in txn.scan(begin, prefix_end(search.begin), most):
        looked += 1
        entry = index.unpacked(key, stored)
        if all(entry.filters[number] == wanted for number, wanted in search.filters.items()):
            found.append((search.distance(entry), key[len(search.begin) :]))
    return heapq.nsmallest(search.top, found), key if looked == most else b"", looked


def _items(txn: Transaction, found: Table, nearest: list[Near]) -> list[tuple[float, Item]]:
    """The items, as they are now; without those that have gone, up to 16 MB in all."""
    shown = []
    size_bytes = 0
    for far, place in nearest:
        key = found.prefix + place
        stored = txn.get(key)
        if stored is not None:
            size_bytes += records.size_of(stored)
            if size_bytes > MAX_REPLY_BYTES:
                break
            shown.append((far, records.item_of(txn, found, key, stored)))
    return shown


def _shown(index: VectorIndex, item: Item, expressions: Expressions) -> Item:
    projected = index.shown(item)
    if expressions.projection is not None:
        return expressions.projection(projected)
    return {name: value for name, value in projected.items() if name != index.record.attribute}
