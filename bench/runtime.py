"""How fast functions run: warm and cold, in process and over HTTP, from a snapshot, many environments at once.

PYTHONPATH=src:tests:bench python bench/runtime.py [--environments 200] [--pandas FOLDER] [--alone]

--pandas: a layer with pandas in python/ (pip install --target FOLDER/python pandas), for the SnapStart figure. --alone:
on a machine that others use as well, run ahead of them (needs root, and cgroup v1 for functions' share).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import load
import psutil
import uvloop

from environments import Bench, make_bench

SOURCE = """
import time
def nop(event, context):
    return event
def client(event, context):
    import boto3
    boto3.client("dynamodb")
def nap(event, context):
    time.sleep(event)
"""


PANDAS = """
import pandas
frame = pandas.DataFrame({"a": range(1000), "b": range(1000)})
def handler(event, context):
    return len(frame)
"""
OVER_HTTP = {
    "nothing": "def handler(event, context):\n    return event\n",
    "importing boto3, making a client": (
        "import boto3\nd = boto3.client('dynamodb')\ndef handler(event, context):\n    return event\n"
    ),
}


def ahead_of_others(pid: int) -> None:
    """Have a server, its zygotes and its functions run before what else this machine does."""
    for path in Path("/sys/fs/cgroup/cpu").glob(f"penstock-*-{pid}-*/cpu.shares"):
        path.write_text("262144")
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        process.nice(-19)
        Path(f"/proc/{process.pid}/autogroup").write_text("-19")


def quantiles(took_s: list[float]) -> str:
    ordered = sorted(took_s)
    p50, p90 = (ordered[int(len(ordered) * q)] * 1000 for q in (0.5, 0.9))
    return f"min {ordered[0] * 1000:.2f}, p50 {p50:.2f}, p90 {p90:.2f} ms"


async def repeat(bench: Bench, spec: Any, n: int, *, cold: bool) -> str:
    took_s = []
    if cold:
        await bench.runtime.retire("")
    for _ in range(n):
        began = time.perf_counter()
        outcome = await bench.invoke(spec, 1)
        took_s.append(time.perf_counter() - began)
        assert not outcome.error, outcome.payload
        if cold:
            await bench.runtime.retire("")
            await asyncio.sleep(0.2)
    return quantiles(took_s)


def own_bytes(pid: int) -> Iterator[int]:
    """What each process below one holds: its pages, shared ones by their share (PSS)."""
    for process in psutil.Process(pid).children(recursive=True):
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        yield next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


async def from_snapshot(bench: Bench, layer: Path) -> str:
    spec = bench.function(
        PANDAS, "pandas", snap_start=True, version="1", timeout_s=60.0, memory_mb=512, layers=(layer.resolve(),)
    )
    await bench.invoke(spec, 1)
    took_s = []
    for _ in range(40):
        for environment in bench.runtime.all():
            if environment.available:
                environment.end()
        await asyncio.sleep(0.3)
        began = time.perf_counter()
        outcome = await bench.invoke(spec, 1)
        took_s.append(time.perf_counter() - began)
        assert outcome.cold and not outcome.error, outcome.payload
    return quantiles(took_s)


def over_http(*, alone: bool) -> None:
    """New functions, each invoked once by boto3, this process's part included."""
    server = load.Server()
    client = server.client("lambda")
    client.invoke(FunctionName=load._function(server, OVER_HTTP["nothing"]), Payload=b"{}")
    time.sleep(3)
    if alone:
        ahead_of_others(server.process.pid)
    for what, source in OVER_HTTP.items():
        took_s = []
        for _ in range(30):
            name = load._function(server, source)
            time.sleep(0.2)
            began = time.perf_counter()
            client.invoke(FunctionName=name, Payload=b"{}")["Payload"].read()
            took_s.append(time.perf_counter() - began)
        print(f"cold over HTTP, {what}: {quantiles(took_s)}", flush=True)
    server.close()


async def at_once(bench: Bench, nap: Any, environments: int) -> None:
    began = time.perf_counter()
    napping = [asyncio.ensure_future(bench.invoke(nap, 8)) for _ in range(environments)]
    while sum(not e.starting for e in bench.runtime.all()) < environments:  # noqa: ASYNC110 - they tell nobody
        await asyncio.sleep(0.01)
    took_s = time.perf_counter() - began
    each_mb = sum(own_bytes(bench.runtime.zygote_pids()[0])) / environments / 1e6
    print(f"{environments} at once: {took_s:.2f} s, {each_mb:.1f} MB each (PSS)")
    await asyncio.gather(*napping)
    await bench.runtime.retire("")


async def measure(environments: int, pandas: Path | None, *, alone: bool) -> None:
    bench = make_bench(Path(tempfile.mkdtemp()))
    await bench.runtime.start()
    nop, client, nap = (
        bench.function(SOURCE, name, handler=f"main.{name}", timeout_s=60.0) for name in ("nop", "client", "nap")
    )
    began = time.perf_counter()
    await bench.invoke(nop, 1)
    print(f"first of all, zygote included: {(time.perf_counter() - began) * 1000:.0f} ms")
    await asyncio.sleep(2)
    if alone:
        ahead_of_others(os.getpid())
    print("warm:", await repeat(bench, nop, 1000, cold=False))
    print("cold:", await repeat(bench, nop, 50, cold=True))
    print("cold, and a DynamoDB client:", await repeat(bench, client, 50, cold=True))
    if pandas is not None:
        print("cold, from a snapshot that has imported pandas:", await from_snapshot(bench, pandas))
        await bench.runtime.retire("")
    for _ in range(3):
        await asyncio.sleep(3)  # what ended before is given back
        await at_once(bench, nap, environments)
    await bench.runtime.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, default=200)
    parser.add_argument("--pandas", type=Path)
    parser.add_argument("--alone", action="store_true")
    arguments = parser.parse_args()
    if arguments.alone:
        ahead_of_others(os.getpid())
    uvloop.run(measure(arguments.environments, arguments.pandas, alone=arguments.alone))
    over_http(alone=arguments.alone)
