"""A vector index as writes and searches use it: an item's vector in 32-bit floats, and what searches filter by.

An entry is kept in the item's own transaction, at ("ddb", "vector", table id, index id[, the partition]) + the item's place:

    length of the vector, as f64   a digest of each inline filter's value   the vector, as f32

Lengths and digests save work at each search; what is shown of an item is read from the table.
Source: "Vector search" of the developer guide.
"""

from __future__ import annotations

import hashlib
import math
import struct
from typing import NamedTuple

import msgspec

from penstock.services.dynamodb import keys
from penstock.services.dynamodb.attributes import Item, Value, type_of
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.table_keys import TableLock, lock_of
from penstock.services.dynamodb.table_records import TableRecord, VectorRecord
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

COSINE, EUCLIDEAN, DOT_PRODUCT = "COSINE", "EUCLIDEAN", "DOT_PRODUCT"
FLOAT_BYTES = 4
_DIGEST_BYTES = 16
_NO_VALUE = bytes(_DIGEST_BYTES)
_LENGTH = struct.Struct("<d")


class Entry(NamedTuple):
    """An entry, unpacked. length: Euclidean; filters: digests, in the order of the index's filters."""

    length: float
    filters: tuple[bytes, ...]
    vector: tuple[float, ...]


class VectorIndex:
    """A vector index of a table. Immutable, as the table is."""

    __slots__ = ("_format", "_types", "counted", "lock", "prefix", "record", "sized", "table_id", "table_keys")

    def __init__(self, record: VectorRecord, table: TableRecord, table_id: bytes) -> None:
        self.record = record
        self.table_id = table_id
        self.prefix = keys.vectors(table_id, record.id)
        self.counted = keys.index_count(table_id, record.id)
        self.sized = keys.index_bytes(table_id, record.id)
        self.lock: TableLock | None = lock_of(table.arn, table.encryption)
        self.table_keys = tuple(name for name in (table.hash_key, table.range_key) if name)
        self._format = struct.Struct(f"<{record.dimensions}f")
        self._types = {name: table.attributes[name] for name in (record.hash_key, *record.filters) if name}

    @property
    def vector_bytes(self) -> int:
        """What a vector takes."""
        return self.record.dimensions * FLOAT_BYTES

    def check(self, item: Item) -> None:
        """Raises ValidationException for an item whose attributes cannot be in the index."""
        self.vector_of(item)
        for name, kind in self._types.items():
            value = item.get(name)
            if value is None:
                continue
            if kind not in value:
                raise invalid(
                    f"{INVALID}Type mismatch for Index Key {name} Expected: {kind} Actual: {type_of(value)} IndexName: "
                    f"{self.record.name}"
                )
            if name == self.record.hash_key and not keys.ENCODERS[kind](value[kind]):
                raise invalid(
                    "One or more parameter values are not valid. A value specified for a secondary index key is not "
                    "supported. The AttributeValue for a key attribute cannot contain an empty "
                    f"{'string' if kind == 'S' else 'binary'} value. IndexName: {self.record.name}, IndexKey: {name}"
                )

    def vector_of(self, item: Item) -> tuple[float, ...] | None:
        """An item's vector; None where it has none. Raises ValidationException for what is no vector of this index."""
        name = self.record.attribute
        value = item.get(name)
        if value is None:
            return None
        members = value.get("L")
        if members is None:
            raise invalid(
                f"{INVALID}Type mismatch for parameter {name}, Expected: L, Actual: {type_of(value)}. IndexName: "
                f"{self.record.name}"
            )
        if len(members) != self.record.dimensions:
            raise invalid(
                f"{INVALID}Invalid size for parameter {name}, Expected: {self.record.dimensions}, Actual: {len(members)}. "
                f"IndexName: {self.record.name}"
            )
        return self.floats(members, name)

    def floats(self, members: list[Value], what: str) -> tuple[float, ...]:
        """Numbers at the precision of the index. Raises ValidationException for what is no number, or too large for it."""
        try:
            return self._format.unpack(self._format.pack(*[float(each["N"]) for each in members]))
        except KeyError:
            raise invalid(f"{INVALID}{what} must be a list of numbers. IndexName: {self.record.name}") from None
        except OverflowError:
            raise invalid(
                f"{INVALID}{what} has a number that is no 32-bit floating point number. IndexName: {self.record.name}"
            ) from None

    def type_of(self, name: str) -> str:
        """The type of an attribute of the search schema."""
        return self._types[name]

    def partition(self, value: Value) -> bytes:
        """What the entries of one partition begin with. The value is of the right type."""
        kind = self._types[self.record.hash_key]
        return self.prefix + keys.element(keys.ENCODERS[kind](value[kind]))

    def key_of(self, item: Item, place: bytes) -> bytes | None:
        """Where an item's entry is; None where it has none."""
        if self.record.attribute not in item:
            return None
        if not self.record.hash_key:
            return self.prefix + place
        value = item.get(self.record.hash_key)
        if value is None or self._types[self.record.hash_key] not in value:
            return None
        return self.partition(value) + place

    def keep(self, txn: Transaction, place: bytes, old: Item | None, new: Item | None, *, checked: bool) -> None:
        """Bring the index up to date for an item at a place, before and after (None: there is none).

        checked: whether `new` fits the index; one that comes from elsewhere and does not stays out.
        """
        before = None if old is None else self.key_of(old, place)
        if before is not None and txn.get(before) is None:
            before = None  # not filled in yet, or from before the index and unfit for it
        after = None if new is None or not (checked or self._fits(new)) else self.key_of(new, place)
        if before is None and after is None:
            return
        if before is not None and before == after and old is not None and new is not None and self._same(old, new):
            return
        if before is not None and before != after:
            txn.clear(before)
        if after is not None and new is not None:
            txn.set(after, self._packed(new, after))
        if count := (after is not None) - (before is not None):
            txn.add(self.counted, count)
            txn.add(self.sized, count * self.vector_bytes)

    def add(self, txn: Transaction, place: bytes, item: Item) -> None:
        """Put an item that is there into an index that is being filled; one whose attributes do not fit stays out."""
        key = self.key_of(item, place)
        if key is None or txn.get(key) is not None or not self._fits(item):
            return
        txn.set(key, self._packed(item, key))
        txn.add(self.counted, 1)
        txn.add(self.sized, self.vector_bytes)

    def _fits(self, item: Item) -> bool:
        try:
            self.check(item)
        except AwsError:
            return False
        return True

    def _same(self, old: Item, new: Item) -> bool:
        return all(old.get(name) == new.get(name) for name in (self.record.attribute, *self.record.filters))

    def _packed(self, item: Item, key: bytes) -> bytes:
        vector = self.vector_of(item)
        assert vector is not None
        filters = b"".join(digest(item.get(name)) for name in self.record.filters)
        entry = _LENGTH.pack(math.hypot(*vector)) + filters + self._format.pack(*vector)
        return entry if self.lock is None else self.lock.seal(entry, key)

    def unpacked(self, key: bytes, stored: bytes) -> Entry:
        """What an entry says. Raises Locked."""
        entry = stored if self.lock is None else self.lock.open(stored, key)
        begin = _LENGTH.size + len(self.record.filters) * _DIGEST_BYTES
        filters = tuple(entry[at : at + _DIGEST_BYTES] for at in range(_LENGTH.size, begin, _DIGEST_BYTES))
        return Entry(_LENGTH.unpack_from(entry)[0], filters, self._format.unpack_from(entry, begin))

    def shown(self, item: Item) -> Item:
        """What a search may show of an item: what is projected, and the vector."""
        if self.record.projection == "ALL":
            return item
        names = (
            *self.table_keys, self.record.hash_key, *self.record.filters, *self.record.non_key_attributes,
            self.record.attribute,
        )  # fmt: skip
        return {name: item[name] for name in dict.fromkeys(names) if name in item}


def digest(value: Value | None) -> bytes:
    """What tells one value of an inline filter from another; value: canonical, None where there is none."""
    if value is None:
        return _NO_VALUE
    return hashlib.blake2b(msgspec.json.encode(value), digest_size=_DIGEST_BYTES).digest()
