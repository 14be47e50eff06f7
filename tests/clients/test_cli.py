"""The AWS CLI against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

from clients.tools import environment, interpreter
from served import Served
from wire.lambda_.test_functions import RUNTIME, package

pytestmark = pytest.mark.timeout(300)  # the first run installs
NAME = "cli-" + uuid.uuid4().hex[:10]


def aws(server: Served, *words: str, fails: bool = False) -> Any:
    """What a command prints, as JSON where it is that; what it complains of, where it is to fail."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    env = {**environment(), **keys, "AWS_ENDPOINT_URL": server.endpoint, "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1"}
    command = [str(interpreter("cli")), "-m", "awscli", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=180)
    assert (done.returncode != 0) is fails, done.stderr
    if fails:
        return done.stderr
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout


def test_s3(server: Served, tmp_path: Path) -> None:
    body = os.urandom(9_000_000)  # in two parts, with the checksums that the CLI adds by itself
    (tmp_path / "there").write_bytes(body)
    aws(server, "s3", "mb", f"s3://{NAME}")
    aws(server, "s3", "cp", str(tmp_path / "there"), f"s3://{NAME}/a b/é")
    assert "9000000 a b/é" in aws(server, "s3", "ls", "--recursive", f"s3://{NAME}")
    aws(server, "s3", "cp", f"s3://{NAME}/a b/é", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == body
    url = aws(server, "s3", "presign", f"s3://{NAME}/a b/é").strip()
    assert urllib.request.urlopen(url).read() == body
    assert "NoSuchBucket" in aws(server, "s3", "ls", f"s3://{NAME}-not", fails=True)


def test_dynamodb(server: Served) -> None:
    schema = [
        "--attribute-definitions",
        "AttributeName=k,AttributeType=S",
        "--key-schema",
        "AttributeName=k,KeyType=HASH",
    ]
    aws(server, "dynamodb", "create-table", "--table-name", NAME, "--billing-mode", "PAY_PER_REQUEST", *schema)
    aws(server, "dynamodb", "wait", "table-exists", "--table-name", NAME)
    item = {"k": {"S": "é"}, "n": {"N": "1.5"}}
    aws(server, "dynamodb", "put-item", "--table-name", NAME, "--item", json.dumps(item))
    assert aws(server, "dynamodb", "get-item", "--table-name", NAME, "--key", '{"k": {"S": "é"}}') == {"Item": item}


def test_lambda_and_sts(server: Served, tmp_path: Path) -> None:
    (tmp_path / "app.zip").write_bytes(package())
    role = "arn:aws:iam::000000000000:role/none"
    aws(
        server, "lambda", "create-function", "--function-name", NAME, "--runtime", RUNTIME, "--handler", "app.handler",
        "--role", role, "--zip-file", f"fileb://{tmp_path / 'app.zip'}",
    )  # fmt: skip
    aws(server, "lambda", "wait", "function-active-v2", "--function-name", NAME)
    answer = aws(
        server, "lambda", "invoke", "--function-name", NAME, "--payload", '{"a": "é"}', "--log-type", "Tail",
        str(tmp_path / "out"),
    )  # fmt: skip
    assert (answer["StatusCode"], json.loads((tmp_path / "out").read_text())) == (200, {"a": "é"})
    caller = aws(server, "sts", "get-caller-identity")
    assert caller["Arn"] == "arn:aws:iam::000000000000:root"
