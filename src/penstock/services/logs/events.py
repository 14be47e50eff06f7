"""Log events: put, get, filter.

Positions in page tokens are places between events, so that a token stays good while events come in and expire.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.logs import chunks, errors, keys, names, rules
from penstock.services.logs.chunks import Event, Place
from penstock.services.logs.groups import get_group
from penstock.services.logs.patterns import compile_pattern
from penstock.services.logs.records import Group, Stream, encode
from penstock.services.logs.streams import SEQUENCE_TOKEN, all_streams, get_stream
from penstock.store.api import Transaction

PAGE_EVENTS = 10_000
PAGE_BYTES = 1_048_576
SEARCH_BYTES = 1_048_576
"""What one FilterLogEvents looks at before it answers with what it has and a token: tens of milliseconds."""
_FOR_EVER_MS = 1 << 53
_DESCENDING_SINCE_MS = 1_704_067_200_000


@operation("logs:PutLogEvents", resource=names.stream_resource, unsupported={"entity": ()})
async def put_log_events(call: Call, params: Params) -> Result:
    group_name, name = params["logGroupName"], params["logStreamName"]
    params.pop("sequenceToken", None)  # "The sequence token is now ignored": any will do
    events = rules.sized(params["logEvents"])
    now_ms = round(call.now * 1000)
    where = call.account, call.region, group_name

    def body(txn: Transaction) -> Result:
        group = get_group(txn, call, group_name)
        stream = get_stream(txn, call, group_name, name)
        kept, rejected = rules.accepted(events, now_ms, group.retention_days)
        if kept:
            size_bytes = chunks.write(txn, keys.chunks(*where, name), stream, now_ms, kept)
            txn.set(keys.stream(*where, name), encode(stream))
            txn.add(keys.stored_bytes(*where), size_bytes)
        result: Result = {"nextSequenceToken": SEQUENCE_TOKEN}
        if rejected:
            result["rejectedLogEventsInfo"] = rejected
        return result

    return await call.store.transact(body)


@operation("logs:GetLogEvents", resource=names.stream_resource, unsupported={"unmask": (False,)})
async def get_log_events(call: Call, params: Params) -> Result:
    group_name, name = names.group_of(call, params), params["logStreamName"]
    scope = f"logs:GetLogEvents:{call.account}:{call.region}:{group_name}:{name}"
    forward = bool(params.get("startFromHead", False))
    at: Place | None = None
    if "nextToken" in params:
        forward, at = _decode_token(scope, params["nextToken"])
    from_ms, until_ms = params.get("startTime", 0), params.get("endTime", _FOR_EVER_MS)
    limit = params.get("limit", PAGE_EVENTS)

    def body(txn: Transaction) -> Result:
        group = get_group(txn, call, group_name)
        get_stream(txn, call, group_name, name)
        prefix = keys.chunks(call.account, call.region, group_name, name)
        oldest_ms = max(from_ms, _oldest_ms(call, group))
        found = chunks.read(txn, prefix, name, *_narrowed(oldest_ms, until_ms, at, forward), reverse=not forward)
        page = _page(_beyond(found, at, forward), limit)
        if not forward:
            page.reverse()
        edge = at or Place(from_ms, name, 0, 0)
        first = Place(*page[0].place) if page else edge
        last = Place(*page[-1].place) if page else edge
        return {
            "events": [{"timestamp": e.time_ms, "message": e.message, "ingestionTime": e.ingested_ms} for e in page],
            "nextForwardToken": _encode_token(scope, True, last),
            "nextBackwardToken": _encode_token(scope, False, first),
        }

    return await call.store.transact(body, read_only=True)


@operation("logs:FilterLogEvents", resource=names.group_resource, unsupported={"unmask": (False,)})
async def filter_log_events(call: Call, params: Params) -> Result:
    group_name = names.group_of(call, params)
    params.pop("interleaved", None)  # "this parameter is ignored and the value is assumed to be true"
    wanted, prefix = params.get("logStreamNames"), params.get("logStreamNamePrefix", "")
    if wanted and prefix:
        raise errors.invalid("LogStreamNames and LogStreamNamePrefix are mutually exclusive parameters.")
    matches = compile_pattern(params.get("filterPattern", ""))
    scope = f"logs:FilterLogEvents:{call.account}:{call.region}:{group_name}"
    from_ms, until_ms = params.get("startTime", 0), params.get("endTime", _FOR_EVER_MS) + 1
    forward, at = _direction(scope, params, from_ms)
    limit = params.get("limit", PAGE_EVENTS)

    def body(txn: Transaction) -> Result:
        oldest_ms = max(from_ms, _oldest_ms(call, get_group(txn, call, group_name)))
        streams = [
            (name, stream, keys.chunks(call.account, call.region, group_name, name))
            for name, stream in _chosen(txn, call, group_name, wanted, prefix)
        ]
        found = chunks.read_many(txn, streams, *_narrowed(oldest_ms, until_ms, at, forward), reverse=not forward)
        page, searched_to = _search(_beyond(found, at, forward), matches, limit)
        result: Result = {"events": page, "searchedLogStreams": []}
        if searched_to is not None:
            result["nextToken"] = _encode_token(scope, forward, searched_to)
        return result

    return await call.store.transact(body, read_only=True)


def _direction(scope: str, params: Params, from_ms: int) -> tuple[bool, Place | None]:
    if "nextToken" in params:
        return _decode_token(scope, params["nextToken"])
    forward = params.get("startFromHead", True)
    if not forward and from_ms < _DESCENDING_SINCE_MS:
        raise errors.invalid("startFromHead can be false only with a startTime on or after January 1, 2024.")
    return forward, None


def _chosen(
    txn: Transaction, call: Call, group: str, wanted: list[str] | None, prefix: str
) -> Iterator[tuple[str, Stream]]:
    if wanted is None:
        yield from all_streams(txn, call, group, prefix)
        return
    for name in sorted(set(wanted)):
        yield name, get_stream(txn, call, group, name)


def _search(events: Iterator[Event], matches: Any, limit: int) -> tuple[list[dict[str, Any]], Place | None]:
    """Matching events for one page, and where to go on (None: that was all)."""
    page: list[dict[str, Any]] = []
    page_bytes = searched_bytes = 0
    last: Event | None = None
    for event in events:
        size_bytes = len(event.message) + chunks.EVENT_OVERHEAD_BYTES
        matched = matches(event.message)
        if last is not None and (
            searched_bytes >= SEARCH_BYTES
            or (matched and (len(page) >= limit or page_bytes + size_bytes > PAGE_BYTES) and page)
        ):
            return page, Place(*last.place)
        searched_bytes += size_bytes
        if matched:
            page_bytes += size_bytes
            page.append(
                {
                    "logStreamName": event.stream, "timestamp": event.time_ms, "message": event.message,
                    "ingestionTime": event.ingested_ms, "eventId": _event_id(event),
                }
            )  # fmt: skip
        last = event
    return page, None


def _page(events: Iterator[Event], limit: int) -> list[Event]:
    page: list[Event] = []
    size_bytes = 0
    for event in events:
        size_bytes += len(event.message) + chunks.EVENT_OVERHEAD_BYTES
        if page and size_bytes > PAGE_BYTES:
            break
        page.append(event)
        if len(page) >= limit:
            break
    return page


def _oldest_ms(call: Call, group: Group) -> int:
    """Events before this have expired, whether they are removed yet or not."""
    return round(call.now * 1000) - group.retention_days * rules.DAY_MS if group.retention_days else 0


def _narrowed(from_ms: int, until_ms: int, at: Place | None, forward: bool) -> tuple[int, int]:
    if at is None:
        return from_ms, until_ms
    return (max(from_ms, at.time_ms), until_ms) if forward else (from_ms, min(until_ms, at.time_ms + 1))


def _beyond(events: Iterator[Event], at: Place | None, forward: bool) -> Iterator[Event]:
    """Those after the place, or before it when going backward."""
    if at is None:
        return events
    return (event for event in events if (event.place > at if forward else event.place < at))


def _encode_token(scope: str, forward: bool, place: Place) -> str:
    time_ms, stream, seq, index = place
    packed = struct.pack(">QQI", time_ms, seq, index) + stream.encode()
    return ("f/" if forward else "b/") + paging.encode(scope, packed)


def _decode_token(scope: str, token: str) -> tuple[bool, Place]:
    try:
        packed = paging.decode(scope, token[2:])
    except paging.BadToken:
        raise errors.bad_token() from None
    if token[:2] not in ("f/", "b/"):
        raise errors.bad_token()
    time_ms, seq, index = struct.unpack_from(">QQI", packed)
    return token[0] == "f", Place(time_ms, packed[20:].decode(), seq, index)


def _event_id(event: Event) -> str:
    """56 digits, like AWS's: they order as events do, and are the same each time."""
    stream = int.from_bytes(blake2b(event.stream.encode(), digest_size=6).digest(), "big")
    number = (((event.time_ms << 48 | stream) << 48 | event.seq & (1 << 48) - 1) << 16) | event.nth & 0xFFFF
    return str(number).zfill(56)[-56:]
