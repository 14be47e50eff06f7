"""What functions leave behind: nothing on the disk, and no growth of the server."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from served import Served
from wire.lambda_.test_functions import ROLE, RUNTIME, create, package
from wire.lambda_.test_invocations import advance
from wire.lambda_.test_metrics import counted

WARM_S = 45
LOAD_S = 120
GROWTH_BYTES = 32 * 1024**2


def files(server: Served, *folders: str) -> list[Path]:
    """They may go while they are looked for."""
    walks = [os.walk(server.data / folder) for folder in folders]
    return [Path(where) / name for walk in walks for where, _, names in walk for name in names]


def test_code_of_functions_that_are_gone_is_taken_off_the_disk(own_server: Served) -> None:
    client = own_server.client("lambda")
    kept = create(own_server, "def handler(event, context):\n    return 'kept'\n")["FunctionName"]
    gone = create(own_server, "def handler(event, context):\n    return 'gone'\n")["FunctionName"]
    never = create(own_server, "def handler(event, context):\n    return 'never'\n")["FunctionName"]
    for name in (kept, gone):
        client.invoke(FunctionName=name)
    client.update_function_code(FunctionName=kept, ZipFile=package("def handler(event, context):\n    return 2\n"))
    client.invoke(FunctionName=kept)
    client.delete_function(FunctionName=gone)
    client.delete_function(FunctionName=never)

    def unpacked() -> int:
        return len([path for path in files(own_server, "runtime/packages") if path.name == "app.py"])

    assert unpacked() >= 3
    end = time.monotonic() + 30
    while unpacked() != 1:
        assert time.monotonic() < end, unpacked()
        advance(own_server, 4000)
        time.sleep(0.3)
    assert client.invoke(FunctionName=kept)["Payload"].read() == b"2"
    assert counted(own_server, kept)["invocations"] == 3 and counted(own_server, gone) == {}


def _turn(client: Any, worker: int, turn: int) -> None:
    name = f"w{worker}-{turn % 3}"
    body = package(f"def handler(event, context):\n    print('{turn}' * 50)\n    return {turn}\n")
    made = client.create_function(
        FunctionName=name, Runtime=RUNTIME, Role=ROLE, Handler="app.handler", Code={"ZipFile": body}, Publish=True
    )
    for _ in range(5):
        client.invoke(FunctionName=name)
    client.update_function_configuration(FunctionName=name, Description=str(turn))
    client.invoke(FunctionName=name, InvocationType="Event")
    client.invoke(FunctionName=name, Qualifier=made["Version"])
    client.publish_layer_version(LayerName=name, Content={"ZipFile": body})
    client.delete_layer_version(LayerName=name, VersionNumber=turn // 3 + 1)
    client.delete_function(FunctionName=name)


@pytest.mark.slow
@pytest.mark.timeout(WARM_S + LOAD_S + 180)
def test_functions_that_come_and_go_leave_nothing_behind(own_server: Served) -> None:
    process, stop = psutil.Process(own_server.pid), threading.Event()
    failures: list[BaseException] = []

    def run(worker: int) -> None:
        client, turn = own_server.client("lambda"), 0
        try:
            while not stop.is_set():
                _turn(client, worker, turn)
                turn += 1
                if worker == 0 and turn % 10 == 0:
                    advance(own_server, 400)
        except BaseException as failure:
            failures.append(failure)

    workers = [threading.Thread(target=run, args=(number,)) for number in range(3)]
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
    assert not failures, failures
    assert after[0] - before[0] < GROWTH_BYTES, (before, after)
    assert after[1] - before[1] < 60 and after[2] - before[2] < 10, (before, after)
    end = time.monotonic() + 60
    while files(own_server, "runtime/packages", "blobs/data"):
        assert time.monotonic() < end, files(own_server, "runtime/packages", "blobs/data")[:5]
        advance(own_server, 4000)
        time.sleep(0.5)
    assert len(process.children(recursive=True)) < 12, [" ".join(c.cmdline()[:3]) for c in process.children(True)]
