"""DynamoDB's streams read for functions: in order, retried, split, filtered, given up on, through kills."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served
from wire.lambda_.test_async import bucket, objects
from wire.lambda_.test_functions import code_of, create

KEEP = (
    "import boto3, json\n"
    "def handler(event, context):\n"
    "    s3 = boto3.client('s3', aws_access_key_id='test', aws_secret_access_key='test', aws_session_token='')\n"
    "    names = [r['dynamodb']['Keys']['id']['S'] for r in event['Records']]\n"
    "    key = f\"{event['Records'][0]['dynamodb']['SequenceNumber']}-{context.aws_request_id}\"\n"
    "    s3.put_object(Bucket='%s', Key=key, Body=json.dumps(event))\n"
    "    if 'bad' in names: raise RuntimeError('bad')\n"
)


def table(server: Served) -> tuple[str, str]:
    """A table's name and its stream's ARN."""
    name = "t-" + uuid.uuid4().hex[:12]
    made = server.client("dynamodb").create_table(
        TableName=name, KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )  # fmt: skip
    server.client("dynamodb").get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    return name, made["TableDescription"]["LatestStreamArn"]


def put(server: Served, name: str, *ids: str, **attributes: Any) -> None:
    for id in ids:
        server.client("dynamodb").put_item(TableName=name, Item={"id": {"S": id}, **attributes})


def mapped(server: Served, function: str, stream: str, **parameters: Any) -> Any:
    parameters.setdefault("StartingPosition", "TRIM_HORIZON")
    return server.client("lambda").create_event_source_mapping(
        FunctionName=function, EventSourceArn=stream, **parameters
    )


def seen(server: Served, kept: str, least: int) -> list[str]:
    """Ids in the order in which the function got them, once it got so many."""
    end = time.monotonic() + 40
    while True:
        found = [r["dynamodb"]["Keys"]["id"]["S"] for _, event in objects(server, kept) for r in event["Records"]]
        if len(found) >= least:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.2)


def test_records_reach_the_function_in_order_through_a_kill(own_server: Served) -> None:
    kept = bucket(own_server)
    name, stream = table(own_server)
    function = create(own_server, KEEP % kept, Timeout=30)["FunctionName"]
    put(own_server, name, "a", "b", data={"B": b"\x00\xff"})
    made = mapped(own_server, function, stream, BatchSize=2)
    assert (made["State"], made["ResponseMetadata"]["HTTPStatusCode"]) == ("Creating", 202)
    assert seen(own_server, kept, 2) == ["a", "b"]
    event = objects(own_server, kept)[0][1]["Records"][0]
    assert (event["eventName"], event["eventSource"], event["eventSourceARN"]) == ("INSERT", "aws:dynamodb", stream)
    assert event["dynamodb"]["NewImage"]["data"] == {"B": "AP8="}
    put(own_server, name, "c")
    own_server.restart()
    put(own_server, name, "d")
    found = seen(own_server, kept, 4)
    assert found[:2] == ["a", "b"]
    assert sorted(set(found)) == ["a", "b", "c", "d"]
    client = own_server.client("lambda")
    end = time.monotonic() + 10
    while (state := client.get_event_source_mapping(UUID=made["UUID"]))["LastProcessingResult"] != "OK":
        assert time.monotonic() < end
        time.sleep(0.1)
    assert state["State"] == "Enabled"
    client.delete_event_source_mapping(UUID=made["UUID"])
    put(own_server, name, "e")
    time.sleep(2)
    assert "e" not in seen(own_server, kept, 4)
    with pytest.raises(ClientError) as error:
        client.get_event_source_mapping(UUID=made["UUID"])
    assert code_of(error) == ("ResourceNotFoundException", 404)


def test_what_fails_is_split_off_and_told(server: Served) -> None:
    kept, failed = bucket(server), bucket(server)
    name, stream = table(server)
    function = create(server, KEEP % kept, Timeout=30)
    put(server, name, "a", "bad", "c")
    made = mapped(
        server, function["FunctionName"], stream, BisectBatchOnFunctionError=True, MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": f"arn:aws:s3:::{failed}"}},
    )  # fmt: skip
    [(key, told)] = objects(server, failed)
    assert key.startswith(f"aws/lambda/{made['UUID']}/shardId-")
    assert told["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert told["requestContext"]["functionArn"] == function["FunctionArn"]
    assert told["DDBStreamBatchInfo"]["batchSize"] == 1
    assert [r["dynamodb"]["Keys"]["id"]["S"] for r in told["payload"]["Records"]] == ["bad"]
    assert "c" in seen(server, kept, 6)
    assert server.client("lambda").get_event_source_mapping(UUID=made["UUID"])["BisectBatchOnFunctionError"] is True


def test_the_function_says_which_record_failed(server: Served) -> None:
    kept = bucket(server)
    name, stream = table(server)
    source = (KEEP % kept).replace(
        "    if 'bad' in names: raise RuntimeError('bad')\n",
        "    for r in event['Records']:\n"
        "        if r['dynamodb']['Keys']['id']['S'] == 'bad':\n"
        "            return {'batchItemFailures': [{'itemIdentifier': r['dynamodb']['SequenceNumber']}]}\n",
    )
    function = create(server, source, Timeout=30)["FunctionName"]
    put(server, name, "a", "bad", "c")
    mapped(server, function, stream, FunctionResponseTypes=["ReportBatchItemFailures"], MaximumRetryAttempts=0)
    seen(server, kept, 5)
    batches = [[r["dynamodb"]["Keys"]["id"]["S"] for r in event["Records"]] for _, event in objects(server, kept)]
    assert batches == [["a", "bad", "c"], ["bad", "c"]], "what was before the failed one is not sent again"


def test_filters_and_starting_positions(server: Served) -> None:
    kept = bucket(server)
    name, stream = table(server)
    function = create(server, KEEP % kept, Timeout=30)["FunctionName"]
    put(server, name, "before")
    time.sleep(1.1)
    pattern = json.dumps({"eventName": ["INSERT"], "dynamodb": {"Keys": {"id": {"S": [{"prefix": "x"}]}}}})
    made = mapped(
        server, function, stream, StartingPosition="LATEST", FilterCriteria={"Filters": [{"Pattern": pattern}]}
    )
    assert made["FilterCriteria"] == {"Filters": [{"Pattern": pattern}]}
    put(server, name, "y1", "x1", "x1", "y2", "x2")
    assert seen(server, kept, 2) == ["x1", "x2"]
    client = server.client("lambda")
    off = client.update_event_source_mapping(UUID=made["UUID"], Enabled=False)
    assert off["State"] == "Disabling"
    time.sleep(1)
    put(server, name, "x3")
    time.sleep(1.5)
    assert seen(server, kept, 2) == ["x1", "x2"]
    client.update_event_source_mapping(UUID=made["UUID"], Enabled=True)
    assert seen(server, kept, 3) == ["x1", "x2", "x3"]


def test_mappings_that_cannot_be(server: Served) -> None:
    client = server.client("lambda")
    _, stream = table(server)
    name = create(server)["FunctionName"]
    for parameters in (
        {"EventSourceArn": stream},
        {"EventSourceArn": stream, "StartingPosition": "AT_TIMESTAMP"},
        {"EventSourceArn": stream[:-3] + "999", "StartingPosition": "LATEST"},
        {"EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:none"},
        {"EventSourceArn": stream.partition("/stream/")[0], "StartingPosition": "LATEST"},
        {"EventSourceArn": stream, "StartingPosition": "LATEST", "FilterCriteria": {"Filters": [{"Pattern": "x"}]}},
        {"EventSourceArn": stream, "StartingPosition": "LATEST", "FunctionName": "nobody"},
        {},
    ):
        with pytest.raises(ClientError) as error:
            client.create_event_source_mapping(**{"FunctionName": name, **parameters})
        assert code_of(error) == ("InvalidParameterValueException", 400)
    with pytest.raises(ClientError) as error:
        mapped(server, name, stream, ParallelizationFactor=2)
    assert code_of(error) == ("NotImplemented", 501)
    made = mapped(server, name, stream)
    with pytest.raises(ClientError) as error:
        mapped(server, name, stream)
    assert code_of(error) == ("ResourceConflictException", 409)
    assert [m["UUID"] for m in client.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]] == [
        made["UUID"]
    ]
