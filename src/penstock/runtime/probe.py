"""What isolation this host allows, found by trying it in a process that is thrown away.

Runs in the zygote's interpreter: standard library only.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
from collections.abc import Callable

from penstock.runtime import linux, rootfs, seccomp

KINDS = ("uid", "user", "mount", "pid", "ipc", "uts", "net", "seccomp")


def probe(scratch: str) -> dict[str, str]:
    """Kind of isolation -> "" where it works, else why not. scratch: an empty folder to mount on.

    "uid" (a user id for each environment) is root's; "user" (a user namespace) is only tried without root, which then
    needs it for all the others. Root without its capabilities makes none: in it a function would still be the owner of
    the kernel's switches in /proc/sys, to which no capability is needed.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(_try_all(scratch)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as f:
        answer = f.read()
    os.waitpid(pid, 0)
    found: dict[str, str] = json.loads(answer or b"{}")
    return {name: found.get(name, "the attempt itself failed") for name in KINDS}


def _try_all(scratch: str) -> dict[str, str]:
    found = {}
    if linux.capable(linux.CAP_SYS_ADMIN):
        found["user"] = "not needed: the server is root"
    elif os.geteuid() == 0:
        reason = "the server is root without CAP_SYS_ADMIN: give it that capability, or run it as another user"
        return {"uid": _may_not_change_user(), "seccomp": _attempt(_try_filter)} | dict.fromkeys(
            ("user", "ipc", "uts", "net", "mount", "pid"), reason
        )
    else:
        found["user"] = _attempt(linux.enter_user_namespace)
    found["uid"] = _may_not_change_user() if found["user"] else "the server may not change user"
    found["ipc"] = _attempt(lambda: linux.unshare(linux.CLONE_NEWIPC))
    found["uts"] = _attempt(_try_name)
    found["net"] = _attempt(_try_network)
    found["mount"] = _attempt(lambda: _try_root(scratch))
    found["pid"] = _attempt(lambda: _try_processes(mount_proc=not found["mount"]))
    found["seccomp"] = _attempt(_try_filter)
    return found


def _may_not_change_user() -> str:
    may = linux.capable(linux.CAP_SETUID) and linux.capable(linux.CAP_SETGID)
    return "" if may else "the server may not change user"


def _attempt(what: Callable[[], object]) -> str:
    try:
        what()
    except (OSError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _try_filter() -> None:
    if not seccomp.supported():
        raise OSError(0, "there is no filter for this architecture", platform.machine())
    linux.drop_privileges(os.geteuid())
    seccomp.refuse_dangerous_calls()


def _try_name() -> None:
    linux.unshare(linux.CLONE_NEWUTS)
    socket.sethostname("probe")


def _try_network() -> None:
    linux.unshare(linux.CLONE_NEWNET)
    linux.loopback_up()


def _try_root(scratch: str) -> None:
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", scratch, "tmpfs")
    os.mkdir(scratch + rootfs.HOST)
    os.mkdir(scratch + "/proc")
    os.mkdir(scratch + "/shown")
    linux.bind_read_only("/usr", scratch + "/shown")
    linux.pivot_root(scratch, scratch + rootfs.HOST)


def _try_processes(*, mount_proc: bool) -> None:
    linux.unshare(linux.CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if mount_proc:
                linux.mount("proc", "/proc", "proc")
            status = 0
        except OSError as error:
            status = error.errno or 1
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise OSError(status, os.strerror(status), "/proc of a pid namespace")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(sys.argv[1])))
