"""Answers in events, read by botocore's own reader of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import peer
from penstock.wire import codec, event_stream, models
from penstock.wire.errors import AwsError


async def events(*made: dict[str, Any], error: AwsError | None = None) -> AsyncIterator[dict[str, Any]]:
    for event in made:
        yield event
    if error is not None:
        raise error


async def answered(service: str, operation: str, result: dict[str, Any]) -> list[Any]:
    protocol = models.service(service).protocols[0]
    response = codec.codec(service, operation, protocol).serialize(result, "request-1")
    assert ("Content-Type", "application/vnd.amazon.eventstream") in response.headers
    assert response.length is None
    assert response.stream is not None
    buffer = EventStreamBuffer()
    async for piece in response.stream:
        buffer.add_data(piece)
    return [(m.headers, m.payload) for m in buffer]


HEADERS = st.dictionaries(
    st.text("abcdefgh:-", min_size=1, max_size=20),
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=100) | st.binary(max_size=100),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a busy machine, not of the code
@given(HEADERS, st.binary(max_size=1000))
def test_a_message_comes_back(headers: dict[str, Any], payload: bytes) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(event_stream.message(headers, payload))
    (message,) = buffer
    assert message.headers == headers
    assert message.payload == payload


async def test_lambda_streams_bytes_and_ends_with_json() -> None:
    made = events({"PayloadChunk": {"Payload": b"\x00a"}}, {"InvokeComplete": {"LogResult": "x"}})
    chunk, end = await answered("lambda", "InvokeWithResponseStream", {"StatusCode": 200, "EventStream": made})
    assert chunk[0][":event-type"] == "PayloadChunk"
    assert chunk[1] == b"\x00a"
    assert end[0][":event-type"] == "InvokeComplete"
    assert json.loads(end[1]) == {"LogResult": "x"}


async def test_kinesis_begins_with_an_initial_response_and_cuts_timestamps() -> None:
    record = {"SequenceNumber": "1", "Data": b"x", "PartitionKey": "k", "ApproximateArrivalTimestamp": 1.5}
    first, event = await answered(
        "kinesis", "SubscribeToShard",
        {"EventStream": events({"SubscribeToShardEvent": {"Records": [record], "MillisBehindLatest": 0}})},
    )  # fmt: skip
    assert first[0][":event-type"] == "initial-response"
    assert first[1] == b"{}"
    assert json.loads(event[1])["Records"][0] == {**record, "Data": "eA=="}


async def test_s3_select_streams_xml_beside_bytes() -> None:
    stats = {"Details": {"BytesScanned": 5, "BytesProcessed": 5, "BytesReturned": 1}}
    made = events({"Records": {"Payload": b"a,b\n"}}, {"Stats": stats}, {"Cont": {}}, {"End": {}})
    records, counted, again, end = await answered("s3", "SelectObjectContent", {"Payload": made})
    assert records[1] == b"a,b\n"
    assert counted[0][":content-type"] == "text/xml"
    assert b"<Stats><BytesScanned>5</BytesScanned>" in counted[1]
    assert again[1] == end[1] == b""


@pytest.mark.parametrize(
    ("code", "headers"),
    [
        ("ResourceInUseException", {":message-type": "exception", ":exception-type": "ResourceInUseException"}),
        ("InternalError", {":message-type": "error", ":error-code": "InternalError", ":error-message": "gone"}),
    ],
)
async def test_an_error_is_the_last_message(code: str, headers: dict[str, str]) -> None:
    made = events({"SubscribeToShardEvent": {}}, error=AwsError(code, "gone"))
    *_, last = await answered("kinesis", "SubscribeToShard", {"EventStream": made})
    assert headers.items() <= last[0].items()
    if "exception" in headers.values():
        assert json.loads(last[1]) == {"message": "gone"}


def test_every_event_stream_of_the_models_has_a_writer() -> None:
    for service in ("s3", "lambda", "kinesis", "logs"):
        model = peer.ours(service)
        for name in model.operations:
            shape = model.output_shape(name)
            if member := event_stream.find(model, shape):
                assert shape is not None
                event_stream.EventWriter(model, model.shapes[shape.members[member].shape], model.protocols[0])
