"""`penstock iam` as a person meets it: a denial explained, and a policy that is enough and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from penstock.cli.iam import smallest_policy
from served import SRC, Served

ACCOUNT = "000000000000"
TRUST = {
    "Version": "2012-10-17",
    "Statement": {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"},
}


def run(server: Served | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_"))}
    env |= {"PYTHONPATH": str(SRC)} | ({"AWS_ENDPOINT_URL": server.endpoint} if server else {})
    command = [sys.executable, "-m", "penstock", "iam", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False)


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


class App:
    """A role with an inline policy, a bucket, and clients that act as the role."""

    def __init__(self, server: Served, *statements: dict[str, Any]) -> None:
        self.server = server
        self.role = self.bucket = f"app-{uuid.uuid4().hex[:8]}"
        self.iam = server.client("iam")
        server.client("s3").create_bucket(Bucket=self.bucket)
        self.arn = self.iam.create_role(RoleName=self.role, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        self.allow(policy(*statements))
        session = server.client("sts").assume_role(RoleArn=self.arn, RoleSessionName="test")["Credentials"]
        self.keys = {
            "aws_access_key_id": session["AccessKeyId"], "aws_secret_access_key": session["SecretAccessKey"],
            "aws_session_token": session["SessionToken"],
        }  # fmt: skip

    def allow(self, document: str) -> None:
        self.iam.put_role_policy(RoleName=self.role, PolicyName="p", PolicyDocument=document)

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.server.endpoint, region_name="us-east-1", **self.keys)

    def object(self, key: str) -> str:
        return f"arn:aws:s3:::{self.bucket}/{key}"


@pytest.mark.parametrize(
    ("command", "word"), [([], "least-privilege"), (["why"], "--last-denied"), (["least-privilege"], "--role")]
)
def test_help_is_worth_reading(command: list[str], word: str) -> None:
    answer = run(None, *command, "--help")
    assert answer.returncode == 0 and word in answer.stdout
    if command:
        assert "examples:" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["why", "--last-denied", "--endpoint", "http://127.0.0.1:1"], "Is the server up?"),
        (["why", "--last-denied", "--endpoint", "file:///etc/passwd"], "must be http"),
        (["why", "--action", "s3:GetObject"], "--principal and --action are needed"),
        (["why", "--principal", "s3.amazonaws.com", "--action", "a:b", "--context", "k"], "must be KEY=VALUE"),
        (["why", "--principal", "a b", "--action", "a:b", "--resource-policy", "/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_told_is_said(arguments: list[str], words: str) -> None:
    answer = run(None, *arguments)
    assert answer.returncode == 2
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr


def test_why_names_the_statement_and_what_is_missing(server: Served, tmp_path: Path) -> None:
    app = App(
        server,
        {"Sid": "Put", "Effect": "Allow", "Action": "s3:*Object", "Resource": "arn:aws:s3:::*/in/*"},
        {
            "Sid": "Home", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*",
            "Condition": {"StringEquals": {"s3:prefix": "in/"}},
        },
    )  # fmt: skip
    who = ["why", "--principal", f"role/{app.role}", "--action"]
    allowed = run(server, *who, "s3:PutObject", "--resource", app.object("in/a"))
    assert allowed.returncode == 0, allowed.stderr
    assert "ALLOWS: statement 1 (Put) of inline policy p of role" in allowed.stdout
    elsewhere = run(server, *who, "s3:PutObject", "--resource", app.object("out/a"))
    assert elsewhere.returncode == 1
    assert "would allow, but other resource: statement 1 (Put)" in elsewhere.stdout
    assert '"Resource": "' + app.object("out/a") + '"}' in elsewhere.stdout.splitlines()[-1]
    bare = run(server, *who, "s3:ListBucket", "--resource", f"arn:aws:s3:::{app.bucket}")
    assert 'StringEquals s3:prefix "in/": the request has no such key' in bare.stdout
    given = run(server, *who, "s3:ListBucket", "--resource", f"arn:aws:s3:::{app.bucket}", "--context", "s3:prefix=in/")
    assert given.returncode == 0
    unknown = run(server, *who, "sqs:SendMessage")
    assert f"says nothing about sqs:SendMessage: inline policy p of role {app.role}" in unknown.stdout
    deny = {"Sid": "No", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": app.object("*")}
    server.client("s3").put_bucket_policy(Bucket=app.bucket, Policy=policy(deny))
    denied = run(server, *who, "s3:PutObject", "--resource", app.object("in/a"))
    assert denied.returncode == 1
    assert "denied by the resource-based policy: statement 1 (No) of the policy of" in denied.stdout
    without = run(server, *who, "s3:PutObject", "--resource", app.object("in/a"), "--resource-policy", "none")
    assert without.returncode == 0
    file = tmp_path / "policy.json"
    file.write_text(policy(deny | {"Principal": {"AWS": "111111111111"}}))
    other = run(
        server, *who, "s3:PutObject", "--resource", app.object("in/a"), "--resource-policy", str(file), "--json"
    )
    assert other.returncode == 0
    assert [row["outcome"] for row in json.loads(other.stdout)["statements"]] == ["allows", "other principal"]
    slip = run(server, *who, "s3:GetObjct", "--resource", "arn:aws:s3:::b/k")
    assert (slip.returncode, "nothing here asks for s3:GetObjct: is s3:GetObject meant?" in slip.stdout) == (1, True)
    bare = run(server, *who, "GetObject")
    assert (bare.returncode, "it names its service too, as in s3:GetObject" in bare.stderr) == (2, True)
    missing = run(server, "why", "--principal", "role/nobody", "--action", "s3:GetObject")
    assert missing.returncode == 2 and "nobody cannot be found" in missing.stderr


def test_why_tells_the_last_denials(server: Served) -> None:
    app = App(server, {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"})
    with pytest.raises(ClientError, match="AccessDenied"):
        app.client("s3").get_object(Bucket=app.bucket, Key="k")
    for _ in range(3):
        app.client("s3").put_object(Bucket=app.bucket, Key="k", Body=b"")
    told = run(server, "why", "--last-denied", "1")
    assert told.returncode == 0
    assert f"assumed-role/{app.role}/test" in told.stdout
    assert f"may not s3:GetObject on {app.object('k')}" in told.stdout
    assert f"no statement that allows it in: inline policy p of role {app.role}" in told.stdout


def test_the_smallest_policy_is_enough_and_no_more(server: Served) -> None:
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    app = App(server, everything, {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"})

    def job() -> None:
        s3 = app.client("s3")
        for i in range(55):
            s3.put_object(Bucket=app.bucket, Key=f"out/2026/{i}", Body=b"x")
        s3.put_object(Bucket=app.bucket, Key="log/a*b", Body=b"x")
        s3.get_object(Bucket=app.bucket, Key="out/2026/7")
        s3.list_objects_v2(Bucket=app.bucket, Prefix="out/")

    job()
    with pytest.raises(ClientError, match="AccessDenied"):
        app.client("s3").delete_object(Bucket=app.bucket, Key="log/a*b")
    answer = run(server, "least-privilege", "--role", app.role)
    assert answer.returncode == 0, answer.stderr
    assert "(--with-denied takes it in): s3:DeleteObject" in answer.stderr
    assert f"a pattern, not one resource: s3:PutObject on {app.object('out/2026/*')}" in answer.stderr
    assert json.loads(answer.stdout)["Statement"] == [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": app.object("out/2026/7")},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{app.bucket}"},
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": [app.object("log/a${*}b"), app.object("out/2026/*")]},
    ]
    app.allow(answer.stdout)
    job()
    s3 = app.client("s3")
    for refused in (
        lambda: s3.get_object(Bucket=app.bucket, Key="out/2026/8"),
        lambda: s3.put_object(Bucket=app.bucket, Key="log/aXb", Body=b""),
        lambda: s3.get_bucket_tagging(Bucket=app.bucket),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused()
    again = run(server, "least-privilege", "--role", app.arn)
    assert again.stdout == answer.stdout
    with_denied = json.loads(run(server, "least-privilege", "--role", app.role, "--with-denied").stdout)
    assert {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": app.object("log/a${*}b")} in with_denied[
        "Statement"
    ]
    fresh = App(server, everything)
    idle = run(server, "least-privilege", "--role", fresh.role)
    assert idle.returncode == 2 and "has made no calls" in idle.stderr


def test_actions_on_the_same_resources_share_a_statement() -> None:
    calls = [
        {"action": "dynamodb:PutItem", "resources": ["arn:t/a", "arn:t/b"]},
        {"action": "dynamodb:GetItem", "resources": ["arn:t/b", "arn:t/a"]},
        {"action": "sqs:ListQueues", "resources": ["*"]},
        {"action": "s3:GetObject", "resources": ["arn:b/in/1", "arn:b/in/*", "arn:b/out"]},
        {"action": "s3:GetObject", "resources": ["arn:b/in/2"]},
    ]
    assert smallest_policy(calls)["Statement"] == [
        {"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:PutItem"], "Resource": ["arn:t/a", "arn:t/b"]},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": ["arn:b/in/*", "arn:b/out"]},
        {"Effect": "Allow", "Action": "sqs:ListQueues", "Resource": "*"},
    ]
