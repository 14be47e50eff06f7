"""A table that a job fills before anybody may use it: by a restore or an import."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core.call import Call
from penstock.core.node import Node
from penstock.services.dynamodb import encryption, keys, quotas, records, table, writes
from penstock.services.dynamodb.attributes import Item, check_item
from penstock.services.dynamodb.table import Table
from penstock.services.dynamodb.table_records import TableRecord
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError


def create(txn: Transaction, call: Call, record: TableRecord, exists: str) -> None:
    """Write the record of a table to be filled. Raises AwsError `exists` where there is one, LimitExceededException."""
    key = keys.table(call.account, call.region, record.name)
    if txn.get(key) is not None:
        raise AwsError(exists, f"Table already exists: {record.name}")
    quotas.check_count(txn, call, call.region)
    quotas.check_provisioned(txn, call, record)
    txn.set(key, table.encode(record))
    encryption.note(txn, key, record)


def load(txn: Transaction, record_key: bytes) -> Table:
    """The table that is being filled."""
    stored = txn.get(record_key)
    assert stored is not None, "a table that is being filled cannot be deleted"
    return table.decode(stored)


def some_of(lines: list[bytes], begin: int, most: int, most_bytes: int) -> list[bytes]:
    """The lines from `begin` on that one transaction writes: at least one."""
    found: list[bytes] = []
    size_bytes = 0
    for line in lines[begin : begin + most]:
        size_bytes += len(line)
        if found and size_bytes > most_bytes:
            break
        found.append(line)
    return found


def write(txn: Transaction, into: Table, lines: Iterable[bytes], node: Node) -> None:
    """Write items, given as JSON, that were items before: nothing is checked again."""
    for line in lines:
        item = records.decode(line)
        put(txn, into, item, line, check_item(item), node, checked=True)


def put(
    txn: Transaction, into: Table, item: Item, body: bytes, size: int, node: Node, *, checked: bool = False
) -> None:
    """Write one checked item. Raises ValidationException where it does not fit the table's keys or indexes.

    checked: it was an item of such a table before, and what does not fit an index is in none.
    """
    key = into.key_of(item)
    writes.save(txn, into, key, txn.get(key), item, body, size, node, checked=checked)


def open_table(txn: Transaction, record_key: bytes) -> None:
    """The table has all its items: from now on it is ACTIVE."""
    txn.set(record_key, table.encode(table.changed(load(txn, record_key).record, filling=False)))
