"""SnapStart inside an environment: an initialised runtime that is forked instead of started.

Runs in the zygote's forks: standard library only. The template is an environment like any other, except that its system
call filter leaves it user namespaces, and that it keeps a socket to the server. A fork enters namespaces of its own by
way of a user namespace, mounts a /tmp and a /proc, and then loses these calls as well. What a function's init did to the
template, its forks have: they are the same version's, as they are on AWS.
https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html
"""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import signal
import socket
import stat
import sys
import time
from typing import Any

from penstock.runtime import inits, linux, seccomp

_TMP = "/tmp"  # noqa: S108


class Template:
    """The initialised runtime's process."""

    def __init__(self, control: socket.socket, ports: list[int], *, filters_calls: bool) -> None:
        self._control = control
        self._ports = ports
        self._filters_calls = filters_calls

    def restored(self) -> None:
        """Return in each fork, ready for the function's after-restore hooks; never in the template itself."""
        gc.collect()
        gc.freeze()
        linux.collapse_memory("/proc")
        inits.tell(self._control, {"event": "snapshot"})
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        while True:
            text, fds, _, _ = socket.recv_fds(self._control, inits.MESSAGE_BYTES, 8)
            if not text:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                try:
                    self._control.close()
                    request = self._become_fork(json.loads(text), fds)
                except BaseException as error:
                    os.write(2, f"the snapshot cannot be forked: {type(error).__name__}: {error}\n".encode())
                    os._exit(71)
                _renew(request)
                return
            for fd in fds:
                os.close(fd)
            os.waitpid(pid, 0)

    def _become_fork(self, asked: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Three generations: one enters the namespaces, the second is their init, the third returns as the runtime."""
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=fds[0])
        for number in (1, 2, inits.LOG_FD):
            os.dup2(fds[1], number)
        os.close(fds[1])
        for fd in fds[2:]:
            os.write(fd, b"0")
            os.close(fd)
        uid = os.geteuid()
        linux.show_memory()
        namespaces = linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWIPC
        linux.enter_user_namespace(uid, namespaces | linux.CLONE_NEWUTS)
        linux.loopback_up()
        if os.fork():
            os._exit(0)
        _furnish(asked["ephemeral_mb"])
        listeners = [inits.listen(port) for port in self._ports]
        socket.send_fds(control, [b'{"event":"listening"}'], [s.fileno() for s in listeners])
        for s in listeners:
            s.close()
        reader, writer = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
        if child == 0:
            os.close(writer)
            return self._become_runtime(reader, uid, control)
        os.close(reader)
        request = inits.awaited(control)
        tmp = os.open(_TMP, os.O_RDONLY | os.O_DIRECTORY)
        event = {"event": "furnished", "uid": uid, "extensions": []}
        socket.send_fds(control, [json.dumps(event).encode()], [tmp])
        os.close(tmp)
        with os.fdopen(writer, "wb") as f:
            f.write(json.dumps(request).encode())
        linux.drop_privileges(uid)
        linux.hide_memory()
        return inits.watch(child, {}, control, own_pids=True)

    def _become_runtime(self, reader: int, uid: int, control: socket.socket) -> dict[str, Any]:
        os.setsid()
        linux.drop_privileges(uid)
        linux.show_memory()
        if self._filters_calls:
            seccomp.refuse_dangerous_calls()
        with os.fdopen(reader, "rb") as f:
            text = f.read()
        if not text:
            os._exit(0)
        inits.tell(control, {"event": "running", "at": time.monotonic()})
        control.close()
        request: dict[str, Any] = json.loads(text)
        return request


def _furnish(ephemeral_mb: int) -> None:
    """A /tmp of its own, with what init left in the template's, and a /proc of its own processes."""
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    left = os.listdir(_TMP)
    before = os.open(_TMP, os.O_RDONLY | os.O_DIRECTORY)
    options = f"mode=1777,size={ephemeral_mb}m,nr_inodes={ephemeral_mb * 512}"
    linux.mount("tmpfs", _TMP, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
    if left:
        shutil.copytree(f"/proc/self/fd/{before}", _TMP, symlinks=True, dirs_exist_ok=True, ignore=_special)
    os.close(before)
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("proc", "/proc", "proc", flags, "hidepid=2")


def _special(folder: str, names: list[str]) -> list[str]:
    """Sockets, pipes and the like: whoever made them is not in the fork."""
    kept = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
    return [name for name in names if stat.S_IFMT(os.lstat(os.path.join(folder, name)).st_mode) not in kept]


def _renew(request: dict[str, Any]) -> None:
    """What must differ between forks: variables (credentials and log stream among them) and random numbers."""
    os.environ.update(request["environment"])
    random.seed()
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()
    gc.enable()
