"""Kinesis streams as destinations of a table's changes. There is no Kinesis yet, so no table has one: to enable one is no
operation of the registry, which refuses it."""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import keys, names, resource_policies
from penstock.services.dynamodb.errors import table_missing_by_name


@operation("dynamodb:DescribeKinesisStreamingDestination", resource=names.resource, policy=resource_policies.load)
async def describe_kinesis_streaming_destination(call: Call, params: Params) -> Result:
    """The table's destinations: none."""
    name = names.resolve(call.account, call.region, params["TableName"])
    key = keys.table(call.account, call.region, name)
    if await call.store.transact(lambda txn: txn.get(key), read_only=True) is None:
        raise table_missing_by_name(name)
    return {"TableName": name, "KinesisDataStreamDestinations": []}
