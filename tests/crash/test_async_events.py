"""Asynchronous invocations that were acknowledged are all run, however often the server is killed."""

from __future__ import annotations

import io
import json
import queue
import sys
import threading
import time
import zipfile
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from served import Served

SOURCE = """
import boto3
table = boto3.client("dynamodb", aws_access_key_id="test", aws_secret_access_key="test", aws_session_token="")
def handler(event, context):
    table.put_item(TableName="ran", Item={"id": {"N": str(event)}})
"""
SENDERS = 4


def _prepare(server: Served) -> None:
    server.client("dynamodb").create_table(
        TableName="ran", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
    )  # fmt: skip
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", SOURCE)
    server.client("lambda").create_function(
        FunctionName="mark", Runtime=f"python3.{sys.version_info.minor}", Role="arn:aws:iam::000000000000:role/none",
        Handler="app.handler", Timeout=60, Code={"ZipFile": package.getvalue()},
    )  # fmt: skip


def _ran(server: Served) -> set[int]:
    pages = server.client("dynamodb").get_paginator("scan").paginate(TableName="ran")
    return {int(item["id"]["N"]) for page in pages for item in page["Items"]}


def _send(server: Served, events: queue.Queue[int], sent: list[int]) -> None:
    """Send until there are no more; what was not acknowledged is sent again."""
    client: Any = None
    while True:
        try:
            event = events.get_nowait()
        except queue.Empty:
            return
        while True:
            try:
                client = client or server.client("lambda")
                client.invoke(FunctionName="mark", InvocationType="Event", Payload=json.dumps(event).encode())
            except (BotoCoreError, ClientError, OSError):
                client = None
                time.sleep(0.2)
            else:
                sent.append(event)
                break


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("count", [10_000])
def test_ten_thousand_events_are_run_through_three_kills(own_server: Served, count: int) -> None:
    _prepare(own_server)
    events: queue.Queue[int] = queue.Queue()
    for event in range(count):
        events.put(event)
    sent: list[int] = []
    threads = [threading.Thread(target=_send, args=(own_server, events, sent)) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    kills = [count // 4, count // 2, count * 3 // 4]
    end = time.monotonic() + 900
    while True:
        ran = _ran(own_server)
        if kills and len(ran) >= kills[0]:
            kills.pop(0)
            own_server.restart()
        if len(ran) == count:
            break
        assert time.monotonic() < end, f"{count - len(ran)} of {count} events are missing"
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    assert not kills
    assert sorted(sent) == sorted(ran)
