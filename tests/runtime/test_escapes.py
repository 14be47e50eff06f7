"""More ways out that functions try. Each test is a line of docs/isolation.md."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from environments import Bench, isolated
from penstock.runtime.api import Credentials, Invocation

pytestmark = pytest.mark.asyncio(loop_scope="module")


SEARCH = """
    import os, socket
    def readable(root):
        for folder, folders, files in os.walk(root):
            for name in files:
                yield os.path.join(folder, name)
    def handler(event, context):
        found, looked = [], 0
        for root in ("/proc", "/tmp", "/dev", "/var/task", "/opt", "/etc", "/home", "/.host"):
            for path in readable(root):
                if path.startswith("/dev/") and not path.startswith("/dev/shm"):
                    continue
                if "/self/" in path or "/thread-self/" in path or f"/{os.getpid()}/" in path or "kmsg" in path:
                    continue
                try:
                    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                except OSError:
                    continue
                try:
                    text = os.read(fd, 1 << 20)
                except OSError:
                    continue
                finally:
                    os.close(fd)
                looked += 1
                if event.encode() in text:
                    found.append(path)
        reached = []
        for port in (9001, 9002, 4566, 80):
            for host in ("127.0.0.1", "169.254.169.254", "169.254.170.2"):
                try:
                    socket.create_connection((host, port), timeout=0.2).close()
                    reached.append((host, port))
                except OSError:
                    pass
        return [found, looked, reached]
"""


async def test_it_finds_no_other_functions_credentials(bench: Bench) -> None:
    isolated("files", "processes", "network")
    mark = "SECRETOFANOTHER"
    other = bench.function("""
        import os, time
        def handler(event, context):
            open("/tmp/mine", "w").write(os.environ["AWS_SECRET_ACCESS_KEY"])
            time.sleep(event)
            return os.environ["AWS_SECRET_ACCESS_KEY"]
    """, "other", timeout_s=20.0)  # fmt: skip
    held = asyncio.ensure_future(
        bench.runtime.invoke(
            other,
            Invocation("11111111-0000-4000-8000-000000000000", b"6", other.arn),
            Credentials("ASIAOTHER", mark, mark, bench.clock.now() + 3600),
        )
    )
    await asyncio.sleep(0.5)
    found, looked, reached = await bench.answer(bench.function(SEARCH, timeout_s=20.0), mark)
    assert found == [] and looked > 10
    assert {host for host, _ in reached} <= {"127.0.0.1"}
    assert mark in (await held).payload.decode()


async def test_what_it_burns_does_not_starve_the_server(bench: Bench) -> None:
    isolated("cpu share")
    burner = bench.function("""
        import os, time
        def handler(event, context):
            end = time.monotonic() + event
            for _ in range(12):
                if os.fork() == 0:
                    while time.monotonic() < end:
                        pass
                    os._exit(0)
            while time.monotonic() < end:
                pass
    """, "burner", timeout_s=20.0, memory_mb=128)  # fmt: skip
    calm = bench.function("def handler(event, context):\n    return event\n", "calm", memory_mb=1769)
    await bench.answer(calm, 0)
    burning = asyncio.ensure_future(bench.invoke(burner, 3))
    await asyncio.sleep(0.5)
    late_s, took_s = [], []
    for _ in range(40):
        began = time.monotonic()
        await asyncio.sleep(0.01)
        late_s.append(time.monotonic() - began - 0.01)
        began = time.monotonic()
        await bench.answer(calm, 1)
        took_s.append(time.monotonic() - began)
    assert not burning.done()
    assert sorted(late_s)[20] < 0.2, "the server has its share of the processors"
    assert sorted(took_s)[20] < 0.5, "and so has a function with more memory"
    await burning


async def test_it_finds_no_cgroups_no_sys_and_no_switches_of_the_kernel(bench: Bench) -> None:
    isolated("files", "processes")
    f = bench.function("""
        import ctypes, os
        def handler(event, context):
            out = {}
            for path in ("/sys/fs/cgroup", "/sys/kernel", "/sys/class"):
                out[path] = os.path.exists(path)
            for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches",
                         "/proc/sys/kernel/hostname", "/proc/self/uid_map", "/proc/irq/default_smp_affinity",
                         "/proc/1/mem", "/proc/1/oom_score_adj"):
                try:
                    fd = os.open(path, os.O_WRONLY)
                    try:
                        os.write(fd, b"1")
                        out[path] = "written"
                    except OSError as error:
                        out[path] = error.strerror
                    os.close(fd)
                except OSError as error:
                    out[path] = error.strerror
            for path in ("/proc/kcore", "/proc/1/root/", "/proc/1/cwd/", "/proc/1/environ", "/proc/1/maps"):
                try:
                    out[path] = os.listdir(path) if path.endswith("/") else str(os.open(path, os.O_RDONLY))
                except OSError as error:
                    out[path] = error.strerror
            try:
                with open("/proc/self/oom_score_adj", "w") as switch:
                    switch.write("-1000")
            except OSError as error:
                out["oom"] = error.strerror
            out["score"] = open("/proc/self/oom_score_adj").read().strip()
            libc = ctypes.CDLL(None, use_errno=True)
            handle = ctypes.create_string_buffer(144)
            out["handle"] = libc.open_by_handle_at(-100, handle, 0)
            out["cgroup"] = libc.mount(b"cgroup", b"/tmp", b"cgroup", 0, b"memory")
            out["groups"] = open("/proc/self/cgroup").read()
            return out
    """)  # fmt: skip
    out = await bench.answer(f)
    for path in ("/sys/fs/cgroup", "/sys/kernel", "/sys/class"):
        assert out.pop(path) is False
    assert (out.pop("handle"), out.pop("cgroup")) == (-1, -1)
    out.pop("groups")
    assert out.pop("score") == "500"
    allowed = {"Permission denied", "Operation not permitted", "No such file or directory", "Read-only file system"}
    assert set(out.values()) <= allowed, out


async def test_links_in_its_tmp_lead_nobody_else_anywhere(bench: Bench) -> None:
    isolated("files", "temporary files")
    secret = bench.folder / "state" / "linked"
    secret.write_text("secret")
    f = bench.function("""
        import os
        def handler(event, context):
            for n, target in enumerate(event):
                os.symlink(target, f"/tmp/link{n}")
            os.symlink("/proc/1/root", "/tmp/root")
            seen = []
            for name in os.listdir("/tmp"):
                try:
                    path = "/tmp/" + name
                    seen += os.listdir(path) if os.path.isdir(path) else [open(path).read()]
                except OSError:
                    pass
            try:
                os.link("/var/task/main.py", "/tmp/hard")
                seen.append("hard")
            except OSError:
                pass
            return seen
    """)
    before = secret.stat()
    assert await bench.answer(f, [str(secret), str(bench.folder), "/.host/etc/shadow", "/dev/sda"]) == []
    await bench.runtime.retire("")
    after = secret.stat()
    assert secret.read_text() == "secret" and (after.st_mode, after.st_nlink) == (before.st_mode, before.st_nlink)
    assert not list(Path("/tmp").glob("link[0-3]")), "its /tmp is not the host's"
    assert os.listdir(f.code) == ["main.py"]
