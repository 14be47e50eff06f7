"""The AWS CLI against a real server, where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

from served import Served
from wire.lambda_.test_functions import RUNTIME, package

AWS = shutil.which("aws")
NAME = "cli-" + uuid.uuid4().hex[:10]


@pytest.fixture(autouse=True, scope="module")
def installed() -> None:
    """A name on the path need not be a program that runs."""
    if AWS is None or subprocess.run([AWS, "--version"], capture_output=True, env=bare(), timeout=60).returncode:
        pytest.skip("the AWS CLI is not installed")


def bare() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_", "PYTHONPATH"))}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}


def aws(server: Served, *words: str, fails: bool = False) -> Any:
    """What a command prints, as JSON where it is that; what it complains of, where it is to fail."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    env = {**bare(), **keys, "AWS_ENDPOINT_URL": server.endpoint, "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1"}
    done = subprocess.run([str(AWS), *words], capture_output=True, text=True, env=env, timeout=60)
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
    # Version 2 takes a payload for base64 unless told otherwise; version 1 knows no such option.
    raw = ("--cli-binary-format", "raw-in-base64-out") if aws(server, "--version").startswith("aws-cli/2") else ()
    answer = aws(
        server, "lambda", "invoke", "--function-name", NAME, "--payload", '{"a": "é"}', "--log-type", "Tail",
        *raw, str(tmp_path / "out"),
    )  # fmt: skip
    assert (answer["StatusCode"], json.loads((tmp_path / "out").read_text())) == (200, {"a": "é"})
    caller = aws(server, "sts", "get-caller-identity")
    assert caller["Arn"] == "arn:aws:iam::000000000000:root"
