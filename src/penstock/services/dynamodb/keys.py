"""DynamoDB's key bytes; the only place that makes them.

    key                                                    value
    ("ddb", account, region, "table", name)                table_records.TableRecord, JSON
    ("ddb", "tags", table id)                              {tag: value}, JSON
    ("ddb", "count", table id)                             number of items, counter
    ("ddb", "bytes", table id)                             sum of item sizes, counter
    ("ddb", "item", table id, hash, partition[, sort])     an item, see records.py
    ("ddb", "large", table id, digest of an item's key)    the JSON of an item too large for one value (store.chunked)
    ("ddb", "index", table id, index id, hash, partition[, sort], item's partition[, item's sort])
                                                           an entry: the item's place, or what is projected of it
    ("ddb", "large entry", table id, index id, digest)     the JSON of an entry too large for one value (store.chunked)
    ("ddb", "index count", table id, index id)             number of entries, counter
    ("ddb", "index bytes", table id, index id)             sum of entry sizes, counter
    ("ddb", "collection", table id, partition)             bytes in a table and its local indexes, counter
    ("ddb", "vector", table id, index id) [+ partition] + place
                                                           an entry of a vector index, see vector_index.py
    ("ddb", "backfill", table id, index id)                indexes.Backfill, JSON: how far a new index is filled
    ("ddb", "backfills")                                   changes when there is an index to fill
    ("ddb", account, region, "policy", table's name, stream's label or "")
                                                           resource_policies.Stored, JSON
    ("ddb", "policies")                                    number of resource policies, counter
    ("ddb", "token", account, region, token)               time of a transaction, digest of its request
    ("ddb", "token due", time, the token's key)            nothing: tokens in order of time
    ("ddb", "history", table id) + place + time            what was at an item's place before its change then (chunked)
    ("ddb", "history due", table id) + time + place        nothing: the changes in order of time
    ("ddb", "recovered", table's key)                      nothing: a table whose changes are kept for recovery
    ("ddb", "restore", table id as text)                   restores.Restore, JSON
    ("ddb", "jobs")                                        the queue of what takes long, see jobs.py
    ("ddb", account, region, "running", kind, id)          nothing: a job that is not done
    ("ddb", account, region, "backup", backup id)          backups.BackupRecord, JSON
    ("ddb", "backup part", backup id, number)              backups.Part, JSON: a blob with some of a backup's items
    ("ddb", "backup due", time, the backup's key)          nothing: backups that expire, in order of time
    ("ddb", "expiring", table's key)                       time_to_live.Expiring, JSON: a table with a time to live
    ("ddb", "expiration", table id) + second + place       nothing: items in order of when they expire
    ("ddb", "stream", account, region, table, label)       streams.StreamRecord, JSON
    ("ddb", "stream shard", table id, label, number)       streams.ShardRecord, JSON
    ("ddb", "stream log", table id, label, number)         a shard's changes.Change records (store.log)
    ("ddb", account, region, "export", export id)          exports.ExportRecord, JSON; "import": imports.ImportRecord
    ("ddb", "export part", export id, number)              exports.DataFile, JSON: a file that has been written
    ("ddb", account, region, "export token", token)        job_tokens.Token, JSON; "import token" likewise
    ("ddb", "global", the table's key)                     nothing: a table that has replicas
    ("ddb", "version", table id) + place                   when (time) and in which region an item was last written
    ("ddb", "tombstone", table id) + time + place          nothing: places of deleted items in order of time
    ("ddb", "unreplicated", table id)                      places that replicas have not been told of yet (store.log)
    ("ddb", "replicated", table id, region)                position in that log up to which a replica has been told
    ("ddb", "replications")                                changes when there is something to tell
    ("ddb", "replica", table id as text)                   replication.Copy, JSON: how far a new replica is filled
    ("ddb", "encrypted", table's key)                      nothing: a table encrypted under a key of KMS
    ("ddb", "sealing", table id as text)                   encryption.Sealing, JSON: how far what was there is encrypted
    ("ddb", "contributors", minute, table id, index id, throttled, node)
                                                           contributors.Minute: keys and what they were asked for

table id: 16 bytes, new for each table ever created, so that a table of an old name never meets old items. hash: 4
bytes that spread partitions over the key space, in AWS's own order of them, which Scan and its segments follow.
place: an item's key without ("ddb", "item", table id); time: 8 bytes of microseconds; second: 8 bytes of seconds.
partition and sort: the key's bytes (UTF-8, binary, or `numbers.order`), which sort as AWS sorts.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Callable
from functools import lru_cache

from penstock.services.dynamodb import numbers
from penstock.store.tuples import pack, prefix_end, range_of, unpack

HASH_BITS = 32
HASH_BYTES = 5
"""A hash in a key, with its code."""
BACKFILLS = pack(("ddb", "backfills"))
POLICIES = pack(("ddb", "policies"))
_HASH_CODE = b"\x18"  # the tuple code of an integer of 4 bytes

ENCODERS: dict[str, Callable[[str], bytes]] = {"S": str.encode, "N": numbers.order, "B": binascii.a2b_base64}
"""Key type -> the bytes of a canonical key value."""


@lru_cache(maxsize=4096)
def table(account: str, region: str, name: str) -> bytes:
    """Where a table's record is."""
    return pack(("ddb", account, region, "table", name))


def tables(account: str, region: str) -> tuple[bytes, bytes]:
    """The range of all table records of an account in a region, in order of name."""
    return range_of(("ddb", account, region, "table"))


def tags(table_id: bytes) -> bytes:
    """Where a table's tags are."""
    return pack(("ddb", "tags", table_id))


def item_count(table_id: bytes) -> bytes:
    """The counter of a table's items."""
    return pack(("ddb", "count", table_id))


def item_bytes(table_id: bytes) -> bytes:
    """The counter of a table's size."""
    return pack(("ddb", "bytes", table_id))


def collection(table_id: bytes, partition_key: bytes) -> bytes:
    """The counter of an item collection's size; `partition_key` from `partition`."""
    return pack(("ddb", "collection", table_id, partition_key))


def collections(table_id: bytes) -> tuple[bytes, bytes]:
    """The range of the sizes of all item collections of a table."""
    return range_of(("ddb", "collection", table_id))


def items(table_id: bytes) -> bytes:
    """What all keys of a table's items begin with."""
    return pack(("ddb", "item", table_id))


def large(table_id: bytes, item_key: bytes) -> bytes:
    """Where the body of the large item at `item_key` is."""
    return pack(("ddb", "large", table_id, hashlib.sha256(item_key).digest()))


def large_entry(table_id: bytes, index_id: int, entry_key: bytes) -> bytes:
    """Where the body of the large entry at `entry_key` of an index is."""
    return pack(("ddb", "large entry", table_id, index_id, hashlib.sha256(entry_key).digest()))


def large_entries(table_id: bytes, index_id: int) -> tuple[bytes, bytes]:
    """The range of all bodies of an index's large entries."""
    return range_of(("ddb", "large entry", table_id, index_id))


def all_large(table_id: bytes) -> tuple[bytes, bytes]:
    """The range of all bodies of a table's large items."""
    return range_of(("ddb", "large", table_id))


def index(table_id: bytes, index_id: int) -> bytes:
    """What all keys of an index's entries begin with."""
    return pack(("ddb", "index", table_id, index_id))


def vectors(table_id: bytes, index_id: int) -> bytes:
    """What all keys of a vector index's entries begin with."""
    return pack(("ddb", "vector", table_id, index_id))


def index_count(table_id: bytes, index_id: int) -> bytes:
    """The counter of an index's entries."""
    return pack(("ddb", "index count", table_id, index_id))


def index_bytes(table_id: bytes, index_id: int) -> bytes:
    """The counter of an index's size."""
    return pack(("ddb", "index bytes", table_id, index_id))


def backfill(table_id: bytes, index_id: int) -> bytes:
    """Where the state of filling an index is."""
    return pack(("ddb", "backfill", table_id, index_id))


def backfills() -> tuple[bytes, bytes]:
    """The range of the states of all indexes being filled."""
    return range_of(("ddb", "backfill"))


def partition(prefix: bytes, raw: bytes) -> bytes:
    """What keys of one partition begin with; `prefix` from `items`. The key itself in a table without sort key."""
    spread = hashlib.md5(b"Outliers" + raw, usedforsecurity=False).digest()[:4]
    if b"\0" in raw:
        return prefix + _HASH_CODE + spread + element(raw)
    return b"%b\x18%b\x01%b\0" % (prefix, spread, raw)


def element(raw: bytes) -> bytes:
    """Key bytes as the tuple layer writes them: escaped and terminated."""
    return b"\x01" + raw.replace(b"\0", b"\0\xff") + b"\0"


_ELEMENT = re.compile(b"\x01((?:[^\0]|\0\xff)*)\0", re.DOTALL).match
_DECODERS: dict[str, Callable[[bytes], str]] = {
    "S": bytes.decode,
    "N": numbers.from_order,
    "B": lambda raw: binascii.b2a_base64(raw, newline=False).decode(),
}


def values_of(place: bytes, hash_types: tuple[str, ...], range_types: tuple[str, ...]) -> tuple[str, ...]:
    """The key values in an item's or entry's place, or in as much of it as there is. types: of their attributes."""
    match = _ELEMENT(place, HASH_BYTES)
    if match is None:
        return ()
    raw = match[1].replace(b"\0\xff", b"\0")
    hashes = _elements(raw, 0, hash_types) if len(hash_types) > 1 else [_DECODERS[hash_types[0]](raw)]
    return (*hashes, *_elements(place, match.end(), range_types))


def _elements(raw: bytes, at: int, types: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for kind in types:
        match = _ELEMENT(raw, at)
        if match is None:
            break
        found.append(_DECODERS[kind](match[1].replace(b"\0\xff", b"\0")))
        at = match.end()
    return found


def element_prefix(raw: bytes) -> bytes:
    """What all elements begin with whose bytes begin with `raw`."""
    return element(raw)[:-1]


def segment(prefix: bytes, number: int, total: int) -> tuple[bytes, bytes]:
    """The range of one of `total` equal parts of the hash space."""
    begin = prefix + _HASH_CODE + _ceiling(number, total).to_bytes(4, "big")
    if number + 1 == total:
        return begin, prefix_end(prefix)
    return begin, prefix + _HASH_CODE + _ceiling(number + 1, total).to_bytes(4, "big")


TIME_BYTES = 8


def time_bytes(seconds: float) -> bytes:
    """A time in milliseconds, big-endian."""
    return int(seconds * 1000).to_bytes(TIME_BYTES, "big")


def token(account: str, region: str, name: str) -> bytes:
    """Where a client request token is."""
    return pack(("ddb", "token", account, region, name))


def token_time(stored: bytes) -> float:
    """When the token's transaction was, from its stored value."""
    return int.from_bytes(stored[:TIME_BYTES], "big") / 1000


def token_due(now: float, token_key: bytes) -> bytes:
    """Where a token is in the order of time."""
    return pack(("ddb", "token due", int(now * 1000), token_key))


def token_of_due(due_key: bytes) -> bytes:
    """The token's key in a key of `token_due`."""
    found: bytes = unpack(due_key)[3]
    return found


def tokens_due_before(seconds: float) -> tuple[bytes, bytes]:
    """The range of all tokens of before that time."""
    return range_of(("ddb", "token due"))[0], pack(("ddb", "token due", int(seconds * 1000)))


def _ceiling(number: int, total: int) -> int:
    return -(-(number << HASH_BITS) // total)


JOBS = pack(("ddb", "jobs"))
MOMENT_BYTES = 8


@lru_cache(maxsize=1024)
def history(table_id: bytes) -> bytes:
    """What all keys of a table's history begin with."""
    return pack(("ddb", "history", table_id))


@lru_cache(maxsize=1024)
def history_due(table_id: bytes) -> bytes:
    """What all keys of a table's changes in order of time begin with."""
    return pack(("ddb", "history due", table_id))


def moment(time_us: int) -> bytes:
    """A time in microseconds since the epoch as keys hold it."""
    return time_us.to_bytes(MOMENT_BYTES, "big")


def time_of_moment(key: bytes) -> int:
    """The time, in microseconds, that a key ends in."""
    return int.from_bytes(key[-MOMENT_BYTES:], "big")


def running(account: str, region: str, kind: str, id: str) -> bytes:
    """There while a job is not done."""
    return pack(("ddb", account, region, "running", kind, id))


def all_running(account: str, region: str, kind: str) -> tuple[bytes, bytes]:
    """The range of the jobs of a kind that are not done."""
    return range_of(("ddb", account, region, "running", kind))


def backup(account: str, region: str, id: str) -> bytes:
    """Where a backup's record is."""
    return pack(("ddb", account, region, "backup", id))


def backups(account: str, region: str) -> tuple[bytes, bytes]:
    """The range of all backups of an account in a region, in order of their making."""
    return range_of(("ddb", account, region, "backup"))


def backup_part(id: str, number: int) -> bytes:
    """Where the record of a part of a backup is."""
    return pack(("ddb", "backup part", id, number))


def backup_parts(id: str) -> tuple[bytes, bytes]:
    """The range of the records of a backup's parts."""
    return range_of(("ddb", "backup part", id))


def backup_due(time_s: float, backup_key: bytes) -> bytes:
    """Where a backup that expires is in the order of time."""
    return pack(("ddb", "backup due", int(time_s), backup_key))


def backup_of_due(due_key: bytes) -> bytes:
    """The backup's key in a key of `backup_due`."""
    found: bytes = unpack(due_key)[3]
    return found


def backups_due_before(time_s: float) -> tuple[bytes, bytes]:
    """The range of backups that expire before that time."""
    return range_of(("ddb", "backup due"))[0], pack(("ddb", "backup due", int(time_s)))


def recovered(record_key: bytes) -> bytes:
    """There while a table's changes are kept for point-in-time recovery."""
    return pack(("ddb", "recovered", record_key))


def all_recovered() -> tuple[bytes, bytes]:
    """The range of the tables whose changes are kept."""
    return range_of(("ddb", "recovered"))


def record_of_recovered(key: bytes) -> bytes:
    """The key of the table's record in a key of `recovered`."""
    found: bytes = unpack(key)[2]
    return found


def restore(target_id: str) -> bytes:
    """Where the state of a restore under way is."""
    return pack(("ddb", "restore", target_id))


def stream(account: str, region: str, table_name: str, label: str) -> bytes:
    """Where a stream's record is."""
    return pack(("ddb", "stream", account, region, table_name, label))


def streams(*place: str) -> tuple[bytes, bytes]:
    """The range of all streams; of an account's, in a region, of a table name, as far as they are given."""
    return range_of(("ddb", "stream", *place))


def stream_shard(table_id: bytes, label: str, number: int) -> bytes:
    """Where a shard's record is."""
    return pack(("ddb", "stream shard", table_id, label, number))


def stream_shards(table_id: bytes, label: str) -> tuple[bytes, bytes]:
    """The range of the records of a stream's shards, in order."""
    return range_of(("ddb", "stream shard", table_id, label))


def stream_log(table_id: bytes, label: str, number: int) -> bytes:
    """The prefix of a shard's log."""
    return pack(("ddb", "stream log", table_id, label, number))


def transfer(account: str, region: str, kind: str, id: str) -> bytes:
    """Where the record of an "export" or "import" is."""
    return pack(("ddb", account, region, kind, id))


def transfers(account: str, region: str, kind: str) -> tuple[bytes, bytes]:
    """The range of all exports or imports of an account in a region, in order of their beginning."""
    return range_of(("ddb", account, region, kind))


def transfer_token(account: str, region: str, kind: str, token: str) -> bytes:
    """Where a client token of an export or import is."""
    return pack(("ddb", account, region, f"{kind} token", token))


def transfer_tokens(account: str, region: str, kind: str) -> tuple[bytes, bytes]:
    """The range of all client tokens of exports or imports."""
    return range_of(("ddb", account, region, f"{kind} token"))


def export_part(id: str, number: int) -> bytes:
    """Where the record of a file of an export is."""
    return pack(("ddb", "export part", id, number))


def export_parts(id: str) -> tuple[bytes, bytes]:
    """The range of the records of an export's files."""
    return range_of(("ddb", "export part", id))


SECOND_BYTES = 8


def second(seconds: int) -> bytes:
    """A time in seconds since the epoch as keys hold it."""
    return seconds.to_bytes(SECOND_BYTES, "big")


def expirations(table_id: bytes) -> bytes:
    """What all keys of a table's items in order of when they expire begin with."""
    return pack(("ddb", "expiration", table_id))


def expiring(record_key: bytes) -> bytes:
    """There while a table has a time to live."""
    return pack(("ddb", "expiring", record_key))


def all_expiring() -> tuple[bytes, bytes]:
    """The range of the tables that have a time to live."""
    return range_of(("ddb", "expiring"))


def record_of_expiring(key: bytes) -> bytes:
    """The key of the table's record in a key of `expiring`."""
    found: bytes = unpack(key)[2]
    return found


REPLICATIONS = pack(("ddb", "replications"))


def global_table(record_key: bytes) -> bytes:
    """There while a table has replicas."""
    return pack(("ddb", "global", record_key))


def global_tables() -> tuple[bytes, bytes]:
    """The range of all tables that have replicas."""
    return range_of(("ddb", "global"))


def record_of_global(key: bytes) -> bytes:
    """The key of the table's record in a key of `global_table`."""
    found: bytes = unpack(key)[2]
    return found


def version(table_id: bytes) -> bytes:
    """What the keys of the versions of a table's items begin with."""
    return pack(("ddb", "version", table_id))


def tombstones(table_id: bytes) -> bytes:
    """What the keys of a table's deleted places begin with."""
    return pack(("ddb", "tombstone", table_id))


def unreplicated(table_id: bytes) -> bytes:
    """The prefix of the log of places that a table's replicas have not been told of."""
    return pack(("ddb", "unreplicated", table_id))


def replicated(table_id: bytes, region: str) -> bytes:
    """Where it is noted how far a replica has been told of a table's changes."""
    return pack(("ddb", "replicated", table_id, region))


def of_replicas(table_id: bytes) -> list[tuple[bytes, bytes]]:
    """The ranges of all that a table with replicas keeps for them."""
    whole = [version(table_id), tombstones(table_id), unreplicated(table_id)]
    return [*((each, prefix_end(each)) for each in whole), range_of(("ddb", "replicated", table_id))]


def replica(table_id: str) -> bytes:
    """Where the state of filling a new replica is."""
    return pack(("ddb", "replica", table_id))


def encrypted(record_key: bytes) -> bytes:
    """There while a table is encrypted under a key of KMS."""
    return pack(("ddb", "encrypted", record_key))


def all_encrypted() -> tuple[bytes, bytes]:
    """The range of the tables that are encrypted under keys of KMS."""
    return range_of(("ddb", "encrypted"))


def record_of_encrypted(key: bytes) -> bytes:
    """The key of the table's record in a key of `encrypted`."""
    found: bytes = unpack(key)[2]
    return found


def sealing(table_id: str) -> bytes:
    """Where the state of encrypting a table's items is."""
    return pack(("ddb", "sealing", table_id))


def policy(account: str, region: str, table_name: str, stream: str) -> bytes:
    """Where the resource policy of a table is, or of the stream of that label."""
    return pack(("ddb", account, region, "policy", table_name, stream))


def policies(account: str, region: str, table_name: str) -> tuple[bytes, bytes]:
    """The range of the resource policies of a table and its streams."""
    return range_of(("ddb", account, region, "policy", table_name))


def contributors(minute: int, table_id: bytes, index_id: int, throttled: bool, node: str) -> bytes:
    """Where it is what a node counted of a table's or an index's keys in a minute (since the epoch)."""
    return pack(("ddb", "contributors", minute, table_id, index_id, int(throttled), node))


def contributors_of(minute: int, table_id: bytes, index_id: int, throttled: bool) -> tuple[bytes, bytes]:
    """The range of what all nodes counted in a minute."""
    return range_of(("ddb", "contributors", minute, table_id, index_id, int(throttled)))


def contributors_before(minute: int) -> tuple[bytes, bytes]:
    """The range of all that was counted before a minute."""
    return range_of(("ddb", "contributors"))[0], pack(("ddb", "contributors", minute))
