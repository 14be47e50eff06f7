"""A table as the operations use it: its keys, its indexes, and where its items are."""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.services.dynamodb import keys
from penstock.services.dynamodb.attributes import Item, type_of
from penstock.services.dynamodb.errors import INVALID, KEY_MISMATCH, invalid, table_missing
from penstock.services.dynamodb.index import CompositeIndex, Index
from penstock.services.dynamodb.key_space import MAX_HASH_KEY_BYTES, MAX_RANGE_KEY_BYTES, KeySpace
from penstock.services.dynamodb.table_keys import lock_of
from penstock.services.dynamodb.table_records import TableRecord
from penstock.services.dynamodb.vector_index import VectorIndex
from penstock.store.api import Transaction
from penstock.store.log import Log
from penstock.wire.errors import AwsError


class Table(KeySpace):
    """A table's record with what item operations need at hand. Immutable: shared by all that saw the same bytes."""

    __slots__ = (
        "counted",
        "expires",
        "has_local",
        "id",
        "indexes",
        "is_limited",
        "is_metered",
        "keeps_history",
        "key_names",
        "record",
        "shard",
        "sized",
        "unreplicated",
        "vectors",
    )

    def __init__(self, record: TableRecord) -> None:
        self.id = uuid.UUID(record.id).bytes
        super().__init__(
            keys.items(self.id), record.hash_key, record.range_key, record.attributes,
            lock_of(record.arn, record.encryption),
        )  # fmt: skip
        self.record = record
        self.key_names = self.own_key_names
        self.indexes = tuple(
            (CompositeIndex if each.more_hash_keys or each.more_range_keys else Index)(each, record, self.id)
            for each in record.indexes
        )
        self.is_limited = (
            not record.on_demand
            or bool(record.max_read_units or record.max_write_units)
            or any(each.max_read_units or each.max_write_units for each in record.indexes)
        )
        """Whether there is any limit of throughput to be asked."""
        self.is_metered = self.is_limited or bool(record.insights)
        """Whether `throughput` has to be told of requests: to ask limits, or to count keys."""
        self.keeps_history = record.keeps_history
        self.counted = keys.item_count(self.id)
        self.sized = keys.item_bytes(self.id)
        self.expires = bool(record.ttl_attribute)
        self.shard: Log | None = None
        """The log of the stream's open shard, where the table has a stream."""
        if record.stream_view:
            self.shard = Log(keys.stream_log(self.id, record.stream_label, record.stream_shard))
        self.unreplicated = Log(keys.unreplicated(self.id)) if record.replicas else None
        """Of a global table: places that its other replicas have not been told of."""
        self.vectors = tuple(VectorIndex(each, record, self.id) for each in record.vectors)
        self.has_local = any(not each.is_global for each in record.indexes)

    @property
    def region(self) -> str:
        """The region that the table is in."""
        return self.record.arn.split(":", 4)[3]

    def index(self, name: str) -> Index:
        """The index of that name. Raises ValidationException where there is none, or it cannot be read yet."""
        for index in self.indexes:
            if index.record.name == name:
                if index.record.backfilling:
                    raise invalid(f"Cannot read from backfilling global secondary index: {name}")
                return index
        raise invalid(f"The table does not have the specified index: {name}")

    def check_indexes(self, item: Item) -> None:
        """Raises ValidationException for an item whose attributes cannot be keys, or vectors, of the table's indexes."""
        for index in self.indexes:
            index.check(item)
        for vectors in self.vectors:
            vectors.check(item)

    def large_key(self, key: bytes) -> bytes:
        """See `KeySpace`."""
        return keys.large(self.id, key)

    def suffix_of(self, item_key: bytes) -> bytes:
        """The part of an item's key that is its partition and sort key, without the hash."""
        return item_key[len(self.prefix) + keys.HASH_BYTES :]

    def key_of(self, values: Item) -> bytes:
        """The key bytes of a checked item.

        Raises ValidationException with PutItem's words; `key_of_key` comes first where there are other words.
        """
        # Looked up at once, as it is nearly always there; `_missing` finds the words where it is not.
        try:
            raw = values[self.hash_name][self.hash_type]
        except KeyError:
            raise self._missing(values, self.hash_name, self.hash_type) from None
        encoded = self.hash_encode(raw)
        if not encoded or len(encoded) > MAX_HASH_KEY_BYTES:
            raise self.bad_size(self.hash_name, self.hash_type, encoded)
        key = keys.partition(self.prefix, encoded)
        if not self.range_name:
            return key
        try:
            raw = values[self.range_name][self.range_type]
        except KeyError:
            raise self._missing(values, self.range_name, self.range_type) from None
        encoded = self.range_encode(raw)
        if not encoded or len(encoded) > MAX_RANGE_KEY_BYTES:
            raise self.bad_size(self.range_name, self.range_type, encoded)
        if b"\0" in encoded:
            return key + keys.element(encoded)
        return b"%b\x01%b\0" % (key, encoded)

    def key_of_key(self, key: Item) -> bytes:
        """The key bytes of a checked `Key` parameter. Raises ValidationException."""
        if len(key) != len(self.key_names):
            raise invalid(KEY_MISMATCH)
        value = key.get(self.hash_name)
        if value is None or self.hash_type not in value:
            raise invalid(KEY_MISMATCH)
        if self.range_name:
            value = key.get(self.range_name)
            if value is None or self.range_type not in value:
                raise invalid(KEY_MISMATCH)
        return self.key_of(key)

    def key_attributes(self, item: Item, index: Index | None = None) -> Item:
        """Only the key attributes: the table's own and, where one is read, the index's."""
        names = self.key_names if index is None else dict.fromkeys((*self.key_names, *index.own_key_names))
        return {name: item[name] for name in names}

    @staticmethod
    def _missing(values: Item, name: str, kind: str) -> AwsError:
        value = values.get(name)
        if value is None:
            return invalid(f"{INVALID}Missing the key {name} in the item")
        return invalid(f"{INVALID}Type mismatch for key {name} expected: {kind} actual: {type_of(value)}")


_decode_record = msgspec.json.Decoder(TableRecord).decode
_encode_record = msgspec.json.Encoder().encode


@lru_cache(maxsize=1024)
def decode(stored: bytes) -> Table:
    """The table of these very bytes: what another node has changed has other bytes, so this cache is never wrong."""
    return Table(_decode_record(stored))


def load(txn: Transaction, key: bytes, call: Call) -> Table:
    """The table whose record is at `key`. Raises ResourceNotFoundException with item operations' words.

    Raises Locked for an encrypted one whose key the caller has not shown to be allowed lately.
    """
    stored = txn.get_often(key)
    if stored is None:
        raise table_missing()
    found = decode(stored)
    if found.record.filling or found.record.leaving:
        raise table_missing()
    if found.lock is not None:
        found.lock.require(call)
    return found


def encode(record: TableRecord) -> bytes:
    """A record's stored bytes."""
    return _encode_record(record)


def changed(record: TableRecord, **fields: Any) -> TableRecord:
    """A copy with other fields: records are shared by `decode`, so they are never changed in place."""
    return msgspec.structs.replace(record, **fields)
