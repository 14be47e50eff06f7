"""SIGKILL under load: a stream tells every acknowledged change once and in order, and none that did not happen."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from served import Served

WRITERS = 5
KILLS = 3


class _Writer(threading.Thread):
    """Puts ever larger numbers at its own key, now and then deletes it; remembers what was acknowledged and tried."""

    def __init__(self, server: Served, number: int) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.key = {"pk": {"S": f"w{number}"}}
        self.stop = threading.Event()
        self.seen = threading.Event()
        self.tried: list[int | None] = []
        self.acknowledged: set[int] = set()
        """Indexes in `tried`."""

    def run(self) -> None:
        client, turn = self.server.client("dynamodb"), 0
        while not self.stop.is_set():
            turn += 1
            value = None if turn % 6 == 0 else turn
            self.tried.append(value)
            try:
                if value is None:
                    client.delete_item(TableName="told", Key=self.key)
                else:
                    client.put_item(TableName="told", Item={**self.key, "n": {"N": str(value)}})
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
                client = self.server.client("dynamodb")
            else:
                self.acknowledged.add(len(self.tried) - 1)
                self.seen.set()


def test_streams_tell_every_acknowledged_change_once(own_server: Served) -> None:
    arn = own_server.client("dynamodb").create_table(
        TableName="told", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]["LatestStreamArn"]  # fmt: skip
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
        writer.seen.clear()
        assert writer.seen.wait(30)
        writer.stop.set()
    for writer in writers:
        writer.join()
    told: dict[str, list[dict[str, Any]]] = {}
    for record in _records(own_server, arn):
        told.setdefault(record["Keys"]["pk"]["S"], []).append(record)
    kept = own_server.client("dynamodb")
    for writer in writers:
        records = told[writer.key["pk"]["S"]]
        image: dict[str, Any] | None = None
        values = []
        for record in records:
            # Each record goes on from the one before it: nothing is missing between them.
            assert record.get("OldImage") == image
            image = record.get("NewImage")
            values.append(None if image is None else int(image["n"]["N"]))
        assert kept.get_item(TableName="told", Key=writer.key).get("Item") == image
        _holds(writer, values)


def _holds(writer: _Writer, told: list[int | None]) -> None:
    """What was told is what was tried, in order, without some that were never acknowledged or changed nothing."""
    at = 0
    absent = True
    for index, value in enumerate(writer.tried):
        if at < len(told) and told[at] == value:
            absent = value is None
            at += 1
        else:
            assert index not in writer.acknowledged or (value is None and absent), f"{value} was not told"
    assert at == len(told)


def _records(server: Served, arn: str) -> list[dict[str, Any]]:
    streams = server.client("dynamodbstreams")
    shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
    iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    found: list[dict[str, Any]] = []
    while True:
        page = streams.get_records(ShardIterator=iterator)
        if not page["Records"]:
            return found
        found += [each["dynamodb"] for each in page["Records"]]
        iterator = page["NextShardIterator"]
