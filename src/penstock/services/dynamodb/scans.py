"""Scan: all items of a table in order of their partition's hash, or one segment of them."""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import keys, names, pages, table
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.items import refuse_below_keys
from penstock.services.dynamodb.legacy import compile_either
from penstock.services.dynamodb.rules import check_expression_parameters, check_segments
from penstock.services.dynamodb.table import Table
from penstock.store.api import Transaction

_LEGACY = ("AttributesToGet", "ScanFilter", "ConditionalOperator")


@operation("dynamodb:Scan", resource=names.resource)
async def scan(call: Call, params: Params) -> Result:
    """One page of the table or of a segment of it."""
    check_expression_parameters(params, ("ProjectionExpression", "FilterExpression"), _LEGACY)
    pages.check_select(params, "Scanning")
    start = pages.check_start_key(params)
    check_segments(params)
    expressions, values = compile_either(params)
    segment, total = params.get("Segment", 0), params.get("TotalSegments", 1)
    count_only = params.get("Select") == "COUNT" and expressions.filter is None
    record_key = names.record_key(call, params["TableName"])

    def body(txn: Transaction) -> tuple[Table, pages.Page]:
        found = table.load(txn, record_key)
        if "IndexName" in params:
            raise invalid(f"The table does not have the specified index: {params['IndexName']}")
        begin, end = keys.segment(found.prefix, segment, total)
        if start is not None:
            after = pages.start_key_of(found, start)
            if not begin <= after < end:
                raise invalid(
                    "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey "
                    f"with correct Segment. TotalSegments: {total} Segment: {segment}"
                )
            begin = after + b"\0"
        refuse_below_keys(found, {str(path[0]): len(path) > 1 for path in expressions.projected})
        refuse_below_keys(found, expressions.filter_heads)
        page = pages.read(txn, found, begin, end, limit=params.get("Limit", 0), reverse=False, count_only=count_only)
        return found, page

    found, page = await call.store.transact(body, read_only=True)
    return pages.reply(params, found, page, expressions, values)
