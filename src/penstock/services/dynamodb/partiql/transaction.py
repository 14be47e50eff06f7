"""ExecuteTransaction: up to 100 statements, all reads or all writes (with EXISTS), as one transaction."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import transactions
from penstock.services.dynamodb.attributes import check_item
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.partiql import plan
from penstock.services.dynamodb.partiql.execute import DUPLICATE, bind, compiled, get_parameters, look_up, permit
from penstock.services.dynamodb.partiql.plan import Bound
from penstock.services.dynamodb.table import Table
from penstock.wire.errors import AwsError

_ACTIONS = {"INSERT": "Put", "UPDATE": "Update", "DELETE": "Delete", "EXISTS": "ConditionCheck"}


# What it needs depends on the statements, so it demands that itself.
@operation("dynamodb:ExecuteTransaction", action="")
async def execute_transaction(call: Call, params: Params) -> Result:
    """Carry out all statements, or none and say why. Raises TransactionCanceledException."""
    parts: list[dict[str, Any]] = params["TransactStatements"]
    bound = [bind(part) for part in parts]
    kinds = {each.statement.kind for each in bound}
    if "SELECT" in kinds and len(kinds) > 1:
        raise invalid("Statements in a transaction must be all reads or all writes")
    if any(each.statement.returning for each in bound):
        raise invalid("RETURNING clause is not supported in a transaction")
    found = [await look_up(call, each) for each in bound]
    if kinds == {"SELECT"}:
        return await _read(call, params, bound, found)
    return await _write(call, params, parts, bound, found)


async def _read(call: Call, params: Params, bound: list[Bound], found: list[Table]) -> Result:
    gets = []
    for each, its_table in zip(bound, found, strict=True):
        get = get_parameters(each, its_table)
        await permit(call, each, plan.reads(each, its_table), [get])
        check_item(get["Key"])
        gets.append((get, compiled(each, get)[0]))
    return await transactions.read(call, params, gets)


async def _write(
    call: Call, params: Params, parts: list[dict[str, Any]], bound: list[Bound], found: list[Table]
) -> Result:
    actions = []
    for part, each, its_table in zip(parts, bound, found, strict=True):
        meant = plan.write_parameters(each, its_table)
        await permit(call, each, None, [meant])
        if "ReturnValuesOnConditionCheckFailure" in part:
            meant["ReturnValuesOnConditionCheckFailure"] = part["ReturnValuesOnConditionCheckFailure"]
        actions.append({_ACTIONS[each.statement.kind]: meant})
    digest = b""
    if "ClientRequestToken" in params:
        digest = hashlib.sha256(msgspec.json.encode(parts, order="sorted")).digest()
    try:
        result = await transactions.write(call, params, actions, digest)
    except AwsError as error:
        raise _with_duplicates(error, bound) from None
    result["Responses"] = [{} for _ in bound]
    return result


def _with_duplicates(error: AwsError, bound: list[Bound]) -> AwsError:
    """The error with INSERT's own reason where there is an item already."""
    reasons = error.members.get("CancellationReasons")
    if reasons is None:
        return error
    told = [
        {**reason, "Code": "DuplicateItem", "Message": DUPLICATE}
        if each.statement.kind == "INSERT" and reason["Code"] == "ConditionalCheckFailed"
        else reason
        for each, reason in zip(bound, reasons, strict=True)
    ]
    return transactions.cancelled(told)
