"""ExportTableToPointInTime, DescribeExport, ListExports.

What is written to S3, and how, is in `export_files`. Everything there is done with the caller's own permissions.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.identity import Principal
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import descriptions, history, job_tokens, jobs, keys, names, table
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.export_filter import ExportFilter
from penstock.services.dynamodb.restores import check_time, recovery_is_off
from penstock.services.dynamodb.table import Table
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented

_PAGE = 25
_LEAST_WINDOW_S, _MOST_WINDOW_S = 15 * 60, 24 * 3600


class ExportRecord(msgspec.Struct, omit_defaults=True):
    """What is stored of an export. Times are seconds since the epoch (0: never) or, named so, microseconds.

    params: the request's. from_us, to_us: what was written after the one and up to the other (of a full export: the
    state at to_us). after: the place that was read last, once `files` files have been written.
    """

    id: str
    source: bytes
    params: dict[str, Any]
    principal: Principal
    started_at: float
    export_at: float
    to_us: int
    from_us: int = 0
    status: str = "IN_PROGRESS"
    ended_at: float = 0.0
    failure_code: str = ""
    failure_message: str = ""
    after: bytes = b""
    files: int = 0
    items: int = 0
    billed_bytes: int = 0
    begun: bool = False

    @property
    def table(self) -> Table:
        """The table as it was when the export was asked for."""
        return table.decode(self.source)

    @property
    def arn(self) -> str:
        """…:table/NAME/export/ID"""
        return f"{self.table.record.arn}/export/{self.id}"

    @property
    def incremental(self) -> bool:
        """Whether it holds changes, not items."""
        return bool(self.params.get("ExportType") == "INCREMENTAL_EXPORT")

    @property
    def prefix(self) -> str:
        """What all its keys begin with."""
        given = self.params.get("S3Prefix", "").rstrip("/")
        return f"{given}/AWSDynamoDB" if given else "AWSDynamoDB"

    @property
    def format(self) -> str:
        """DYNAMODB_JSON or ION."""
        return str(self.params.get("ExportFormat", "DYNAMODB_JSON"))

    @property
    def view(self) -> str:
        """Of an incremental export: NEW_IMAGE or NEW_AND_OLD_IMAGES."""
        return str(self.params.get("IncrementalExportSpecification", {}).get("ExportViewType", "NEW_AND_OLD_IMAGES"))


decode = msgspec.json.Decoder(ExportRecord).decode
encode = msgspec.json.Encoder().encode


def _of_table(call: Call, params: Params) -> str:
    return str(params["TableArn"])


@operation("dynamodb:ExportTableToPointInTime", resource=_of_table)
async def export_table_to_point_in_time(call: Call, params: Params) -> Result:
    """Have the table as it was, or what changed between two times, written to S3 by a job."""
    arn = params["TableArn"]
    if not arn.startswith("arn:"):
        raise invalid(f"Invalid TableArn: Invalid ResourceArn provided as input {arn}")
    _check(params)
    key = names.record_key(call, arn)
    token = params.setdefault("ClientToken", str(uuid.uuid4()))
    digest = job_tokens.digest_of(params)
    moments = call.node.own(history.Moments)

    def body(txn: Transaction) -> ExportRecord:
        known = job_tokens.find(txn, call, "export", token, digest)
        before = None if known is None else txn.get(keys.transfer(call.account, call.region, "export", known))
        if before is not None:
            return decode(before)
        stored = txn.get(key)
        if stored is None:
            raise AwsError("TableNotFoundException", f"Table not found: {arn}")
        found = table.decode(stored)
        if not found.record.recovery_since:
            raise recovery_is_off(found.record)
        ExportFilter(found, params.get("FilterSpecification"))
        now_us = moments.of(txn)
        record = _made(call, params, found, stored, now_us)
        record.billed_bytes = 0 if record.incremental else descriptions.sizes(txn, found).size_bytes
        held = history.hold(found.record, record.id, record.from_us or record.to_us)
        txn.set(key, table.encode(table.changed(held, history_after_us=max(held.history_after_us, now_us))))
        txn.set(keys.transfer(call.account, call.region, "export", record.id), encode(record))
        job_tokens.remember(txn, call, "export", token, digest, record.id)
        jobs.start(txn, call, "export", record.id)
        return record

    return {"ExportDescription": describe(await call.store.transact(body))}


def _check(params: Params) -> None:
    """Raises ValidationException for parameters that do not go together."""
    kind, specification = params.get("ExportType", "FULL_EXPORT"), params.get("IncrementalExportSpecification")
    if (kind == "INCREMENTAL_EXPORT") != (specification is not None):
        raise invalid("IncrementalExportSpecification must be provided if and only if ExportType is INCREMENTAL_EXPORT")
    if kind == "INCREMENTAL_EXPORT" and "ExportTime" in params:
        raise invalid("ExportTime must not be provided if ExportType is INCREMENTAL_EXPORT")
    if kind == "INCREMENTAL_EXPORT" and "FilterSpecification" in params:
        raise not_implemented("incremental exports with a FilterSpecification")
    if specification is not None and not {"ExportFromTime", "ExportToTime"} <= specification.keys():
        raise invalid("ExportFromTime and ExportToTime must be provided for an incremental export")
    if "S3SseKmsKeyId" in params and params.get("S3SseAlgorithm") != "KMS":
        raise invalid("S3SseKmsKeyId can only be provided if S3SseAlgorithm is KMS")


def _made(call: Call, params: Params, found: Table, stored: bytes, now_us: int) -> ExportRecord:
    """A new export. Raises InvalidExportTimeException."""
    id = f"{now_us // 1000:014d}-{uuid.uuid4().hex[:8]}"
    specification = params.get("IncrementalExportSpecification")
    from_us = 0
    if specification is None:
        to_us = round(params["ExportTime"] * 1e6) if "ExportTime" in params else now_us
        check_time(found.record, to_us, now_us, "InvalidExportTimeException", "ExportTime")
        export_at = to_us / 1e6
    else:
        begin, end = specification["ExportFromTime"], specification["ExportToTime"]
        for name, at in (("ExportFromTime", begin), ("ExportToTime", end)):
            check_time(found.record, round(at * 1e6), now_us, "InvalidExportTimeException", name)
        if not _LEAST_WINDOW_S <= end - begin <= _MOST_WINDOW_S:
            raise AwsError(
                "InvalidExportTimeException",
                "The export period, from ExportFromTime to ExportToTime, must be between 15 minutes and 24 hours",
            )
        # The window includes its beginning and not its end.
        from_us, to_us, export_at = round(begin * 1e6) - 1, round(end * 1e6) - 1, end
    return ExportRecord(id, stored, params, call.principal, now_us / 1e6, export_at, to_us, from_us)


def describe(record: ExportRecord) -> dict[str, Any]:
    """ExportDescription."""
    source = record.table.record
    shown: dict[str, Any] = {
        "ExportArn": record.arn,
        "ExportStatus": record.status,
        "StartTime": record.started_at,
        "TableArn": source.arn,
        "TableId": source.id,
        "ExportFormat": record.format,
        "ExportType": record.params.get("ExportType", "FULL_EXPORT"),
        "S3SseAlgorithm": record.params.get("S3SseAlgorithm", "AES256"),
    }
    for name in ("ClientToken", "S3Bucket", "S3BucketOwner", "S3Prefix", "S3SseKmsKeyId", "FilterSpecification"):
        if name in record.params:
            shown[name] = record.params[name]
    if record.incremental:
        given = record.params["IncrementalExportSpecification"]
        shown["IncrementalExportSpecification"] = {**given, "ExportViewType": record.view}
    else:
        shown["ExportTime"] = record.export_at
    if record.ended_at:
        shown["EndTime"] = record.ended_at
    if record.status == "COMPLETED":
        shown["ExportManifest"] = f"{record.prefix}/{record.id}/manifest-summary.json"
        shown["ItemCount"] = record.items
        shown["BilledSizeBytes"] = record.billed_bytes
    if record.failure_code:
        shown["FailureCode"], shown["FailureMessage"] = record.failure_code, record.failure_message
    return shown


@operation("dynamodb:DescribeExport", resource="{ExportArn}")
async def describe_export(call: Call, params: Params) -> Result:
    """An export of the last 90 days."""
    arn = params["ExportArn"]
    if not arn.startswith("arn:") or "/export/" not in arn:
        raise invalid(f"Invalid ExportArn: Invalid ResourceArn provided as input {arn}")
    key = keys.transfer(call.account, call.region, "export", arn.rpartition("/")[2])
    stored = await call.store.transact(lambda txn: txn.get(key), read_only=True)
    found = None if stored is None else decode(stored)
    if found is None or found.arn != arn or found.started_at + jobs.KEPT_DAYS * 86400 <= call.now:
        raise AwsError("ExportNotFoundException", f"Export not found: {arn}")
    return {"ExportDescription": describe(found)}


@operation("dynamodb:ListExports")
async def list_exports(call: Call, params: Params) -> Result:
    """Exports of the last 90 days, of all tables or of one, the latest first."""
    arn = params.get("TableArn")
    most = params.get("MaxResults", _PAGE)
    scope = f"dynamodb:ListExports {call.account} {call.region} {arn}"
    begin, end = keys.transfers(call.account, call.region, "export")
    if "NextToken" in params:
        try:
            end = keys.transfer(call.account, call.region, "export", paging.decode(scope, params["NextToken"]).decode())
        except paging.BadToken:
            raise invalid("The provided NextToken is invalid") from None

    def body(txn: Transaction) -> list[ExportRecord]:
        found = []
        for _, stored in txn.scan(begin, end, reverse=True):
            record = decode(stored)
            if record.started_at + jobs.KEPT_DAYS * 86400 <= call.now:
                break
            if arn in (None, record.table.record.arn):
                found.append(record)
                if len(found) > most:
                    break
        return found

    found = await call.store.transact(body, read_only=True)
    shown = [
        {
            "ExportArn": each.arn, "ExportStatus": each.status,
            "ExportType": each.params.get("ExportType", "FULL_EXPORT"),
        }
        for each in found[:most]
    ]  # fmt: skip
    result: Result = {"ExportSummaries": shown}
    if len(found) > most:
        result["NextToken"] = paging.encode(scope, found[most - 1].id)
    return result
