"""Minutes of mixed load leave no growth behind: not of memory, files, threads or disk."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from served import Served

WARM_S = 60
LOAD_S = 150
KEYS = 200
GROWTH_BYTES = 24 * 1024**2
DISK_BYTES = 400 * 1024**2


def _prepare(server: Served) -> None:
    server.client("dynamodb").create_table(
        TableName="flat", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )  # fmt: skip
    server.client("s3").create_bucket(Bucket="flat")


def _turn(dynamodb: Any, s3: Any, kms: Any, key_id: str, worker: int, turn: int) -> None:
    key = f"{worker}-{turn % KEYS}"
    dynamodb.put_item(TableName="flat", Item={"pk": {"S": key}, "v": {"S": "x" * (turn % 3000)}})
    dynamodb.query(
        TableName="flat", KeyConditionExpression="pk = :p", ExpressionAttributeValues={":p": {"S": key}}
    )  # fmt: skip
    s3.put_object(Bucket="flat", Key=key, Body=os.urandom(200_000 if turn % 10 == 0 else 500))
    s3.get_object(Bucket="flat", Key=key)["Body"].read()
    if turn % 5 == 0:
        dynamodb.delete_item(TableName="flat", Key={"pk": {"S": key}})
        s3.delete_object(Bucket="flat", Key=key)
    if turn % 20 == 0:
        kms.encrypt(KeyId=key_id, Plaintext=b"x")
    if turn % 50 == 0:
        upload = s3.create_multipart_upload(Bucket="flat", Key="parts")["UploadId"]
        s3.upload_part(Bucket="flat", Key="parts", UploadId=upload, PartNumber=1, Body=b"y" * 100_000)
        s3.abort_multipart_upload(Bucket="flat", Key="parts", UploadId=upload)


def _run(server: Served, worker: int, stop: threading.Event, key_id: str, failures: list[BaseException]) -> None:
    turn = 0
    try:
        while not stop.is_set():
            # A new client now and then: connections come and go as well.
            clients = [server.client(name) for name in ("dynamodb", "s3", "kms")]
            for _ in range(100):
                if stop.is_set():
                    return
                _turn(*clients, key_id, worker, turn)
                turn += 1
    except BaseException as failure:
        failures.append(failure)


def _disk(folder: Path) -> int:
    """Of a server that has been stopped: no file comes or goes meanwhile."""
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


@pytest.mark.slow
@pytest.mark.timeout(WARM_S + LOAD_S + 120)
def test_load_leaves_nothing_behind(own_server: Served) -> None:
    _prepare(own_server)
    key_id = own_server.client("kms").create_key()["KeyMetadata"]["KeyId"]
    process, stop = psutil.Process(own_server.pid), threading.Event()
    failures: list[BaseException] = []
    workers = [threading.Thread(target=_run, args=(own_server, number, stop, key_id, failures)) for number in range(4)]
    for worker in workers:
        worker.start()

    def seen() -> tuple[int, int, int]:
        return process.memory_info().rss, process.num_fds(), process.num_threads()

    time.sleep(WARM_S)
    before = seen()
    time.sleep(LOAD_S)
    after = seen()
    stop.set()
    for worker in workers:
        worker.join()
    assert not failures
    assert after[0] - before[0] < GROWTH_BYTES, (before, after)
    # A few files come and go with RocksDB's compactions, a few threads with pools that grow to their bound.
    assert after[1] - before[1] < 40 and after[2] - before[2] < 10, (before, after)
    own_server.stop()
    assert _disk(own_server.data) < DISK_BYTES
