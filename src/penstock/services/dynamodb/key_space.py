"""What a table and an index have in common: keys, their limits, and the order in which entries lie."""

from __future__ import annotations

from penstock.services.dynamodb import keys
from penstock.services.dynamodb.attributes import Value
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.table_keys import TableLock
from penstock.wire.errors import AwsError

MAX_HASH_KEY_BYTES = 2048
EMPTY_KEY = "One or more parameter values are not valid."
MAX_RANGE_KEY_BYTES = 1024


class KeySpace:
    """What a table and an index have in common: keys, and the prefix under which entries lie in order of them."""

    __slots__ = (
        "hash_encode", "hash_name", "hash_type", "lock", "prefix", "range_encode", "range_name", "range_type",
    )  # fmt: skip

    def __init__(
        self, prefix: bytes, hash_name: str, range_name: str, types: dict[str, str], lock: TableLock | None = None
    ) -> None:
        self.prefix = prefix
        self.lock = lock
        """What items are sealed with, of an encrypted table."""
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
