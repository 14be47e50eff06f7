"""Pages of what Describe… lists: all of a namespace, of a resource, of a dimension, of some names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.services.application_autoscaling.records import Record, decode, invalid, refuse_others
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

_PAGE = 50


async def page(
    call: Call, params: Params, kind: type[Record], span: tuple[bytes, bytes], *, right: Callable[[Record], bool],
    show: Callable[[Record], dict[str, Any]], member: str, reverse: bool = False,
) -> Result:  # fmt: skip
    """The records of a range that are `right` and of the request's ScalableDimension. Raises InvalidNextTokenException."""
    refuse_others(params)
    most = params.get("MaxResults", _PAGE)
    if not 1 <= most <= _PAGE:
        raise invalid(f"MaxResults must be between 1 and {_PAGE}")
    dimension = params.get("ScalableDimension")
    if (
        dimension is not None
        and kind.__name__ != "Activity"
        and not (params.get("ResourceId") or params.get("ResourceIds"))
    ):
        raise invalid("Scalable dimension cannot be specified without a resource ID")
    scope = f"{call.operation.name} {call.account} {call.region} {params.get('ResourceId')} {dimension}"
    begin, end = span
    if "NextToken" in params:
        try:
            after = paging.decode(scope, params["NextToken"])
        except paging.BadToken:
            raise AwsError("InvalidNextTokenException", "The next token supplied was invalid") from None
        begin, end = (begin, after) if reverse else (after + b"\0", end)

    def body(txn: Transaction) -> list[tuple[bytes, Record]]:
        found = []
        for key, stored in txn.scan(begin, end, reverse=reverse):
            record = decode(stored, kind)
            if (dimension is None or record.dimension == dimension) and right(record):
                found.append((key, record))
                if len(found) > most:
                    break
        return found

    found = await call.store.transact(body, read_only=True)
    result: Result = {member: [show(record) for _, record in found[:most]]}
    if len(found) > most:
        result["NextToken"] = paging.encode(scope, found[most - 1][0])
    return result
