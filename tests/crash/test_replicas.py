"""SIGKILL while two regions of a global table are written to and a third is being filled: all of them end up the same."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from served import Served

REGIONS = ("us-east-1", "eu-west-1", "ap-northeast-1")
TABLE = "everywhere"


class _Writer(threading.Thread):
    """Writes and deletes keys of its own in one region; `certain` is what is there, `doubtful` are unanswered values."""

    def __init__(self, server: Served, region: str) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.region = region
        self.stop = threading.Event()
        self.certain: dict[str, str | None] = {}
        self.doubtful: dict[str, set[str | None]] = {}
        self.turns = 0
        self.seen = threading.Event()

    def run(self) -> None:
        client = self.server.client("dynamodb", region=self.region)
        while not self.stop.is_set():
            self.turns += 1
            key = f"{self.region}-{self.turns % 40}"
            value = None if self.turns % 5 == 0 else f"{self.turns}"
            before = self.certain.pop(key, None)
            self.doubtful[key] = self.doubtful.get(key, set()) | {before, value}
            try:
                if value is None:
                    client.delete_item(TableName=TABLE, Key={"pk": {"S": key}})
                else:
                    client.put_item(TableName=TABLE, Item={"pk": {"S": key}, "v": {"S": value}})
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
                client = self.server.client("dynamodb", region=self.region)
                continue
            del self.doubtful[key]
            self.certain[key] = value
            if self.turns % 30 == 0:
                self.seen.set()


def _items(client: Any) -> dict[str, str]:
    found = client.get_paginator("scan").paginate(TableName=TABLE)
    return {item["pk"]["S"]: item["v"]["S"] for page in found for item in page["Items"]}


def _wait(done: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def _active(client: Any, count: int) -> bool:
    replicas = client.describe_table(TableName=TABLE)["Table"].get("Replicas", [])
    return len(replicas) == count and all(each["ReplicaStatus"] == "ACTIVE" for each in replicas)


def test_regions_agree_after_crashes(own_server: Served) -> None:
    first = own_server.client("dynamodb")
    first.create_table(
        TableName=TABLE, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )  # fmt: skip
    for n in range(300):
        first.put_item(TableName=TABLE, Item={"pk": {"S": f"old{n}"}, "v": {"S": "x" * 5000}})
    first.update_table(TableName=TABLE, ReplicaUpdates=[{"Create": {"RegionName": REGIONS[1]}}])
    own_server.restart()
    _wait(lambda: _active(first, 1))
    writers = [_Writer(own_server, region) for region in REGIONS[:2]]
    for writer in writers:
        writer.start()
    time.sleep(0.3)
    first.update_table(TableName=TABLE, ReplicaUpdates=[{"Create": {"RegionName": REGIONS[2]}}])
    for _ in range(3):
        for writer in writers:
            writer.seen.clear()
        assert all(writer.seen.wait(30) for writer in writers)
        time.sleep(random.uniform(0.0, 0.3))
        own_server.restart()
    for writer in writers:
        writer.stop.set()
    for writer in writers:
        writer.join(10)
    clients = [own_server.client("dynamodb", region=region) for region in REGIONS]
    _wait(lambda: all(_active(client, 2) for client in clients))
    _wait(lambda: _items(clients[0]) == _items(clients[1]) == _items(clients[2]))
    there = _items(clients[2])
    assert all(there[f"old{n}"] == "x" * 5000 for n in range(300))
    for writer in writers:
        for key, value in writer.certain.items():
            assert there.get(key) == value, key
        for key, values in writer.doubtful.items():
            assert there.get(key) in values, key
