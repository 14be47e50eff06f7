"""Both CBOR protocols and compressed requests through the whole chain, by boto3 where it speaks them."""

from __future__ import annotations

import asyncio
import gzip
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import boto3
import botocore.model
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from penstock.core.call import Call
from penstock.core.operation import REGISTRY, Operation
from penstock.edge import payload
from penstock.edge.refusals import Family
from penstock.wire import cbor
from penstock.wire.errors import AwsError
from penstock.wire.message import Request
from protocol.conftest import Answer, Edge, Params
from protocol.test_chain import FORM, JSON, sign

NOON = 1767268800.0
OLD = {"Content-Type": "application/x-amz-cbor-1.1"}
RPC = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}
METRICS = "/service/GraniteServiceVersion20100801/operation/"


@pytest.fixture(autouse=True)
def metrics(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def put(call: Call, params: Params) -> Params:
        edge.calls.append((call, params))
        return {}

    async def statistics(call: Call, params: Params) -> Params:
        if params["Namespace"] == "none":
            raise AwsError("ResourceNotFoundException", "no such thing", 404)
        return {"Label": "l", "Datapoints": [{"Timestamp": NOON, "Sum": 1.5}]}

    async def records(call: Call, params: Params) -> Params:
        edge.calls.append((call, params))
        if params["ShardIterator"] == "old":
            raise AwsError("ExpiredIteratorException", "Iterator expired.")
        record = {
            "Data": b"\x00\xff", "SequenceNumber": "1", "PartitionKey": "p", "ApproximateArrivalTimestamp": NOON,
        }  # fmt: skip
        return {"Records": [record], "NextShardIterator": "n", "MillisBehindLatest": 0}

    for name, handler in {
        "cloudwatch:PutMetricData": put, "cloudwatch:GetMetricStatistics": statistics, "kinesis:GetRecords": records,
    }.items():  # fmt: skip
        service, _, operation = name.partition(":")
        found = Operation(service, operation, handler, "", "*", None, None, {})
        monkeypatch.setitem(REGISTRY, (service, operation), found)


def cloudwatch(edge: Edge) -> Any:
    return boto3.client(
        "cloudwatch", endpoint_url=edge.endpoint, region_name="us-east-1", aws_access_key_id="test",
        aws_secret_access_key="test", config=Config(retries={"max_attempts": 0}, request_min_compression_size_bytes=1),
    )  # fmt: skip


@pytest.mark.parametrize("protocol", ["smithy-rpc-v2-cbor", "json", "query"])
async def test_boto3_speaks_and_compresses(edge: Edge, monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    monkeypatch.setattr(botocore.model, "PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", [protocol])

    def use() -> None:
        client = cloudwatch(edge)
        at = datetime(2026, 1, 1, 12, tzinfo=UTC)
        client.put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Value": 0.5, "Timestamp": at}] * 50)
        asked = {"MetricName": "m", "StartTime": at, "EndTime": at, "Period": 60, "Statistics": ["Sum"]}
        answer = client.get_metric_statistics(Namespace="n", **asked)
        assert answer["Datapoints"] == [{"Timestamp": at, "Sum": 1.5}]
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        assert ("smithy-protocol" in headers) is ("cbor" in headers["content-type"]) is ("cbor" in protocol)
        with pytest.raises(ClientError) as caught:
            client.get_metric_statistics(Namespace="none", **asked)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
        assert caught.value.response["Error"]["Message"] == "no such thing"
        with pytest.raises(ClientError) as caught:
            client.list_metrics()
        assert caught.value.response["Error"]["Code"] == "NotImplemented"

    await asyncio.to_thread(use)
    [(_, params)] = edge.calls
    assert len(params["MetricData"]) == 50
    assert params["MetricData"][0] == {"MetricName": "m", "Value": 0.5, "Timestamp": NOON}


async def ask(edge: Edge, params: Params, body: bytes | None = None, **more: Any) -> Answer:
    headers = {"X-Amz-Target": "Kinesis_20131202.GetRecords", **OLD}
    return await sign(edge, "kinesis", "POST", "/", cbor.encode(params) if body is None else body, headers, **more)


async def test_older_cbor(edge: Edge) -> None:
    answer = await ask(edge, {"ShardIterator": "s", "Limit": 10})
    assert answer.status == 200 and answer.headers["content-type"] == OLD["Content-Type"]
    found = cbor.decode(answer.body)
    assert found["Records"][0]["Data"] == b"\x00\xff"
    assert found["Records"][0]["ApproximateArrivalTimestamp"] == NOON * 1000
    assert edge.calls[0][1] == {"ShardIterator": "s", "Limit": 10}
    answer = await ask(edge, {"ShardIterator": "old"})
    said = cbor.decode(answer.body)
    assert (answer.status, said["__type"], said["message"]) == (400, "ExpiredIteratorException", "Iterator expired.")
    for body in (b"\x9f" * 1000, b"{}", b"\xff", cbor.encode([1])):
        answer = await ask(edge, {}, body)
        assert (answer.status, cbor.decode(answer.body)["__type"]) == (400, "SerializationException")
    answer = await ask(edge, {"Limit": 10})
    assert cbor.decode(answer.body)["__type"] == "ValidationException"
    answer = await edge.send("POST", "/", {"X-Amz-Target": "Kinesis_20131202.GetRecords", **OLD}, b"\xa0")
    assert cbor.decode(answer.body)["__type"] == "MissingAuthenticationTokenException"
    answer = await edge.send("POST", "/", {"X-Amz-Target": "Kinesis_20131202.Nothing", **OLD}, b"\xa0")
    assert cbor.decode(answer.body)["__type"] == "UnknownOperationException"


async def test_rpc_v2_errors(edge: Edge) -> None:
    answer = await sign(edge, "monitoring", "POST", METRICS + "Nothing", b"\xa0", RPC)
    assert (answer.status, cbor.decode(answer.body)["__type"].rpartition("#")[2]) == (404, "UnknownOperationException")
    assert answer.headers["smithy-protocol"] == "rpc-v2-cbor"
    answer = await sign(edge, "monitoring", "POST", METRICS + "GetMetricStatistics", b"\xff\xff", RPC)
    assert cbor.decode(answer.body)["__type"].rpartition("#")[2] == "SerializationException"


async def test_compressed_forms_and_json(edge: Edge) -> None:
    form = urlencode({"Action": "CreateTopic", "Version": "2010-03-31", "Name": "t"}).encode()
    answer = await sign(edge, "sns", "POST", "/", gzip.compress(form), {**FORM, "Content-Encoding": "gzip"})
    assert answer.status == 200 and b":t<" in answer.body
    answer = await sign(edge, "sns", "POST", "/", form, {**FORM, "Content-Encoding": "gzip"})
    assert answer.status == 400

    async def ssm(body: bytes, coding: str = "gzip") -> Answer:
        headers = {"X-Amz-Target": "AmazonSSM.GetParameter", **JSON, "Content-Encoding": coding}
        return await sign(edge, "ssm", "POST", "/", body, headers)

    good = gzip.compress(b'{"Name": "n"}')
    assert (await ssm(good)).status == 200
    assert (await ssm(b'{"Name": "n"}', "identity")).status == 200
    for bad in (good[:-1], good + b"x", good + good, b"", b"{}", good[:-5] + b"12345"):
        answer = await ssm(bad)
        assert (answer.status, answer.code.rpartition("#")[2]) == (400, "SerializationException")
    assert (await ssm(good, "br")).status == 415
    bomb = gzip.compress(b" " * 40_000_000)
    assert len(bomb) < 50_000
    answer = await ssm(bomb)
    assert (answer.status, answer.code.rpartition("#")[2]) == (413, "RequestEntityTooLargeException")


async def test_objects_keep_their_coding(edge: Edge) -> None:
    body = gzip.compress(b"text")
    await sign(edge, "s3", "PUT", "/bucket/key", body, {"Content-Encoding": "gzip"})
    assert edge.objects["bucket", "key"] == body and edge.calls[0][1]["ContentEncoding"] == "gzip"


def test_the_signature_is_over_what_was_sent() -> None:
    """`inflate` comes behind the check, and leaves a request as if it had come plain."""
    request = Request("POST", "/", "", {"content-encoding": "gzip", "content-length": "1"}, gzip.compress(b"abc"))
    payload.inflate(request, 3, Family.JSON)
    assert (request.body, request.headers) == (b"abc", {"content-length": "3"})
    with pytest.raises(AwsError):
        payload.inflate(Request("POST", "/", "", {"content-encoding": "gzip"}, gzip.compress(b"abc")), 2, Family.JSON)
