"""Environments initialised ahead of invocations."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from environments import Bench, make_bench
from penstock.runtime.api import Credentials

pytestmark = pytest.mark.asyncio(loop_scope="module")

KIND = """
import os, time
time.sleep(0.3)
def handler(event, context):
    if event == "exit":
        os._exit(1)
    time.sleep(0.1)
    return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
"""


async def credentials() -> Credentials:
    return Credentials("ASIAKEY", "secret", "token", 1e11)


async def ready(bench: Bench, key: str, count: int) -> None:
    for _ in range(500):
        if bench.runtime.provisioned(key).ready == count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(bench.runtime.provisioned(key))


async def test_provisioned_environments_are_warm_stay_and_are_replaced(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, function_idle_s=0.2)
    f = bench.function(KIND)
    bench.runtime.provision(f, 2, credentials)
    assert bench.runtime.provisioned(f.key).wanted == 2
    await ready(bench, f.key, 2)
    outcome = await bench.invoke(f, 1)
    assert not outcome.cold and outcome.init_ms is None and b"provisioned-concurrency" in outcome.payload
    three = await asyncio.gather(*(bench.answer(f) for _ in range(3)))
    assert sorted(kind for kind, _ in three) == ["on-demand", "provisioned-concurrency", "provisioned-concurrency"]
    await asyncio.sleep(1.5)
    assert bench.runtime.environments == 2
    await bench.error(f, "exit")
    await ready(bench, f.key, 2)
    bench.runtime.provision(f, 0, credentials)
    assert bench.runtime.provisioned(f.key).wanted == 0
    for _ in range(200):
        if bench.runtime.environments == 0:
            break
        await asyncio.sleep(0.02)
    assert bench.runtime.environments == 0
    await bench.runtime.close()


async def test_what_init_fails_with_is_the_reason(bench: Bench) -> None:
    f = bench.function("raise ValueError('not today')\n")
    bench.runtime.provision(f, 1, credentials)
    for _ in range(300):
        if bench.runtime.provisioned(f.key).reason:
            break
        await asyncio.sleep(0.02)
    status = bench.runtime.provisioned(f.key)
    assert status.ready == 0 and "not today" in status.reason
    bench.runtime.provision(f, 0, credentials)
