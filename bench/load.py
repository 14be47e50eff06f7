"""End to end: a real server process, signed requests over kept-alive connections, closed loop. CPU is the server's own.

Signatures are made before the clock starts. Figures on one machine at one time compare; across machines they do not.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httptools
import psutil
import uvloop
import workloads
from botocore.config import Config

SRC = Path(__file__).resolve().parent.parent / "src"


class Server:
    """A `penstock up` on a free port and an empty data directory."""

    def __init__(self) -> None:
        self._data = tempfile.TemporaryDirectory(prefix="penstock-bench-")
        self.data = self._data.name
        env = {**os.environ, "PYTHONPATH": str(SRC)}
        command = [sys.executable, "-m", "penstock", "up", "--port", "0", "--data", self.data, "--limits", "off"]
        began = time.perf_counter()
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        line = self.process.stdout.readline()
        self.port = int(line.split(" ready at ")[1].split()[0].rsplit(":", 1)[1])
        self.client("s3").list_buckets()
        self.start_to_first_answer_s = time.perf_counter() - began

    def client(self, service: str) -> Any:
        return boto3.client(
            service, endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="test", config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip

    def cpu_s(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def rss_mb(self) -> float:
        own = psutil.Process(self.process.pid)
        return sum(p.memory_info().rss for p in [own, *own.children(recursive=True)]) / 1e6

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self._data.cleanup()


class _Connection(asyncio.Protocol):
    def __init__(
        self, requests: Iterator[bytes], end: float, latencies: list[float], done: asyncio.Future[None]
    ) -> None:
        self.requests, self.end, self.latencies, self.done = requests, end, latencies, done
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.send()

    def send(self) -> None:
        if time.perf_counter() >= self.end:
            self.transport.close()
            self.done.set_result(None)
            return
        self.parser = httptools.HttpResponseParser(self)
        self.began = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = self.parser.get_status_code()
        if status // 100 != 2 and not self.done.done():
            self.done.set_exception(RuntimeError(f"answered {status}"))
            self.transport.close()
            return
        self.latencies.append(time.perf_counter() - self.began)
        self.send()


async def _drive(port: int, pool: list[bytes], connections: int, seconds: float) -> list[float]:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    requests = itertools.cycle(pool)
    end = time.perf_counter() + seconds
    futures = []
    for _ in range(connections):
        done = loop.create_future()
        await loop.create_connection(lambda d=done: _Connection(requests, end, latencies, d), "127.0.0.1", port)
        futures.append(done)
    await asyncio.gather(*futures)
    return latencies


def load(server: Server, pool: list[bytes], connections: int, seconds: float) -> dict[str, float]:
    """Drive the pool in a closed loop. Returns ops_s, cpu_us (of the server, an operation), p50_ms and p99_ms."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_drive(server.port, pool, connections, min(1.0, seconds / 2)))
        cpu, began = server.cpu_s(), time.perf_counter()
        latencies = sorted(runner.run(_drive(server.port, pool, connections, seconds)))
        elapsed, used = time.perf_counter() - began, server.cpu_s() - cpu
    return {
        "ops_s": round(len(latencies) / elapsed),
        "cpu_us": round(used / len(latencies) * 1e6, 1),
        "p50_ms": round(latencies[len(latencies) // 2] * 1e3, 3),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1e3, 3),
    }


def _function(server: Server, source: str) -> str:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", source)
    name = "f" + uuid.uuid4().hex[:10]
    server.client("lambda").create_function(
        FunctionName=name, Runtime=f"python3.{sys.version_info.minor}", Role="arn:aws:iam::000000000000:role/bench",
        Handler="app.handler", Code={"ZipFile": package.getvalue()},
    )  # fmt: skip
    return name


def invoke(server: Server, seconds: float) -> dict[str, dict[str, float]]:
    """Warm invocations by load, cold starts one by one."""
    warm = _function(server, "def handler(event, context):\n    return event\n")
    path = f"/2015-03-31/functions/{warm}/invocations"
    pool = [workloads.signed(server.port, "lambda", "POST", path, {}, b'{"n":1}') for _ in range(200)]
    found = {
        "Invoke warm, 1 connection": load(server, pool, 1, seconds),
        "Invoke warm, 8 connections": load(server, pool, 8, seconds),
    }
    client = server.client("lambda")
    colds = []
    for _ in range(8):
        name = _function(
            server, "import boto3\nd = boto3.client('dynamodb')\ndef handler(event, context):\n    return event\n"
        )
        began = time.perf_counter()
        client.invoke(FunctionName=name, Payload=b"{}")["Payload"].read()
        colds.append((time.perf_counter() - began) * 1e3)
    found["Invoke cold, imports boto3"] = {"p50_ms": round(statistics.median(colds), 1)}
    return found


def run(seconds: float) -> dict[str, dict[str, float]]:
    """All workloads, by name."""
    server = Server()
    try:
        time.sleep(1)
        found = {
            "start to first answer": {"s": round(server.start_to_first_answer_s, 2)},
            "idle": {"rss_mb": round(server.rss_mb(), 1)},
        }
        workloads.prepare(server)
        for name, (pool, connections) in workloads.WORKLOADS.items():
            found[name] = load(server, pool(server), connections, seconds)
        found.update(invoke(server, seconds))
        return found
    finally:
        server.close()
