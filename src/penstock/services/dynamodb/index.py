"""A secondary index as writes and reads use it: where an item's entry is, what it has, and what cannot be its key."""

from __future__ import annotations

from penstock.services.dynamodb import keys
from penstock.services.dynamodb.attributes import Item, Value, type_of
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.key_space import EMPTY_KEY, MAX_HASH_KEY_BYTES, MAX_RANGE_KEY_BYTES, KeySpace
from penstock.services.dynamodb.table_keys import lock_of
from penstock.services.dynamodb.table_records import IndexRecord, TableRecord
from penstock.wire.errors import AwsError


class Index(KeySpace):
    """A secondary index. Its entries are written in the item's own transaction.

    An entry of an ALL index holds only where the item is; of the others, the projected attributes as an item lies.
    """

    __slots__ = ("counted", "kept", "projects_all", "record", "sized", "table_id")

    def __init__(self, record: IndexRecord, table: TableRecord, table_id: bytes) -> None:
        super().__init__(
            keys.index(table_id, record.id), record.hash_key, record.range_key, table.attributes,
            lock_of(table.arn, table.encryption),
        )  # fmt: skip
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
