"""Invocations over the wire: now, later, dry; what functions print, return and raise; who may invoke."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from environments import isolated
from served import Served
from wire.lambda_.test_functions import code_of, create


def invoke(server: Served, name: str, event: Any = None, **parameters: Any) -> tuple[Any, Any]:
    answer = server.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode(), **parameters)
    body = answer["Payload"].read()
    return answer, json.loads(body) if body else None


def test_the_event_comes_back(server: Served) -> None:
    name = create(server)["FunctionName"]
    event = {"text": "zażółć \U0001f600", "n": 1.5, "deep": [[[{}]]]}
    answer, payload = invoke(server, name, event)
    assert payload == event
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert "FunctionError" not in answer


def test_an_exception_is_a_function_error(server: Served) -> None:
    name = create(server, "def handler(event, context):\n    raise KeyError('gone')\n")["FunctionName"]
    answer, payload = invoke(server, name)
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert (payload["errorType"], payload["errorMessage"]) == ("KeyError", "'gone'")
    assert "app.py" in "".join(payload["stackTrace"])


def streamed(server: Served, name: str, event: Any = None, **parameters: Any) -> tuple[bytes, dict[str, Any]]:
    """The payload, and how it ended."""
    client = server.client("lambda")
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event).encode(), **parameters)
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    *chunks, end = answer["EventStream"]
    return b"".join(e["PayloadChunk"]["Payload"] for e in chunks), end["InvokeComplete"]


def test_a_response_as_a_stream(server: Served) -> None:
    name = create(server, "def handler(event, context):\n    return {'n': 'x' * event}\n")["FunctionName"]
    payload, end = streamed(server, name, 200_000)
    assert (json.loads(payload), end) == ({"n": "x" * 200_000}, {})
    payload, end = streamed(server, name, 1, LogType="Tail")
    assert "REPORT RequestId" in base64.b64decode(end["LogResult"]).decode()
    payload, end = streamed(server, name, "text")
    assert (payload, end["ErrorCode"], json.loads(end["ErrorDetails"])["errorType"]) == (b"", "Unhandled", "TypeError")
    client = server.client("lambda")
    answer = client.invoke_with_response_stream(FunctionName=name, InvocationType="DryRun")
    assert (answer["StatusCode"], list(answer.get("EventStream") or ())) == (204, [])
    with pytest.raises(ClientError) as caught:
        client.invoke_with_response_stream(FunctionName="nobody")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_the_log_tail_and_the_log_group(server: Served) -> None:
    name = create(server, "def handler(event, context):\n    print('hello log')\n    return 1\n")["FunctionName"]
    answer, _ = invoke(server, name, LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    tail = base64.b64decode(answer["LogResult"]).decode()
    assert f"START RequestId: {request_id} Version: $LATEST" in tail
    assert "hello log" in tail
    assert f"REPORT RequestId: {request_id}" in tail
    logs = server.client("logs")
    end = time.monotonic() + 20
    while True:
        try:
            events = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
        except ClientError:
            events = []
        text = "".join(e["message"] for e in events)
        if "hello log" in text and "REPORT" in text:
            break
        assert time.monotonic() < end, text
        time.sleep(0.1)


def test_the_context_and_environment_are_as_on_aws(server: Served) -> None:
    isolated("files")
    source = (
        "import os\ndef handler(event, context):\n"
        "    return [context.function_name, context.memory_limit_in_mb, context.invoked_function_arn,\n"
        "            context.aws_request_id, os.environ['AWS_REGION'], os.environ['AWS_LAMBDA_FUNCTION_NAME'],\n"
        "            os.environ['LAMBDA_TASK_ROOT'], os.getcwd(), 0 < context.get_remaining_time_in_millis() <= 5000]\n"
    )
    made = create(server, source, Timeout=5)
    answer, payload = invoke(server, made["FunctionName"])
    assert payload == [
        made["FunctionName"], "128", made["FunctionArn"], answer["ResponseMetadata"]["RequestId"], "us-east-1",
        made["FunctionName"], "/var/task", "/var/task", True,
    ]  # fmt: skip


def test_a_time_out_kills(server: Served) -> None:
    name = create(server, "import time\ndef handler(event, context):\n    time.sleep(30)\n", Timeout=1)["FunctionName"]
    began = time.monotonic()
    answer, payload = invoke(server, name)
    assert time.monotonic() - began < 10
    assert answer["FunctionError"] == "Unhandled"
    assert "Task timed out after 1.00 seconds" in payload["errorMessage"]


def test_many_at_once_run_side_by_side(server: Served) -> None:
    name = create(server, "import time\ndef handler(event, context):\n    time.sleep(0.5)\n    return event\n")[
        "FunctionName"
    ]
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda i=i: answers.append(invoke(server, name, i)[1])) for i in range(6)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == list(range(6))


def test_event_runs_later_and_retries_an_error(own_server: Served) -> None:
    bucket = "marks-" + uuid.uuid4().hex[:8]
    own_server.client("s3").create_bucket(Bucket=bucket)
    source = (
        "import boto3\n"
        "def handler(event, context):\n"
        f"    s3 = boto3.client('s3', aws_access_key_id='test', aws_secret_access_key='test', aws_session_token='')\n"
        f"    n = s3.list_objects_v2(Bucket='{bucket}')['KeyCount']\n"
        f"    s3.put_object(Bucket='{bucket}', Key=f'{{n}}-{{context.aws_request_id}}', Body=b'')\n"
        "    if n < 2: raise RuntimeError('again')\n"
    )
    name = create(own_server, source, Timeout=30)["FunctionName"]
    answer = own_server.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    s3 = own_server.client("s3")

    def marks() -> list[str]:
        return [o["Key"] for o in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    end = time.monotonic() + 60
    while len(marks()) < 3:
        assert time.monotonic() < end, marks()
        time.sleep(0.2)
        advance(own_server, 30)
    advance(own_server, 600)
    time.sleep(0.5)
    assert len(marks()) == 3, "two retries, then no more"
    assert {m.split("-", 1)[1] for m in marks()} == {answer["ResponseMetadata"]["RequestId"]}


def advance(server: Served, seconds: float) -> None:
    import urllib.request

    request = urllib.request.Request(
        server.endpoint + "/_penstock/clock", json.dumps({"advance_s": seconds}).encode(),
        {"content-type": "application/json"}, method="POST",
    )  # fmt: skip
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def test_dry_run_checks_and_runs_nothing(server: Served) -> None:
    name = create(server, "raise SystemExit(1)")["FunctionName"]
    assert server.client("lambda").invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204


@pytest.mark.parametrize("payload", [b"{", b"nope", b"\xff", b'{"a":1} x'])
def test_a_payload_that_is_no_json(server: Served, payload: bytes) -> None:
    name = create(server)["FunctionName"]
    with pytest.raises(ClientError) as error:
        server.client("lambda").invoke(FunctionName=name, Payload=payload)
    assert code_of(error) == ("InvalidRequestContentException", 400)


def test_payload_limits(server: Served) -> None:
    client = server.client("lambda")
    name = create(server, "def handler(event, context):\n    return len(event)\n")["FunctionName"]
    large = b'"' + b"x" * 6_000_000 + b'"'
    assert json.load(client.invoke(FunctionName=name, Payload=large)["Payload"]) == 6_000_000
    for kind, size in (("RequestResponse", 6_291_457), ("Event", 1_048_577)):
        with pytest.raises(ClientError) as error:
            client.invoke(FunctionName=name, InvocationType=kind, Payload=b'"' + b"x" * size + b'"')
        assert code_of(error) == ("RequestTooLargeException", 413)


def test_permissions_hold(server: Served) -> None:
    client = server.client("lambda")
    made = create(server)
    name = made["FunctionName"]
    other = server.client("lambda", access_key="222222222222")
    with pytest.raises(ClientError) as error:
        other.invoke(FunctionName=made["FunctionArn"])
    assert code_of(error) == ("AccessDeniedException", 403)
    statement = json.loads(
        client.add_permission(
            FunctionName=name, StatementId="other", Action="lambda:InvokeFunction", Principal="222222222222"
        )["Statement"]
    )
    assert statement["Principal"] == {"AWS": "arn:aws:iam::222222222222:root"}
    assert other.invoke(FunctionName=made["FunctionArn"], Payload=b"7")["Payload"].read() == b"7"
    assert json.loads(client.get_policy(FunctionName=name)["Policy"])["Statement"] == [statement]
    with pytest.raises(ClientError) as error:
        client.add_permission(
            FunctionName=name, StatementId="other", Action="lambda:InvokeFunction", Principal="222222222222"
        )
    assert code_of(error) == ("ResourceConflictException", 409)
    client.remove_permission(FunctionName=name, StatementId="other")
    with pytest.raises(ClientError) as error:
        other.invoke(FunctionName=made["FunctionArn"])
    assert code_of(error) == ("AccessDeniedException", 403)
    with pytest.raises(ClientError) as error:
        client.get_policy(FunctionName=name)
    assert code_of(error) == ("ResourceNotFoundException", 404)


def test_a_function_has_its_roles_permissions_and_no_more(server: Served) -> None:
    tail = uuid.uuid4().hex[:8]
    s3, iam = server.client("s3"), server.client("iam")
    for bucket in ("mine-", "theirs-"):
        s3.create_bucket(Bucket=bucket + tail)
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
    role = iam.create_role(RoleName="r" + tail, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    allow = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::mine-{tail}/*"}
    iam.put_role_policy(
        RoleName="r" + tail, PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    )
    source = (
        "import boto3, botocore\n"
        "def handler(event, context):\n"
        "    s3 = boto3.client('s3')\n"
        "    out = [boto3.client('sts').get_caller_identity()['Arn']]\n"
        "    for bucket in event:\n"
        "        try:\n            s3.put_object(Bucket=bucket, Key='k', Body=b'x'); out.append('ok')\n"
        "        except botocore.exceptions.ClientError as e:\n            out.append(e.response['Error']['Code'])\n"
        "    return out\n"
    )
    name = create(server, source, Role=role, Timeout=30)["FunctionName"]
    _, payload = invoke(server, name, [f"mine-{tail}", f"theirs-{tail}"])
    assert payload == [f"arn:aws:sts::000000000000:assumed-role/r{tail}/{name}", "ok", "AccessDenied"]


@pytest.mark.parametrize(("allowed", "outcome"), [("on", "ok"), ("off", "InvalidAccessKeyId")])
def test_well_known_keys_inside_a_function_are_a_setting(tmp_path: Path, allowed: str, outcome: str) -> None:
    server = Served(tmp_path / "data", "--function-default-credentials", allowed).start()
    try:
        source = (
            "import boto3, botocore\n"
            "def handler(event, context):\n"
            "    s3 = boto3.client('s3', aws_access_key_id='test', aws_secret_access_key='test')\n"
            "    try:\n        s3.list_buckets(); return 'ok'\n"
            "    except botocore.exceptions.ClientError as e:\n        return e.response['Error']['Code']\n"
        )
        name = create(server, source, Timeout=30)["FunctionName"]
        assert invoke(server, name)[1] == outcome
    finally:
        server.kill()


def test_a_function_cannot_take_every_connection(own_server: Served) -> None:
    source = (
        "import os, socket, time, urllib.parse\n"
        "def handler(event, context):\n"
        "    at = urllib.parse.urlsplit(os.environ['AWS_ENDPOINT_URL'])\n"
        "    held = []\n"
        "    for _ in range(600):\n"
        "        s = socket.create_connection((at.hostname, at.port)); s.setblocking(False); held.append(s)\n"
        "    time.sleep(1)\n"
        "    alive = 0\n"
        "    for s in held:\n"
        "        try:\n            alive += s.recv(1) != b''\n"
        "        except BlockingIOError:\n            alive += 1\n"
        "        except OSError:\n            pass\n"
        "    return alive\n"
    )
    name = create(own_server, source, Timeout=30)["FunctionName"]
    assert invoke(own_server, name)[1] == 256
    assert own_server.client("s3").list_buckets()["Buckets"] == []
