"""SIGKILL at random moments while the demo's pipeline runs: nothing acknowledged is gone, every row is right."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

import flights
from served import Served


class _Writer(threading.Thread):
    """Puts small items and objects as fast as it can, and remembers those that were acknowledged."""

    def __init__(self, server: Served) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.stop = threading.Event()
        self.acknowledged: list[int] = []

    def run(self) -> None:
        n = 0
        while not self.stop.is_set():
            n += 1
            try:
                aws = flights.clients(self.server.endpoint)
                while not self.stop.is_set():
                    aws.dynamodb.put_item(TableName="acks", Item={"n": {"N": str(n)}, "v": {"S": f"v{n}" * 50}})
                    aws.s3.put_object(Bucket="acks", Key=f"{n}", Body=f"v{n}".encode() * 50)
                    self.acknowledged.append(n)
                    n += 1
            except (BotoCoreError, ClientError):
                time.sleep(0.05)


def _run(server: Served, days: int, kills: int, timeout_s: float) -> None:
    wanted = flights.files(days)
    flights.deploy(server.endpoint)
    aws = flights.clients(server.endpoint, attempts=3)
    aws.s3.create_bucket(Bucket="acks")
    aws.dynamodb.create_table(
        TableName="acks", KeySchema=[{"AttributeName": "n", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "n", "AttributeType": "N"}], BillingMode="PAY_PER_REQUEST",
    )  # fmt: skip
    writer = _Writer(server)
    writer.start()
    uploading = threading.Thread(
        target=flights.upload, args=([server.endpoint], wanted, timeout_s), daemon=True
    )  # fmt: skip
    uploading.start()
    for _ in range(kills):
        time.sleep(random.uniform(0.2, 1.6))
        server.restart()
    uploading.join(timeout_s)
    assert not uploading.is_alive()
    writer.stop.set()
    writer.join(30)
    flights.wait(server.endpoint, wanted, timeout_s)
    server.restart()
    assert flights.wrong_rows(server.endpoint, wanted) == []
    assert flights.names(wanted) <= flights.csv_keys(server.endpoint)
    assert len(writer.acknowledged) > 10
    aws = flights.clients(server.endpoint, attempts=3)
    for n in writer.acknowledged:
        assert aws.dynamodb.get_item(TableName="acks", Key={"n": {"N": str(n)}})["Item"]["v"]["S"] == f"v{n}" * 50
        assert aws.s3.get_object(Bucket="acks", Key=f"{n}")["Body"].read() == f"v{n}".encode() * 50


@pytest.mark.serial
@pytest.mark.timeout(300)
def test_six_kills(own_server: Served) -> None:
    _run(own_server, days=4, kills=6, timeout_s=150)


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.timeout(1500)
def test_fifty_kills(own_server: Served) -> None:
    _run(own_server, days=31, kills=50, timeout_s=900)


def test_a_killed_server_leaves_no_process_behind(own_server: Served, tmp_path: Path) -> None:
    import psutil

    flights.deploy(own_server.endpoint)
    flights.upload([own_server.endpoint], flights.files(1), 30)
    flights.wait(own_server.endpoint, flights.files(1), 60)
    family = [own_server.pid, *(p.pid for p in psutil.Process(own_server.pid).children(recursive=True))]
    assert len(family) > 1, "the functions ran in processes of their own"
    own_server.kill()
    end = time.monotonic() + 10
    while alive := [pid for pid in family if psutil.pid_exists(pid) and _is_running(pid)]:
        assert time.monotonic() < end, f"left behind: {alive}"
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False
