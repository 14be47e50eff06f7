"""Tables of a real server for tests that take time: made, filled, read whole, waited for; and the server's clock."""

from __future__ import annotations

import itertools
import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from served import Served

_numbers = itertools.count()


def wait(done: Callable[[], bool], seconds: float = 30) -> None:
    """Until it is so."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def make_table(client: Any, **further: Any) -> str:
    """A table with keys pk and sk, a global index by kind and a local one by size."""
    name = f"backed-{next(_numbers)}-{time.time_ns()}"
    index = {"Projection": {"ProjectionType": "ALL"}}
    client.create_table(
        TableName=name,
        **{"BillingMode": "PAY_PER_REQUEST", **further},
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "N"},
            {"AttributeName": "kind", "AttributeType": "S"}, {"AttributeName": "size", "AttributeType": "N"},
        ],
        GlobalSecondaryIndexes=[{"IndexName": "kinds", "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}], **index}],
        LocalSecondaryIndexes=[{
            "IndexName": "sizes",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "size", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }],
    )  # fmt: skip
    return name


def item(n: int, **more: Any) -> dict[str, Any]:
    return {
        "pk": {"S": f"p{n % 7}"}, "sk": {"N": str(n)}, "kind": {"S": f"k{n % 3}"}, "size": {"N": str(n % 11)},
        "text": {"S": f"text {n}"}, **more,
    }  # fmt: skip


def fill(client: Any, name: str, count: int) -> None:
    for begin in range(0, count, 25):
        requests = [{"PutRequest": {"Item": item(n)}} for n in range(begin, min(begin + 25, count))]
        client.batch_write_item(RequestItems={name: requests})


def items_of(client: Any, name: str, **how: Any) -> dict[tuple[str, int], dict[str, Any]]:
    pages = client.get_paginator("scan").paginate(TableName=name, **how)
    return {(each["pk"]["S"], int(each["sk"]["N"])): each for page in pages for each in page["Items"]}


def back_up(client: Any, name: str, backup_name: str = "nightly") -> str:
    details = client.create_backup(TableName=name, BackupName=backup_name)["BackupDetails"]
    assert details["BackupStatus"] == "CREATING"
    arn = str(details["BackupArn"])
    wait(lambda: status(client, arn) == "AVAILABLE")
    return arn


def status(client: Any, arn: str) -> str:
    return str(client.describe_backup(BackupArn=arn)["BackupDescription"]["BackupDetails"]["BackupStatus"])


def wait_active(client: Any, name: str) -> dict[str, Any]:
    wait(lambda: client.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE")
    described: dict[str, Any] = client.describe_table(TableName=name)["Table"]
    return described


def now(server: Served) -> float:
    """The time of the server's clock."""
    return advance(server, 0)


def advance(server: Served, seconds: float) -> float:
    """Move the server's clock. Returns the new time."""
    request = urllib.request.Request(
        f"{server.endpoint}/_penstock/clock",
        json.dumps({"advance_s": seconds}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as reply:
        return float(json.load(reply)["now"])
