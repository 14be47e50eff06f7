"""How fast functions run without the server around them: warm and cold invocations, memory, many environments at once.

PYTHONPATH=src:tests python bench/runtime.py [--environments 200]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

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
    return quantiles(took_s)


def available_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


async def measure(environments: int) -> None:
    bench = make_bench(Path(tempfile.mkdtemp()))
    await bench.runtime.start()
    nop, client, nap = (
        bench.function(SOURCE, name, handler=f"main.{name}", timeout_s=60.0) for name in ("nop", "client", "nap")
    )
    began = time.perf_counter()
    await bench.invoke(nop, 1)
    print(f"first of all, zygote included: {(time.perf_counter() - began) * 1000:.0f} ms")
    await asyncio.sleep(2)
    print("warm:", await repeat(bench, nop, 1000, cold=False))
    print("cold:", await repeat(bench, nop, 50, cold=True))
    print("cold, and a DynamoDB client:", await repeat(bench, client, 50, cold=True))
    before, began = available_bytes(), time.perf_counter()
    napping = [asyncio.ensure_future(bench.invoke(nap, 20)) for _ in range(environments)]
    while sum(not e.starting for e in bench.runtime.all()) < environments:  # noqa: ASYNC110 - they tell nobody
        await asyncio.sleep(0.01)
    took_s = time.perf_counter() - began
    each_mb = (before - available_bytes()) / environments / 1e6
    print(f"{environments} at once: {took_s:.2f} s, {each_mb:.1f} MB each")
    for invocation in napping:
        invocation.cancel()
    await bench.runtime.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, default=200)
    uvloop.run(measure(parser.parse_args().environments))
