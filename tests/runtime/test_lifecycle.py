"""Environments' lives: started, used again, refreshed, limited, reaped, retired, and gone with the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from environments import PYTHON, Bench, isolated, make_bench
from penstock.runtime.api import RuntimeUnsupported, TooManyEnvironments

pytestmark = pytest.mark.asyncio(loop_scope="module")

ID = """
    import uuid, time
    me = uuid.uuid4().hex
    def handler(event, context):
        time.sleep(event or 0)
        return me
"""


async def test_a_changed_function_gets_new_environments_and_busy_ones_finish(bench: Bench) -> None:
    before = bench.runtime.environments
    f = bench.function(ID)
    idle = await bench.answer(f)
    busy = asyncio.ensure_future(bench.answer(f, 0.5))
    await asyncio.sleep(0.1)
    await bench.runtime.retire(f.key)
    fresh = await bench.answer(f)
    assert fresh != idle
    assert await busy == idle
    assert await bench.answer(f) == fresh
    assert bench.runtime.environments == before + 1


async def test_idle_environments_are_reaped(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    bench = make_bench(tmp_path, function_idle_s=0.5)
    try:
        f = bench.function(ID)
        first = await bench.answer(f)
        assert await bench.answer(f) == first
        for _ in range(60):
            if not bench.runtime.environments:
                break
            await asyncio.sleep(0.05)
        assert bench.runtime.environments == 0
        assert await bench.answer(f) != first
    finally:
        await bench.runtime.close()


async def test_over_the_limit_the_caller_is_throttled_and_idle_ones_make_room(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    bench = make_bench(tmp_path, function_concurrency=2)
    try:
        f, g = bench.function(ID, "f"), bench.function(ID, "g")
        await bench.answer(f)
        busy = [asyncio.ensure_future(bench.answer(f, 0.6)) for _ in range(2)]
        await asyncio.sleep(0.2)
        with pytest.raises(TooManyEnvironments):
            await bench.answer(g)
        assert len(set(await asyncio.gather(*busy))) == 2
        assert await bench.answer(g)
        assert bench.runtime.environments == 2
    finally:
        await bench.runtime.close()


async def test_credentials_that_end_soon_mean_a_new_environment(bench: Bench) -> None:
    f = bench.function("""
        import os, uuid
        me = uuid.uuid4().hex
        def handler(event, context):
            return me
    """)
    first = await bench.invoke(f, expires_at=bench.clock.now() + 3600)
    assert (await bench.invoke(f)).payload == first.payload
    bench.clock.advance(3590)
    second = await bench.invoke(f)
    assert second.cold
    assert second.payload != first.payload


async def test_init_past_its_limit_starts_over_within_the_functions_time(bench: Bench) -> None:
    f = bench.function("""
        import time
        time.sleep(30)
    """, init_timeout_s=0.5, timeout_s=1.0)  # fmt: skip
    outcome = await bench.invoke(f, request_id="r1")
    assert b"RequestId: r1 Error: Task timed out after 1.00 seconds" in outcome.payload
    await asyncio.sleep(0.3)
    assert any(
        line.startswith("INIT_REPORT Init Duration: 500.00 ms\tPhase: init\tStatus: timeout")
        for *_, line in bench.lines
    )


async def test_slow_init_may_use_the_functions_longer_time(bench: Bench) -> None:
    f = bench.function("""
        import time
        time.sleep(1)
        def handler(event, context):
            return "up"
    """, init_timeout_s=0.3, timeout_s=10.0)  # fmt: skip
    assert await bench.answer(f) == "up"


async def test_a_caller_that_gives_up_leaves_the_invocation_running(bench: Bench) -> None:
    f = bench.function("""
        import time
        n = 0
        def handler(event, context):
            global n
            time.sleep(0.3)
            n += 1
            return n
    """)
    for wait_s in (0.05, 0.15):  # while the environment starts, and while it runs
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(bench.invoke(f), wait_s)
        await asyncio.sleep(1.5)
    assert await bench.answer(f) == 3


async def test_who_gives_up_waiting_for_a_fork_leaves_no_process(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    f = bench.function(ID)
    await bench.answer(f)
    (shells,) = bench.runtime._shells.values()
    zygote = psutil.Process(shells._zygote.pid)
    await asyncio.sleep(0.5)  # until what is kept ready is there
    before = len(zygote.children())
    for _ in range(10):
        making = asyncio.create_task(shells.fresh())
        await asyncio.sleep(0)
        making.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await making
    for _ in range(250):
        await asyncio.sleep(0.02)
        if len(zygote.children()) == before:
            break
    assert len(zygote.children()) == before
    await bench.runtime.close()


async def test_a_zygote_that_dies_takes_its_environments_and_is_replaced(bench: Bench) -> None:
    f = bench.function(ID)
    first = await bench.answer(f)
    busy = asyncio.ensure_future(bench.error(f, 30))
    await asyncio.sleep(0.1)
    os.kill(bench.runtime.zygote_pids()[0], signal.SIGKILL)
    assert (await busy)["errorType"] == "Runtime.ExitError"
    assert await bench.answer(f) != first


async def test_nothing_is_kept_for_environments_that_ended(bench: Bench) -> None:
    f = bench.function(ID)
    await bench.answer(f)
    await bench.runtime.retire("")
    await asyncio.sleep(0.3)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await asyncio.gather(*(bench.answer(f, 0.05) for _ in range(5)))
        await bench.runtime.retire("")
    await asyncio.sleep(0.5)
    assert len(os.listdir("/proc/self/fd")) <= before
    for root in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        for left in Path(root).glob(f"penstock-*-{os.getpid()}-*"):
            assert len([entry for entry in left.iterdir() if entry.is_dir()]) <= 2  # of the spare ones


SERVER = """
import asyncio, sys, pathlib
sys.path[:0] = {path!r}
from environments import make_bench
async def main():
    bench = make_bench(pathlib.Path({folder!r}))
    f = bench.function('''
        import subprocess, time
        def handler(event, context):
            subprocess.Popen(["sleep", {mark!r}], start_new_session=True)
            time.sleep(event)
    ''', timeout_s=600.0)
    await bench.invoke(f, 0)
    print(*bench.runtime.zygote_pids(), flush=True)
    await bench.invoke(f, 600)
asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_when_the_server_dies_nothing_is_left(tmp_path: Path, how: signal.Signals) -> None:
    tmp_path.chmod(0o755)
    mark = f"9{os.getpid()}{int(how)}"
    source = SERVER.format(path=[p for p in sys.path if p], folder=str(tmp_path), mark=mark)
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        zygote = int(server.stdout.readline())
        await asyncio.sleep(0.2)
        assert marked(mark) == 2
        server.send_signal(how)
        server.wait(10)
    for _ in range(200):
        if not marked(mark) and not Path(f"/proc/{zygote}").exists():
            break
        await asyncio.sleep(0.02)
    assert marked(mark) == 0
    assert not Path(f"/proc/{zygote}").exists()
    # Its cgroups are swept by the next server on this machine.
    other = make_bench(tmp_path / "other")
    try:
        await other.answer(other.function(ID))
    finally:
        await other.runtime.close()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/penstock-*-{server.pid}-*"))


def marked(mark: str) -> int:
    n = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                n += mark.encode() in (entry / "cmdline").read_bytes().split(b"\0")
    return n


async def test_what_cannot_run_here_is_said(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    assert bench.runtime.supports(PYTHON) == ""
    assert bench.runtime.supports("provided.al2023") == ""
    reason = bench.runtime.supports("python3.99")
    assert "this host has no python3.99 that could run" in reason
    assert f"PENSTOCK_FUNCTION_RUNTIMES=python3.99={PYTHON}" in reason
    assert "ruby3.3 is not supported" in bench.runtime.supports("ruby3.3")


async def test_a_runtime_may_be_mapped_to_another_python(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    bench = make_bench(tmp_path, function_runtimes=f"python3.99={PYTHON}")
    try:
        assert bench.runtime.supports("python3.99") == ""
        f = bench.function("import os\ndef handler(e, c): return os.environ['AWS_EXECUTION_ENV']", runtime="python3.99")
        assert await bench.answer(f) == "AWS_Lambda_python3.99"
    finally:
        await bench.runtime.close()
    other = make_bench(tmp_path / "other")
    with pytest.raises(RuntimeUnsupported):
        await other.invoke(f)


async def test_an_exit_in_init_is_tried_once_more_and_then_reported(bench: Bench) -> None:
    f = bench.function("""
        import sys
        print("starting")
        sys.exit(3)
    """)
    outcome = await bench.invoke(f)
    assert outcome.payload.endswith(b'Error: Runtime exited with error: exit status 3"}')
    await asyncio.sleep(0.3)
    assert sum(line == "starting\n" for name, _, line in bench.lines if name == "f") >= 2


async def test_closing_answers_everyone_who_waits(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    f = bench.function(ID)
    await bench.answer(f)
    waiting = [asyncio.ensure_future(bench.invoke(f, 60)) for _ in range(3)]
    await asyncio.sleep(0.2)
    await bench.runtime.close()
    ends = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert all(isinstance(end, RuntimeUnsupported) for end in ends), ends


async def test_code_that_is_gone_is_an_error_and_not_a_wait(bench: Bench) -> None:
    isolated("files")
    f = bench.function(ID)
    (f.code / "main.py").unlink()
    f.code.rmdir()
    with pytest.raises(RuntimeUnsupported):
        await asyncio.wait_for(bench.invoke(f), 10)


async def test_a_live_folder_is_run_as_it_is_now(bench: Bench) -> None:
    f = bench.function("def handler(event, context): return 'old'\n", reload=True)
    assert await bench.answer(f) == "old"
    await asyncio.sleep(0.03)
    assert not (await bench.invoke(f)).cold
    for text in ("new", "newer"):
        (f.code / "main.py").write_text(f"def handler(event, context): return '{text}'\n")
        await asyncio.sleep(0.03)
        began = time.monotonic()
        assert await bench.answer(f) == text
        assert time.monotonic() - began < 1  # far less on an idle machine
    (f.code / "part.py").write_text("")
    await asyncio.sleep(0.03)
    assert (await bench.invoke(f)).cold
