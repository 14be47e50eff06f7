"""Operations that answer in events, from the handler to boto3 and to a client of HTTP/2, by operations of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import boto3
import httpx
import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError, EventStreamError

from penstock.core.call import Call
from penstock.core.operation import REGISTRY, Operation
from penstock.wire import cbor
from penstock.wire.errors import AwsError
from protocol.conftest import Edge, Params
from protocol.test_cbor_and_gzip import OLD
from protocol.test_chain import JSON, sign
from protocol.test_http2_chain import ask

TARGET = {"X-Amz-Target": "Kinesis_20131202.SubscribeToShard"}


class Shard:
    """Gives an event for each that is put, and says who let go of it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Params | BaseException | None] = asyncio.Queue()
        self.left = asyncio.Event()

    async def read(self) -> AsyncIterator[dict[str, Params]]:
        try:
            while (event := await self.queue.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield {"SubscribeToShardEvent": event}
        finally:
            self.left.set()

    def put(self, data: bytes) -> None:
        record = {"SequenceNumber": "1", "Data": data, "PartitionKey": "p"}
        self.queue.put_nowait({"Records": [record], "ContinuationSequenceNumber": "1", "MillisBehindLatest": 0})


@pytest.fixture
def shard(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> Shard:
    made = Shard()

    async def subscribe(call: Call, params: Params) -> Params:
        if params["ShardId"] == "none":
            raise AwsError("ResourceNotFoundException", "no such shard")
        return {"EventStream": made.read()}

    found = Operation("kinesis", "SubscribeToShard", subscribe, "", "*", None, None, {})
    monkeypatch.setitem(REGISTRY, ("kinesis", "SubscribeToShard"), found)
    return made


def asked(shard_id: str = "s") -> Params:
    arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:1"
    return {"ConsumerARN": arn, "ShardId": shard_id, "StartingPosition": {"Type": "LATEST"}}


async def subscribe(edge: Edge, shard_id: str = "s") -> Any:
    client = boto3.client(
        "kinesis", endpoint_url=edge.endpoint, region_name="us-east-1", aws_access_key_id="test",
        aws_secret_access_key="test",
    )  # fmt: skip
    return await asyncio.to_thread(client.subscribe_to_shard, **asked(shard_id))


def data(event: Any) -> bytes:
    found: bytes = event["SubscribeToShardEvent"]["Records"][0]["Data"]
    return found


async def test_boto3_sees_each_event_as_it_comes(edge: Edge, shard: Shard) -> None:
    shard.put(b"one")
    events = iter((await subscribe(edge))["EventStream"])
    assert data(await asyncio.to_thread(next, events)) == b"one"
    shard.put(b"two")  # only now: nothing was held back
    assert data(await asyncio.to_thread(next, events)) == b"two"
    shard.queue.put_nowait(None)
    assert await asyncio.to_thread(next, events, None) is None
    assert shard.left.is_set()


@pytest.mark.parametrize(
    ("problem", "code", "message"),
    [
        (AwsError("ResourceInUseException", "another one reads"), "ResourceInUseException", "another one reads"),
        (AwsError("Unmodelled", "what"), "Unmodelled", "what"),
        (ZeroDivisionError(), "InternalFailure", "The request processing has failed."),
    ],
)
async def test_errors_end_the_stream(
    edge: Edge, shard: Shard, problem: Exception, code: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    shard.put(b"one")
    shard.queue.put_nowait(problem)
    events = iter((await subscribe(edge))["EventStream"])
    assert data(await asyncio.to_thread(next, events)) == b"one"
    with pytest.raises(EventStreamError) as caught:
        await asyncio.to_thread(next, events)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["Error"]["Message"] == message
    assert ("ZeroDivisionError" in caplog.text) is (code == "InternalFailure")


async def test_errors_before_it_are_ordinary(edge: Edge, shard: Shard) -> None:
    with pytest.raises(ClientError) as caught:
        await subscribe(edge, "none")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
    answer = await sign(edge, "kinesis", "POST", "/", cbor.encode(asked()), {**TARGET, **OLD})
    assert (answer.status, cbor.decode(answer.body)["__type"]) == (400, "InvalidArgumentException")


async def test_a_client_that_leaves_is_noticed(edge: Edge, shard: Shard, caplog: pytest.LogCaptureFixture) -> None:
    """Though no event comes that could not be sent."""
    shard.put(b"one")
    stream = (await subscribe(edge))["EventStream"]
    assert data(await asyncio.to_thread(next, iter(stream))) == b"one"
    await asyncio.to_thread(stream.close)
    await asyncio.wait_for(shard.left.wait(), 5)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


async def test_http2(edge: Edge, shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    async with httpx.AsyncClient(http1=False, http2=True, base_url=edge.endpoint) as client:
        buffer, came = EventStreamBuffer(), []
        shard.put(b"one")
        send = client.request

        @contextlib.asynccontextmanager
        async def opened() -> AsyncIterator[httpx.Response]:
            signed: dict[str, Any] = {}

            async def note(method: str, url: str, **more: Any) -> httpx.Response:
                signed.update(method=method, url=url, **more)
                return httpx.Response(200)

            monkeypatch.setattr(client, "request", note)
            body = json.dumps(asked()).encode()
            await ask(client, "kinesis", "POST", "/", body, **{**TARGET, **JSON})
            monkeypatch.setattr(client, "request", send)
            async with client.stream(**signed) as answer:
                yield answer

        async with opened() as answer:
            assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
            assert answer.headers["content-type"] == "application/vnd.amazon.eventstream"
            pieces = answer.aiter_raw()
            while len(came) < 2:
                buffer.add_data(await asyncio.wait_for(anext(pieces), 5))
                came += list(buffer)
            assert [m.headers[":event-type"] for m in came] == ["initial-response", "SubscribeToShardEvent"]
            assert (await client.get("/_penstock/health")).status_code == 200  # beside it, on the same connection
            shard.queue.put_nowait(AwsError("ResourceInUseException", "another one reads"))
            buffer.add_data(b"".join([piece async for piece in pieces]))
            [last] = buffer
            assert last.headers[":exception-type"] == "ResourceInUseException"
        shard.left.clear()
        async with opened():
            pass
    await asyncio.wait_for(shard.left.wait(), 5)
