"""Asynchronous invocations' settings: retries, age, destinations; reserved concurrency; recursive loops."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served
from wire.lambda_.test_functions import code_of, create
from wire.lambda_.test_invocations import advance

FAIL = "def handler(event, context):\n    raise RuntimeError('no')\n"
KEEP = (
    "import boto3, json\n"
    "def handler(event, context):\n"
    "    s3 = boto3.client('s3', aws_access_key_id='test', aws_secret_access_key='test', aws_session_token='')\n"
    "    s3.put_object(Bucket='%s', Key=context.aws_request_id, Body=json.dumps(event))\n"
)


def bucket(server: Served) -> str:
    name = "b-" + uuid.uuid4().hex[:12]
    server.client("s3").create_bucket(Bucket=name)
    return name


def objects(server: Served, name: str, least: int = 1, advance_s: float = 0) -> list[tuple[str, Any]]:
    """What the bucket holds, as soon as that is enough."""
    s3 = server.client("s3")
    end = time.monotonic() + 40
    while True:
        keys = [o["Key"] for o in s3.list_objects_v2(Bucket=name).get("Contents", [])]
        if len(keys) >= least:
            return [(key, json.load(s3.get_object(Bucket=name, Key=key)["Body"])) for key in keys]
        assert time.monotonic() < end, keys
        time.sleep(0.2)
        if advance_s:
            advance(server, advance_s)


def later(server: Served, name: str, event: Any, **parameters: Any) -> None:
    server.client("lambda").invoke(
        FunctionName=name, InvocationType="Event", Payload=json.dumps(event).encode(), **parameters
    )


def test_success_is_told_to_another_function(server: Served) -> None:
    kept = bucket(server)
    listener = create(server, KEEP % kept, Timeout=30)
    made = create(server, "def handler(event, context):\n    return {'said': event}\n")
    client = server.client("lambda")
    config = client.put_function_event_invoke_config(
        FunctionName=made["FunctionName"], DestinationConfig={"OnSuccess": {"Destination": listener["FunctionArn"]}}
    )
    assert config["FunctionArn"] == made["FunctionArn"] + ":$LATEST"
    later(server, made["FunctionName"], {"n": 1})
    [(_, told)] = objects(server, kept)
    request_id = told["requestContext"].pop("requestId")
    assert len(request_id) == 36
    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "version": "1.0",
        "requestContext": {
            "functionArn": made["FunctionArn"] + ":$LATEST", "condition": "Success", "approximateInvokeCount": 1,
        },
        "requestPayload": {"n": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"said": {"n": 1}},
    }  # fmt: skip


def test_the_old_way_to_say_later(server: Served) -> None:
    kept = bucket(server)
    name = create(server, KEEP % kept, Timeout=30)["FunctionName"]
    assert server.client("lambda").invoke_async(FunctionName=name, InvokeArgs=b'{"n": 4}')["Status"] == 202
    assert objects(server, kept)[0][1] == {"n": 4}


def test_failure_is_kept_in_s3_after_the_retries_asked_for(own_server: Served) -> None:
    kept = bucket(own_server)
    name = create(own_server, FAIL)["FunctionName"]
    client = own_server.client("lambda")
    client.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": f"arn:aws:s3:::{kept}"}},
    )  # fmt: skip
    later(own_server, name, {"n": 2})
    [(key, told)] = objects(own_server, kept, advance_s=30)
    assert key.startswith(f"aws/lambda/async/{name}/2")
    assert told["requestContext"]["condition"] == "RetriesExhausted"
    assert told["requestContext"]["approximateInvokeCount"] == 2
    assert told["responseContext"]["functionError"] == "Unhandled"
    assert told["responsePayload"]["errorMessage"] == "no"
    client.update_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=2, MaximumEventAgeInSeconds=60)
    later(own_server, name, {"n": 3})
    found = objects(own_server, kept, 2)
    told = next(t for _, t in found if t["requestPayload"] == {"n": 3})
    assert told["requestContext"]["condition"] == "EventAgeExceeded", "the first retry would come a minute later"
    assert told["requestContext"]["approximateInvokeCount"] == 1


def test_settings_are_of_a_qualifier_and_checked(server: Served) -> None:
    client = server.client("lambda")
    made = create(server, Publish=True)
    name, arn = made["FunctionName"], made["FunctionArn"]
    client.put_function_event_invoke_config(FunctionName=name, Qualifier="1", MaximumRetryAttempts=0)
    with pytest.raises(ClientError) as error:
        client.get_function_event_invoke_config(FunctionName=name)
    assert code_of(error) == ("ResourceNotFoundException", 404)
    client.put_function_event_invoke_config(FunctionName=name, MaximumEventAgeInSeconds=60)
    pages = client.get_paginator("list_function_event_invoke_configs").paginate(
        FunctionName=name, PaginationConfig={"PageSize": 1}
    )
    found = [c["FunctionArn"] for page in pages for c in page["FunctionEventInvokeConfigs"]]
    assert found == [f"{arn}:$LATEST", f"{arn}:1"]
    client.delete_function_event_invoke_config(FunctionName=name, Qualifier="1")
    for target in (
        arn, f"{arn[:-1]}-nobody", "arn:aws:s3:::no-such-bucket-here", "arn:aws:sqs:us-east-1:000000000000:none",
        "arn:aws:iam::000000000000:user/u",
    ):  # fmt: skip
        with pytest.raises(ClientError) as error:
            client.put_function_event_invoke_config(
                FunctionName=name, DestinationConfig={"OnFailure": {"Destination": target}}
            )
        assert code_of(error) == ("InvalidParameterValueException", 400)
    with pytest.raises(ClientError) as error:
        client.update_function_configuration(
            FunctionName=name, DeadLetterConfig={"TargetArn": "arn:aws:sqs:us-east-1:000000000000:none"}
        )
    assert code_of(error) == ("InvalidParameterValueException", 400)


def test_reserved_concurrency_is_a_bound_and_leaves_some_to_others(server: Served) -> None:
    client = server.client("lambda")
    name = create(server, "import time\ndef handler(event, context):\n    time.sleep(event)\n")["FunctionName"]
    for wanted in (901, 100_000):
        with pytest.raises(ClientError) as error:
            client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=wanted)
        assert code_of(error) == ("InvalidParameterValueException", 400)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    assert client.get_function(FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 1}
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 999

    def hold() -> None:
        own = server.client("lambda")
        done = False
        while not done:
            with contextlib.suppress(ClientError):
                own.invoke(FunctionName=name, Payload=b"2.5")
                done = True

    slow = threading.Thread(target=hold)
    slow.start()
    with pytest.raises(ClientError) as error:  # once the other one is under way, however slow this machine is
        while slow.is_alive():
            client.invoke(FunctionName=name, Payload=b"0")
            time.sleep(0.3)
    assert code_of(error) == ("TooManyRequestsException", 429)
    assert error.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    slow.join()
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(ClientError) as error:
        client.invoke(FunctionName=name, Payload=b"0")
    assert code_of(error) == ("TooManyRequestsException", 429)
    client.delete_function_concurrency(FunctionName=name)
    assert client.invoke(FunctionName=name, Payload=b"0")["StatusCode"] == 200
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=5)
    client.delete_function(FunctionName=name)
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 1000


AGAIN = (
    "import boto3\n"
    "def handler(event, context):\n"
    "    key = {'aws_access_key_id': 'test', 'aws_secret_access_key': 'test', 'aws_session_token': ''}\n"
    "    boto3.client('s3', **key).put_object(Bucket='%s', Key=context.aws_request_id, Body=b'1')\n"
    "    boto3.client('lambda', **key).invoke(FunctionName=context.function_name, InvocationType='Event')\n"
)


def test_a_function_that_sets_off_itself_is_stopped(own_server: Served) -> None:
    kept = bucket(own_server)
    name = create(own_server, AGAIN % kept, Timeout=30)["FunctionName"]
    client = own_server.client("lambda")
    assert client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Terminate"
    later(own_server, name, {})
    assert len(objects(own_server, kept, 16)) == 16
    time.sleep(1.5)
    assert len(objects(own_server, kept, 16)) == 16
    client.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
    later(own_server, name, {})
    assert len(objects(own_server, kept, 40)) >= 40
    client.put_function_recursion_config(FunctionName=name, RecursiveLoop="Terminate")


def test_the_trace_goes_on_into_the_function(server: Served) -> None:
    name = create(server, "import os\ndef handler(e, c):\n    return os.environ['_X_AMZN_TRACE_ID']\n")["FunctionName"]
    client = server.client("lambda")
    root = "1-5759e988-bd862e3fe1be46a994272793"

    def add(request: Any, **_: Any) -> None:
        request.headers["X-Amzn-Trace-Id"] = f"Root={root};Sampled=1"

    client.meta.events.register("before-sign.lambda.Invoke", add)
    trace = json.load(client.invoke(FunctionName=name)["Payload"])
    assert f"Root={root}" in trace
    assert "Sampled=1" in trace
