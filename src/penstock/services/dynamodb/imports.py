"""ImportTable, DescribeImport, ListImports. What is read from S3, and how, is in `import_objects`."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.core.identity import Principal
from penstock.core.operation import Params, Result, find, operation
from penstock.services.dynamodb import (
    encryption,
    filling,
    history,
    import_formats,
    job_tokens,
    jobs,
    keys,
    names,
    tables,
)
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.table_rules import check_create
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

LOG_GROUP = "/aws-dynamodb/imports"
_PAGE = 25
_CHECK_BYTES = 33


class ImportRecord(msgspec.Struct, omit_defaults=True):
    """What is stored of an import. Times are seconds since the epoch, 0: never.

    params: the request's. object: the key that is being read, after it: whether it has been read; done: how many of its
    items have been dealt with.
    """

    id: str
    table_id: str
    table_arn: str
    params: dict[str, Any]
    principal: Principal
    started_at: float
    status: str = "IN_PROGRESS"
    ended_at: float = 0.0
    failure_code: str = ""
    failure_message: str = ""
    object: str = ""
    done: int = 0
    objects: int = 0
    errors: int = 0
    processed: int = 0
    processed_bytes: int = 0
    imported: int = 0

    @property
    def arn(self) -> str:
        """…:table/NAME/import/ID"""
        return f"{self.table_arn}/import/{self.id}"

    @property
    def table_name(self) -> str:
        """The bare name."""
        return self.table_arn.rpartition("/")[2]


decode = msgspec.json.Decoder(ImportRecord).decode
encode = msgspec.json.Encoder().encode


def _of_table(call: Call, params: Params) -> str:
    return names.arn(call.account, call.region, str(params["TableCreationParameters"]["TableName"]))


@operation("dynamodb:ImportTable", resource=_of_table)
async def import_table(call: Call, params: Params) -> Result:
    """Make a table and have a job fill it with the items of objects in S3, read with the caller's permissions."""
    given = params["TableCreationParameters"]
    find("dynamodb", "CreateTable").refuse_unsupported(given)
    check_create(given)
    if "InputFormatOptions" in params and params["InputFormat"] != "CSV":
        raise invalid("InputFormatOptions can only be given if InputFormat is CSV")
    import_formats.decompressor(params.get("InputCompressionType", "NONE"))
    token = params.setdefault("ClientToken", str(uuid.uuid4()))
    digest = job_tokens.digest_of(params)
    moments = call.node.own(history.Moments)
    target = tables.new_record(call, given)
    target.filling = True
    target.encryption = await encryption.for_new(
        call, call.region, target.name, encryption.wanted(given.get("SSESpecification"))
    )

    def body(txn: Transaction) -> ImportRecord:
        known = job_tokens.find(txn, call, "import", token, digest)
        before = None if known is None else txn.get(keys.transfer(call.account, call.region, "import", known))
        if before is not None:
            return decode(before)
        filling.create(txn, call, target, "ResourceInUseException")
        now_us = moments.of(txn)
        id = f"{now_us // 1000:014d}-{uuid.uuid4().hex[:8]}"
        record = ImportRecord(id, target.id, target.arn, params, call.principal, now_us / 1e6)
        txn.set(keys.transfer(call.account, call.region, "import", id), encode(record))
        job_tokens.remember(txn, call, "import", token, digest, id)
        jobs.start(txn, call, "import", id)
        return record

    return {"ImportTableDescription": describe(call, await call.store.transact(body))}


def describe(call: Call, record: ImportRecord) -> dict[str, Any]:
    """ImportTableDescription."""
    shown = {
        "ImportArn": record.arn,
        "ImportStatus": record.status,
        "TableArn": record.table_arn,
        "TableId": record.table_id,
        "S3BucketSource": record.params["S3BucketSource"],
        "ErrorCount": record.errors,
        "CloudWatchLogGroupArn": log_group_arn(call.account, call.region),
        "InputFormat": record.params["InputFormat"],
        "InputCompressionType": record.params.get("InputCompressionType", "NONE"),
        "TableCreationParameters": record.params["TableCreationParameters"],
        "StartTime": record.started_at,
        "ProcessedSizeBytes": record.processed_bytes,
        "ProcessedItemCount": record.processed,
        "ImportedItemCount": record.imported,
    }
    for name in ("ClientToken", "InputFormatOptions"):
        if name in record.params:
            shown[name] = record.params[name]
    if record.ended_at:
        shown["EndTime"] = record.ended_at
    if record.failure_code:
        shown["FailureCode"], shown["FailureMessage"] = record.failure_code, record.failure_message
    return shown


def log_group_arn(account: str, region: str) -> str:
    """Where errors are logged."""
    return f"arn:aws:logs:{region}:{account}:log-group:{LOG_GROUP}:*"


@operation("dynamodb:DescribeImport", resource="{ImportArn}")
async def describe_import(call: Call, params: Params) -> Result:
    """An import of the last 90 days."""
    arn = params["ImportArn"]
    if not arn.startswith("arn:") or "/import/" not in arn:
        raise invalid(f"Invalid ImportArn: Invalid ResourceArn provided as input {arn}")
    key = keys.transfer(call.account, call.region, "import", arn.rpartition("/")[2])
    stored = await call.store.transact(lambda txn: txn.get(key), read_only=True)
    found = None if stored is None else decode(stored)
    if found is None or found.arn != arn or found.started_at + jobs.KEPT_DAYS * 86400 <= call.now:
        raise AwsError("ImportNotFoundException", f"Import not found: {arn}")
    return {"ImportTableDescription": describe(call, found)}


@operation("dynamodb:ListImports")
async def list_imports(call: Call, params: Params) -> Result:
    """Imports of the last 90 days, into all tables or into one, the latest first."""
    arn = params.get("TableArn")
    most = params.get("PageSize", _PAGE)
    scope = f"dynamodb:ListImports {call.account} {call.region} {arn}"
    begin, end = keys.transfers(call.account, call.region, "import")
    if "NextToken" in params:
        end = keys.transfer(call.account, call.region, "import", _position(scope, params["NextToken"]))

    def body(txn: Transaction) -> list[ImportRecord]:
        found = []
        for _, stored in txn.scan(begin, end, reverse=True):
            record = decode(stored)
            if record.started_at + jobs.KEPT_DAYS * 86400 <= call.now:
                break
            if arn in (None, record.table_arn):
                found.append(record)
                if len(found) > most:
                    break
        return found

    found = await call.store.transact(body, read_only=True)
    result: Result = {"ImportSummaryList": [_summary(call, each) for each in found[:most]]}
    if len(found) > most:
        result["NextToken"] = _token(scope, found[most - 1].id)
    return result


def _summary(call: Call, record: ImportRecord) -> dict[str, Any]:
    listed = (
        "ImportArn", "ImportStatus", "TableArn", "S3BucketSource", "CloudWatchLogGroupArn", "InputFormat", "StartTime",
        "EndTime",
    )  # fmt: skip
    shown = describe(call, record)
    return {name: shown[name] for name in listed if name in shown}


def _token(scope: str, id: str) -> str:
    """The model wants these tokens in hexadecimal, in blocks of 16 digits and at least 112 of them."""
    check = hashlib.blake2b(f"{scope} {id}".encode(), digest_size=_CHECK_BYTES).digest()
    return (check + id.encode()).hex()


def _position(scope: str, token: str) -> str:
    id = bytes.fromhex(token)[_CHECK_BYTES:].decode("ascii", "replace")
    if _token(scope, id) != token:
        raise invalid("The provided NextToken is invalid")
    return id
