"""A server without root: user namespaces, no cgroups; the same promises as far as `protections` claims them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

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


def as_nobody(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command, user=NOBODY, group=NOBODY, extra_groups=[], check=False, capture_output=True, cwd="/",
        env=variables(), timeout=100,
    )  # fmt: skip


def interpreter() -> str:
    """A Python that an unprivileged user can run with our packages; skips where there is none."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            if as_nobody([candidate, "-c", "import environments"]).returncode == 0:
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
        done = as_nobody([python, "-c", SCRIPT, folder])
    assert done.returncode == 0, done.stderr.decode()
    out = json.loads(done.stdout)
    if not out["protections"]["user"].startswith("on"):
        pytest.skip(out["protections"]["user"])
    assert out["look"] == {"uid": 993, "pids": out["look"]["pids"], "caps": ["0" * 16], "seen": ["/tmp/x"]}
    assert out["look"]["pids"] <= 2
    assert out["late"]["errorType"] == "Sandbox.Timedout"
    assert out["eaten"]["errorType"] in ("MemoryError", "Runtime.ExitError")
    assert out["forked"] < 1024
