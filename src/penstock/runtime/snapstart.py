"""SnapStart on the server's side: one initialised environment a version, and forks of it kept ready."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable

from penstock.runtime.cgroups import Groups
from penstock.runtime.environment import Environment
from penstock.runtime.processes import Processes
from penstock.runtime.shells import Shell

_SPARE = 2
_FORK_S = 10.0
_REPLENISH_AFTER_S = 0.05


class NotForked(Exception):
    """The snapshot could not be forked: start an environment afresh."""


def _said(fd: int) -> str:
    try:
        return os.read(fd, 4096).decode(errors="replace").strip()
    except BlockingIOError:
        return ""


class Snapshot:
    """A version's initialised environment. It serves no events itself."""

    def __init__(self, template: Environment, processes: Processes, groups: Groups, ended: Callable[[], None]) -> None:
        """ended: called once the template is gone, and its forks with it."""
        self.template = template
        self._processes = processes
        self._groups = groups
        self._ended = ended
        self._ready: list[Shell] = []
        self._forks = 0
        self._timer: asyncio.TimerHandle | None = None
        self._filling: asyncio.Task[None] | None = None
        self.taken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """"" once init is over, or why it failed."""
        processes.snapshotted = self._snapshotted
        template.initialised.add_done_callback(self._initialised)

    def _snapshotted(self) -> None:
        self.template.frozen()
        self._later()

    def _initialised(self, reason: asyncio.Future[str]) -> None:
        if not self.taken.done():
            self.taken.set_result(reason.result())

    @property
    def usable(self) -> bool:
        """Whether it can be forked."""
        return self.taken.done() and not self.taken.result() and not self._processes.over

    @property
    def lost(self) -> bool:
        """Whether it was taken and is gone. One whose init failed would fail again."""
        return self.taken.done() and not self.taken.result() and self._processes.over

    async def take(self) -> Shell:
        """A fork. Raises NotForked, OSError."""
        self._later()
        while self._ready:
            shell = self._ready.pop(0)
            if not shell.processes.over:
                return shell
            shell.close()
        return await self._fork()

    async def _fork(self) -> Shell:
        name = secrets.token_hex(16)
        group = self._groups.create(name)
        processes = Processes(group, self._processes.uid, own_pids=True, forked=True)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        shell = Shell(name, processes, reader)
        listening = shell.expect()
        procs = group.open_procs()
        self._forks += 1
        processes.gone = self._gone
        try:
            asked = {"ephemeral_mb": self.template.spec.ephemeral_mb}
            self._processes.fork(asked, [processes.theirs.fileno(), writer, *procs])
            processes.theirs.close()
            await asyncio.wait_for(listening.wait(), _FORK_S)
        except (OSError, TimeoutError) as error:
            processes.kill()
            processes.ended(0)
            said = _said(reader)
            shell.close()
            raise NotForked(said or str(error) or "it did not answer") from error
        finally:
            for fd in (writer, *procs):
                os.close(fd)
        return shell

    def _gone(self) -> None:
        self._forks -= 1
        if self.template.retired and self._forks <= len(self._ready):
            self.close()

    def _later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_REPLENISH_AFTER_S, self._replenish)

    def _replenish(self) -> None:
        self._timer = None
        if self._filling is None or self._filling.done():
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        while len(self._ready) < _SPARE and self.usable and not self.template.retired and self._timer is None:
            try:
                self._ready.append(await self._fork())
            except (NotForked, OSError):
                return

    def retire(self) -> None:
        """End it once its forks have: they end with it, whatever they are doing."""
        self.template.retired = True
        if self._forks <= len(self._ready):
            self.close()

    def close(self) -> None:
        """End it, and its forks."""
        if self._timer is not None:
            self._timer.cancel()
        while self._ready:
            self._ready.pop().discard()
        self.template.end()
        self._ended()
