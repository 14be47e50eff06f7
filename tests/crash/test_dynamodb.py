"""SIGKILL under load: every acknowledged write of DynamoDB is there, none is there in part, counters never "
"lose one."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from served import Served

WRITERS = 6
KILLS = 4


class _Writer(threading.Thread):
    """Puts, deletes and counts at keys of its own; remembers what was acknowledged and what was left in doubt."""

    def __init__(self, server: Served, number: int) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.number = number
        self.stop = threading.Event()
        self.certain: dict[str, str | None] = {}
        """Key -> the value that is there (None: no item)."""
        self.doubtful: dict[str, set[str | None]] = {}
        self.counted = 0
        self.perhaps_counted = 0
        self.seen = threading.Event()

    def run(self) -> None:
        client, turn = self.server.client("dynamodb"), 0
        while not self.stop.is_set():
            turn += 1
            try:
                self.turn(client, turn)
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
                client = self.server.client("dynamodb")

    def turn(self, client: Any, turn: int) -> None:
        key = f"{self.number}-{turn % 50}"
        value = None if turn % 7 == 0 else f"{turn}-" + "x" * (turn % 400)
        before = self.certain.pop(key, None)
        self.doubtful[key] = self.doubtful.get(key, set()) | {before, value}
        if value is None:
            client.delete_item(TableName="crash", Key={"pk": {"S": key}})
        else:
            client.put_item(TableName="crash", Item={"pk": {"S": key}, "v": {"S": value}})
        del self.doubtful[key]
        self.certain[key] = value
        self.perhaps_counted += 1
        client.update_item(
            TableName="crash", Key={"pk": {"S": f"counter{self.number}"}}, UpdateExpression="ADD n :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )  # fmt: skip
        self.perhaps_counted -= 1
        self.counted += 1
        self.seen.set()


def test_acknowledged_writes_survive(own_server: Served) -> None:
    own_server.client("dynamodb").create_table(
        TableName="crash", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )  # fmt: skip
    writers = [_Writer(own_server, number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        for writer in writers:
            writer.seen.clear()
            assert writer.seen.wait(30)
        time.sleep(random.uniform(0.0, 0.4))
        own_server.restart()
    for writer in writers:
        writer.stop.set()
        writer.join(30)
    own_server.restart()
    client = own_server.client("dynamodb")
    pages = client.get_paginator("scan").paginate(TableName="crash", ConsistentRead=True)
    items = {item["pk"]["S"]: item for page in pages for item in page["Items"]}
    for writer in writers:
        for key, value in writer.certain.items():
            assert items.get(key, {}).get("v", {}).get("S") == value, key
        for key, possible in writer.doubtful.items():
            assert items.get(key, {}).get("v", {}).get("S") in possible, key
        total = int(items[f"counter{writer.number}"]["n"]["N"])
        assert writer.counted <= total <= writer.counted + writer.perhaps_counted
    assert client.describe_table(TableName="crash")["Table"]["ItemCount"] == len(items)
