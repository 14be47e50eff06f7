"""The files of an export, as AWS lays them out in a bucket:

    PREFIX/AWSDynamoDB/ID/_started                  empty: the bucket can be written to
    PREFIX/AWSDynamoDB/ID/data/NAME.json.gz         items, a line each (of an incremental export: PREFIX/AWSDynamoDB/data/…)
    PREFIX/AWSDynamoDB/ID/manifest-files.json       a line a data file, with its checksums; .md5: that of this file
    PREFIX/AWSDynamoDB/ID/manifest-summary.json     what was exported; .md5: that of this file

Source: "DynamoDB table export output format" of the developer guide. The job writes a file, notes it, and goes on behind its
last item; a file that was written and not noted is written again, under the same name.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import logging
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.core.call import forwarded
from penstock.services.dynamodb import history, ion, jobs, keys, records, table_keys
from penstock.services.dynamodb.attributes import Item
from penstock.services.dynamodb.export_filter import ExportFilter
from penstock.services.dynamodb.exports import ExportRecord, decode, encode
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

log = logging.getLogger(__name__)

_FILE_BYTES = 16 << 20
_LOOKED_AT_ONCE = 300
_BYTES_AT_ONCE = 1 << 20


class DataFile(msgspec.Struct, rename="camel"):
    """A line of manifest-files.json."""

    item_count: int
    md5_checksum: str
    etag: str
    data_file_s3_key: str = msgspec.field(name="dataFileS3Key")


@jobs.handles("export")
async def export(step: jobs.Step) -> None:
    """Write an export's files. What S3 refuses makes the export fail; what may pass is tried again by the queue."""
    node, job = step.node, step.job
    key = keys.transfer(job.account, job.region, "export", job.id)
    stored = await node.store.transact(lambda txn: txn.get(key), read_only=True)
    record = None if stored is None else decode(stored)
    if record is None or record.status != "IN_PROGRESS":
        await node.store.transact(step.end)
        return
    try:
        if not record.begun:
            await _put(step, record, f"{record.prefix}/{record.id}/_started", b"")
            record.begun = True
        while record.after or not record.files:
            await _write_file(step, record, key)
        await _write_manifests(step, record)
        record.status = "COMPLETED"
    except AwsError as error:
        if error.status >= 500 and error.status != 501:
            raise
        log.warning("export %s failed: %s", record.arn, error)
        record.status = "FAILED"
        record.failure_code = f"S3{error.code}"
        record.failure_message = f"{error.message} (Service: Amazon S3; Error Code: {error.code})"
    record.ended_at = node.clock.now()
    await node.store.transact(lambda txn: _end(txn, step, record, key))


def _end(txn: Transaction, step: jobs.Step, record: ExportRecord, key: bytes) -> None:
    txn.set(key, encode(record))
    txn.clear(*keys.export_parts(record.id))
    source = record.table.record
    history.let_go(txn, keys.table(step.job.account, step.job.region, source.name), source.id, record.id)
    step.end(txn)


async def _put(step: jobs.Step, record: ExportRecord, name: str, body: bytes, kind: str = "") -> str:
    """Write an object as the export's caller. Returns its ETag. Raises AwsError."""
    params: dict[str, Any] = {"Bucket": record.params["S3Bucket"], "Key": name, "Body": body}
    if "S3BucketOwner" in record.params:
        params["ExpectedBucketOwner"] = record.params["S3BucketOwner"]
    if kind:
        params["ContentType"] = kind
    if "S3SseAlgorithm" in record.params:
        params["ServerSideEncryption"] = {"KMS": "aws:kms"}.get(record.params["S3SseAlgorithm"], "AES256")
    if "S3SseKmsKeyId" in record.params:
        params["SSEKMSKeyId"] = record.params["S3SseKmsKeyId"]
    job = step.job
    result = await step.node.call(
        "s3", "PutObject", params, principal=record.principal, account=job.account, region=job.region,
        context=forwarded("dynamodb"),
    )  # fmt: skip
    return str(result["ETag"]).strip('"')


async def _write_file(step: jobs.Step, record: ExportRecord, key: bytes) -> None:
    """Write the next data file, and note it."""
    lines, items, size_bytes, after = await _read(step, record)
    packed = await asyncio.to_thread(gzip.compress, b"".join(lines), 6, mtime=0)
    digest = hashlib.blake2b(f"{record.id} {record.files}".encode(), digest_size=16).digest()
    folder = record.prefix if record.incremental else f"{record.prefix}/{record.id}"
    extension = "ion" if record.format == "ION" else "json"
    name = base64.b32encode(digest).decode().rstrip("=").lower()
    name = f"{folder}/data/{name}.{extension}.gz"
    etag = await _put(step, record, name, packed, "application/octet-stream")
    line = DataFile(items, base64.b64encode(hashlib.md5(packed, usedforsecurity=False).digest()).decode(), etag, name)
    number = record.files
    record.files, record.after, record.items = number + 1, after, record.items + items
    if record.incremental:
        record.billed_bytes += size_bytes

    def body(txn: Transaction) -> None:
        step.check(txn)
        txn.set(keys.export_part(record.id, number), msgspec.json.encode(line))
        txn.set(key, encode(record))

    await step.node.store.transact(body)


async def _read(step: jobs.Step, record: ExportRecord) -> tuple[list[bytes], int, int, bytes]:
    """The next lines, how many items they are of, the size of these, and the place to go on after."""
    source, after = record.table, record.after
    wanted = ExportFilter(source, record.params.get("FilterSpecification"))
    lines: list[bytes] = []
    size_bytes = line_bytes = 0
    while line_bytes < _FILE_BYTES:

        def body(txn: Transaction, begin: bytes = after) -> tuple[list[bytes], int, bytes]:
            if record.incremental:
                changes, last = history.changes_between(
                    txn, source, begin, record.from_us, record.to_us, _LOOKED_AT_ONCE, _BYTES_AT_ONCE
                )
                return (
                    [_change_line(record, each) for each in changes],
                    sum(len(c.old) + len(c.new) for c in changes),
                    last,
                )
            found, last = history.items_at(txn, source, begin, record.to_us, _LOOKED_AT_ONCE, _BYTES_AT_ONCE)
            shown = [wanted.seen(each.key, each.body) for each in found]
            return [_item_line(record, *each) for each in shown if each[1]], sum(each.size for each in found), last

        some, some_bytes, after = await table_keys.transact(step.node, body, read_only=True)
        lines += some
        size_bytes += some_bytes
        line_bytes += sum(map(len, some))
        if not after:
            break
        await asyncio.sleep(0)
    return lines, len(lines), size_bytes, after


def _item_line(record: ExportRecord, item: Item | None, body: bytes) -> bytes:
    if record.format == "ION":
        return f"{ion.VERSION} {{Item:{ion.item_text(item or records.decode(body))}}}\n".encode()
    return b'{"Item":%b}\n' % body


def _change_line(record: ExportRecord, change: history.Change) -> bytes:
    images = {"NewImage": change.new, "OldImage": change.old if record.view == "NEW_AND_OLD_IMAGES" else b""}
    key = record.table.key_attributes(records.decode(change.new or change.old))
    if record.format == "ION":
        parts = [
            f"Metadata:{{WriteTimestampMicros:{ion.number_text(str(change.written_us))}}}",
            f"Keys:{ion.item_text(key)}",
        ]
        parts += [f"{name}:{ion.item_text(records.decode(body))}" for name, body in images.items() if body]
        return f"{ion.VERSION} {{{','.join(parts)}}}\n".encode()
    line = {
        "Metadata": {"WriteTimestampMicros": {"N": str(change.written_us)}},
        "Keys": key,
        **{name: msgspec.Raw(body) for name, body in images.items() if body},
    }
    return msgspec.json.encode(line) + b"\n"


async def _write_manifests(step: jobs.Step, record: ExportRecord) -> None:
    """Write both manifests with their checksums, the summary last: once it is there, all is."""

    def body(txn: Transaction) -> list[bytes]:
        return [stored for _, stored in txn.scan(*keys.export_parts(record.id))]

    files = await step.node.store.transact(body, read_only=True)
    folder = f"{record.prefix}/{record.id}"
    for name, text in (
        ("manifest-files", b"".join(line + b"\n" for line in files)),
        ("manifest-summary", msgspec.json.encode(_summary(record, step.node.clock.now()))),
    ):
        checksum = base64.b64encode(hashlib.md5(text, usedforsecurity=False).digest())
        await _put(step, record, f"{folder}/{name}.md5", checksum)
        await _put(step, record, f"{folder}/{name}.json", text, "application/json")


def _summary(record: ExportRecord, now: float) -> dict[str, Any]:
    source = record.table.record
    shown: dict[str, Any] = {
        "version": "2023-08-01" if record.incremental else "2020-06-30",
        "exportArn": record.arn,
        "startTime": _time(record.started_at),
        "endTime": _time(now),
        "tableArn": source.arn,
        "tableId": source.id,
    }
    if record.incremental:
        given = record.params["IncrementalExportSpecification"]
        shown["exportFromTime"], shown["exportToTime"] = _time(given["ExportFromTime"]), _time(given["ExportToTime"])
    else:
        shown["exportTime"] = _time(record.export_at)
    shown |= {
        "s3Bucket": record.params["S3Bucket"],
        "s3Prefix": record.params.get("S3Prefix"),
        "s3SseAlgorithm": record.params.get("S3SseAlgorithm", "AES256"),
        "s3SseKmsKeyId": record.params.get("S3SseKmsKeyId"),
        "manifestFilesS3Key": f"{record.prefix}/{record.id}/manifest-files.json",
        "billedSizeBytes": record.billed_bytes,
        "itemCount": record.items,
        "outputFormat": record.format,
    }
    if record.incremental:
        shown |= {"outputView": record.view, "exportType": "INCREMENTAL_EXPORT"}
    return shown


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
