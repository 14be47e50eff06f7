"""Scan: all items of a table or an index in order of their partition's hash, or one segment of them."""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import keys, names, pages, permissions, resource_policies, table
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.expressions.request import Expressions
from penstock.services.dynamodb.expressions.scope import Values
from penstock.services.dynamodb.items import refuse_below_keys
from penstock.services.dynamodb.legacy import compile_either
from penstock.services.dynamodb.rules import check_expression_parameters, check_segments
from penstock.store.api import Transaction

_LEGACY = ("AttributesToGet", "ScanFilter", "ConditionalOperator")


@operation("dynamodb:Scan", resource=permissions.resource, policy=resource_policies.load)
async def scan(call: Call, params: Params) -> Result:
    """One page of the table or of a segment of it."""
    check_expression_parameters(params, ("ProjectionExpression", "FilterExpression"), _LEGACY)
    pages.check_select(params)
    check_segments(params)
    expressions, values = compile_either(params)
    return await run(call, params, expressions, values)


async def run(call: Call, params: Params, expressions: Expressions, values: Values) -> Result:
    """The page that compiled expressions mean."""
    start = pages.check_start_key(params)
    segment, total = params.get("Segment", 0), params.get("TotalSegments", 1)
    count_only = params.get("Select") == "COUNT" and expressions.filter is None
    record_key = names.record_key(call, params["TableName"])

    def body(txn: Transaction) -> tuple[pages.Source, pages.Page]:
        source = pages.source_of(table.load(txn, record_key, call), params, expressions)
        begin, end = keys.segment(source.space.prefix, segment, total)
        if start is not None:
            after = pages.start_key_of(source, start)
            if not begin <= after < end:
                raise invalid(
                    "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey "
                    f"with correct Segment. TotalSegments: {total} Segment: {segment}"
                )
            begin = after + b"\0"
        refuse_below_keys(source.table, {str(path[0]): len(path) > 1 for path in expressions.projected})
        refuse_below_keys(source.table, expressions.filter_heads)
        page = pages.read(txn, source, begin, end, limit=params.get("Limit", 0), reverse=False, count_only=count_only)
        if source.table.is_metered:
            pages.take(call, params, source, page)
        return source, page

    source, page = await call.store.transact(body, read_only=True)
    return pages.reply(call, params, source, page, expressions, values)
