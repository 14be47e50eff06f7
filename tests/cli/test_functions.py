"""`penstock new, deploy, invoke, logs, event`, and every blueprint with its own event."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import blueprints, functions
from served import SRC, Served

EXAMPLES = SRC.parent / "examples"


def run(server: Served | None, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_"))}
    env |= {"PYTHONPATH": str(SRC)} | ({"AWS_ENDPOINT_URL": server.endpoint} if server else {})
    command = [sys.executable, "-m", "penstock", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False, cwd=cwd)


def test_a_function_from_nothing_to_its_log(server: Served, tmp_path: Path) -> None:
    name = f"hello-{uuid.uuid4().hex[:8]}"
    listed = run(None, "new")
    assert listed.returncode == 0 and "hello-world" in listed.stdout
    assert run(None, "new", "hello-world", name, cwd=tmp_path).returncode == 0
    assert run(None, "new", "hello-world", name, cwd=tmp_path).returncode == 2
    deployed = run(server, "deploy", name, cwd=tmp_path)
    assert deployed.returncode == 0, deployed.stderr
    assert deployed.stdout.strip().endswith(f"function:{name}")
    answered = run(server, "invoke", name, "--event", f"{name}/event.json", cwd=tmp_path)
    assert (answered.returncode, json.loads(answered.stdout)) == (0, {"message": "Hello, Ann!"})
    assert "greeting Ann" in answered.stderr and "REPORT RequestId" in answered.stderr
    assert re.search(r"1 invocation, \d+ ms billed, \S+ GB-s: \$0\.0000\d+ at AWS's prices", answered.stderr)
    (tmp_path / name / "app.py").write_text(
        "def handler(event, context):\n    print('raises')\n    raise KeyError(event)\n"
    )
    assert run(server, "deploy", name, cwd=tmp_path).returncode == 0
    failed = run(server, "invoke", name, "--sample", "sqs", "--set", "Records.0.body=changed")
    assert failed.returncode == 1 and "changed" in json.loads(failed.stdout)["errorMessage"]
    time.sleep(1)
    logs = run(server, "logs", name)
    assert "greeting Ann" in logs.stdout and "raises" in logs.stdout
    assert run(server, "logs", name, "--cost").stdout.startswith("2 invocations, ")
    assert run(server, "invoke", "nobody").returncode == 2


def test_logs_are_followed(server: Served, tmp_path: Path) -> None:
    name = f"hello-{uuid.uuid4().hex[:8]}"
    run(None, "new", "hello-world", name, cwd=tmp_path)
    assert run(server, "deploy", name, cwd=tmp_path).returncode == 0
    env = os.environ | {"PYTHONPATH": str(SRC), "AWS_ENDPOINT_URL": server.endpoint}
    command = [sys.executable, "-m", "penstock", "logs", "-f", name]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert run(server, "invoke", name, "--event", '{"name": "Follower"}').returncode == 0
        for line in following.stdout:
            if "greeting Follower" in line:
                break
        following.terminate()


def test_a_debugger_is_let_in_until_told_otherwise(server: Served, tmp_path: Path) -> None:
    pytest.importorskip("debugpy")
    name = f"hello-{uuid.uuid4().hex[:8]}"
    run(None, "new", "hello-world", name, cwd=tmp_path)
    assert run(server, "deploy", name, cwd=tmp_path).returncode == 0
    env = os.environ | {"PYTHONPATH": str(SRC), "AWS_ENDPOINT_URL": server.endpoint}
    command = [sys.executable, "-m", "penstock", "debug", name, "--port", "0"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as debugging:
        assert debugging.stdout is not None
        first = debugging.stdout.readline()
        assert first.startswith("attach to 127.0.0.1:") and name in first
        port = int(first.split(":")[1].split(",")[0])
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        debugging.send_signal(signal.SIGTERM)
        assert debugging.wait(20) == 0
    assert run(server, "invoke", name, "--event", "{}").returncode == 0
    assert run(server, "debug", "nobody").returncode == 2


def test_sample_events_are_there_and_changed() -> None:
    names = functions.samples()
    assert len(names) > 20 and {"s3-put", "sqs", "kinesis", "dynamodb-update", "api-gateway", "scheduled"} <= set(names)
    event = functions.sample("s3-put", ["Records.0.s3.bucket.name=inbox", "Records.0.s3.object.size=7"])
    assert (event["Records"][0]["s3"]["bucket"]["name"], event["Records"][0]["s3"]["object"]["size"]) == ("inbox", 7)
    assert run(None, "event", "nothing").returncode == 2
    assert run(None, "event", "s3-put", "--set", "No.0.such=1").returncode == 2


EXPECTED: dict[str, Any] = {
    "hello-world": {"message": "Hello, Ann!"},
    "s3-csv-to-dynamodb": {"items": 2},
    "kinesis-decode": {
        "batchItemFailures": [{"itemIdentifier": "49545115243490985018280067714973144582180062593244200963"}]
    },
    "dynamodb-stream-etl": {"count": 0, "length": 0},
    "sqs-worker": {"batchItemFailures": [{"itemIdentifier": "19dd0b57-b21e-4ac1-bd88-01bbb068cb71"}]},
}


WITH_SETUP = ("api-handler", "dynamodb-stream-etl", "s3-csv-to-dynamodb", "s3-json-to-csv")


@pytest.mark.parametrize(
    "name", sorted(p.name for p in EXAMPLES.iterdir() if p.is_dir() and p.name != "s3-json-to-csv")
)
def test_a_blueprint_runs_with_its_own_event(server: Served, name: str) -> None:
    folder = EXAMPLES / name
    for _ in range(2 if name in WITH_SETUP else 1):  # what is there already is left as it is
        deployed = run(server, "deploy", str(folder))
        assert deployed.returncode == 0, deployed.stderr
    answered = run(server, "invoke", name, "--event", str(folder / "event.json"))
    assert answered.returncode == 0, answered.stderr + answered.stdout
    answer = json.loads(answered.stdout)
    if name == "firehose-transform":
        assert [record["result"] for record in answer["records"]] == ["Ok", "Dropped", "ProcessingFailed"]
    elif name == "api-handler":
        assert (answer["statusCode"], json.loads(answer["body"])) == (201, {"id": "42"})
        assert deployed.stdout.split()[1].startswith("http://"), "the function's URL"
    else:
        assert answer == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(blueprints.blueprints()))
def test_a_blueprint_has_all_its_files_and_its_tests_pass(name: str) -> None:
    folder = EXAMPLES / name
    assert {p.name for p in folder.iterdir() if p.is_file()} == {
        "app.py", "event.json", "function.json", "policy.json", "test_app.py",
    } | ({"setup.json"} if name in WITH_SETUP else set())  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 5), done.stdout
