"""SIGKILL under load: any moment before, between and after can still be restored, exactly."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from dynamodb_tables import advance, items_of, make_table, now, wait_active
from served import Served

CHECKPOINTS = 4
WRITES = 60


def _write(server: Served, name: str, stop: threading.Event, seed: float, done: list[int]) -> None:
    rng, client = random.Random(seed), server.client("dynamodb")
    while not stop.is_set():
        n = rng.randrange(40)
        item = {
            "pk": {"S": f"p{n % 5}"}, "sk": {"N": str(n)}, "kind": {"S": f"k{rng.randrange(3)}"},
            "size": {"N": str(rng.randrange(9))}, "v": {"S": "x" * rng.randrange(200)},
        }  # fmt: skip
        try:
            if rng.random() < 0.3:
                client.delete_item(TableName=name, Key={each: item[each] for each in ("pk", "sk")})
            else:
                client.put_item(TableName=name, Item=item)
            done.append(n)
        except (BotoCoreError, ClientError):
            time.sleep(0.05)
            client = server.client("dynamodb")


def _let_them_write(server: Served, name: str, *, kill: bool) -> None:
    """Some writes, however long they take; with kill, before it and after it."""
    stop = threading.Event()
    done: list[int] = []
    writers = [threading.Thread(target=_write, args=(server, name, stop, random.random(), done)) for _ in range(4)]
    for writer in writers:
        writer.start()
    _wait_for(done, WRITES)
    if kill:
        server.restart()
        _wait_for(done, len(done) + WRITES)
    stop.set()
    for writer in writers:
        writer.join()


def _wait_for(done: list[int], count: int) -> None:
    give_up = time.monotonic() + 60
    while len(done) < count:
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_every_checkpoint_can_be_restored(own_server: Served) -> None:
    client: Any = own_server.client("dynamodb")
    name = make_table(client)
    on = {"PointInTimeRecoveryEnabled": True}
    client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=on)
    checkpoints = []
    for number in range(CHECKPOINTS):
        _let_them_write(own_server, name, kill=number % 2 == 1)
        advance(own_server, 2)
        checkpoints.append((int(now(own_server)), items_of(client, name)))
        advance(own_server, 2)
    _let_them_write(own_server, name, kill=False)
    for number, (at, _) in enumerate(checkpoints):
        copy = f"{name}-{number}"
        client.restore_table_to_point_in_time(SourceTableName=name, TargetTableName=copy, RestoreDateTime=at)
    for number, (_, expected) in enumerate(checkpoints):
        copy = f"{name}-{number}"
        wait_active(client, copy)
        assert items_of(client, copy) == expected
        for index in ("kinds", "sizes"):
            assert len(items_of(client, copy, IndexName=index)) == len(expected)
    assert len({str(sorted(expected.items())) for _, expected in checkpoints}) == CHECKPOINTS
