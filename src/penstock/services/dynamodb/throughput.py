"""What tables and indexes may take a second: token buckets, in this process's memory.

A provisioned table or global index saves up to 300 seconds of what it did not use; an on-demand maximum saves one second, and
so does a partition key, which may be read with 3,000 and written with 1,000 units a second. Something is admitted while
there is anything left, and is then taken whole, so that the rate holds over time whatever single requests cost. Tables on
demand without maximums are not asked (`Table.is_limited`), and have no partition limits here. Local indexes are their table's.
Sources: "Burst and adaptive capacity", "Maximum throughput for on-demand tables" and "Diagnosing throttling" of the guide.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

from penstock.core.call import Call
from penstock.core.node import Node
from penstock.services.dynamodb import contributors, keys
from penstock.services.dynamodb.index import Index
from penstock.services.dynamodb.table import Table
from penstock.wire.errors import AwsError

BURST_S = 300.0
ON_DEMAND_BURST_S = 1.0
PARTITION_UNITS = {"Read": 3000.0, "Write": 1000.0}
"""What one partition key may take a second."""
_MOST_PARTITIONS = 4096
Kind: TypeAlias = Literal["Read", "Write"]
_TABLE = (
    "The level of configured provisioned throughput for the table was exceeded. "
    "Consider increasing your provisioning level with the UpdateTable API."
)
_HOT = (
    "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically scaling your table or index so "
    "please try again shortly. If exceptions persist, check if you have a hot key: "
    "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html."
)
_CODES = ("ProvisionedThroughputExceededException", "ThrottlingException")


class Bucket:
    """Units that are left. May fall below zero by what the last request took."""

    __slots__ = ("at", "left", "most", "rate")

    def __init__(self, rate: float, most: float, now: float) -> None:
        self.rate, self.most, self.at = rate, most, now
        self.left = most

    def refill(self, rate: float, most: float, now: float) -> None:
        """Add what has come since; from now on it is filled at `rate` units a second up to `most`."""
        if now > self.at:
            self.left = min(self.most, self.left + (now - self.at) * self.rate)
            self.at = now
        if rate != self.rate:
            self.rate, self.most = rate, most
            self.left = min(self.left, most)


class Throughput:
    """A node's buckets."""

    __slots__ = ("_buckets", "_partitions")

    def __init__(self, node: Node) -> None:
        self._buckets: dict[tuple[bytes, int, Kind], Bucket] = {}
        self._partitions: dict[tuple[bytes, Kind], Bucket] = {}

    def of(self, found: Table, index: Index | None, kind: Kind, now: float) -> Bucket | None:
        """The bucket of a table or of a global index; None where it has no limit."""
        record = found.record
        owner = record if index is None else index.record
        if record.on_demand:
            rate, burst_s = owner.max_read_units if kind == "Read" else owner.max_write_units, ON_DEMAND_BURST_S
        else:
            rate, burst_s = owner.read_units if kind == "Read" else owner.write_units, BURST_S
        if rate <= 0:
            return None
        key = (found.id, 0 if index is None else index.record.id, kind)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(rate, rate * burst_s, now)
        else:
            bucket.refill(rate, rate * burst_s, now)
        return bucket

    def of_partition(self, partition: bytes, kind: Kind, now: float) -> Bucket:
        """The bucket of a partition key."""
        rate = PARTITION_UNITS[kind]
        bucket = self._partitions.get((partition, kind))
        if bucket is None:
            if len(self._partitions) >= _MOST_PARTITIONS:
                self._forget(now)
            bucket = self._partitions[partition, kind] = Bucket(rate, rate, now)
        else:
            bucket.refill(rate, rate, now)
        return bucket

    def _forget(self, now: float) -> None:
        """Drop what would be full again, or everything where nothing is."""
        busy = {
            key: each for key, each in self._partitions.items() if each.left + (now - each.at) * each.rate < each.most
        }
        self._partitions = busy if len(busy) < _MOST_PARTITIONS else {}


def read(call: Call, found: Table, index: Index | None, units: float, fetched: float = 0.0, at: bytes = b"") -> None:
    """Take what a read costs. Raises the throttling error where there is nothing left.

    index: the one that was read. fetched: units of the table besides. at: a key or prefix in the partition that was read.
    """
    if not found.record.insights:
        return _read(call, found, index, units, fetched, at)
    with _noted(call, found, index, at, units):
        return _read(call, found, index, units, fetched, at)


def _read(call: Call, found: Table, index: Index | None, units: float, fetched: float, at: bytes) -> None:
    if not found.is_limited or not call.node.settings.limits:
        return
    buckets = call.node.own(Throughput)
    secondary = index if index is not None and index.record.is_global else None
    taken = [(_admitted(buckets, found, secondary, "Read", call.now), units)]
    if fetched and secondary is not None:
        taken.append((_admitted(buckets, found, None, "Read", call.now), fetched))
    elif fetched:
        taken.append((taken[0][0], fetched))
    if at:
        space = found if index is None else index
        taken.append(
            (_admitted_partition(buckets, found, at[: len(space.prefix) + keys.HASH_BYTES], "Read", call.now), units)
        )
    _take(taken)


def admit_write(call: Call, found: Table, key: bytes) -> None:
    """Raises the throttling error where the table, or any of its global indexes, has nothing left for a write of `key`.

    An index holds back the writes of its table: that is AWS's back-pressure.
    """
    if not found.record.insights:
        return _admit_write(call, found, key)
    with _noted(call, found, None, key, 0.0):
        return _admit_write(call, found, key)


def _admit_write(call: Call, found: Table, key: bytes) -> None:
    if not found.is_limited or not call.node.settings.limits:
        return
    buckets = call.node.own(Throughput)
    _admitted(buckets, found, None, "Write", call.now)
    _admitted_partition(buckets, found, key[: len(found.prefix) + keys.HASH_BYTES], "Write", call.now)
    for index in found.indexes:
        if index.record.is_global:
            _admitted(buckets, found, index, "Write", call.now)


def write(call: Call, found: Table, key: bytes, units: float, used: Iterable[tuple[Index, float]] = ()) -> None:
    """Take what a write of `key` costs its table and its indexes. Raises the throttling error where nothing is left."""
    if not found.record.insights:
        return _write(call, found, key, units, used)
    with _noted(call, found, None, key, units):
        return _write(call, found, key, units, used)


@contextlib.contextmanager
def _noted(call: Call, found: Table, index: Index | None, at: bytes, units: float) -> Iterator[None]:
    """Have the key counted, or its being throttled, where Contributor Insights wants to know."""
    try:
        yield
    except AwsError:
        contributors.note(call.node, found, index, at, 1.0, throttled=True)
        raise
    contributors.note(call.node, found, index, at, units)


def _write(call: Call, found: Table, key: bytes, units: float, used: Iterable[tuple[Index, float]]) -> None:
    if not found.is_limited or not call.node.settings.limits:
        return
    buckets = call.node.own(Throughput)
    table_bucket = _admitted(buckets, found, None, "Write", call.now)
    partition = _admitted_partition(buckets, found, key[: len(found.prefix) + keys.HASH_BYTES], "Write", call.now)
    taken = [(table_bucket, units), (partition, units)]
    for index, index_units in used:
        if index.record.is_global:
            taken.append((_admitted(buckets, found, index, "Write", call.now), index_units))
        else:
            taken.append((table_bucket, index_units))
    _take(taken)


def _take(taken: Iterable[tuple[Bucket | None, float]]) -> None:
    for bucket, units in taken:
        if bucket is not None:
            bucket.left -= units


def _admitted(buckets: Throughput, found: Table, index: Index | None, kind: Kind, now: float) -> Bucket | None:
    bucket = buckets.of(found, index, kind, now)
    if bucket is not None and bucket.left <= 0:
        raise _exceeded(found, index, kind)
    return bucket


def _admitted_partition(buckets: Throughput, found: Table, partition: bytes, kind: Kind, now: float) -> Bucket:
    bucket = buckets.of_partition(partition, kind, now)
    if bucket.left <= 0:
        on_demand = found.record.on_demand
        message = _HOT if on_demand else _TABLE
        raise _error(on_demand, message, f"Table{kind}KeyRangeThroughputExceeded", found.record.arn)
    return bucket


def _exceeded(found: Table, index: Index | None, kind: Kind) -> AwsError:
    record = found.record
    what = "Table" if index is None else "Index"
    arn = record.arn if index is None else f"{record.arn}/index/{index.record.name}"
    if record.on_demand:
        message = "Throughput exceeds the maximum OnDemandThroughput configured on table or index"
        return _error(True, message, f"{what}{kind}MaxOnDemandThroughputExceeded", arn)
    if index is None:
        message = _TABLE
    else:
        message = (
            "The level of configured provisioned throughput for one or more global secondary indexes of the table was "
            "exceeded. Consider increasing your provisioning level for the under-provisioned global secondary indexes with "
            "the UpdateTable API"
        )
    return _error(False, message, f"{what}{kind}ProvisionedThroughputExceeded", arn)


def _error(on_demand: bool, message: str, reason: str, arn: str) -> AwsError:
    member = "throttlingReasons" if on_demand else "ThrottlingReasons"
    return AwsError(_CODES[on_demand], message, members={member: [{"reason": reason, "resource": arn}]})
