"""A table as it is stored, and as the operations use it: its keys, its indexes, and where its items are."""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Any

import msgspec

from penstock.services.dynamodb import keys
from penstock.services.dynamodb.attributes import Item, Value, type_of
from penstock.services.dynamodb.errors import INVALID, KEY_MISMATCH, invalid, table_missing
from penstock.store.api import Transaction
from penstock.store.log import Log
from penstock.wire.errors import AwsError

MAX_HASH_KEY_BYTES = 2048
EMPTY_KEY = "One or more parameter values are not valid."
MAX_RANGE_KEY_BYTES = 1024


class IndexRecord(msgspec.Struct, omit_defaults=True):
    """What is stored of a secondary index."""

    name: str
    id: int
    """Never given twice in a table."""
    is_global: bool
    hash_key: str
    range_key: str = ""
    projection: str = "ALL"
    """ALL, KEYS_ONLY or INCLUDE."""
    non_key_attributes: list[str] = []
    read_units: int = 0
    write_units: int = 0
    max_read_units: int = 0
    """Of an index on demand, a second; 0: no maximum. So is the next."""
    max_write_units: int = 0
    warm_read_units: int = 0
    warm_write_units: int = 0
    backfilling: bool = False
    """Whether items from before the index are still being added; it cannot be read until then."""
    more_hash_keys: list[str] = []
    """Further attributes of the partition key, in their order. The next: of the sort key."""
    more_range_keys: list[str] = []

    @property
    def hash_keys(self) -> list[str]:
        """The attributes of the partition key."""
        return [self.hash_key, *self.more_hash_keys]

    @property
    def range_keys(self) -> list[str]:
        """The attributes of the sort key; none where there is no sort key."""
        return [self.range_key, *self.more_range_keys] if self.range_key else []


class Restored(msgspec.Struct, omit_defaults=True):
    """Where a restored table came from. at: the time whose items it has, seconds since the epoch."""

    at: float
    backup_arn: str = ""
    table_arn: str = ""


class ReplicaRecord(msgspec.Struct, omit_defaults=True):
    """What a table of a global table knows of another one. read_units, table_class, index_reads: what was overridden."""

    region: str
    status: str = "ACTIVE"
    """CREATING: its items are being copied; DELETING: its last changes are being carried to the others."""
    read_units: int = 0
    table_class: str = ""
    index_reads: dict[str, int] = {}
    max_read_units: int = 0
    """On demand; 0: as its source has it. The next: of indexes."""
    index_max_reads: dict[str, int] = {}


class Insight(msgspec.Struct):
    """Contributor Insights of a table or an index. mode: ACCESSED_AND_THROTTLED_KEYS or THROTTLED_KEYS."""

    mode: str
    enabled_at: float

    @property
    def counts_access(self) -> bool:
        """Whether keys are counted that were read or written, and not only those that were throttled."""
        return self.mode != "THROTTLED_KEYS"


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
    max_read_units: int = 0
    """Of a table on demand, a second; 0: no maximum. So is the next."""
    max_write_units: int = 0
    warm_read_units: int = 0
    """What it is to bear at once, a second, where somebody said so. So is the next."""
    warm_write_units: int = 0
    on_demand_switches: list[float] = []
    """When it was switched to on-demand within the last day."""
    table_class: str = ""
    deletion_protection: bool = False
    on_demand_since: float = 0.0
    increased_at: float = 0.0
    decreased_at: float = 0.0
    decreases_today: int = 0
    indexes: list[IndexRecord] = []
    last_index_id: int = 0
    filling: bool = False
    """Whether a restore or an import is at work: the table is CREATING and takes no other requests."""
    restored: Restored | None = None
    recovery_since: float = 0.0
    """Since when the table can be recovered to any point in time; 0: it cannot."""
    recovery_days: int = 35
    holds: dict[str, int] = {}
    """Jobs that read the table as it was: id -> that time in microseconds; its history is kept from there on."""
    history_after_us: int = 0
    """A time that all changes from here on count as later than, whatever a node's clock says."""
    ttl_attribute: str = ""
    """The attribute that says when an item expires; empty: none does."""
    stream_view: str = ""
    """What the stream tells of a change (StreamViewType); empty: there is no stream."""
    stream_label: str = ""
    """The label of the stream, or of the last one that there was."""
    stream_shard: int = 0
    """The number of the shard that changes go to now."""
    replicas: list[ReplicaRecord] = []
    """Of a global table: the tables of its other regions."""
    insights: dict[str, Insight] = {}
    """Whose keys are counted: an index's name, or "" for the table."""
    leaving: bool = False
    """Whether the table is being deleted once its last changes are with the other replicas; it takes no requests."""

    @property
    def keeps_history(self) -> bool:
        """Whether every change keeps what was before."""
        return bool(self.recovery_since or self.holds)


class KeySpace:
    """What a table and an index have in common: keys, and the prefix under which entries lie in order of them."""

    __slots__ = (
        "hash_encode", "hash_name", "hash_type", "prefix", "range_encode", "range_name", "range_type",
    )  # fmt: skip

    def __init__(self, prefix: bytes, hash_name: str, range_name: str, types: dict[str, str]) -> None:
        self.prefix = prefix
        self.hash_name = hash_name
        self.hash_type = types[hash_name]
        self.hash_encode = keys.ENCODERS[self.hash_type]
        self.range_name = range_name
        self.range_type = types.get(range_name, "")
        self.range_encode = keys.ENCODERS[self.range_type or "S"]

    @property
    def own_key_names(self) -> tuple[str, ...]:
        """Its hash key and, where it has one, its range key."""
        return (self.hash_name, self.range_name) if self.range_name else (self.hash_name,)

    @property
    def hash_types(self) -> tuple[str, ...]:
        """The types of the partition key's attributes."""
        return (self.hash_type,)

    @property
    def range_types(self) -> tuple[str, ...]:
        """The types of the sort key's attributes."""
        return (self.range_type,) if self.range_name else ()

    def partition_of(self, value: Value) -> bytes:
        """What the keys of one partition begin with; the value is of the right type. Raises ValidationException."""
        encoded = self.hash_encode(value[self.hash_type])
        if not encoded or len(encoded) > MAX_HASH_KEY_BYTES:
            raise self.bad_size(self.hash_name, self.hash_type, encoded)
        return keys.partition(self.prefix, encoded)

    def large_key(self, key: bytes) -> bytes:
        """Where the JSON is of what lies at `key`, if it is too large to lie there."""
        raise NotImplementedError

    def bad_size(self, name: str, kind: str, encoded: bytes) -> AwsError:
        """The ValidationException for a key value that is empty or too long."""
        if not encoded:
            return invalid(
                f"{EMPTY_KEY} The AttributeValue for a key attribute cannot contain an "
                f"empty {'string' if kind == 'S' else 'binary'} value. Key: {name}"
            )
        if name == self.hash_name:
            return invalid(f"{INVALID}Size of hashkey has exceeded the maximum size limit of2048 bytes")
        return invalid(f"{INVALID}Aggregated size of all range keys has exceeded the size limit of 1024 bytes")


class Index(KeySpace):
    """A secondary index. Its entries are written in the item's own transaction.

    An entry of an ALL index holds only where the item is; of the others, the projected attributes as an item lies.
    """

    __slots__ = ("counted", "kept", "projects_all", "record", "sized", "table_id")

    def __init__(self, record: IndexRecord, table: TableRecord, table_id: bytes) -> None:
        super().__init__(keys.index(table_id, record.id), record.hash_key, record.range_key, table.attributes)
        self.record = record
        self.table_id = table_id
        self.counted = keys.index_count(table_id, record.id)
        self.sized = keys.index_bytes(table_id, record.id)
        self.projects_all = record.projection == "ALL"
        names = (
            table.hash_key, table.range_key, *record.hash_keys, *record.range_keys, *record.non_key_attributes
        )  # fmt: skip
        self.kept = tuple(dict.fromkeys(name for name in names if name))
        """Attributes that an entry has, unless all."""

    def large_key(self, key: bytes) -> bytes:
        """See `KeySpace`."""
        return keys.large_entry(self.table_id, self.record.id, key)

    def entry_key(self, item: Item, item_suffix: bytes) -> bytes | None:
        """Where the item's entry is; None where it has none. item_suffix: `Table.suffix_of` its key."""
        encoded = _encoded(item, self.hash_name, self.hash_type, MAX_HASH_KEY_BYTES)
        if encoded is None:
            return None
        key = keys.partition(self.prefix, encoded)
        if self.range_name:
            encoded = _encoded(item, self.range_name, self.range_type, MAX_RANGE_KEY_BYTES)
            if encoded is None:
                return None
            key += keys.element(encoded)
        return key + item_suffix

    def entry_of(self, item: Item) -> Item:
        """The attributes of an entry that does not project all."""
        return {name: item[name] for name in self.kept if name in item}

    def check(self, item: Item) -> None:
        """Raises ValidationException for an item whose attribute cannot be this index's key."""
        for name, kind in ((self.hash_name, self.hash_type), (self.range_name, self.range_type)):
            value = item.get(name) if name else None
            if value is None:
                continue
            encoded = self.checked(name, kind, value)
            if len(encoded) > (MAX_HASH_KEY_BYTES if name == self.hash_name else MAX_RANGE_KEY_BYTES):
                raise self.bad_size(name, kind, encoded)

    def checked(self, name: str, kind: str, value: Value) -> bytes:
        """The bytes of a value as a key of this index. Raises ValidationException for another type, or an empty one."""
        raw = value.get(kind)
        if raw is None:
            raise invalid(
                f"{INVALID}Type mismatch for Index Key {name} Expected: {kind} Actual: {type_of(value)} "
                f"IndexName: {self.record.name}"
            )
        encoded = keys.ENCODERS[kind](raw)
        if not encoded:
            raise invalid(
                "One or more parameter values are not valid. A value specified for a secondary index key is not "
                "supported. The AttributeValue for a key attribute cannot contain an empty "
                f"{'string' if kind == 'S' else 'binary'} value. IndexName: {self.record.name}, IndexKey: {name}"
            )
        return encoded


class CompositeIndex(Index):
    """A global index whose partition key, or sort key, has several attributes.

    Those of the partition key are one value in its keys, each an element of it; those of the sort key follow each other.
    Source: "Multi-attribute key schema" of the developer guide.
    """

    __slots__ = ("_types",)

    def __init__(self, record: IndexRecord, table: TableRecord, table_id: bytes) -> None:
        super().__init__(record, table, table_id)
        self._types = {name: table.attributes[name] for name in (*record.hash_keys, *record.range_keys)}

    @property
    def own_key_names(self) -> tuple[str, ...]:
        """The attributes of its partition key, then those of its sort key."""
        return tuple(self._types)

    @property
    def hash_types(self) -> tuple[str, ...]:
        """See `KeySpace`."""
        return tuple(self._types[name] for name in self.record.hash_keys)

    @property
    def range_types(self) -> tuple[str, ...]:
        """See `KeySpace`."""
        return tuple(self._types[name] for name in self.record.range_keys)

    def type_of_key(self, name: str) -> str:
        """The type of an attribute of its keys."""
        return self._types[name]

    def partition_of_parts(self, encoded: list[bytes]) -> bytes:
        """What the keys of one partition begin with, from the bytes of each attribute of the partition key."""
        return keys.partition(self.prefix, encoded[0] if len(encoded) == 1 else b"".join(map(keys.element, encoded)))

    def entry_key(self, item: Item, item_suffix: bytes) -> bytes | None:
        """See `Index`."""
        hashes = self._parts(item, self.record.hash_keys, MAX_HASH_KEY_BYTES)
        ranges = self._parts(item, self.record.range_keys, MAX_RANGE_KEY_BYTES)
        if hashes is None or ranges is None:
            return None
        return self.partition_of_parts(hashes) + b"".join(map(keys.element, ranges)) + item_suffix

    def _parts(self, item: Item, names: list[str], most_bytes: int) -> list[bytes] | None:
        """The bytes of an item's attributes; None where one is missing or cannot be a key."""
        found = []
        for name in names:
            encoded = _encoded(item, name, self._types[name], most_bytes)
            if encoded is None:
                return None
            found.append(encoded)
        return found if sum(map(len, found)) <= most_bytes else None

    def check(self, item: Item) -> None:
        """See `Index`. The limits hold for a partition key, or a sort key, as a whole."""
        for names, most_bytes in (
            (self.record.hash_keys, MAX_HASH_KEY_BYTES), (self.record.range_keys, MAX_RANGE_KEY_BYTES)
        ):  # fmt: skip
            given = [name for name in names if name in item]
            size = sum(len(self.checked(name, self._types[name], item[name])) for name in given)
            if size > most_bytes:
                raise self.bad_size(self.hash_name if names is self.record.hash_keys else names[0], "S", b"x")


def bad_update(error: AwsError) -> AwsError:
    """What `Index.check` raises, in the words that are for the result of an update expression."""
    if "secondary index key is not supported" in error.message:
        kind = "string" if "empty string" in error.message else "binary"
        return invalid(
            f"{EMPTY_KEY} The update expression attempted to update a secondary index key to a value that is not "
            f"supported. The AttributeValue for a key attribute cannot contain an empty {kind} value."
        )
    return error


def _encoded(item: Item, name: str, kind: str, most_bytes: int) -> bytes | None:
    value = item.get(name)
    raw: str | None = None if value is None else value.get(kind)
    if raw is None:
        return None
    encoded = keys.ENCODERS[kind](raw)
    return encoded if encoded and len(encoded) <= most_bytes else None


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
    )

    def __init__(self, record: TableRecord) -> None:
        self.id = uuid.UUID(record.id).bytes
        super().__init__(keys.items(self.id), record.hash_key, record.range_key, record.attributes)
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
        raw = self._raw(values, self.hash_name, self.hash_type)
        encoded = self.hash_encode(raw)
        if not encoded or len(encoded) > MAX_HASH_KEY_BYTES:
            raise self.bad_size(self.hash_name, self.hash_type, encoded)
        key = keys.partition(self.prefix, encoded)
        if not self.range_name:
            return key
        raw = self._raw(values, self.range_name, self.range_type)
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
    def _raw(values: Item, name: str, kind: str) -> str:
        value = values.get(name)
        if value is None:
            raise invalid(f"{INVALID}Missing the key {name} in the item")
        raw: str | None = value.get(kind)
        if raw is None:
            raise invalid(f"{INVALID}Type mismatch for key {name} expected: {kind} actual: {type_of(value)}")
        return raw


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
    found = decode(stored)
    if found.record.filling or found.record.leaving:
        raise table_missing()
    return found


def encode(record: TableRecord) -> bytes:
    """A record's stored bytes."""
    return _encode_record(record)


def changed(record: TableRecord, **fields: Any) -> TableRecord:
    """A copy with other fields: records are shared by `decode`, so they are never changed in place."""
    return msgspec.structs.replace(record, **fields)
