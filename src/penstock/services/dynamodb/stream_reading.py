"""The DynamoDB Streams API: ListStreams, DescribeStream, GetShardIterator, GetRecords.

A sequence number is a position in a shard's log as a decimal number of always 35 digits, so that text and number have
the same order. An iterator names a stream, a shard and the position to read behind, and is good for 15 minutes.
Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations_Amazon_DynamoDB_Streams.html
"""

from __future__ import annotations

import datetime
import hashlib
import re
from functools import partial
from typing import Any, NamedTuple

import msgspec

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import changes, keys, names, resource_policies, streams
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.streams import ShardRecord, StreamRecord
from penstock.store.api import Transaction
from penstock.store.log import POSITION_BYTES
from penstock.wire.errors import AwsError

MAX_RECORDS = 1000
MAX_BYTES = 1024 * 1024
MAX_LISTED = 100
ITERATOR_S = 900.0
_FIRST_NUMBER = 10**34
_ARN = re.compile(r"arn:aws:dynamodb:([a-z0-9-]+):([0-9]{12}):table/([a-zA-Z0-9_.-]+)/stream/([0-9T:.-]+)\Z").match
_NEEDED = {"SequenceNumber": ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"), "Timestamp": ("AT_TIMESTAMP",)}
_SCOPE = "dynamodbstreams:GetRecords"
_NO_STREAM = "Requested resource not found: Stream: {} not found"


class _Iterator(msgspec.Struct, array_like=True):
    """What an iterator says. at: when it was given out, by the server's clock."""

    stream: str
    shard: int
    after: bytes
    at: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Iterator).decode


def _sequence_number(position: bytes) -> str:
    return str(_FIRST_NUMBER + int.from_bytes(position, "big"))


def _position(sequence_number: str) -> bytes:
    """Raises ValidationException for what cannot be a sequence number of ours."""
    value = int(sequence_number) - _FIRST_NUMBER if sequence_number.isascii() and sequence_number.isdigit() else -1
    if not 0 <= value < 1 << 8 * POSITION_BYTES:
        raise invalid(f"Invalid SequenceNumber: {sequence_number}")
    return value.to_bytes(POSITION_BYTES, "big")


def _load(txn: Transaction, call: Call, arn: str) -> StreamRecord:
    """Raises ResourceNotFoundException, AccessDeniedException for another account's, ValidationException."""
    match = _ARN(arn)
    if match is None:
        raise invalid(f"Invalid StreamArn: {arn}")
    region, account, name, label = match.groups()
    if (account, region) != (call.account, call.region):
        raise AwsError("AccessDeniedException", f"There is no access to {arn} from {call.account} in {call.region}")
    stored = txn.get(keys.stream(account, region, name, label))
    if stored is None:
        raise AwsError("ResourceNotFoundException", _NO_STREAM.format(arn))
    return streams.decode(stored)


@operation("dynamodbstreams:ListStreams", action="dynamodb:ListStreams")
async def list_streams(call: Call, params: Params) -> Result:
    """Streams of a table's name or of all, in order of name and label, at most 100 at a time."""
    limit = min(params.get("Limit", MAX_LISTED), MAX_LISTED)
    place = [call.account, call.region]
    if "TableName" in params:
        place.append(names.resolve(call.account, call.region, params["TableName"]))
    begin, end = keys.streams(*place)
    start = params.get("ExclusiveStartStreamArn")
    if start is not None:
        match = _ARN(start)
        if match is None:
            raise invalid(f"Invalid StreamArn: {start}")
        begin = max(begin, keys.stream(call.account, call.region, match[3], match[4]) + b"\0")

    def body(txn: Transaction) -> list[StreamRecord]:
        return [streams.decode(stored) for _, stored in txn.scan(begin, end, limit + 1)] if begin < end else []

    found = await call.store.transact(body, read_only=True)
    listed = [{"StreamArn": each.arn, "TableName": each.table, "StreamLabel": each.label} for each in found[:limit]]
    result: Result = {"Streams": listed}
    if len(found) > limit:
        result["LastEvaluatedStreamArn"] = found[limit - 1].arn
    return result


@operation(
    "dynamodbstreams:DescribeStream",
    action="dynamodb:DescribeStream",
    resource="{StreamArn}",
    policy=resource_policies.load,
)
async def describe_stream(call: Call, params: Params) -> Result:
    """The stream and its shards, at most 100 at a time; with a ShardFilter only the children of one."""
    arn = params["StreamArn"]

    def body(txn: Transaction) -> tuple[StreamRecord, list[ShardRecord]]:
        stream = _load(txn, call, arn)
        return stream, streams.read_shards(txn, stream)

    stream, shards = await call.store.transact(body, read_only=True)
    shown = [_shard(shard, shards) for shard in shards]
    wanted = params.get("ShardFilter")
    if wanted is not None:
        shown = [each for each in shown if each.get("ParentShardId") == wanted.get("ShardId")]
    start = params.get("ExclusiveStartShardId")
    if start is not None:
        known = [each["ShardId"] for each in shown]
        shown = shown[known.index(start) + 1 :] if start in known else [e for e in shown if e["ShardId"] > start]
    limit = min(params.get("Limit", MAX_LISTED), MAX_LISTED)
    schema = [{"AttributeName": stream.hash_key, "KeyType": "HASH"}]
    if stream.range_key:
        schema.append({"AttributeName": stream.range_key, "KeyType": "RANGE"})
    described: dict[str, Any] = {
        "StreamArn": stream.arn,
        "StreamLabel": stream.label,
        "StreamStatus": "DISABLED" if stream.disabled_at else "ENABLED",
        "StreamViewType": stream.view,
        "CreationRequestDateTime": stream.created_at,
        "TableName": stream.table,
        "KeySchema": schema,
        "Shards": shown[:limit],
    }
    if len(shown) > limit:
        described["LastEvaluatedShardId"] = shown[limit - 1]["ShardId"]
    return {"StreamDescription": described}


def _shard(shard: ShardRecord, shards: list[ShardRecord]) -> dict[str, Any]:
    numbers = {"StartingSequenceNumber": _sequence_number(shard.begins)}
    if shard.ends:
        numbers["EndingSequenceNumber"] = _sequence_number(shard.ends)
    shown: dict[str, Any] = {"ShardId": shard.id, "SequenceNumberRange": numbers}
    parent = next((each for each in shards if each.number == shard.number - 1), None)
    if parent is not None:
        shown["ParentShardId"] = parent.id
    return shown


@operation(
    "dynamodbstreams:GetShardIterator",
    action="dynamodb:GetShardIterator",
    resource="{StreamArn}",
    policy=resource_policies.load,
)
async def get_shard_iterator(call: Call, params: Params) -> Result:
    """An iterator that reads from a place in a shard."""
    arn, kind = params["StreamArn"], params["ShardIteratorType"]
    for name, kinds in _NEEDED.items():
        if kind in kinds and name not in params:
            raise invalid(f"Must specify {name} with ShardIteratorType {kind}")
        if name in params and kind not in kinds:
            raise invalid(f"{name} must not be specified with ShardIteratorType {kind}")
    if params.get("Timestamp", 0) > call.now:
        raise invalid("Timestamp must not be in the future")
    position = _position(params["SequenceNumber"]) if "SequenceNumber" in params else b""

    def body(txn: Transaction) -> tuple[StreamRecord, ShardRecord, bytes]:
        stream = _load(txn, call, arn)
        shard = next((each for each in streams.read_shards(txn, stream) if each.id == params["ShardId"]), None)
        if shard is None:
            raise AwsError(
                "ResourceNotFoundException",
                f"Requested resource not found: Shard: {params['ShardId']} in Stream: {arn} not found",
            )
        return stream, shard, _behind(txn, stream, shard, kind, position)

    stream, shard, behind = await call.store.transact(body, read_only=True)
    if kind == "AT_TIMESTAMP":
        behind = await _before(call, stream, shard, params["Timestamp"])
    return {"ShardIterator": paging.encode(_SCOPE, _encode(_Iterator(arn, shard.number, behind, call.now)))}


def _behind(txn: Transaction, stream: StreamRecord, shard: ShardRecord, kind: str, position: bytes) -> bytes:
    """The position to read behind. Raises ValidationException, TrimmedDataAccessException."""
    log = streams.shard_log(stream, shard.number)
    if kind == "LATEST":
        return log.last(txn) or log.trimmed(txn)
    if not position:
        return b""
    if position < shard.begins or (shard.ends and position > shard.ends):
        raise invalid(f"Invalid SequenceNumber: {_sequence_number(position)} is not in the shard {shard.id}")
    if position < log.trimmed(txn):
        raise _trimmed()
    if kind == "AFTER_SEQUENCE_NUMBER":
        return position
    return max(int.from_bytes(position, "big") - 1, 0).to_bytes(POSITION_BYTES, "big")


async def _before(call: Call, stream: StreamRecord, shard: ShardRecord, at: float) -> bytes:
    """The position of the last of the records at the shard's beginning that are older than `at`; empty for none."""
    log, behind = streams.shard_log(stream, shard.number), b""
    while found := await call.store.transact(partial(log.read, after=behind, limit=MAX_RECORDS), read_only=True):
        for position, stored in found:
            if int(changes.decode(stored).at) >= at:
                return behind
            behind = position
    return behind


def _trimmed() -> AwsError:
    return AwsError(
        "TrimmedDataAccessException", "The operation attempted to read past the oldest stream record in a shard."
    )


def _read_iterator(text: str) -> _Iterator:
    """Raises ValidationException."""
    try:
        return _decode(paging.decode(_SCOPE, text))
    except (paging.BadToken, msgspec.MsgspecError):
        raise invalid("Invalid ShardIterator") from None


def _stream_of_iterator(call: Call, params: Params) -> str:
    return _read_iterator(params["ShardIterator"]).stream


async def _policy_of_iterator(call: Call, params: Params) -> str | None:
    return await resource_policies.load(call, {"StreamArn": _stream_of_iterator(call, params)})


class _Found(NamedTuple):
    stream: StreamRecord
    records: list[tuple[bytes, bytes]]
    is_over: bool


@operation(
    "dynamodbstreams:GetRecords", action="dynamodb:GetRecords", resource=_stream_of_iterator, policy=_policy_of_iterator
)
async def get_records(call: Call, params: Params) -> Result:
    """Up to 1,000 records or 1 MB, and the iterator to go on with; without one where a closed shard ends."""
    iterator = _read_iterator(params["ShardIterator"])
    if iterator.at + ITERATOR_S < call.now:
        raise AwsError(
            "ExpiredIteratorException",
            f"Iterator expired. The iterator was created at time {_time(iterator.at)} while right now it is "
            f"{_time(call.now)} which is further in the future than the tolerated delay of 900000 milliseconds.",
        )
    limit = min(params.get("Limit", MAX_RECORDS), MAX_RECORDS)

    def body(txn: Transaction) -> _Found:
        stream = _load(txn, call, iterator.stream)
        shard = next((each for each in streams.read_shards(txn, stream) if each.number == iterator.shard), None)
        if shard is None:
            raise _trimmed()
        log = streams.shard_log(stream, shard.number)
        if iterator.after and streams.after(iterator.after) < log.trimmed(txn):
            raise _trimmed()
        if stream.lock is not None:
            stream.lock.require(call)
        records = log.read(txn, iterator.after, limit, MAX_BYTES)
        last = records[-1][0] if records else iterator.after
        is_over = bool(shard.ends) and (last >= shard.ends or not log.read(txn, last, 1))
        return _Found(stream, records, is_over)

    found = await call.store.transact(body, read_only=True)
    result: Result = {"Records": [_record(call.region, found.stream, *each) for each in found.records]}
    if not found.is_over:
        behind = found.records[-1][0] if found.records else iterator.after
        next_one = _Iterator(iterator.stream, iterator.shard, behind, call.now)
        result["NextShardIterator"] = paging.encode(_SCOPE, _encode(next_one))
    return result


def _record(region: str, stream: StreamRecord, position: bytes, stored: bytes) -> dict[str, Any]:
    change = changes.decode(stored)
    if change.sealed:
        changes.unseal(change, stream.lock, stream.table_id)
    told: dict[str, Any] = {
        "ApproximateCreationDateTime": int(change.at),
        "Keys": msgspec.Raw(change.keys),
        "SequenceNumber": _sequence_number(position),
        "SizeBytes": change.size_bytes,
        "StreamViewType": stream.view,
    }
    if change.new:
        told["NewImage"] = msgspec.Raw(change.new)
    if change.old:
        told["OldImage"] = msgspec.Raw(change.old)
    record: dict[str, Any] = {
        "eventID": hashlib.blake2b(position, key=stream.arn.encode()[-64:], digest_size=16).hexdigest(),
        "eventName": changes.EVENT_NAMES[change.event],
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": region,
        "dynamodb": told,
    }
    if change.expired:
        record["userIdentity"] = {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}
    return record


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
