"""What is stored of a table and of its indexes."""

from __future__ import annotations

import msgspec


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


class VectorRecord(msgspec.Struct, omit_defaults=True):
    """What is stored of a vector index. hash_key: empty where the index has no partitions."""

    name: str
    id: int
    """Never given twice in a table, to an index of any kind."""
    attribute: str
    dimensions: int
    distance: str
    """COSINE, EUCLIDEAN or DOT_PRODUCT."""
    hash_key: str = ""
    filters: list[str] = []
    projection: str = "ALL"
    non_key_attributes: list[str] = []
    backfilling: bool = False


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
    kms_key: str = ""
    """Under which it is encrypted, as it was named."""


class Insight(msgspec.Struct):
    """Contributor Insights of a table or an index. mode: ACCESSED_AND_THROTTLED_KEYS or THROTTLED_KEYS."""

    mode: str
    enabled_at: float

    @property
    def counts_access(self) -> bool:
        """Whether keys are counted that were read or written, and not only those that were throttled."""
        return self.mode != "THROTTLED_KEYS"


class Encryption(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a table's items are encrypted under: the table's own key, as KMS encrypted it under the key of that ARN.

    key_arn: empty once KMS was switched off; then the table key is sealed under the master key.
    """

    key_arn: str
    wrapped: bytes
    is_managed: bool = False
    """Whether it is the key that AWS manages for DynamoDB."""


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
    vectors: list[VectorRecord] = []
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
    encryption: Encryption | None = None
    """Of a table whose items are, or were, encrypted under a KMS key."""
    sealing: bool = False
    """Whether a job is encrypting items from before."""
    inaccessible_since: float = 0.0
    """When KMS was first found to refuse the key to everybody; 0: it does not."""
    legacy_global_since: float = 0.0
    """When it became part of a global table of version 2017.11.29, whose tables have settings of their own; 0: of none."""
    insights: dict[str, Insight] = {}
    """Whose keys are counted: an index's name, or "" for the table."""
    leaving: bool = False
    """Whether the table is being deleted once its last changes are with the other replicas; it takes no requests."""

    @property
    def keeps_history(self) -> bool:
        """Whether every change keeps what was before."""
        return bool(self.recovery_since or self.holds)
