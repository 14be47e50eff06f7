"""The job that imports: object after object in order of key, item after item, noting how far it is with what it writes.

What is wrong with one item, or with the rest of one object, is logged and counted, and the import goes on; in the end it has
FAILED with ItemValidationError, and what was right is in the table. What S3 or the log refuses ends it at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec

from penstock.core.call import forwarded
from penstock.services.dynamodb import filling, jobs, keys, records, table, table_keys
from penstock.services.dynamodb.attributes import MAX_ITEM_BYTES, Item, check_item
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.import_formats import (
    BrokenObjectError,
    CsvLines,
    LineError,
    Lines,
    failure,
    lines,
    reader,
)
from penstock.services.dynamodb.imports import LOG_GROUP, ImportRecord, decode, encode
from penstock.services.dynamodb.table import Table
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError
from penstock.wire.message import OutgoingStream

log = logging.getLogger(__name__)

_AT_ONCE = 64
"""Items of a transaction: others wait while one runs, so they are small."""
_BYTES_AT_ONCE = 1 << 20
_LOGGED_AT_ONCE = 500
_MOST_OBJECTS = 50_000
"""AWS's quota of objects in an import."""
_SOME_FAILED = (
    "Some of the items failed validation checks and were not imported. Please check CloudWatch error logs "
    "for more details."
)


class _Refused(Exception):
    """Another service has refused what the import needs."""

    def __init__(self, service: str, error: AwsError) -> None:
        super().__init__(str(error))
        self.code = f"{'S3' if service == 's3' else 'CloudWatchLogs'}{error.code}"
        named = "Amazon S3" if service == "s3" else "CloudWatchLogs"
        self.message = f"{error.message} (Service: {named}; Error Code: {error.code})"


class _Import:
    """An import in a node's hands."""

    def __init__(self, step: jobs.Step, record: ImportRecord, into: Table) -> None:
        self.step = step
        self.record = record
        self.into = into
        self.key = keys.transfer(step.job.account, step.job.region, "import", record.id)
        self.batch: list[tuple[Item, bytes, int]] = []
        self.batch_bytes = 0
        self.wrong: list[str] = []
        """Messages that are not logged yet."""
        self.stream = f"{record.id}/error"
        self.has_stream = False

    async def call(self, service: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """Ask another service as the import's caller. Raises _Refused; AwsError where it is worth another try."""
        job = self.step.job
        try:
            return await self.step.node.call(
                service, operation, params, principal=self.record.principal, account=job.account, region=job.region,
                context=forwarded("dynamodb"),
            )  # fmt: skip
        except AwsError as error:
            if error.status >= 500 and error.status != 501:
                raise
            raise _Refused(service, error) from error

    async def run(self) -> None:
        """Read what is left to read."""
        source = self.record.params["S3BucketSource"]
        where = {"Bucket": source["S3Bucket"]}
        if "S3BucketOwner" in source:
            where["ExpectedBucketOwner"] = source["S3BucketOwner"]
        if self.record.done:
            await self._object(where, self.record.object)
        while True:
            page = await self.call(
                "s3", "ListObjectsV2",
                {**where, "Prefix": source.get("S3KeyPrefix", ""), "StartAfter": self.record.object, "MaxKeys": 1000},
            )  # fmt: skip
            for each in page.get("Contents", ()):
                await self._object(where, each["Key"])
            if not page.get("IsTruncated"):
                break

    async def _object(self, where: dict[str, str], name: str) -> None:
        """Import one object, behind what has been dealt with of it already."""
        if self.record.objects >= _MOST_OBJECTS:
            raise _Refused("s3", AwsError("LimitExceeded", f"An import can have up to {_MOST_OBJECTS} objects"))
        self.record.objects += name != self.record.object
        self.record.object = name
        skip = self.record.done
        found = await self.call("s3", "GetObject", {**where, "Key": name})
        formats = reader(self.record.params, self.into.record.attributes)
        number = -1
        try:
            async for line in lines(
                _chunks(found.get("Body", b"")), self.record.params.get("InputCompressionType", "NONE")
            ):
                if formats.first and isinstance(formats, CsvLines):
                    formats.header(line)
                    formats.first = False
                    continue
                for text in formats.cut(line):
                    number += 1
                    if number >= skip:
                        await self._line(formats, name, number, text)
        except (BrokenObjectError, LineError) as error:
            self._note(name, number + 1, str(error))
        self.record.done = 0
        await self._write()

    async def _line(self, formats: Lines, name: str, number: int, line: bytes) -> None:
        """Deal with one item of an object."""
        self.record.processed += 1
        self.record.processed_bytes += len(line) + 1
        try:
            self._take(formats.item(line))
        except (LineError, AwsError) as error:
            self._note(name, number, failure(error))
        self.record.done = number + 1
        if len(self.batch) >= _AT_ONCE or self.batch_bytes >= _BYTES_AT_ONCE or len(self.wrong) >= _LOGGED_AT_ONCE:
            await self._write()

    def _take(self, item: Item) -> None:
        """Check an item and have it written. Raises AwsError."""
        size = check_item(item)
        if size > MAX_ITEM_BYTES:
            raise invalid("Item size has exceeded the maximum allowed size")
        self.into.key_of(item)
        self.into.check_indexes(item)
        body = records.encode(item)
        self.batch.append((item, body, size))
        self.batch_bytes += len(body)

    def _note(self, name: str, number: int, message: str) -> None:
        self.record.errors += 1
        pointer = {"bucket": self.record.params["S3BucketSource"]["S3Bucket"], "key": name, "itemIndex": number}
        entry = {"itemS3Pointer": pointer, "importArn": self.record.arn, "errorMessages": [message]}
        self.wrong.append(msgspec.json.encode(entry).decode())

    async def _write(self) -> None:
        """Write what has been taken, log what was wrong, and note how far we are."""
        wrong, self.wrong = self.wrong, []
        if wrong:
            await self._log(wrong)
        batch, self.batch, self.batch_bytes = self.batch, [], 0
        self.record.imported += len(batch)
        stored = encode(self.record)

        def body(txn: Transaction) -> None:
            self.step.check(txn)
            for item, item_json, size in batch:
                filling.put(txn, self.into, item, item_json, size, self.step.node)
            txn.set(self.key, stored)

        await table_keys.transact(self.step.node, body)
        await asyncio.sleep(0)

    async def _log(self, messages: list[str]) -> None:
        if not self.has_stream:
            await self.make_log("CreateLogStream", {"logGroupName": LOG_GROUP, "logStreamName": self.stream})
            self.has_stream = True
        now_ms = round(self.step.node.clock.now() * 1000)
        for begin in range(0, len(messages), _LOGGED_AT_ONCE):
            events = [{"timestamp": now_ms, "message": each} for each in messages[begin : begin + _LOGGED_AT_ONCE]]
            params = {"logGroupName": LOG_GROUP, "logStreamName": self.stream, "logEvents": events}
            await self.call("logs", "PutLogEvents", params)

    async def make_log(self, operation: str, params: dict[str, str]) -> None:
        """Make the log group or stream, unless it is there. Raises _Refused."""
        try:
            await self.call("logs", operation, params)
        except _Refused as refused:
            if not refused.code.endswith("ResourceAlreadyExistsException"):
                raise


async def _chunks(body: Any) -> AsyncIterator[bytes]:
    if isinstance(body, OutgoingStream):
        try:
            async for chunk in body.chunks:
                yield chunk
        finally:
            if isinstance(body.chunks, AsyncGenerator):
                await body.chunks.aclose()
    else:
        yield bytes(body)


@jobs.handles("import")
async def import_objects(step: jobs.Step) -> None:
    """Fill the table from S3 until all is read or something ends it, then open it."""
    node, job = step.node, step.job
    key = keys.transfer(job.account, job.region, "import", job.id)

    def load(txn: Transaction) -> tuple[ImportRecord, Table | None] | None:
        stored = txn.get(key)
        if stored is None:
            return None
        record = decode(stored)
        table_stored = txn.get(keys.table(job.account, job.region, record.table_name))
        return record, None if table_stored is None else table.decode(table_stored)

    found = await node.store.transact(load, read_only=True)
    if found is None or found[0].status != "IN_PROGRESS" or found[1] is None:
        await node.store.transact(step.end)
        return
    record = found[0]
    work = _Import(step, record, found[1])
    try:
        await work.make_log("CreateLogGroup", {"logGroupName": LOG_GROUP})
        await work.run()
        record.status = "COMPLETED"
        if record.errors:
            record.status, record.failure_code, record.failure_message = "FAILED", "ItemValidationError", _SOME_FAILED
    except _Refused as refused:
        log.warning("import %s failed: %s", record.arn, refused)
        record.status, record.failure_code, record.failure_message = "FAILED", refused.code, refused.message
    record.ended_at = node.clock.now()
    await node.store.transact(lambda txn: _end(txn, step, record, key))


def _end(txn: Transaction, step: jobs.Step, record: ImportRecord, key: bytes) -> None:
    """The table stays, with what has been imported; but one that nothing was read for goes."""
    record_key = keys.table(step.job.account, step.job.region, record.table_name)
    if record.status == "FAILED" and not record.objects:
        txn.clear(record_key)
        txn.clear(keys.encrypted(record_key))
    else:
        filling.open_table(txn, record_key)
    txn.set(key, encode(record))
    step.end(txn)
