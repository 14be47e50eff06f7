"""The pool of execution environments: reuse, start, limit, retire, reap. Implements `runtime.api.Runtime`."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.clock import Clock
from penstock.config import Settings
from penstock.runtime import protections, variables
from penstock.runtime.api import (
    Credentials,
    FunctionSpec,
    Invocation,
    LogSink,
    Outcome,
    Provisioned,
    RuntimeUnsupported,
    TooManyEnvironments,
)  # fmt: skip
from penstock.runtime.cgroups import Groups, open_groups
from penstock.runtime.debugging import FOLDER, PORT, DebugSession, debugpy_in
from penstock.runtime.environment import Environment, InitTimedOut, NeverDelivered
from penstock.runtime.interpreters import Interpreter, Interpreters
from penstock.runtime.logs import FunctionLog
from penstock.runtime.programs import Program
from penstock.runtime.provisioning import Provision
from penstock.runtime.reloading import Folders
from penstock.runtime.shells import Shell, Shells
from penstock.runtime.snapstart import NotForked, Snapshot
from penstock.runtime.spawner import Zygote, ZygoteFailed

log = logging.getLogger(__name__)

_MB = 1024 * 1024
_PROCESSES_MAX = 1024
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 1,024 processes and threads."""
_VCPU_MB = 1769
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html: one vCPU at 1,769 MB."""
WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"
"""Names a script that starts the runtime: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html."""
_DESCRIPTORS = 11
"""An environment takes a control socket, a pidfd, a pipe, its /tmp, its memory counter, two listeners and their connections."""
_MEMORY_CHECK_S = 0.05
_REAP_EVERY_S = 1.0
_CLOSE_EVERY_S, _CLOSE_TRIES = 0.02, 500
_CREDENTIALS_MARGIN_S = 60.0


class LocalRuntime:
    """Environments as processes of this machine."""

    def __init__(self, settings: Settings, clock: Clock, state_dir: Path) -> None:
        self.log_sink: LogSink | None = None
        self.serve: Callable[[socket.socket], Callable[[], None] | None] | None = None
        host = "127.0.0.1" if settings.host in ("", "0.0.0.0", "::", "localhost") else settings.host
        self.endpoint = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
        """Where functions that share the host's network reach AWS's API."""
        self._settings = settings
        self._clock = clock
        self._scratch = state_dir
        self._host_network = settings.function_network == "host"
        self._interpreters = Interpreters(settings.function_runtimes)
        self._zygotes: dict[str, asyncio.Task[Zygote]] = {}
        self._groups: Groups | None = None
        self._all: set[Environment] = set()
        self._available: dict[str, list[Environment]] = {}
        self._folders = Folders()
        self._debugged: dict[str, DebugSession] = {}
        """By the function's ARN."""
        self._snapshots: dict[str, Snapshot] = {}
        self._snapshotting = asyncio.Lock()
        self._provisions: dict[str, Provision] = {}
        self._starting = 0
        self._shells: dict[Zygote, Shells] = {}
        self._checker: asyncio.TimerHandle | None = None
        self._reaper: asyncio.TimerHandle | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._warned: set[str] = set()
        self._closed = False

    async def start(self) -> None:
        """Make room for environments' descriptors.

        The zygote starts with the first function (`supports`), so that a server without functions is small.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self._settings.max_connections + self._settings.function_concurrency * _DESCRIPTORS + 1024
        if soft != resource.RLIM_INFINITY and soft < wanted:
            allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))

    def supports(self, runtime: str) -> str:
        """ "" or why not. Asked before a function is made or run, so the zygote is warmed up behind it."""
        try:
            interpreter = self._interpreters.find(runtime)
        except RuntimeUnsupported as error:
            return str(error)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return ""
        if not self._closed:
            self._zygote_task(interpreter)
        return ""

    async def invoke(self, spec: FunctionSpec, invocation: Invocation, credentials: Credentials) -> Outcome:
        """See `runtime.api.Runtime`."""
        if self._debugged and (session := self._debugged.get(spec.arn)) is not None and not spec.debug:
            async with session.one_at_a_time:
                return await self.invoke(session.spec(spec), invocation, credentials)
        while (environment := self._take(spec)) is not None:
            try:
                return await environment.invoke(invocation)
            except NeverDelivered:
                continue
        task = asyncio.get_running_loop().create_task(self._invoke_cold(spec, invocation, credentials))
        self._background.add(task)
        task.add_done_callback(self._invoked)
        return await asyncio.shield(task)  # a caller that gives up does not undo the invocation

    def _invoked(self, task: asyncio.Task[Outcome]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have gone: then nobody else asks

    async def _invoke_cold(self, spec: FunctionSpec, invocation: Invocation, credentials: Credentials) -> Outcome:
        try:
            for last_try in (False, True):
                environment = await self._start(spec, invocation, credentials, last_try=last_try)
                try:
                    return await environment.first_outcome()
                except NeverDelivered:
                    continue
                except InitTimedOut:
                    break
            environment = await self._start(spec, invocation, credentials, init_in_invoke=True, last_try=True)
            return await environment.first_outcome()
        except (NeverDelivered, OSError) as error:
            raise RuntimeUnsupported(f"no execution environment could be made: {error or 'it ended'}") from error

    def _take(self, spec: FunctionSpec) -> Environment | None:
        """The warmest environment that is free. One whose credentials end before its time-out might, is ended."""
        free = self._available.get(spec.key)
        state = self._folders.state(spec.code) if spec.reload and free else 0
        needed_until = self._clock.now() + spec.timeout_s + _CREDENTIALS_MARGIN_S
        while free:
            environment = free.pop()
            if not environment.available:
                continue
            if environment.expires_at >= needed_until and (not spec.reload or environment.code_state == state):
                return environment
            environment.end()
        return None

    async def _start(
        self,
        spec: FunctionSpec,
        invocation: Invocation | None,
        credentials: Credentials,
        *,
        last_try: bool,
        init_in_invoke: bool = False,
    ) -> Environment:
        """Make an environment for an invocation, or ahead of any. Raises RuntimeUnsupported, TooManyEnvironments, OSError."""
        interpreter = self._interpreters.find(spec.runtime)
        if self._closed:
            raise RuntimeUnsupported("the server is shutting down")
        self._make_room()
        self._starting += 1
        try:
            error: ZygoteFailed | None = None
            for _ in range(2):
                try:
                    zygote = await asyncio.shield(self._zygote_task(interpreter))
                    return await self._fork(zygote, spec, invocation, credentials, init_in_invoke, last_try)
                except ZygoteFailed as failure:
                    error = failure
            raise RuntimeUnsupported(f"functions cannot run on this host: {error}")
        finally:
            self._starting -= 1

    def _make_room(self) -> None:
        short = memory_is_short()
        if len(self._all) + self._starting < self._settings.function_concurrency and not short:
            return
        idle = [e for e in self._all if e.available and not e.busy and not e.kept]
        if not idle:
            why = "this host is short of memory" if short else f"at most {self._settings.function_concurrency} may run"
            raise TooManyEnvironments(f"all execution environments are busy, and {why}")
        min(idle, key=lambda e: e.idle_since).end()

    async def _fork(
        self,
        zygote: Zygote,
        spec: FunctionSpec,
        invocation: Invocation | None,
        credentials: Credentials,
        init_in_invoke: bool,
        last_try: bool,
    ) -> Environment:
        if spec.image is not None and (zygote.found.get("mount") or zygote.found.get("pid")):
            raise RuntimeUnsupported("container images need mount and pid namespaces, which this host lacks")
        code_state = self._folders.state(spec.code) if spec.reload else 0
        shell = await self._shell(zygote, spec, credentials)
        if self._closed:
            shell.discard()
            raise RuntimeUnsupported("the server is shutting down")
        kind = "on-demand" if invocation is not None else "provisioned-concurrency"
        if shell.processes.forked:
            kind = "snap-start"
        environment = self._environment(
            zygote, shell, spec, credentials, invocation, kind, init_in_invoke=init_in_invoke, last_try=last_try
        )
        environment.code_state = code_state
        return environment

    def _environment(
        self, zygote: Zygote, shell: Shell, spec: FunctionSpec, credentials: Credentials,
        invocation: Invocation | None, kind: str, *, init_in_invoke: bool = False, last_try: bool = True,
    ) -> Environment:  # fmt: skip
        """Have a shell become an environment. kind: AWS's initialization type."""
        processes, name = shell.processes, shell.name
        stream = f"{datetime.fromtimestamp(self._clock.now(), UTC):%Y/%m/%d}/[{spec.version}]{name}"
        limit = (spec.memory_mb + spec.ephemeral_mb) * _MB
        processes.group.limit(limit, _PROCESSES_MAX, spec.memory_mb * 1024 // _VCPU_MB)
        function_log = FunctionLog(shell.log_fd, self._clock.now, lambda lines: self._write_log(spec, stream, lines))
        environment = Environment(
            spec, self._clock, processes, function_log, invocation, expires_at=credentials.expires_at,
            init_in_invoke=init_in_invoke, last_try=last_try,
            shared_network=self._host_network or bool(zygote.found.get("net")),
        )  # fmt: skip
        environment.freed, environment.ended = self._freed, self._ended
        self._all.add(environment)
        if spec.debug and spec.arn in self._debugged:
            self._debugged[spec.arn].processes = processes
        shell.listening = lambda sockets: self._serve(environment, sockets)
        if shell.sockets:
            self._serve(environment, shell.sockets)
        processes.become(self._request(zygote, spec, credentials, stream, kind))
        self._watch()
        return environment

    async def _shell(self, zygote: Zygote, spec: FunctionSpec, credentials: Credentials) -> Shell:
        if spec.snap_start and not await self.snapshot(spec, credentials):
            try:
                return await self._snapshots[spec.key].take()
            except (NotForked, KeyError) as error:
                log.warning("the snapshot of %s cannot be forked: %s", spec.arn, error)
        return await self._shells[zygote].take()

    async def debug(self, arn: str, runtime: str, port: int | None) -> int:
        """See `runtime.api.Runtime`."""
        before = self._debugged.pop(arn, None)
        if before is not None:
            before.close()
            for environment in list(self._all):
                if environment.spec.arn == arn and environment.spec.debug:
                    environment.end()
        if port is None:
            return 0
        python = self._interpreters.program(runtime) is None
        if not python and not runtime.startswith("nodejs"):
            raise RuntimeUnsupported(f"functions of {runtime} cannot be debugged, Python's and Node.js's can")
        session = DebugSession(arn, await asyncio.to_thread(debugpy_in, self._scratch) if python else None)
        listening = await session.listen(port)
        self._debugged[arn] = session
        return listening

    async def snapshot(self, spec: FunctionSpec, credentials: Credentials) -> str:
        """See `runtime.api.Runtime`."""
        if self._interpreters.program(spec.runtime) is not None:
            return f"{spec.runtime} cannot be snapshotted, only Python can"
        if WRAPPER in spec.environment:
            return f"a function with {WRAPPER} cannot be snapshotted"
        snapshot = self._snapshots.get(spec.key)
        if snapshot is None or snapshot.lost:
            try:
                zygote = await asyncio.shield(self._zygote_task(self._interpreters.find(spec.runtime)))
                weak = [name for name in ("mount", "pid", "net") if zygote.found.get(name)]
                if weak or self._host_network:
                    return "functions have no namespaces of their own here"
                async with self._snapshotting:  # whoever asks meanwhile gets the same one
                    snapshot = self._snapshots.get(spec.key)
                    if snapshot is None or snapshot.lost:
                        snapshot = await self._new_snapshot(zygote, spec, credentials)
            except (ZygoteFailed, RuntimeUnsupported, OSError) as error:
                return str(error)
        return await asyncio.shield(snapshot.taken)

    async def _new_snapshot(self, zygote: Zygote, spec: FunctionSpec, credentials: Credentials) -> Snapshot:
        shell = await self._shells[zygote].fresh()
        environment = self._environment(zygote, shell, spec, credentials, None, "snap-start")
        assert self._groups is not None

        def ended() -> None:
            self._snapshots.pop(spec.key, None)

        snapshot = Snapshot(environment, shell.processes, self._groups, ended)
        self._snapshots[spec.key] = snapshot
        return snapshot

    def _request(
        self, zygote: Zygote, spec: FunctionSpec, credentials: Credentials, stream: str, kind: str
    ) -> dict[str, Any]:
        isolated = not self._host_network and not zygote.found.get("net")
        endpoint = f"http://127.0.0.1:{self._settings.port or 4566}" if isolated else self.endpoint
        mounted = not zygote.found.get("mount")
        layers = [os.path.realpath(layer) for layer in spec.layers]
        code = os.path.realpath(spec.code)
        program = self._interpreters.program(spec.runtime)
        session = self._debugged.get(spec.arn) if spec.debug else None
        wrapper = spec.environment.get(WRAPPER, "") if spec.image is None else ""
        if spec.image is not None:
            program = Program(spec.image.arguments, variables=spec.image.environment)
        elif wrapper and program is None and session is None:
            program = self._interpreters.afresh(spec.runtime, layers, mounted=mounted)
        elif program is not None and not mounted:
            program = program.unmounted()
        arguments = None if program is None else list(program.arguments)
        shown = [] if program is None else list(program.shown)
        debugger = ""
        if session is not None and session.folder is not None:
            debugger = FOLDER if mounted else str(session.folder)
            shown.append((str(session.folder.resolve()), FOLDER))
        elif session is not None and arguments is not None:
            arguments.insert(1, f"--inspect=127.0.0.1:{PORT}")
        return {
            "code": code,
            "debugger": debugger,
            "image": None if spec.image is None else {"working_directory": spec.image.working_directory},
            "layers": layers,
            "ephemeral_mb": spec.ephemeral_mb,
            "program": arguments,
            "program_logs": program is not None and program.logs,
            "wrapper": (wrapper if mounted else _on_host(wrapper, code, layers)) if arguments else "",
            "shown": shown,
            "data_bytes": 0 if self._groups and self._groups.how else spec.memory_mb * _MB * 2,
            "environment": variables.environment(
                spec, credentials, stream, endpoint, task_root="/var/task" if mounted else code,
                extra=dict(program.variables) if program is not None else {},
                kind=kind,
            ),
        }  # fmt: skip

    def _zygote_task(self, interpreter: Interpreter) -> asyncio.Task[Zygote]:
        task = self._zygotes.get(interpreter.path)
        if task is not None and (
            not task.done() or (not task.cancelled() and task.exception() is None and task.result().alive)
        ):
            return task
        task = asyncio.get_running_loop().create_task(self._new_zygote(interpreter))
        task.add_done_callback(_report_failure)
        self._zygotes[interpreter.path] = task
        return task

    async def _new_zygote(self, interpreter: Interpreter) -> Zygote:
        zygote = Zygote(interpreter, self._scratch, host_network=self._host_network)
        try:
            await zygote.start()
        except BaseException:
            await zygote.close()
            raise
        if self._groups is None:
            self._groups = open_groups()
        self._shells = {z: shells for z, shells in self._shells.items() if z.alive}
        shells = self._shells[zygote] = Shells(
            zygote, self._groups, port=self._settings.port or 4566, host_network=self._host_network
        )
        shells.warm()
        for weakness in protections.weaknesses(zygote.found, self._groups, [Path(interpreter.prefix), self._scratch]):
            if weakness not in self._warned:
                self._warned.add(weakness)
                log.warning("%s (see `penstock doctor`)", weakness)
        return zygote

    def _serve(self, environment: Environment, sockets: list[socket.socket]) -> None:
        task = asyncio.get_running_loop().create_task(environment.serve(sockets[0]))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        for endpoint in sockets[1:]:
            stop = self.serve(endpoint) if self.serve is not None else endpoint.close
            environment.on_end(stop or endpoint.close)

    def _write_log(self, spec: FunctionSpec, stream: str, lines: list[tuple[float, str]]) -> None:
        if self.log_sink is not None:
            self.log_sink(spec, stream, lines)

    def _freed(self, environment: Environment) -> None:
        if environment.retired:
            environment.end()
            return
        free = self._available.setdefault(environment.spec.key, [])
        if environment not in free:
            free.append(environment)

    def _ended(self, environment: Environment) -> None:
        self._all.discard(environment)
        provision = self._provisions.get(environment.spec.key)
        if provision is not None:
            provision.ended(environment)
        free = self._available.get(environment.spec.key)
        if free is not None:
            if environment in free:
                free.remove(environment)
            if not free:
                del self._available[environment.spec.key]

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        if self._checker is None:
            self._checker = loop.call_later(_MEMORY_CHECK_S, self._check_memory)
        if self._reaper is None:
            self._reaper = loop.call_later(_REAP_EVERY_S, self._reap)

    def _check_memory(self) -> None:
        self._checker = None
        for environment in list(self._all):
            if environment.busy:
                environment.check_memory()
        if self._all:
            self._checker = asyncio.get_running_loop().call_later(_MEMORY_CHECK_S, self._check_memory)

    def _reap(self) -> None:
        self._reaper = None
        loop = asyncio.get_running_loop()
        before = loop.time() - self._settings.function_idle_s
        for environment in list(self._all):
            idle = environment.available and not environment.busy and not environment.kept
            if idle and environment.idle_since < before:
                environment.end()
        if self._all:
            self._reaper = loop.call_later(_REAP_EVERY_S, self._reap)

    @property
    def environments(self) -> int:
        """How many there are."""
        return len(self._all)

    def all(self) -> list[Environment]:
        """Every environment there is."""
        return list(self._all)

    def zygote_pids(self) -> list[int]:
        """Process ids of the zygotes that are up."""
        up = (t.result() for t in self._zygotes.values() if t.done() and not t.cancelled() and t.exception() is None)
        return [zygote.pid for zygote in up if zygote.alive]

    def provision(self, spec: FunctionSpec, count: int, credentials: Callable[[], Awaitable[Credentials]]) -> None:
        """See `runtime.api.Runtime`."""
        provision = self._provisions.get(spec.key)
        if count == 0:
            if provision is not None:
                self._provisions.pop(spec.key).close()
            return
        if provision is None:

            async def start(spec: FunctionSpec, credentials: Credentials) -> Environment:
                return await self._start(spec, None, credentials, last_try=True)

            provision = self._provisions[spec.key] = Provision(spec, credentials, start)
        provision.want(count, credentials)

    def provisioned(self, key: str) -> Provisioned:
        """See `runtime.api.Runtime`."""
        provision = self._provisions.get(key)
        return provision.status() if provision is not None else Provisioned(0, 0, "")

    async def retire(self, key_prefix: str) -> None:
        """See `runtime.api.Runtime`."""
        self._retire_snapshots(key_prefix)
        for environment in list(self._all):
            snapshot = self._snapshots.get(environment.spec.key)
            if snapshot is not None and snapshot.template is environment:
                continue
            if environment.spec.key.startswith(key_prefix):
                environment.retired = True
                if not environment.busy:
                    environment.end()

    def _retire_snapshots(self, key_prefix: str) -> None:
        for key in [key for key in self._snapshots if key.startswith(key_prefix)]:
            self._snapshots[key].retire()

    def protections(self) -> dict[str, str]:
        """See `runtime.api.Runtime`. Before any function ran, it tries what the host allows in a process of its own."""
        found: dict[str, str] | None = None
        for task in self._zygotes.values():
            if task.done() and not task.cancelled() and task.exception() is None:
                found = task.result().found
        if found is None and sys.platform == "linux":
            found = protections.probe_namespaces(self._interpreters.own())
        return protections.describe(found or {}, self._groups, host_network=self._host_network)

    async def close(self) -> None:
        """End every environment and the zygotes."""
        self._closed = True
        for session in self._debugged.values():
            session.close()
        for provision in self._provisions.values():
            provision.close()
        for snapshot in list(self._snapshots.values()):
            snapshot.close()
        for timer in (self._checker, self._reaper):
            if timer is not None:
                timer.cancel()
        for environment in list(self._all):
            environment.end()
        for shells in self._shells.values():
            shells.close()
        for task in self._zygotes.values():
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None:
                await task.result().close()
        for _ in range(_CLOSE_TRIES):
            if self._groups is None or self._groups.close():
                break
            await asyncio.sleep(_CLOSE_EVERY_S)


def memory_is_short() -> bool:
    """Whether the host has less than a thirtieth of its memory, or 128 MB, to give."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return False
    sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines[:8])}
    return sizes.get("MemAvailable", 1 << 62) < max(128 * _MB, sizes.get("MemTotal", 0) // 30)


def _report_failure(task: asyncio.Task[Zygote]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("no zygote, so no functions: %s", error)


def _on_host(path: str, code: str, layers: list[str]) -> str:
    """Where a function's path is on the host, for environments that have no mounts of their own."""
    if path.startswith("/var/task/"):
        return code + path.removeprefix("/var/task")
    places = [layer + path.removeprefix("/opt") for layer in reversed(layers) if path.startswith("/opt/")]
    return next((place for place in places if Path(place).exists()), path)
