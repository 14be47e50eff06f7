"""BatchExecuteStatement: up to 25 statements, all reads or all writes, each with its own outcome."""

from __future__ import annotations

import contextlib
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import names, resource_policies, table
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.partiql import plan
from penstock.services.dynamodb.partiql.execute import bind, look_up, select, table_of, write
from penstock.services.dynamodb.partiql.plan import Bound
from penstock.services.dynamodb.table import Table
from penstock.wire.errors import AwsError

_NOT_BY_KEY = "Select statements within BatchExecuteStatement must specify the primary key in the where clause."
_CODES = {
    "ConditionalCheckFailedException": "ConditionalCheckFailed",
    "ItemCollectionSizeLimitExceededException": "ItemCollectionSizeLimitExceeded",
    "RequestLimitExceeded": "RequestLimitExceeded",
    "ValidationException": "ValidationError",
    "ProvisionedThroughputExceededException": "ProvisionedThroughputExceeded",
    "TransactionConflictException": "TransactionConflict",
    "ThrottlingException": "ThrottlingError",
    "ResourceNotFoundException": "ResourceNotFound",
    "AccessDeniedException": "AccessDenied",
    "AccessDenied": "AccessDenied",
    "DuplicateItemException": "DuplicateItem",
}


# What it needs depends on the statements, so it demands that itself.
@operation("dynamodb:BatchExecuteStatement", action="")
async def batch_execute_statement(call: Call, params: Params) -> Result:
    """Carry out each statement; a reply of 200 may hold errors of single ones. Raises ValidationException."""
    parts: list[dict[str, Any]] = params["Statements"]
    bound = [_bind(part) for part in parts]
    reading = {each.statement.kind in ("SELECT", "EXISTS") for each in bound if isinstance(each, Bound)}
    if len(reading) > 1:
        raise invalid("Statements in a batch must be all reads or all writes")
    responses: list[dict[str, Any]] = []
    used: list[dict[str, Any]] = []
    for table_name in dict.fromkeys(each.statement.table for each in bound if isinstance(each, Bound)):
        await _open(call, table_name)
    level = params.get("ReturnConsumedCapacity")
    for part, each in zip(parts, bound, strict=True):
        responses.append(await _respond(call, part, each, level, used))
    result: Result = {"Responses": responses}
    if level not in (None, "NONE"):
        result["ConsumedCapacity"] = _by_table(used)
    return result


async def _open(call: Call, table_name: str) -> None:
    """Raises Locked for a table whose key has to be asked for: before any statement has been carried out."""
    with contextlib.suppress(AwsError):  # what is wrong is said of its statements
        await resource_policies.load_all(call, [table_name])
        key = names.record_key(call, table_name)
        await call.store.transact(lambda txn: table.load(txn, key, call), read_only=True)


def _bind(part: dict[str, Any]) -> Bound | AwsError:
    try:
        return bind(part)
    except AwsError as error:
        if error.code not in _CODES:
            raise  # a parameter that is no value at all: the whole request is not one
        return error


async def _respond(
    call: Call, part: dict[str, Any], bound: Bound | AwsError, level: str | None, used: list[dict[str, Any]]
) -> dict[str, Any]:
    if isinstance(bound, AwsError):
        return _failed(bound)
    response: dict[str, Any] = {}
    try:
        found = await look_up(call, bound)
        response["TableName"] = table_of(call, bound)
        wanted = part if level is None else {**part, "ReturnConsumedCapacity": level}
        done = await _carry_out(call, wanted, bound, found)
    except AwsError as error:
        if error.code not in _CODES:
            raise
        return {**_failed(error), **response}
    if "ConsumedCapacity" in done:
        used.append(done["ConsumedCapacity"])
    if done["Items"]:
        response["Item"] = done["Items"][0]
    return response


async def _carry_out(call: Call, part: dict[str, Any], bound: Bound, found: Table) -> Result:
    if bound.statement.kind == "EXISTS":
        raise invalid("EXISTS can only be used in a transaction")
    if bound.statement.kind != "SELECT":
        return await write(call, part, bound, found)
    if not plan.reads(bound, found).is_exact:
        raise invalid(_NOT_BY_KEY)
    return await select(call, part, bound, found)


def _failed(error: AwsError) -> dict[str, Any]:
    return {"Error": {"Code": _CODES[error.code], "Message": error.message, **error.members}}


def _by_table(used: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for each in used:
        before = found.get(each["TableName"])
        found[each["TableName"]] = each if before is None else _merged(before, each)
    return list(found.values())


def _merged(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Two capacities added, whichever indexes each of them has."""
    merged = dict(one)
    for name, value in two.items():
        if name not in merged or isinstance(value, str):
            merged[name] = value
        elif isinstance(value, dict):
            merged[name] = _merged(merged[name], value)
        else:
            merged[name] += value
    return merged
