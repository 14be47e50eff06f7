"""From the conditions on a table's keys to the range of stored keys that they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from penstock.services.dynamodb import keys
from penstock.services.dynamodb.attributes import Value
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.expressions.key_condition import KeyCondition
from penstock.services.dynamodb.expressions.scope import Values
from penstock.services.dynamodb.index import CompositeIndex
from penstock.services.dynamodb.key_space import KeySpace
from penstock.store.tuples import prefix_end


class KeyRange(NamedTuple):
    """The keys a Query reads: begin <= key < end; `partition` is what all of them begin with."""

    begin: bytes
    end: bytes
    partition: bytes
    sort_condition: KeyCondition | None


def key_range(table: KeySpace, conditions: Mapping[str, KeyCondition], values: Values) -> KeyRange:
    """The range that the conditions mean in the table or index. Raises ValidationException where they do not fit its keys."""
    if isinstance(table, CompositeIndex):
        return _composite_range(table, conditions, values)
    if len(conditions) > 2:
        raise invalid("Conditions can be of length 1 or 2 only")
    if not table.range_name and len(conditions) > 1:
        raise invalid("Query key condition not supported")
    hash_value = _check(table.hash_name, table.hash_type, conditions, values, required=True)
    if conditions[table.hash_name].operator != "=":
        raise invalid("Query key condition not supported")
    if table.range_name:
        _check(table.range_name, table.range_type, conditions, values, required=len(conditions) > 1)
    partition = table.partition_of(hash_value)
    if not table.range_name:
        return KeyRange(partition, partition + _NO_END, partition, None)
    condition = conditions.get(table.range_name)
    if condition is None:
        return KeyRange(partition, partition + _NO_END, partition, None)
    operands = [table.range_encode(values[name][table.range_type]) for name in condition.operands]
    if not all(operands) and condition.operator != "begins_with":
        raise table.bad_size(table.range_name, table.range_type, b"")
    begin, end = _bounds(partition, condition.operator, operands)
    return KeyRange(begin, end, partition, condition)


def _composite_range(index: CompositeIndex, conditions: Mapping[str, KeyCondition], values: Values) -> KeyRange:
    """Equality for all of the partition key; of the sort key the first ones, equality for all but the last of these."""
    hashes, ranges = index.record.hash_keys, index.record.range_keys
    wanted = ranges[: max(len(conditions) - len(hashes), 0)]
    encoded: dict[str, list[bytes]] = {}
    for name in (*hashes, *wanted):
        kind = index.type_of_key(name)
        _check(name, kind, conditions, values, required=True)
        if conditions[name].operator != "=" and (not wanted or name != wanted[-1]):
            raise invalid(f"Query key condition not supported: only the last one may be other than equality: {name}")
        encoded[name] = [keys.ENCODERS[kind](values[operand][kind]) for operand in conditions[name].operands]
        if not all(encoded[name]) and conditions[name].operator != "begins_with":
            raise index.bad_size(name, kind, b"")
    if len(conditions) > len(hashes) + len(wanted):
        raise invalid("Query key condition not supported")
    partition = index.partition_of_parts([encoded[name][0] for name in hashes])
    if not wanted:
        return KeyRange(partition, partition + _NO_END, partition, None)
    begins = partition + b"".join(keys.element(encoded[name][0]) for name in wanted[:-1])
    last = conditions[wanted[-1]]
    begin, end = _bounds(begins, last.operator, encoded[wanted[-1]])
    return KeyRange(begin, end, partition, last)


def _check(name: str, kind: str, conditions: Mapping[str, KeyCondition], values: Values, *, required: bool) -> Value:
    condition = conditions.get(name)
    if condition is None:
        if required:
            raise invalid(f"Query condition missed key schema element: {name}")
        return {}
    for placeholder in condition.operands:
        if kind not in values[placeholder]:
            raise invalid(INVALID + "Condition parameter type does not match schema type")
    return values[condition.operands[0]]


_NO_END = b"\xff"
"""What follows a NUL that is part of a key value and not its end (`keys.element`): "a" and another element come before it, a
longer value such as "a\\0b" after."""


def _bounds(partition: bytes, operator: str, operands: list[bytes]) -> tuple[bytes, bytes]:
    first = partition + keys.element(operands[0])
    match operator:
        case "=":
            return first, first + _NO_END
        case "<":
            return partition, first
        case "<=":
            return partition, first + _NO_END
        case ">":
            return first + _NO_END, partition + _NO_END
        case ">=":
            return first, partition + _NO_END
        case "begins_with":
            prefix = partition + keys.element_prefix(operands[0])
            return prefix, prefix_end(prefix)
        case _:
            return first, partition + keys.element(operands[1]) + _NO_END
