"""Server access logs: a line for each request, kept in the store within a second, delivered as objects every minute.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html. Delivery is best effort as on AWS: what a crash
leaves unkept is lost, and what the target bucket does not take from logging.s3.amazonaws.com is dropped and logged.
"""

from __future__ import annotations

import functools
import logging
import secrets
import time

from penstock.core.identity import service
from penstock.core.node import Node
from penstock.services.s3 import keys, settings
from penstock.services.s3.access import get_bucket
from penstock.services.s3.log_lines import Waiting
from penstock.services.s3.records import Bucket
from penstock.store.api import Transaction
from penstock.store.lease import Leases
from penstock.store.log import Log
from penstock.store.tuples import prefix_end
from penstock.wire.errors import AwsError

log = logging.getLogger(__name__)

DELIVERER = "logging.s3.amazonaws.com"
KEEP_EVERY_S = 1.0
DELIVER_EVERY_S = 60.0
LEASE_S = 120.0
OBJECT_BYTES = 5 * 1024**2
_LEASES = Leases(keys.LEASES)


async def keep(node: Node) -> None:
    """Put what waits into the store."""
    for bucket, lines in node.own(Waiting).take().items():
        for at in range(0, len(lines), 5000):
            some = lines[at : at + 5000]
            await node.store.transact(functools.partial(_append, bucket=bucket, lines=some))


def _append(txn: Transaction, bucket: str, lines: list[bytes]) -> None:
    found = get_bucket(txn, bucket)
    if found is not None and found.logging:
        Log(keys.access_log(bucket)).append(txn, lines)
        txn.set(keys.logged(bucket), b"")


async def deliver(node: Node) -> int:
    """Write what is kept into the target buckets, if no other node does. Returns how many objects were written."""
    now = node.clock.now()
    token = await node.store.transact(lambda txn: _LEASES.acquire(txn, "access logs", node.id, now, LEASE_S))
    if token is None:
        return 0
    count = 0
    begin = keys.LOGGED
    while True:
        found = await node.store.transact(functools.partial(_next_logged, begin=begin), read_only=True)
        if found is None:
            break
        bucket = found[0][len(keys.LOGGED) :].decode()
        while await _deliver_some(node, bucket, token):
            count += 1
        begin = found[0] + b"\0"
    await node.store.transact(lambda txn: _LEASES.release(txn, "access logs", token))
    return count


def _next_logged(txn: Transaction, begin: bytes) -> tuple[bytes, bytes] | None:
    return next(txn.scan(begin, prefix_end(keys.LOGGED), limit=1), None)


async def _deliver_some(node: Node, name: str, token: int) -> bool:
    """One object of a bucket's lines. Whether there were any."""
    own = Log(keys.access_log(name))

    def look(txn: Transaction) -> tuple[Bucket | None, bytes | None, list[tuple[bytes, bytes]]]:
        lines = own.read(txn, txn.get(keys.logged(name)) or b"", max_bytes=OBJECT_BYTES)
        return get_bucket(txn, name), txn.get(keys.setting(name, keys.LOGGING)), lines

    bucket, raw, lines = await node.store.transact(look, read_only=True)
    if bucket is not None and raw is not None and lines:
        await _write(
            node, name, bucket, settings.decode(raw)["LoggingEnabled"], b"\n".join(line for _, line in lines) + b"\n"
        )

    def done(txn: Transaction) -> None:
        _LEASES.renew(txn, "access logs", token, node.clock.now(), LEASE_S)
        if bucket is None or raw is None or not lines:
            own.clear(txn)
            txn.clear(keys.logged(name))
        else:
            txn.set(keys.logged(name), lines[-1][0])

    if not lines and bucket is not None and raw is not None:
        await node.store.transact(lambda txn: _forget(txn, name, own))
        return False
    await node.store.transact(done)
    return bool(lines) and bucket is not None and raw is not None


def _forget(txn: Transaction, name: str, own: Log) -> None:
    """Give back what was delivered, unless more has come."""
    if not own.read(txn, txn.get(keys.logged(name)) or b"", limit=1):
        own.clear(txn)
        txn.clear(keys.logged(name))


async def _write(node: Node, name: str, bucket: Bucket, enabled: dict[str, object], lines: bytes) -> None:
    """Deliver, as the logging service: the target's policy has the word."""
    target = str(enabled["TargetBucket"])
    key = object_key(name, bucket, enabled, node.clock.now())
    try:
        await node.call(
            "s3", "PutObject", {"Bucket": target, "Key": key, "Body": lines, "ContentType": "text/plain"},
            principal=service(DELIVERER), account=bucket.account, region=bucket.region,
            context={"aws:SourceArn": f"arn:aws:s3:::{name}", "aws:SourceAccount": bucket.account},
        )  # fmt: skip
    except AwsError as error:
        log.warning("access logs of bucket %s are lost: %s does not take them: %s", name, target, error)
        node.telemetry.count("penstock_s3_access_logs_refused_total")


def object_key(name: str, bucket: Bucket, enabled: dict[str, object], now: float) -> str:
    """The key of a log object that is delivered at `now`.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerLogs.html#server-access-logging-overview
    """
    form = enabled.get("TargetObjectKeyFormat")
    partitioned = form.get("PartitionedPrefix") if isinstance(form, dict) else None
    unique = secrets.token_hex(8).upper()
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    if partitioned is None:
        return f"{enabled['TargetPrefix']}{time.strftime('%Y-%m-%d-%H-%M-%S', time.gmtime(now))}-{unique}"
    at = (
        "00-00-00"
        if partitioned.get("PartitionDateSource") == "EventTime"
        else time.strftime("%H-%M-%S", time.gmtime(now))
    )
    folder = day.replace("-", "/")
    return f"{enabled['TargetPrefix']}{bucket.account}/{bucket.region}/{name}/{folder}/{day}-{at}-{unique}"
