"""An upload whose function is gone: its event becomes a dead letter, and is delivered after all when sent again."""

from __future__ import annotations

import io
import json
import sys
import time
import urllib.error
import urllib.request
import zipfile
from typing import Any

import pytest

from served import Served

SOURCE = "def handler(event, context):\n    print('got', event['Records'][0]['s3']['object']['key'])\n"


def ask(server: Served, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(server.endpoint + path, data=data), timeout=10) as answer:
        return json.load(answer)


def create_function(server: Served) -> str:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", SOURCE)
    functions = server.client("lambda")
    arn: str = functions.create_function(
        FunctionName="f", Runtime=f"python3.{sys.version_info.minor}",
        Role="arn:aws:iam::000000000000:role/f", Handler="app.handler",
        Code={"ZipFile": package.getvalue()},
    )["FunctionArn"]  # fmt: skip
    functions.add_permission(
        FunctionName="f", StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::inbox",
    )  # fmt: skip
    return arn


def until(server: Served, what: Any) -> Any:
    deadline = time.monotonic() + 30
    while not (found := what()):
        assert time.monotonic() < deadline, "\n".join(server.log)
        ask(server, "/_penstock/clock", {"advance_s": 10})
        time.sleep(0.1)
    return found


def test_given_up_on_seen_and_sent_again(own_server: Served) -> None:
    s3 = own_server.client("s3")
    s3.create_bucket(Bucket="inbox")
    arn = create_function(own_server)
    s3.put_bucket_notification_configuration(
        Bucket="inbox",
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [{"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    own_server.client("lambda").delete_function(FunctionName="f")
    s3.put_object(Bucket="inbox", Key="late.txt", Body=b"x")
    seen = until(own_server, lambda: (d := ask(own_server, "/_penstock/deliveries"))["dead"] and d)
    [letter] = seen["dead_letters"]
    assert (letter["call"], letter["source"], letter["attempts"]) == ("lambda:Invoke", "arn:aws:s3:::inbox", 3)
    # The function took its policy with it, and permission is asked before existence.
    assert letter["reason"].startswith("AccessDeniedException")
    assert ask(own_server, "/_penstock/deliveries?after=" + letter["key"])["dead_letters"] == []
    own_server.kill()
    own_server.restart()
    create_function(own_server)
    assert ask(own_server, "/_penstock/deliveries/redrive", {"keys": [letter["key"], "00"]}) == {"redriven": 1}
    logs = own_server.client("logs")

    def printed() -> Any:
        groups = logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/f")["logGroups"]
        return groups and logs.filter_log_events(logGroupName="/aws/lambda/f", filterPattern='"got late.txt"')["events"]

    assert len(until(own_server, printed)) == 1
    counts = ask(own_server, "/_penstock/deliveries")
    assert (counts["available"], counts["in_flight"], counts["dead"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/_penstock/deliveries?after=zz", None),
        ("/_penstock/deliveries/redrive", {"keys": ["zz"]}),
        ("/_penstock/deliveries/redrive", {"keys": "00"}),
        ("/_penstock/deliveries/redrive", []),
    ],
)
def test_nonsense_is_refused(server: Served, path: str, body: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(server, path, body)
    assert caught.value.code == 400
