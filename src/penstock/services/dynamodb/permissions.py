"""What policies can ask of a request: the table's or index's ARN, and DynamoDB's condition keys.

dynamodb:LeadingKeys needs the table's key names, so a caller who is not root costs a look at the table's record first.
Source: "Using IAM policy conditions for fine-grained access control" of the developer guide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.dynamodb import names, table
from penstock.services.dynamodb.expressions.condition import walk
from penstock.services.dynamodb.expressions.lexer import ExpressionError
from penstock.services.dynamodb.expressions.parser import parse_condition, parse_projection, parse_update
from penstock.services.dynamodb.expressions.syntax import CompareNode, Node, PathNode, ValueNode
from penstock.services.dynamodb.table import Table
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

_CONDITIONS = ("ConditionExpression", "FilterExpression", "KeyConditionExpression")
_LEGACY = ("Expected", "AttributeUpdates", "KeyConditions", "QueryFilter", "ScanFilter")


async def resource(call: Call, params: Params) -> str:
    """The ARN of the table or, where one is read, of the index. Notes the condition keys of the request."""
    name, index = str(params.get("TableName", "*")), params.get("IndexName")
    _note(call, {**await facts(call, name, [params]), **_plain(params)})
    arn = names.resource(call, params)
    return arn if index is None else f"{arn}/index/{index}"


async def batch_resources(call: Call, params: Params) -> list[str]:
    """The ARNs of all tables in a batch's RequestItems."""
    noted: list[dict[str, Any]] = []
    for name, requests in (params.get("RequestItems") or {}).items():
        parts = [{**requests, "Key": key} for key in requests["Keys"]] if isinstance(requests, dict) else [
            part for request in requests for part in request.values()
        ]  # fmt: skip
        noted.append(await facts(call, name, parts))
    _note(call, {**_merged(noted), **_plain(params)})
    return [names.resource(call, {"TableName": name}) for name in params.get("RequestItems") or {"*": None}]


async def get_resources(call: Call, params: Params) -> list[str]:
    """The ARNs of all tables that a TransactGetItems reads."""
    gets = [each["Get"] for each in params["TransactItems"]]
    noted = _merged([await facts(call, get["TableName"], [get]) for get in gets])
    _note(call, {**noted, **enclosing(call, params)})
    return list(dict.fromkeys(names.resource(call, get) for get in gets))


async def facts(call: Call, name: str, parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """LeadingKeys and Attributes of requests, or parts of one, to a table. Without the former if there is none."""
    parts = list(parts)
    found: dict[str, Any] = {"dynamodb:Attributes": sorted({each for part in parts for each in _attributes(part)})}
    try:
        key = names.record_key(call, name)
    except AwsError:
        return found

    def body(txn: Transaction) -> Table | None:
        stored = txn.get(key)
        return None if stored is None else table.decode(stored)

    its_table = await call.store.transact(body, read_only=True)
    if its_table is not None:
        leading = [str(value) for part in parts for value in _leading(its_table, part)]
        if leading:
            found["dynamodb:LeadingKeys"] = leading
    return found


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    listed = ("Select", "ReturnValues", "ReturnConsumedCapacity")
    return {f"dynamodb:{name}": params[name] for name in listed if name in params}


def enclosing(call: Call, params: Params) -> dict[str, Any]:
    """What a transaction says of all its parts.

    Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
    """
    return {"dynamodb:EnclosingOperation": call.operation.name, **_plain(params)}


def _merged(noted: list[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for each in noted:
        for name, values in each.items():
            merged.setdefault(name, []).extend(values)
    return merged


def _note(call: Call, keys: Mapping[str, Any]) -> None:
    call.context = {**(call.context or {}), **keys}


def _leading(its_table: Table, part: Mapping[str, Any]) -> Iterator[Any]:
    """The partition key values that a request names."""
    for place in ("Key", "Item"):
        value = (part.get(place) or {}).get(its_table.hash_name)
        if isinstance(value, dict):
            yield from value.values()
    index = next((each for each in its_table.indexes if each.record.name == part.get("IndexName")), None)
    name = index.hash_name if index else its_table.hash_name
    for value in (part.get("KeyConditions") or {}).get(name, {}).get("AttributeValueList", ()):
        yield from value.values()
    values = part.get("ExpressionAttributeValues") or {}
    for node in _nodes(part, "KeyConditionExpression"):
        if isinstance(node, CompareNode) and name in (_head(part, node.left), _head(part, node.right)):
            for side in (node.left, node.right):
                if isinstance(side, ValueNode):
                    yield from values.get(side.name, {}).values()


def _attributes(part: Mapping[str, Any]) -> Iterator[str]:
    """The names of top-level attributes that a request mentions."""
    for place in ("Key", "Item", "ExclusiveStartKey", *_LEGACY):
        yield from part.get(place) or ()
    yield from part.get("AttributesToGet") or ()
    for parameter in (*_CONDITIONS, "UpdateExpression", "ProjectionExpression"):
        for node in _nodes(part, parameter):
            head = _head(part, node)
            if head:
                yield head


def _nodes(part: Mapping[str, Any], parameter: str) -> Iterator[Node]:
    """Everything in an expression; nothing where it is broken, for which the operation refuses it."""
    text = part.get(parameter)
    if not text:
        return
    try:
        if parameter == "ProjectionExpression":
            yield from parse_projection(text)
        elif parameter == "UpdateExpression":
            for action in parse_update(text).actions:
                yield action.path
                if action.operand is not None:
                    yield from walk(action.operand)
        else:
            yield from walk(parse_condition(text).root)
    except ExpressionError:
        return


def _head(part: Mapping[str, Any], node: Node) -> str:
    if not isinstance(node, PathNode):
        return ""
    head = str(node.parts[0])
    return str((part.get("ExpressionAttributeNames") or {}).get(head, head))
