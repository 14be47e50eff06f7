"""ExecuteStatement, and what the other operations of PartiQL share with it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from penstock.core import paging
from penstock.core.authz import require
from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import items, names, permissions, queries, resource_policies, scans, table
from penstock.services.dynamodb.attributes import check_value
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.expressions.request import Expressions, compile_request
from penstock.services.dynamodb.expressions.scope import Values
from penstock.services.dynamodb.expressions.syntax import PathNode
from penstock.services.dynamodb.partiql import plan
from penstock.services.dynamodb.partiql.grammar import parse
from penstock.services.dynamodb.partiql.plan import Bound, Reads
from penstock.services.dynamodb.partiql.projection import projector
from penstock.services.dynamodb.table import Table
from penstock.wire.errors import AwsError

DUPLICATE = "Duplicate primary key exists in table"
_PAGE_UNITS = 128.0
"""What 1 MB of eventually consistent reads takes: several partitions end a page there together."""
_WRITES = {"INSERT": items.put_item, "UPDATE": items.update_item, "DELETE": items.delete_item}


# What it needs depends on the statement, so it demands that itself.
@operation("dynamodb:ExecuteStatement", action="")
async def execute_statement(call: Call, params: Params) -> Result:
    """Carry out one statement. Raises DuplicateItemException, and what the operation raises that it means."""
    bound = bind(params)
    found = await look_up(call, bound)
    kind = bound.statement.kind
    if kind == "EXISTS":
        raise invalid("EXISTS can only be used in a transaction")
    if kind == "SELECT":
        return await select(call, params, bound, found)
    if "NextToken" in params:
        raise invalid("NextToken does not match request")
    return await write(call, params, bound, found)


def bind(params: Params) -> Bound:
    """The statement of a request, or of a part of one, with its parameters. Raises ValidationException."""
    statement = parse(params["Statement"])
    parameters = params.get("Parameters") or ()
    for value in parameters:
        check_value(value)
    return Bound(statement, parameters)


async def look_up(call: Call, bound: Bound) -> Table:
    """The table of a statement. Raises ResourceNotFoundException, or AccessDenied where not even that may be known."""
    await resource_policies.load_all(call, [bound.statement.table])  # makes it the call of the table's owner
    key = names.record_key(call, bound.statement.table)
    try:
        return await call.store.transact(lambda txn: table.load(txn, key, call), read_only=True)
    except AwsError:
        await permit(call, bound, None, [])
        raise


async def permit(call: Call, bound: Bound, wanted: Reads | None, parts: list[dict[str, Any]]) -> None:
    """Demand what the statement needs. parts: the parameters of the operations that it means. Raises AccessDenied.

    Source: "IAM security policies with PartiQL for DynamoDB" of the developer guide.
    """
    statement = bound.statement
    policy = (await resource_policies.load_all(call, [statement.table])).get(statement.table)
    if policy is None and call.principal.kind is Kind.ROOT and call.principal.account == call.account:
        return
    action = "Select" if statement.kind in ("SELECT", "EXISTS") else statement.kind.capitalize()
    arn = names.resource(call, {"TableName": statement.table})
    noted = await permissions.facts(call, statement.table, parts)
    if wanted is not None:
        noted["dynamodb:FullTableScan"] = not wanted.partitions
        noted["dynamodb:Select"] = "SPECIFIC_ATTRIBUTES" if statement.shown else "ALL_ATTRIBUTES"
    if statement.returning:
        noted["dynamodb:ReturnValues"] = statement.returning
    resource = f"{arn}/index/{statement.index}" if statement.index else arn
    await require(
        call,
        {},
        f"dynamodb:PartiQL{action}",
        resource,
        policy=policy,
        even_root=True,
        conditions=noted,
    )


async def write(call: Call, params: Params, bound: Bound, found: Table) -> Result:
    """Carry out an INSERT, UPDATE or DELETE."""
    statement = bound.statement
    meant = plan.write_parameters(bound, found)
    await permit(call, bound, None, [meant])
    for name in ("ReturnConsumedCapacity", "ReturnValuesOnConditionCheckFailure"):
        if name in params:
            meant[name] = params[name]
    if statement.returning:
        meant["ReturnValues"] = statement.returning
    try:
        done = await _WRITES[statement.kind](call, meant)
    except AwsError as error:
        if statement.kind == "INSERT" and error.code == "ConditionalCheckFailedException":
            raise AwsError("DuplicateItemException", DUPLICATE, members=error.members) from None
        raise
    result: Result = {"Items": [done["Attributes"]] if "Attributes" in done else []}
    if "ConsumedCapacity" in done:
        result["ConsumedCapacity"] = done["ConsumedCapacity"]
    return result


def compiled(bound: Bound, meant: dict[str, Any]) -> tuple[Expressions, Values]:
    """The expressions of a read, with the projection that PartiQL has."""
    expressions, values = compile_request(meant)
    if any(len(path) > 1 for path in expressions.projected):
        expressions = expressions.showing(projector(expressions.projected))
    return expressions, values


async def select(call: Call, params: Params, bound: Bound, found: Table) -> Result:
    """One page of a SELECT: of one partition, of several one after the other, or of everything."""
    wanted = plan.reads(bound, found)
    parts = [plan.read_parameters(bound, wanted, partition) for partition in wanted.partitions or (None,)]
    await permit(call, bound, wanted, parts)
    scope = f"partiql {hashlib.sha256(msgspec.json.encode([params['Statement'], bound.parameters])).hexdigest()}"
    at, start = _position(params, scope, len(parts))
    left = params.get("Limit", 0)
    result: Result = {"Items": []}
    units = 0.0
    while True:
        meant = parts[at]
        if params.get("ConsistentRead"):
            meant["ConsistentRead"] = True
        meant["ReturnConsumedCapacity"] = "INDEXES"
        if left:
            meant["Limit"] = left
        if start is not None:
            meant["ExclusiveStartKey"] = start
        expressions, values = compiled(bound, meant)
        if wanted.partitions:
            page = await queries.run(call, meant, expressions, values, keys_in_filter=True)
        else:
            page = await scans.run(call, meant, expressions, values)
        result["Items"] += page["Items"]
        _add(result, page["ConsumedCapacity"], params)
        units += page["ConsumedCapacity"]["CapacityUnits"] / (2 if params.get("ConsistentRead") else 1)
        start = page.get("LastEvaluatedKey")
        if start is None:
            at += 1
        if left:
            left -= page["ScannedCount"]
        if at == len(parts):
            return result
        if start is not None or units >= _PAGE_UNITS or (left == 0 and "Limit" in params):
            break
    if start is not None:
        result["LastEvaluatedKey"] = start
    result["NextToken"] = paging.encode(scope, msgspec.json.encode([at, start]))
    return result


def _position(params: Params, scope: str, parts: int) -> tuple[int, dict[str, Any] | None]:
    """Which part to read next, and after which key. Raises ValidationException for another statement's token."""
    token = params.get("NextToken")
    if token is None:
        return 0, None
    try:
        at, start = msgspec.json.decode(paging.decode(scope, token))
    except (paging.BadToken, msgspec.DecodeError, ValueError):
        raise invalid("NextToken does not match request") from None
    if not 0 <= at < parts:
        raise invalid("NextToken does not match request")
    return at, start


def _add(result: Result, used: dict[str, Any], params: Params) -> None:
    """Add the capacity of one part to the reply, as far as it is wanted."""
    level = params.get("ReturnConsumedCapacity", "NONE")
    if level == "NONE":
        return
    if level == "TOTAL":
        used = {"TableName": used["TableName"], "CapacityUnits": used["CapacityUnits"]}
    before = result.get("ConsumedCapacity")
    result["ConsumedCapacity"] = used if before is None else _sum(before, used)


def _sum(one: Any, two: Any) -> Any:
    if isinstance(one, dict):
        return {name: _sum(one[name], two[name]) for name in one}
    return one if isinstance(one, str) else one + two


def table_of(call: Call, bound: Bound) -> str:
    """The bare name of a statement's table."""
    return names.resolve(call.account, call.region, bound.statement.table)


def get_parameters(bound: Bound, found: Table) -> dict[str, Any]:
    """The parameters of the GetItem that a SELECT of one whole key means. Raises ValidationException for any other."""
    statement = bound.statement
    key, rest = plan.key_and_condition(bound, found)
    if rest is not None or statement.index:
        raise invalid(plan.NO_KEY)
    params: dict[str, Any] = {"TableName": statement.table, "Key": key}
    if statement.shown:
        params["ProjectionExpression"] = statement.shown
    shown: tuple[PathNode, ...] = statement.shown
    params.update(bound.placeholders(shown))
    return params
