"""Events kept to try a function with: whose they are, how many, and what becomes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from served import SRC, Served
from wire.lambda_.test_functions import create

ECHO = "def handler(event, context):\n    return event\n"


def ask(
    server: Served, method: str, path: str, body: Any = None, keys: tuple[str, str] | None = ("test", "test")
) -> Any:
    """Status and answer."""
    data = None if body is None else json.dumps(body).encode()
    request = AWSRequest(method, f"{server.endpoint}/_lambda/test-events/{path}", data=data)
    if keys:
        SigV4Auth(Credentials(*keys), "lambda", "us-east-1").add_auth(request)
    wanted = urllib.request.Request(request.url, data=data, method=method, headers=dict(request.headers.items()))
    try:
        with urllib.request.urlopen(wanted, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def user(server: Served, *actions: str) -> tuple[str, str]:
    iam = server.client("iam")
    name = "u-" + uuid.uuid4().hex[:10]
    iam.create_user(UserName=name)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


def test_private_ones_are_ones_own_and_shared_ones_everybodys(own_server: Served) -> None:
    server = own_server
    name = create(server, ECHO)["FunctionName"]
    ann = user(server, "lambda:InvokeFunction", "schemas:*")
    ben = user(server, "lambda:InvokeFunction", "schemas:DescribeSchema")
    big = {"text": "x" * 300_000}
    assert ask(server, "PUT", f"{name}/mine", {"by": "Ann"}, ann)[0] == 200
    assert ask(server, "PUT", f"{name}/all?share", big, ann)[0] == 200
    server.restart()
    assert ask(server, "GET", name, keys=ann) == (200, {"private": ["mine"], "shared": ["all"]})
    assert ask(server, "GET", name, keys=ben) == (200, {"private": [], "shared": ["all"]})
    assert ask(server, "GET", f"{name}/all", keys=ben) == (200, big)
    assert ask(server, "GET", f"{name}/mine", keys=ben)[0] == 404
    assert ask(server, "PUT", f"{name}/all?share", {}, ben)[0] == 403
    assert ask(server, "DELETE", f"{name}/all?share", keys=ben)[0] == 403
    assert ask(server, "GET", name, keys=user(server, "s3:*"))[0] == 403
    assert ask(server, "GET", name, keys=None)[0] == 403
    assert ask(server, "GET", name, keys=("111122223333", "test"))[0] == 404
    assert ask(server, "DELETE", f"{name}/mine", keys=ann)[0] == 200
    assert ask(server, "DELETE", f"{name}/mine", keys=ann)[0] == 404
    server.client("lambda").delete_function(FunctionName=name)
    create(server, ECHO, FunctionName=name)
    assert ask(server, "GET", name, keys=ann) == (200, {"private": [], "shared": []})


def test_ten_private_ones_of_json(server: Served) -> None:
    name = create(server, ECHO)["FunctionName"]
    for number in range(10):
        assert ask(server, "PUT", f"{name}/e{number}", number)[0] == 200
    status, said = ask(server, "PUT", f"{name}/one-more", 1)
    assert (status, "at most 10" in said["message"]) == (400, True)
    assert ask(server, "PUT", f"{name}/e3", {"again": True})[0] == 200
    assert ask(server, "GET", f"{name}/e3") == (200, {"again": True})
    assert ask(server, "GET", "nobody")[0] == 404
    assert ask(server, "PUT", "nobody/e", 1)[0] == 404


def test_the_command(server: Served) -> None:
    name = create(server, ECHO)["FunctionName"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_"))}
        env |= {"PYTHONPATH": str(SRC), "AWS_ENDPOINT_URL": server.endpoint}
        command = [sys.executable, "-m", "penstock", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    kept = run("test-event", "put", name, "up", "--sample", "s3-put", "--set", "Records.0.s3.bucket.name=inbox")
    assert kept.returncode == 0, kept.stderr
    assert run("test-event", "list", name).stdout.split() == ["up", "(private)"]
    answered = run("invoke", name, "--test-event", "up", "--quiet")
    assert json.loads(answered.stdout)["Records"][0]["s3"]["bucket"]["name"] == "inbox"
    assert run("test-event", "delete", name, "up").returncode == 0
    gone = run("test-event", "get", name, "up")
    assert (gone.returncode, "no test event up" in gone.stderr) == (2, True)
