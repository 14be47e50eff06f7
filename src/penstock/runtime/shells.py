"""Environments of no function yet: forked, in their namespaces and cgroups, waiting to be told what to become.

Making one takes most of a cold start (two forks, and the kernel's ten milliseconds to move a process between cgroups), so
one or two are kept ready behind every zygote.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from typing import Any

from penstock.runtime.cgroups import Groups
from penstock.runtime.processes import Processes
from penstock.runtime.spawner import Zygote, ZygoteFailed

_SPARE = 2
_REPLENISH_AFTER_S = 0.05
_UID_FIRST = 1_600_000_000


class Shell:
    """One such environment. Whoever takes it owns its processes and the reading end of its log."""

    __slots__ = ("listening", "log_fd", "name", "processes", "sockets")

    def __init__(self, name: str, processes: Processes, log_fd: int) -> None:
        self.name = name
        self.processes = processes
        self.log_fd = log_fd
        self.sockets: list[socket.socket] = []
        """Its listening sockets, if they have arrived: the Runtime API's and, in its own network, AWS's API's."""
        self.listening: Callable[[list[socket.socket]], None] = self.sockets.extend
        processes.listening = self._listening

    def _listening(self, sockets: list[socket.socket]) -> None:
        self.listening(sockets)

    def expect(self) -> asyncio.Event:
        """Set once its listening sockets have arrived."""
        arrived = asyncio.Event()

        def listening(sockets: list[socket.socket]) -> None:
            self.sockets.extend(sockets)
            arrived.set()

        self.listening = listening
        return arrived

    def discard(self) -> None:
        """End it, unused."""
        self.processes.kill()
        self.close()

    def close(self) -> None:
        """Give its descriptors back."""
        for s in self.sockets:
            s.close()
        self.sockets.clear()
        if self.log_fd >= 0:
            os.close(self.log_fd)
            self.log_fd = -1


class Shells:
    """Makes shells from one zygote, and keeps some ready."""

    def __init__(self, zygote: Zygote, groups: Groups, *, port: int, host_network: bool) -> None:
        self._zygote = zygote
        self._groups = groups
        self._blank: dict[str, Any] = {"endpoint_port": port, "host_network": host_network}
        self._ready: list[Shell] = []
        self._uids = secrets.randbelow(50_000_000)
        self._timer: asyncio.TimerHandle | None = None
        self._making: asyncio.Task[None] | None = None
        self._closed = False

    async def fresh(self) -> Shell:
        """A shell whose runtime may be snapshotted. Raises ZygoteFailed, OSError."""
        return await self._make(snapshot=True)

    async def take(self) -> Shell:
        """A shell, made now if none is ready. Raises ZygoteFailed, OSError."""
        self._replenish_later()
        while self._ready:
            shell = self._ready.pop(0)
            if not shell.processes.over:
                return shell
            shell.close()
        return await self._make()

    async def _make(self, *, snapshot: bool = False, ahead: bool = False) -> Shell:
        """ahead: nobody waits for it, so it may take the time to rehearse what its runtime will do."""
        name = secrets.token_hex(16)
        group = self._groups.create(name)
        self._uids = (self._uids + 1) % 100_000_000
        processes = Processes(group, _UID_FIRST + self._uids, own_pids=not self._zygote.found["pid"])
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        shell = Shell(name, processes, reader)
        procs = group.open_procs()
        try:
            blank = {"id": name, "uid": processes.uid, "snapshot": snapshot, "rehearse": ahead, **self._blank}
            _, pidfd = await self._zygote.spawn(blank, [processes.theirs.fileno(), writer, *procs], processes.ended)
        except ZygoteFailed:
            processes.abandon()
            shell.close()
            raise
        except asyncio.CancelledError:
            # The fork is under way: it ends as it finds that nobody holds the other end of its control socket.
            processes.theirs.close()
            processes.kill()
            shell.close()
            raise
        finally:
            for fd in (writer, *procs):
                os.close(fd)
        processes.spawned(pidfd)
        return shell

    def _replenish_later(self) -> None:
        """Once nobody has asked for a while: making one takes CPU that those who start now need."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed:
            self._timer = asyncio.get_running_loop().call_later(_REPLENISH_AFTER_S, self._replenish)

    def _replenish(self) -> None:
        self._timer = None
        if self._making is None or self._making.done():
            self._making = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        while len(self._ready) < _SPARE and self._zygote.alive and not self._closed and self._timer is None:
            try:
                shell = await self._make(ahead=True)
            except (ZygoteFailed, OSError):
                return
            if self._closed:
                shell.discard()
            else:
                self._ready.append(shell)

    def warm(self) -> None:
        """Have some ready soon."""
        self._replenish_later()

    def close(self) -> None:
        """Discard what is ready; no more are made."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._ready:
            self._ready.pop().discard()
