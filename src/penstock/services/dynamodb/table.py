"""A table as it is stored, and as the operations use it: its keys, and where its items are."""

from __future__ import annotations

import uuid
from functools import lru_cache

import msgspec

from penstock.services.dynamodb import keys
from penstock.services.dynamodb.attributes import Item, Value, type_of
from penstock.services.dynamodb.errors import INVALID, KEY_MISMATCH, invalid, table_missing
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

MAX_HASH_KEY_BYTES = 2048
MAX_RANGE_KEY_BYTES = 1024


class TableRecord(msgspec.Struct, omit_defaults=True):
    """What is stored of a table. Times are seconds since the epoch, 0: never. Fields are only ever added."""

    name: str
    arn: str
    id: str
    """A UUID; its 16 bytes are the table id of the keys."""
    created_at: float
    attributes: dict[str, str]
    """Attribute name -> S, N or B, in the order of AttributeDefinitions."""
    hash_key: str
    range_key: str = ""
    on_demand: bool = False
    read_units: int = 0
    write_units: int = 0
    table_class: str = ""
    deletion_protection: bool = False
    on_demand_since: float = 0.0
    increased_at: float = 0.0
    decreased_at: float = 0.0
    decreases_today: int = 0


class Table:
    """A table's record with what item operations need at hand. Immutable: shared by all that saw the same bytes."""

    __slots__ = (
        "hash_encode", "hash_name", "hash_type", "id", "key_names", "prefix", "range_encode", "range_name",
        "range_type", "record",
    )  # fmt: skip

    def __init__(self, record: TableRecord) -> None:
        self.record = record
        self.id = uuid.UUID(record.id).bytes
        self.prefix = keys.items(self.id)
        self.hash_name = record.hash_key
        self.hash_type = record.attributes[record.hash_key]
        self.hash_encode = keys.ENCODERS[self.hash_type]
        self.range_name = record.range_key
        self.range_type = record.attributes.get(record.range_key, "")
        self.range_encode = keys.ENCODERS[self.range_type or "S"]
        self.key_names = (record.hash_key, record.range_key) if record.range_key else (record.hash_key,)

    def key_of(self, values: Item) -> bytes:
        """The key bytes of a checked item, or of a checked `Key` parameter.

        Raises ValidationException with PutItem's words; `check_key` comes first where there are other words.
        """
        raw = self._raw(values, self.hash_name, self.hash_type)
        encoded = self.hash_encode(raw)
        if not encoded or len(encoded) > MAX_HASH_KEY_BYTES:
            raise self._bad_size(self.hash_name, encoded)
        key = keys.partition(self.prefix, encoded)
        if not self.range_name:
            return key
        raw = self._raw(values, self.range_name, self.range_type)
        encoded = self.range_encode(raw)
        if not encoded or len(encoded) > MAX_RANGE_KEY_BYTES:
            raise self._bad_size(self.range_name, encoded)
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

    def partition_of(self, value: Value) -> bytes:
        """What the keys of one partition begin with; the value is of the right type. Raises ValidationException."""
        encoded = self.hash_encode(value[self.hash_type])
        if not encoded or len(encoded) > MAX_HASH_KEY_BYTES:
            raise self._bad_size(self.hash_name, encoded)
        return keys.partition(self.prefix, encoded)

    def key_attributes(self, item: Item) -> Item:
        """Only the key attributes."""
        return {name: item[name] for name in self.key_names}

    @staticmethod
    def _raw(values: Item, name: str, kind: str) -> str:
        value = values.get(name)
        if value is None:
            raise invalid(f"{INVALID}Missing the key {name} in the item")
        raw: str | None = value.get(kind)
        if raw is None:
            raise invalid(f"{INVALID}Type mismatch for key {name} expected: {kind} actual: {type_of(value)}")
        return raw

    def _bad_size(self, name: str, encoded: bytes) -> AwsError:
        if not encoded:
            kind = "string" if self.record.attributes[name] == "S" else "binary"
            return invalid(
                "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an "
                f"empty {kind} value. Key: {name}"
            )
        if name == self.hash_name:
            return invalid(f"{INVALID}Size of hashkey has exceeded the maximum size limit of2048 bytes")
        return invalid(f"{INVALID}Aggregated size of all range keys has exceeded the size limit of 1024 bytes")


_decode_record = msgspec.json.Decoder(TableRecord).decode
_encode_record = msgspec.json.Encoder().encode


@lru_cache(maxsize=1024)
def decode(stored: bytes) -> Table:
    """The table of these very bytes: what another node has changed has other bytes, so this cache is never wrong."""
    return Table(_decode_record(stored))


def load(txn: Transaction, key: bytes) -> Table:
    """The table whose record is at `key`. Raises ResourceNotFoundException with item operations' words."""
    stored = txn.get(key)
    if stored is None:
        raise table_missing()
    return decode(stored)


def encode(record: TableRecord) -> bytes:
    """A record's stored bytes."""
    return _encode_record(record)
