"""The AWS SDK for JavaScript v3 against a real server, and against the edge where no service is behind it yet."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from clients.javascript import environment, workplace
from penstock.wire.errors import AwsError
from protocol.conftest import Edge, edge
from protocol.test_cbor_and_gzip import metrics
from protocol.test_event_streams import Shard, shard
from served import Served
from wire.lambda_.test_functions import RUNTIME, package

__all__ = ["edge", "metrics", "shard"]


def test_services(server: Served, tmp_path: Path) -> None:
    place = workplace(tmp_path)
    (place / "app.zip").write_bytes(package())
    done = subprocess.run(
        ["node", "services.mjs", server.endpoint, "app.zip", RUNTIME], cwd=place, env=environment(), text=True,
        capture_output=True, timeout=180,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("all\n", 0), done.stderr


def test_documents(server: Served, tmp_path: Path) -> None:
    done = subprocess.run(
        ["node", "documents.mjs", server.endpoint], cwd=workplace(tmp_path), env=environment(), text=True,
        capture_output=True, timeout=180,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("all\n", 0), done.stderr


async def test_protocols(edge: Edge, shard: Shard, tmp_path: Path) -> None:
    place = await asyncio.to_thread(workplace, tmp_path)
    shard.put(b"one")
    process = await asyncio.create_subprocess_exec(
        "node", "protocols.mjs", edge.endpoint, cwd=place, env=environment(), stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"one\n", (await process.stderr.read()).decode()
    shard.put(b"two")
    assert await asyncio.wait_for(process.stdout.readline(), 10) == b"two\n"
    shard.queue.put_nowait(AwsError("ResourceInUseException", "another one reads"))
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (out, process.returncode) == (b"all\n", 0), err.decode()
    assert [(call.operation.service, len(params["MetricData"])) for call, params in edge.calls] == [
        ("cloudwatch", 1000)
    ] * 2
