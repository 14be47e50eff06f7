"""An environment's processes: their control socket, their pidfd, their cgroup; and how they are killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.runtime.cgroups import Group

_ANCILLARY_BYTES = socket.CMSG_SPACE(16) + socket.CMSG_SPACE(12)
_KILL_AFTER_S = 2.0
_CONNECT_S = 5.0
_REMOVE_AGAIN_S = 0.1
_REMOVE_TRIES = 50


class Processes:
    """What one fork of the zygote became. Calls back on the event loop; every callback may come at any time."""

    def __init__(self, group: Group, uid: int, *, own_pids: bool, forked: bool = False) -> None:
        """own_pids: they have a pid namespace, so that killing the first kills all. forked: of a snapshot."""
        self.group = group
        self._own_pids = own_pids
        self.uid = uid
        """What the environment's processes run as; where that cannot be, the server's own user, once they are there."""
        self.runtime_pid = 0
        """The runtime's process id as this host sees it; 0 until it runs."""
        self.tmp_fd = -1
        """The environment's /tmp, to see how full it is; -1 where it has none of its own."""
        self.listening: Callable[[list[socket.socket]], None] = lambda _: None
        self.running: Callable[[float], None] = lambda _: None
        """(when, on the monotonic clock): the runtime's process begins."""
        self.exited: Callable[[int], None] = lambda _: None
        self.failed: Callable[[str, str], None] = lambda _, __: None
        """(error type, reason): no runtime came to run."""
        self.launching: Callable[[list[str], int], None] = lambda _, __: None
        """(names of the external extensions that are being started, pipe that they write to; -1: there are none)."""
        self.extension_exited: Callable[[str, int], None] = lambda _, __: None
        self.snapshotted: Callable[[], None] = lambda: None
        """The runtime is initialised, and waits to be forked."""
        self.gone: Callable[[], None] = lambda: None
        """A fork of a snapshot is gone."""
        self.forked = forked
        """Whether it is a fork of a snapshot."""
        self._asked = 0
        self._connecting: dict[int, asyncio.Future[socket.socket]] = {}
        self._loop = asyncio.get_running_loop()
        self._pidfd = -1
        self._status: int | None = None
        self._over = False
        self._removing: asyncio.Task[None] | None = None
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._control: socket.socket | None = ours
        self._loop.add_reader(ours.fileno(), self._read)

    def spawned(self, pidfd: int) -> None:
        """The zygote has forked: from now on the processes can be killed."""
        self.theirs.close()
        if self._over:
            os.close(pidfd)
            return
        self._pidfd = pidfd

    def fork(self, asked: dict[str, Any], fds: list[int]) -> None:
        """Ask a snapshotted environment for a fork, whose control socket, log and cgroups these are. Raises OSError."""
        if self._control is None:
            raise OSError("the environment is gone")
        socket.send_fds(self._control, [json.dumps(asked).encode()], fds)

    def _gone(self) -> None:
        """The first process of a fork has ended; nobody here is its parent."""
        self._loop.remove_reader(self._pidfd)
        self.ended(9)
        self.gone()

    async def connect(self, port: int) -> socket.socket:
        """A connection to a port on the environment's own loopback, made from inside. Raises OSError."""
        self._asked += 1
        answer: asyncio.Future[socket.socket] = self._loop.create_future()
        self._connecting[self._asked] = answer
        self.become({"connect": port, "id": self._asked})
        if self._control is None:
            raise OSError("the environment is gone")
        return await asyncio.wait_for(answer, _CONNECT_S)

    def _connected(self, event: dict[str, Any], fds: list[int]) -> None:
        answer = self._connecting.pop(event["id"], None)
        if answer is None or answer.done():
            for fd in fds:
                os.close(fd)
        elif fds:
            s = socket.socket(fileno=fds[0])
            s.setblocking(False)
            answer.set_result(s)
        else:
            answer.set_exception(OSError(event["reason"]))

    def signal_runtime(self, number: int) -> None:
        """Send a signal to the runtime's process alone."""
        if self.runtime_pid and not self._over:
            with contextlib.suppress(OSError):
                os.kill(self.runtime_pid, number)

    @property
    def over(self) -> bool:
        """Whether nothing of it is left."""
        return self._over

    def become(self, request: dict[str, Any]) -> None:
        """Tell the waiting processes which function they are of. Nothing happens if they are gone."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(json.dumps(request).encode())

    def _read(self) -> None:
        assert self._control is not None
        try:
            text, ancillary, _, _ = self._control.recvmsg(4096, _ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError:
            text, ancillary = b"", []
        if not text:
            self._disconnect()
            return
        fds: list[int] = []
        pid = 0
        for _, kind, data in ancillary:
            if kind == socket.SCM_RIGHTS:
                fds = list(struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4]))
            elif kind == socket.SCM_CREDENTIALS:
                pid = struct.unpack("iII", data)[0]
        try:
            self._heard(json.loads(text), pid, fds)
        except (ValueError, KeyError, TypeError, AttributeError, OSError):  # a snapshotted function may write here
            self.kill()

    def _heard(self, event: dict[str, Any], pid: int, fds: list[int]) -> None:
        kind = event["event"]
        made = kind in ("listening", "furnished", "running") or (kind == "failed" and pid != self.runtime_pid)
        if self.runtime_pid and made:
            raise ValueError("the environment is made already")
        if kind == "listening":
            if self._pidfd < 0 and self.forked:
                self._pidfd = os.pidfd_open(pid)
                self._loop.add_reader(self._pidfd, self._gone)
            self.listening([socket.socket(fileno=fd) for fd in fds])
        elif kind == "furnished":
            self.uid = event["uid"]
            self.launching(event["extensions"], fds.pop() if event["extensions"] else -1)
            for fd in fds:
                self.tmp_fd = fd
        elif kind == "running":
            self.runtime_pid = pid
            self.running(event["at"])
        elif kind == "exit":
            self._status = event["status"]
            self.exited(event["status"])
        elif kind == "failed":
            self.failed(event["kind"], event["reason"])
        elif kind == "extension exit":
            self.extension_exited(event["name"], event["status"])
        elif kind == "snapshot":
            self.snapshotted()
        elif kind == "connected":
            self._connected(event, fds)

    def ended(self, status: int) -> None:
        """The zygote has reaped the environment's first process: nothing of it is left."""
        self._over = True
        if self._status is None:
            self._status = status
            self.exited(status)
        self._disconnect()
        self._release()
        self._removing = self._loop.create_task(self._remove_group())

    def kill(self) -> None:
        """End every process of the environment. `ended` follows."""
        self._disconnect()
        if self._own_pids:
            self._kill_first()
        else:
            self.group.kill()
            self._loop.call_later(_KILL_AFTER_S, self._kill_first)  # it sees the disconnection, and kills the others

    def _kill_first(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def abandon(self) -> None:
        """Nothing was forked: let go of what was prepared."""
        self.theirs.close()
        self.ended(0)

    def memory_used_bytes(self) -> int:
        """What the environment holds now, without its /tmp; of the runtime's process alone where cgroups do not count.

        With cgroups, pages that are shared with the zygote are not in it.
        """
        used = self.group.used_bytes()
        if used is None:
            return self._status_bytes(b"RssAnon:")
        if self.tmp_fd >= 0:
            stat = os.fstatvfs(self.tmp_fd)
            used -= (stat.f_blocks - stat.f_bfree) * stat.f_frsize
        return used

    def memory_peak_bytes(self) -> int:
        """The most that the runtime's process has had resident, shared pages included; 0 if it is gone."""
        return self._status_bytes(b"VmHWM:")

    def _status_bytes(self, name: bytes) -> int:
        if not self.runtime_pid:
            return 0
        try:
            status = Path(f"/proc/{self.runtime_pid}/status").read_bytes()
        except OSError:
            return 0
        at = status.find(name)
        return int(status[at + len(name) : status.find(b"kB", at)]) * 1024 if at >= 0 else 0

    def _disconnect(self) -> None:
        if self._control is not None:
            self._loop.remove_reader(self._control.fileno())
            self._control.close()
            self._control = None

    def _release(self) -> None:
        if self.forked and self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
        for fd in (self._pidfd, self.tmp_fd):
            if fd >= 0:
                os.close(fd)
        self._pidfd = self.tmp_fd = -1

    async def _remove_group(self) -> None:
        for _ in range(_REMOVE_TRIES):
            # Milliseconds in the kernel, which gives its memory back: not on the event loop.
            if await self._loop.run_in_executor(None, self.group.remove):
                return
            self.group.kill()
            await asyncio.sleep(_REMOVE_AGAIN_S)


def socket_owner(peer: tuple[str, int]) -> int:
    """The user id behind a local TCP connection, by the address it comes from; -1 if there is none.

    Only asked where environments share the host's network, where any process could otherwise connect.
    """
    wanted = f"0100007F:{peer[1]:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == wanted:
            return int(fields[7])
    return -1
