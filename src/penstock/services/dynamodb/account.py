"""What is about the account and no table: DescribeLimits, DescribeEndpoints."""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb.table_rules import ACCOUNT_MAX_UNITS, TABLE_MAX_UNITS

_CACHE_MINUTES = 1440


@operation("dynamodb:DescribeLimits")
async def describe_limits(call: Call, params: Params) -> Result:
    """AWS's default quotas of provisioned capacity."""
    return {
        "AccountMaxReadCapacityUnits": ACCOUNT_MAX_UNITS,
        "AccountMaxWriteCapacityUnits": ACCOUNT_MAX_UNITS,
        "TableMaxReadCapacityUnits": TABLE_MAX_UNITS,
        "TableMaxWriteCapacityUnits": TABLE_MAX_UNITS,
    }


@operation("dynamodb:DescribeEndpoints", action="dynamodb:DescribeEndpoints")
async def describe_endpoints(call: Call, params: Params) -> Result:
    """The endpoint that the caller is using already."""
    address = call.endpoint.partition("://")[2] or f"dynamodb.{call.region}.amazonaws.com"
    return {"Endpoints": [{"Address": address, "CachePeriodInMinutes": _CACHE_MINUTES}]}
