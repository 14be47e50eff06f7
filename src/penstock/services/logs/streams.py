"""Log streams: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/logs/Working-with-log-groups-and-streams.html"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.logs import errors, keys, names
from penstock.services.logs.groups import get_group
from penstock.services.logs.records import Stream, decode_stream, encode
from penstock.store.api import Transaction
from penstock.store.chunked import clear_large_range

PAGE = 50
SEQUENCE_TOKEN = "4" + "9" * 55
"""Streams have none any more ("the sequence token is now ignored"), but answers still carry one."""


def get_stream(txn: Transaction, call: Call, group: str, name: str) -> Stream:
    """The stream's record. Raises AwsError ResourceNotFoundException, for the group first."""
    stored = txn.get(keys.stream(call.account, call.region, group, name))
    if stored is None:
        get_group(txn, call, group)
        raise errors.no_stream()
    return decode_stream(stored)


def all_streams(
    txn: Transaction, call: Call, group: str, prefix: str = "", after: str = ""
) -> Iterator[tuple[str, Stream]]:
    """(name, record) of the group's streams that begin with `prefix`, by name, those behind `after`."""
    where = call.account, call.region, group
    begin = keys.stream(*where, after) + b"\0" if after else keys.stream(*where, prefix)
    # A packed string ends in a zero byte, which a longer name does not have there.
    begin = begin if after else begin[:-1]
    for key, value in txn.scan(begin, keys.range_under(keys.streams(*where))[1]):
        name = keys.last_name(key)
        if not name.startswith(prefix):
            return
        yield name, decode_stream(value)


@operation("logs:CreateLogStream", resource=names.stream_resource)
async def create_log_stream(call: Call, params: Params) -> Result:
    group, name = params["logGroupName"], params["logStreamName"]
    key = keys.stream(call.account, call.region, group, name)

    def body(txn: Transaction) -> Result:
        get_group(txn, call, group)
        if txn.get(key) is not None:
            raise errors.exists("log stream")
        txn.set(key, encode(Stream(round(call.now * 1000))))
        return {}

    return await call.store.transact(body)


@operation("logs:DeleteLogStream", resource=names.stream_resource)
async def delete_log_stream(call: Call, params: Params) -> Result:
    group, name = params["logGroupName"], params["logStreamName"]

    def body(txn: Transaction) -> Result:
        stream = get_stream(txn, call, group, name)
        txn.add(keys.stored_bytes(call.account, call.region, group), -stream.stored_bytes)
        txn.clear(keys.stream(call.account, call.region, group, name))
        clear_large_range(txn, *keys.range_under(keys.chunks(call.account, call.region, group, name)))
        return {}

    return await call.store.transact(body)


@operation("logs:DescribeLogStreams", resource=names.group_resource)
async def describe_log_streams(call: Call, params: Params) -> Result:
    group = names.group_of(call, params)
    prefix, by_time = params.get("logStreamNamePrefix", ""), params.get("orderBy") == "LastEventTime"
    descending, limit = params.get("descending", False), params.get("limit", PAGE)
    if by_time and prefix:
        raise errors.invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
    scope = f"logs:DescribeLogStreams:{call.account}:{call.region}:{group}:{prefix}:{by_time}:{descending}"
    after = _position(scope, params)

    def order(found: tuple[str, Stream]) -> tuple[int, str]:
        return (found[1].last_ms if by_time else 0), found[0]

    def body(txn: Transaction) -> Result:
        get_group(txn, call, group)
        found = all_streams(txn, call, group, prefix, after[1] if after and not by_time and not descending else "")
        if descending:
            page = heapq.nlargest(limit + 1, (s for s in found if after is None or order(s) < after), key=order)
        elif by_time:
            page = heapq.nsmallest(limit + 1, (s for s in found if after is None or order(s) > after), key=order)
        else:
            page = [s for s, _ in zip(found, range(limit + 1), strict=False)]
        result: Result = {"logStreams": [_view(call, group, *s) for s in page[:limit]]}
        if len(page) > limit:
            last_ms, last = order(page[limit - 1])
            result["nextToken"] = paging.encode(scope, f"{last_ms}:{last}")
        return result

    return await call.store.transact(body, read_only=True)


def _position(scope: str, params: Params) -> tuple[int, str] | None:
    token = params.get("nextToken")
    if token is None:
        return None
    try:
        last_ms, _, name = paging.decode(scope, token).decode().partition(":")
        return int(last_ms), name
    except paging.BadToken:
        raise errors.bad_token() from None


def _view(call: Call, group: str, name: str, stream: Stream) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "logStreamName": name,
        "creationTime": stream.created_ms,
        "arn": names.stream_arn(call, group, name),
        "uploadSequenceToken": SEQUENCE_TOKEN,
        # "This parameter is no longer supported for log streams, and is always reported as zero."
        "storedBytes": 0,
    }
    if stream.last_ms >= 0:
        shown["firstEventTimestamp"] = stream.first_ms
        shown["lastEventTimestamp"] = stream.last_ms
    if stream.ingested_ms >= 0:
        shown["lastIngestionTime"] = stream.ingested_ms
    return shown
