"""What isolates functions on this host, in words: for `penstock doctor`, and for the warning at start."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from penstock.runtime.cgroups import Groups, NoGroups, open_groups
from penstock.runtime.interpreters import Interpreter
from penstock.runtime.probe import KINDS

_PROBE = (
    "import json, sys; sys.path.insert(0, sys.argv[1]); from penstock.runtime.probe import probe;"
    " print(json.dumps(probe(sys.argv[2])))"
)


def probe_namespaces(interpreter: Interpreter) -> dict[str, str]:
    """Kind of isolation -> "" or why not, by trying each in a process of its own (about 50 ms)."""
    source = str(Path(__file__).resolve().parents[2])
    with tempfile.TemporaryDirectory(prefix="penstock-probe-") as scratch:
        command = [interpreter.path, "-S", "-B", "-c", _PROBE, source, scratch]
        try:
            answer = subprocess.run(command, capture_output=True, timeout=20, check=True, cwd="/").stdout
            found: dict[str, str] = json.loads(answer)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            found = dict.fromkeys(KINDS, f"could not be probed: {error}")
    return found


def describe(found: dict[str, str], groups: Groups | None, *, host_network: bool) -> dict[str, str]:
    """Protection -> "on (how)" or "off (why)". found: as `probe` returns it. groups: the server's, if it has them."""
    if sys.platform != "linux":
        return {"functions": f"off (AWS's runtime client needs Linux; this is {sys.platform})"}
    own = groups or open_groups()
    limits = f"on ({own.how})" if own.how else ""
    why_not = own.reason if isinstance(own, NoGroups) else ""
    if groups is None:
        own.close()

    def on(kind: str, how: str) -> str:
        return f"on ({how})" if not found[kind] else f"off ({found[kind]})"

    if not found["uid"]:
        user = "on (an unprivileged user id for each environment)"
        if found["mount"]:
            user += ", where others than the server's user may read the data directory and the interpreter, else off"
    elif found["user"]:
        user = f"off (functions run as the server's user, without privileges: {found['user']})"
    else:
        user = "on (a user namespace; on the host, functions run as the server's user)"
    network = on("net", "a network namespace each: AWS's API and the Runtime API, nothing else")
    if host_network:
        network = "off (function_network=host: functions reach what this host reaches)"
    return {
        "files": on("mount", "a mount namespace each: code, layers and /tmp, the system read-only, no data directory"),
        "processes": on("pid", "a pid namespace each: no other process is seen or signalled, all end together"),
        "network": network,
        "ipc": on("ipc", "an ipc namespace each"),
        "user": user,
        "capabilities": "on (all dropped, no_new_privs)",
        "memory": limits or f"off (checked every 50 ms and by rlimit only: {why_not})",
        "process count": limits or ("on (rlimit)" if not (found["uid"] and found["user"]) else f"off ({why_not})"),
        "cpu share": limits or f"off ({why_not})",
        "temporary files": on("mount", "a tmpfs each, as large as the ephemeral storage"),
        "end with the server": "on (parent death signal and pid namespace)"
        if not found["pid"]
        else "on (the environment's first process sees to it, unless the function kills that one)",
        "system calls": on("seccomp", "a filter refuses mounts, namespaces, ptrace, bpf, io_uring, keys, modules"),
    }


def weaknesses(found: dict[str, str], groups: Groups, needed: list[Path]) -> list[str]:
    """What an operator should hear of at start. needed: folders that a function's user has to pass through."""
    lacking = [name for name in ("mount", "pid", "net") if found.get(name)]
    said = []
    if lacking:
        reasons = "; ".join(sorted({found[name] for name in lacking}))
        said.append(f"functions are not isolated by {', '.join(lacking)} namespaces on this host: {reasons}")
    closed = next((folder for path in needed if (folder := _closed(path))), None)
    if found.get("mount") and not found.get("uid") and closed is not None:
        said.append(f"functions run as root: other users may not pass through {closed} (chmod o+x lets them)")
    if isinstance(groups, NoGroups):
        said.append(f"functions' memory and processes are not limited by cgroups: {groups.reason}")
    return said


def _closed(path: Path) -> Path | None:
    """The first folder on the way there that others than its owner's may not pass through."""
    way = path.absolute()
    for folder in (*reversed(way.parents), way):
        try:
            if not folder.stat().st_mode & 0o001:
                return folder
        except OSError:
            return folder
    return None
