"""A server without root: user namespaces, no cgroups; the same promises as far as `protections` claims them."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
SCRIPT = """
import asyncio, json, pathlib, sys
from environments import make_bench
LOOK = '''
    import os, time
    def handler(event, context):
        if event == "sleep":
            time.sleep(100)
        if event == "eat":
            hold = []
            while True:
                hold.append(bytearray(b"x" * (4 << 20)))
        if event == "fork":
            try:
                for n in range(5000):
                    os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
            except OSError:
                pass
            return n
        out = {"uid": os.getuid(), "pids": len([p for p in os.listdir("/proc") if p.isdigit()])}
        out["caps"] = sorted({l.split()[1] for l in open("/proc/self/status") if l.startswith("Cap")})
        out["seen"] = [p for p in event if os.path.exists(p)]
        for p in ("/var/task/x", "/usr/x", "/tmp/x"):
            try:
                open(p, "w").close()
                out["seen"].append(p)
            except OSError:
                pass
        return out
'''
async def main():
    bench = make_bench(pathlib.Path(sys.argv[1]))
    out = {"protections": bench.runtime.protections()}
    f = bench.function(LOOK, timeout_s=3.0)
    out["look"] = await bench.answer(f, [sys.argv[1], "/etc/shadow"])
    out["late"] = await bench.error(f, "sleep")
    out["eaten"] = await bench.error(f, "eat")
    out["forked"] = await bench.answer(bench.function(LOOK, timeout_s=60.0), "fork")
    await bench.runtime.close()
    print(json.dumps(out))
asyncio.run(main())
"""


def variables() -> dict[str, str]:
    """So that another interpreter finds what this one has."""
    wanted = [p for p in sys.path if p.endswith(("src", "tests")) or "site-packages" in p]
    return {"PYTHONPATH": ":".join(wanted), "PYTHONDONTWRITEBYTECODE": "1"}


def run(command: list[str], *, nobody: bool) -> subprocess.CompletedProcess[bytes]:
    as_user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if nobody else {}
    return subprocess.run(command, check=False, capture_output=True, cwd="/", env=variables(), timeout=100, **as_user)


def interpreter() -> str:
    """A Python that an unprivileged user can run with our packages; skips where there is none."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            if run([candidate, "-c", "import environments"], nobody=True).returncode == 0:
                return candidate
        except OSError:
            continue
    pytest.skip("no interpreter and packages that an unprivileged user may read")


def test_without_root_functions_are_as_isolated_as_claimed() -> None:
    if os.geteuid() != 0:
        pytest.skip("all other tests here are this one then")
    python = interpreter()
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        os.chown(folder, NOBODY, NOBODY)
        done = run([python, "-c", SCRIPT, folder], nobody=True)
    assert done.returncode == 0, done.stderr.decode()
    out = json.loads(done.stdout)
    if not out["protections"]["user"].startswith("on"):
        pytest.skip(out["protections"]["user"])
    assert out["look"] == {"uid": 993, "pids": out["look"]["pids"], "caps": ["0" * 16], "seen": ["/tmp/x"]}
    assert out["look"]["pids"] <= 2
    assert out["late"]["errorType"] == "Sandbox.Timedout"
    assert out["eaten"]["errorType"] in ("MemoryError", "Runtime.ExitError")
    assert out["forked"] < 1024


BARE = """
import asyncio, json, pathlib, sys
from penstock.runtime import linux, seccomp
linux.no_new_privileges()
seccomp.refuse_dangerous_calls()  # from here on this host has no namespaces, as in a container of Docker's
from environments import make_bench
async def main():
    bench = make_bench(pathlib.Path(sys.argv[1]))
    out = {"protections": bench.runtime.protections()}
    f = bench.function('''
        import boto3, os, subprocess, time
        def handler(event, context):
            if event == "sleep":
                time.sleep(100)
            subprocess.Popen(["sleep", event], start_new_session=True)
            caps = sorted({l.split()[1] for l in open("/proc/self/status") if l.startswith(("CapEff", "CapPrm"))})
            return [os.path.basename(os.getcwd()), os.environ["LAMBDA_TASK_ROOT"], caps]
    ''', timeout_s=2.0)
    out["look"] = await bench.answer(f, sys.argv[2])
    out["code"] = str(f.code)
    out["late"] = await bench.error(f, "sleep")
    await bench.answer(f, sys.argv[2])
    layer = pathlib.Path(sys.argv[1]) / "layer"
    (layer / "python").mkdir(parents=True)
    (layer / "python" / "shared.py").write_text("said = 'a layer'")
    (layer / "wrap").write_text("#!/bin/bash\\nexport WRAPPED=yes\\nexec \\"$@\\"\\n")
    (layer / "wrap").chmod(0o755)
    wrapped = bench.function('''
        import os, shared
        def handler(event, context):
            return [os.environ["WRAPPED"], shared.said]
    ''', layers=(layer,), environment={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"})
    out["wrapped"] = await bench.answer(wrapped)
    if "close" in sys.argv:
        await bench.runtime.close()
    print(json.dumps(out), flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("nobody", [False, True])
@pytest.mark.parametrize("end", ["close", "die"])
def test_without_namespaces_functions_run_and_the_lack_is_said(nobody: bool, end: str) -> None:
    if nobody and os.geteuid() != 0:
        pytest.skip("this user is nobody already")
    mark = f"8{os.getpid()}{int(nobody)}"
    with tempfile.TemporaryDirectory() as folder:
        if nobody:
            os.chown(folder, NOBODY, NOBODY)
        done = run([interpreter() if nobody else sys.executable, "-c", BARE, folder, mark, end], nobody=nobody)
    assert done.returncode == 0, done.stderr.decode()
    out = json.loads(done.stdout)
    for name in ("files", "processes", "network"):
        assert out["protections"][name].startswith("off ("), name
    assert b"functions are not isolated by mount, pid, net namespaces on this host" in done.stderr
    assert out["look"] == [Path(out["code"]).name, out["code"], ["0" * 16]]
    assert out["late"]["errorType"] == "Sandbox.Timedout"
    assert out["wrapped"] == ["yes", "a layer"]
    deadline = time.monotonic() + 10
    while (left := having(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


AS_ROOT = """
import asyncio, json, os, pathlib, sys
from environments import make_bench
async def main():
    os.umask(0o077)
    folder = pathlib.Path(sys.argv[1])
    folder.chmod(int(sys.argv[2], 8))
    bench = make_bench(folder)
    f = bench.function('''
        import os
        def handler(event, context):
            return [os.getuid(), os.access("/proc/sys/kernel/core_pattern", os.W_OK)]
    ''')
    for path in (f.code, *f.code.rglob("*"), folder / "state"):
        path.chmod(0o755)
    out = {"protections": bench.runtime.protections(), "look": await bench.answer(f)}
    await bench.runtime.close()
    print(json.dumps(out), flush=True)
asyncio.run(main())
"""
_PR_CAPBSET_DROP, _CAP_SYS_ADMIN = 24, 21


@pytest.mark.parametrize(("mode", "as_root"), [("711", False), ("700", True)])
def test_root_without_its_capabilities_gives_functions_other_users_where_they_reach_their_code(
    mode: str, as_root: bool
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to begin with")
    libc = ctypes.CDLL(None, use_errno=True)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [interpreter(), "-c", AS_ROOT, folder, mode], check=False, capture_output=True, cwd="/", env=variables(),
            timeout=100, preexec_fn=lambda: libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_ADMIN, 0, 0, 0),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    out = json.loads(done.stdout)
    assert "without CAP_SYS_ADMIN" in out["protections"]["files"], out
    uid, may_write = out["look"]
    assert (uid == 0) is as_root and (as_root or not may_write)
    warned = f"functions run as root: other users may not pass through {folder}".encode()
    assert (warned in done.stderr) is as_root, done.stderr.decode()


def having(argument: str) -> list[str]:
    """Processes of this host that have the argument."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if argument.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(entry.name)
            except OSError:
                continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("file", ["test_hostile.py", "test_escapes.py", "test_image_roots.py"])
def test_without_root_hostile_functions_do_no_more_harm(file: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("that file's tests are this one then")
    python = interpreter()
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        tests = str(Path(__file__).with_name(file))
        done = run(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", f"{folder}/b", tests], nobody=True
        )
    assert done.returncode == 0, done.stdout.decode()[-4000:]
    assert b" passed" in done.stdout
