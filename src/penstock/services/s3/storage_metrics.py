"""How much a bucket holds, measured once a day as AWS does: BucketSizeBytes and NumberOfObjects.

At /_penstock/metrics they are the gauges penstock_s3_bucket_size_bytes and penstock_s3_number_of_objects, with the labels
account, region, bucket and storage_type. Versions, delete markers and the parts of uploads in progress count.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/metrics-dimensions.html
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from penstock.core.metrics import Metrics, series
from penstock.core.node import Node
from penstock.services.s3 import keys
from penstock.services.s3.records import decode_bucket, decode_listed, decode_part, decode_upload
from penstock.store.api import Transaction
from penstock.store.lease import LeaseLost, Leases
from penstock.store.tuples import prefix_end
from penstock.telemetry import Labels

DAY_S = 86_400
LEASE_S = 120.0
NAMESPACE = "AWS/S3"
_ALL = "AllStorageTypes"
_TYPES = {
    "": "StandardStorage",
    "STANDARD_IA": "StandardIAStorage",
    "ONEZONE_IA": "OneZoneIAStorage",
    "INTELLIGENT_TIERING": "IntelligentTieringFAStorage",
    "REDUCED_REDUNDANCY": "ReducedRedundancyStorage",
    "GLACIER_IR": "GlacierInstantRetrievalStorage",
    "EXPRESS_ONEZONE": "ExpressOneZoneStorage",
}
_ROWS = 500
"""Records looked at in one turn, which takes about a millisecond."""
_REST_S = 0.01
_NAME = "storage metrics"
_LEASES = Leases(keys.LEASES)


class Held(msgspec.Struct, array_like=True):
    """What a bucket held when it was measured: bytes by storage class."""

    account: str
    region: str
    objects: int
    sizes: dict[str, int]


_decode = msgspec.msgpack.Decoder(Held).decode
_encode = msgspec.msgpack.Encoder().encode


class Gauges:
    """What this node tells of all buckets. By `node.own(Gauges)`."""

    def __init__(self, node: Node) -> None:
        self.held: dict[str, Held] = {}
        node.telemetry.gauges("penstock_s3_bucket_size_bytes", self._sizes)
        node.telemetry.gauges("penstock_s3_number_of_objects", self._objects)

    def _sizes(self) -> dict[Labels, float]:
        return {
            _labels(name, held, _TYPES[kind]): size
            for name, held in self.held.items()
            for kind, size in held.sizes.items()
        }

    def _objects(self) -> dict[Labels, float]:
        return {_labels(name, held, _ALL): held.objects for name, held in self.held.items()}


def _labels(name: str, held: Held, storage_type: str) -> Labels:
    return (("account", held.account), ("bucket", name), ("region", held.region), ("storage_type", storage_type))


async def look(node: Node) -> None:
    """Measure all buckets if nobody has done so today; then tell what was measured."""
    today = int(node.clock.now()) // DAY_S
    token = await node.store.transact(lambda txn: _begin(txn, node, today))
    if token is not None:
        try:
            await _measure(node, token)
            await node.store.transact(lambda txn: _end(txn, token, today))
        except LeaseLost:  # another node took over
            return
    node.own(Gauges).held = await node.store.transact(_read, read_only=True)


def _begin(txn: Transaction, node: Node, today: int) -> int | None:
    stored = txn.get(keys.MEASURED_ON)
    if stored is not None and int.from_bytes(stored, "big") >= today:
        return None
    return _LEASES.acquire(txn, _NAME, node.id, node.clock.now(), LEASE_S)


def _end(txn: Transaction, token: int, today: int) -> None:
    _LEASES.release(txn, _NAME, token)
    txn.set(keys.MEASURED_ON, today.to_bytes(4, "big"))


def _read(txn: Transaction) -> dict[str, Held]:
    return {key[len(keys.HELD) :].decode(): _decode(raw) for key, raw in txn.scan(keys.HELD, prefix_end(keys.HELD))}


class _Place(NamedTuple):
    """Rows of one kind. add: counts one of them, and may give the place of rows that belong to it."""

    begin: bytes
    end: bytes
    add: Callable[[bytes, bytes, Held], Iterator[_Place]]


async def _measure(node: Node, token: int) -> None:
    begin, metrics = keys.BUCKET, node.own(Metrics)
    while True:
        found = await node.store.transact(functools.partial(_next_bucket, begin=begin), read_only=True)
        if found is None:
            return
        begin, bucket = found[0] + b"\0", decode_bucket(found[1])
        name = found[0][len(keys.BUCKET) :].decode()
        held = Held(bucket.account, bucket.region, 0, {})
        space, aside, uploads = keys.objects(name), keys.versions(name), keys.uploads(name)
        waiting = [
            _Place(space, prefix_end(space), _add_object),
            _Place(aside, prefix_end(aside), _add_object),
            _Place(uploads, prefix_end(uploads), _add_upload),
        ]
        while waiting:
            place = waiting.pop()
            rows = await node.store.transact(functools.partial(_rows, place=place), read_only=True)
            if len(rows) == _ROWS:
                waiting.append(place._replace(begin=rows[-1][0] + b"\0"))
            for key, raw in rows:
                waiting += place.add(key[len(uploads) :] if place.add is _add_upload else key, raw, held)
            await asyncio.sleep(_REST_S)
        await node.store.transact(functools.partial(_write, node=node, token=token, name=name, held=held))
        own = functools.partial(series, held.account, held.region, NAMESPACE)
        metrics.add(own("NumberOfObjects", ("BucketName", name), ("StorageType", _ALL)), held.objects)
        for kind, size in held.sizes.items():
            metrics.add(own("BucketSizeBytes", ("BucketName", name), ("StorageType", _TYPES[kind])), size)


def _next_bucket(txn: Transaction, begin: bytes) -> tuple[bytes, bytes] | None:
    return next(txn.scan(begin, prefix_end(keys.BUCKET), limit=1), None)


def _rows(txn: Transaction, place: _Place) -> list[tuple[bytes, bytes]]:
    return list(txn.scan(place.begin, place.end, limit=_ROWS))


def _write(txn: Transaction, node: Node, token: int, name: str, held: Held) -> None:
    _LEASES.renew(txn, _NAME, token, node.clock.now(), LEASE_S)
    if txn.get(keys.bucket(name)) is not None:
        txn.set(keys.held(name), _encode(held))


def _count(held: Held, storage_class: str, size: int) -> None:
    held.objects += 1
    held.sizes[storage_class] = held.sizes.get(storage_class, 0) + size


def _add_object(_: bytes, raw: bytes, held: Held) -> Iterator[_Place]:
    record = decode_listed(raw)
    _count(held, record.storage_class, record.size)
    return iter(())


def _add_upload(suffix: bytes, raw: bytes, _: Held) -> Iterator[_Place]:
    storage_class, space = decode_upload(raw).storage_class, keys.parts(keys.split_upload(suffix)[1])

    def add(_: bytes, part: bytes, held: Held) -> Iterator[_Place]:
        _count(held, storage_class, decode_part(part).size)
        return iter(())

    yield _Place(space, prefix_end(space), add)
