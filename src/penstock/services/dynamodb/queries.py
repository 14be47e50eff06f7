"""Query: the items of one partition of a table or an index, in order of their sort key."""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import names, pages, permissions, resource_policies, table
from penstock.services.dynamodb.attributes import Item
from penstock.services.dynamodb.errors import COUNT, invalid
from penstock.services.dynamodb.expressions.request import Expressions
from penstock.services.dynamodb.expressions.scope import Values
from penstock.services.dynamodb.items import refuse_below_keys
from penstock.services.dynamodb.key_ranges import KeyRange, key_range
from penstock.services.dynamodb.legacy import compile_either
from penstock.services.dynamodb.rules import check_expression_parameters
from penstock.store.api import Transaction

_LEGACY = ("AttributesToGet", "QueryFilter", "ConditionalOperator", "KeyConditions")
_EXPRESSIONS = ("ProjectionExpression", "FilterExpression", "KeyConditionExpression")


MAX_CONDITIONS = 8
"""Of an index with four attributes in its partition key and as many in its sort key."""


@operation("dynamodb:Query", resource=permissions.resource, policy=resource_policies.load)
async def query(call: Call, params: Params) -> Result:
    """One page of the items that the key conditions mean."""
    check_expression_parameters(params, _EXPRESSIONS, _LEGACY)
    pages.check_select(params, COUNT)
    if "KeyConditionExpression" not in params and "KeyConditions" not in params:
        raise invalid("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
    expressions, values = compile_either(params)
    if not 1 <= len(expressions.key_conditions) <= MAX_CONDITIONS:
        raise invalid("Conditions can be of length 1 or 2 only")
    return await run(call, params, expressions, values)


async def run(
    call: Call, params: Params, expressions: Expressions, values: Values, *, keys_in_filter: bool = False
) -> Result:
    """The page that compiled expressions mean. keys_in_filter: whether the filter may look at keys, as PartiQL's may."""
    start = pages.check_start_key(params)
    reverse = params.get("ScanIndexForward") is False
    count_only = params.get("Select") == "COUNT" and expressions.filter is None
    record_key = names.record_key(call, params["TableName"])

    def body(txn: Transaction) -> tuple[pages.Source, pages.Page]:
        source = pages.source_of(table.load(txn, record_key, call), params, expressions)
        wanted = key_range(source.space, expressions.key_conditions, values)
        begin, end = wanted.begin, wanted.end
        if start is not None:
            after = _start(source, wanted, start)
            begin, end = (begin, min(end, after)) if reverse else (max(begin, after + b"\0"), end)
        if not keys_in_filter:
            check_filter(source, expressions, "QueryFilter" if "QueryFilter" in params else "Filter Expression")
        page = pages.read(
            txn, source, begin, max(begin, end), limit=params.get("Limit", 0), reverse=reverse, count_only=count_only
        )
        if source.table.is_metered:
            pages.take(call, params, source, page, wanted.partition)
        return source, page

    source, page = await call.store.transact(body, read_only=True)
    return pages.reply(call, params, source, page, expressions, values)


def _start(source: pages.Source, wanted: KeyRange, start: Item) -> bytes:
    """The key after which to go on. Raises ValidationException for one that the conditions exclude."""
    index = source.secondary
    if start.keys() != {*source.table.key_names, *(index.own_key_names if index else ())}:
        raise invalid("The provided starting key is invalid")
    after = pages.start_key_of(source, start)
    same_partition = after.startswith(wanted.partition)
    if wanted.sort_condition is None:
        if not same_partition:
            raise invalid("The provided starting key is outside query boundaries based on provided conditions")
    elif not same_partition:
        raise invalid("The query can return at most one row and cannot be restarted")
    elif not wanted.begin <= after < wanted.end:
        raise invalid("The provided starting key does not match the range key predicate")
    return after


def check_filter(source: pages.Source, expressions: Expressions, called: str) -> None:
    """A filter is about what is no key; paths do not go below keys. Raises ValidationException."""
    if expressions.projected:
        refuse_below_keys(source.table, {str(path[0]): len(path) > 1 for path in expressions.projected})
    for name in source.space.own_key_names:
        if name in expressions.filter_heads:
            raise invalid(f"{called} can only contain non-primary key attributes: Primary key attribute: {name}")
