"""SnapStart: environments that are forks of one that has initialised."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from environments import Bench, isolated, make_bench
from penstock.runtime.api import Credentials

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = """
import os, random, socket, time, uuid
from snapshot_restore_py import register_before_snapshot, register_after_restore
time.sleep(0.5)
random.random()
MADE = uuid.uuid4().hex
HOOKS = []
open("/tmp/left", "w").write("by init")
os.symlink("/proc/1/root/etc/shadow", "/tmp/link")
os.mkfifo("/tmp/pipe")
LISTENING = socket.socket(socket.AF_UNIX)
LISTENING.bind("/tmp/socket")
register_before_snapshot(lambda: HOOKS.append("before"))
register_after_restore(lambda: HOOKS.append("after " + os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]))
def handler(event, context):
    if event == "sleep":
        time.sleep(0.3)
    if event == "write":
        open("/tmp/mine", "w").write("x")
    print("in the fork")
    return {"made": MADE, "hooks": HOOKS, "random": random.random(), "uuid": uuid.uuid4().hex, "pid": os.getpid(),
        "tmp": sorted(os.listdir("/tmp")), "key": os.environ["AWS_ACCESS_KEY_ID"], "seen": len([
        p for p in os.listdir("/proc") if p.isdigit()]), "kind": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]}
"""
CREDENTIALS = Credentials("ASIAKEY", "secret", "token", 1e11)


async def test_forks_share_what_init_made_and_nothing_that_must_differ(bench: Bench) -> None:
    isolated("files")
    f = bench.function(SOURCE, snap_start=True)
    assert await bench.runtime.snapshot(f, CREDENTIALS) == ""
    answers = await asyncio.gather(*(bench.answer(f, "sleep") for _ in range(5)))
    assert len({a["made"] for a in answers}) == 1
    assert len({a["random"] for a in answers}) == len({a["uuid"] for a in answers}) == 5
    hooks = [a["hooks"] for a in answers]
    assert all(h[0] == "before" and h[1].startswith("after 20") for h in hooks) and len({h[1] for h in hooks}) == 5
    assert all(a["tmp"] == ["left", "link"] and a["kind"] == "snap-start" and a["key"] == "ASIAKEY" for a in answers)
    assert all(a["seen"] <= 2 for a in answers)
    outcome = await bench.invoke(f, "write")
    assert b"in the fork" in outcome.log and not outcome.cold
    assert (await bench.invoke(f, "sleep")).error == ""


async def test_retiring_ends_the_snapshot_once_its_forks_have_ended(tmp_path: Path) -> None:
    isolated("files")
    bench = make_bench(tmp_path)
    f = bench.function(SOURCE, snap_start=True)
    task = asyncio.ensure_future(bench.answer(f, "sleep"))
    await bench.runtime.snapshot(f, CREDENTIALS)
    while bench.runtime.environments < 2:
        await asyncio.sleep(0.02)
    await bench.runtime.retire(f.key)
    assert (await task)["kind"] == "snap-start"
    for _ in range(200):
        if bench.runtime.environments == 0:
            break
        await asyncio.sleep(0.02)
    assert bench.runtime.environments == 0
    await bench.runtime.close()


async def test_a_fork_that_dies_or_is_too_slow_is_reported_and_others_go_on(bench: Bench) -> None:
    source = "import os, time\ndef handler(e, c):\n    if e == 'exit': os._exit(3)\n    time.sleep(e)\n    return e\n"
    f = bench.function(source, snap_start=True, timeout_s=1.0)
    assert await bench.answer(f, 0) == 0
    assert (await bench.error(f, "exit"))["errorMessage"].endswith("exit status 3")
    assert (await bench.error(f, 5))["errorType"] == "Sandbox.Timedout"
    assert await bench.answer(f, 0) == 0


async def test_an_init_that_fails_is_the_reason_and_the_answer(bench: Bench) -> None:
    isolated("files")
    f = bench.function("raise ValueError('not today')\n", snap_start=True)
    assert "not today" in await bench.runtime.snapshot(f, CREDENTIALS)
    assert (await bench.error(f))["errorMessage"] == "not today"


async def test_a_fork_has_no_way_to_further_namespaces(bench: Bench) -> None:
    source = """
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)
    def handler(event, context):
        tried = {}
        for flag in (0x10000000, 0x00020000, 0x20000000, 0x40000000):
            tried[hex(flag)] = libc.unshare(flag), ctypes.get_errno()
        tried["mount"] = libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), ctypes.get_errno()
        with open("/proc/self/status") as f:
            tried["caps"] = [line.split()[1] for line in f if line.startswith(("CapEff", "CapBnd", "CapPrm"))]
        return tried
    """
    tried = await bench.answer(bench.function(source, snap_start=True))
    assert set(tried.pop("caps")) == {"0" * 16}
    assert all(result == -1 for result, _ in tried.values()), tried
