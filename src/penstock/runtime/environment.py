"""One execution environment, as the server sees it: what state it is in, the invocation it has, how it ends.

States: starting -> idle -> busy -> answered (the response is in, the runtime has not asked for more) -> idle; and ended
from any of them. An invocation's end never depends on its caller still waiting.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from penstock.clock import Clock
from penstock.runtime import outcomes, platform_events, runtime_api
from penstock.runtime.api import FunctionSpec, Invocation, Outcome, RuntimeUnsupported
from penstock.runtime.extensions import Extensions
from penstock.runtime.logs import FunctionLog
from penstock.runtime.processes import Processes, socket_owner
from penstock.runtime.runtime_api import RuntimeConnection, Streamed
from penstock.runtime.streams import ResponseStream

log = logging.getLogger(__name__)

_CONNECTIONS_MAX = 64
_MAKING_S_MAX = 60.0
_INIT_AHEAD_S = 130.0
_MB = 1024 * 1024
_SMALL_BYTES = 24 * _MB
"""What holds less has nothing to be killed for, and its use is looked up when its time is over."""


class State(Enum):
    """Where an environment is in its life."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    ANSWERED = "answered"
    ENDED = "ended"


class InitTimedOut(Exception):
    """The init phase took longer than it may. AWS starts over, within the function's own time-out."""


class NeverDelivered(Exception):
    """The environment ended by itself before it took the event: another may have it."""


@dataclass(slots=True)
class Job:
    """An invocation and who waits for it."""

    invocation: Invocation
    done: asyncio.Future[Outcome]
    began: float
    cold: bool
    delivered: bool = False
    content_type: str = ""


class Environment:
    """A sandboxed process (tree) and the invocation it works on. It is the `Ear` of its Runtime API."""

    def __init__(
        self,
        spec: FunctionSpec,
        clock: Clock,
        processes: Processes,
        log: FunctionLog,
        first: Invocation | None,
        *,
        expires_at: float,
        init_in_invoke: bool,
        last_try: bool,
        shared_network: bool,
    ) -> None:
        """first: the invocation it is made for; it is nobody else's before that is answered. None: it is made ahead.

        init_in_invoke: the init phase runs within the function's own time-out, having exceeded its own before.

        last_try: an exit before the runtime has said anything is the invocation's end. Else it is tried once more, as AWS
        does: on a host that is short of CPU, the runtime client gives up connecting after a second.

        shared_network: anybody on this host could connect to the Runtime API, so ask who does.
        """
        self.spec = spec
        self.expires_at = expires_at
        """When its credentials end, seconds since the epoch."""
        self.state = State.STARTING
        self.retired = False
        self.code_state = 0
        """What the live folder of its code was like (see `reloading`)."""
        self.kept = False
        """Whether it stays however long it is idle."""
        self.idle_since = 0.0
        self.freed: Callable[[Environment], None] = lambda _: None
        self.ended: Callable[[Environment], None] = lambda _: None
        self._clock = clock
        self._processes = processes
        self._log = log
        self._init_in_invoke = init_in_invoke
        self._last_try = last_try
        self._shared_network = shared_network
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._init_ms: float | None = None
        self._job: Job | None = None
        if first is not None:
            self._job = Job(first, self._loop.create_future(), self._began, cold=True)
        self._first = self._job
        self.initialised: asyncio.Future[str] = self._loop.create_future()
        """"" once the runtime has asked for its first event, or why it never did."""
        self._next: RuntimeConnection | None = None
        self._used_bytes = 0
        self._out_of_memory = False
        self._releases: list[Callable[[], object]] = []
        self._connected = False
        self._connections: set[RuntimeConnection] = set()
        self._extensions_log: FunctionLog | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._extensions = Extensions(spec, processes.connect, clock.host_now, self._step, self._extension_failed)
        kind = "on-demand" if first is not None else "provisioned-concurrency"
        self._extensions.init_start = clock.host_now(), platform_events.init_record(spec, kind)
        log.tap = self._extensions.line
        processes.launching = self._launching
        processes.extension_exited = self._extension_exited
        processes.running = self._running
        processes.exited = self._exited
        processes.failed = self._failed
        log.write(platform_events.init_start(spec, clock.now()), in_tail=False)
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(_MAKING_S_MAX, self._not_made)

    # -- the pool's side ------------------------------------------------------------------------------------------

    async def serve(self, listener: socket.socket) -> None:
        """Answer the Runtime API on a listening socket."""
        server = await self._loop.create_server(lambda: RuntimeConnection(self), sock=listener)
        self.on_end(server.close)

    async def first_outcome(self) -> Outcome:
        """What comes of the invocation it was made for. Raises InitTimedOut, NeverDelivered, RuntimeUnsupported."""
        assert self._first is not None
        return await asyncio.shield(self._first.done)

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Run a further event; the environment is available. Raises NeverDelivered."""
        job = self._job = Job(invocation, self._loop.create_future(), time.monotonic(), cold=False)
        self._begin(job)
        if self._next is not None and self._extensions.ready():
            self._deliver(job)
        return await asyncio.shield(job.done)

    def frozen(self) -> None:
        """Its init is over and it is to be forked: it serves no events itself."""
        self._init_ms = (time.monotonic() - self._began) * 1000
        self._log.flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._initialised("")

    def on_end(self, release: Callable[[], object]) -> None:
        """Have `release` called when the environment ends, or now if it has."""
        if self.state is State.ENDED:
            release()
        else:
            self._releases.append(release)

    @property
    def available(self) -> bool:
        """Whether it can be given an event."""
        return self.state in (State.IDLE, State.ANSWERED)

    @property
    def starting(self) -> bool:
        """Whether its runtime has yet to ask for work."""
        return self.state is State.STARTING

    @property
    def busy(self) -> bool:
        """Whether somebody waits for it."""
        return self._job is not None

    def end(self, reason: str = "spindown") -> None:
        """Kill its processes and give everything back. Who still waits for it gets NeverDelivered.

        Extensions hear of it and why (spindown, timeout, failure), and have AWS's two seconds.
        """
        if self.state is State.ENDED:
            return
        self.state = State.ENDED
        self._initialised("the environment ended")
        job, self._job = self._job, None
        if job is not None and not job.done.done():
            job.done.set_exception(NeverDelivered())
        if self._timer is not None:
            self._timer.cancel()
        if self._extensions.registered and not self._out_of_memory:
            wait_s = self._extensions.shut_down(reason)
            self._processes.signal_runtime(signal.SIGTERM)
            self._lingering = self._loop.call_later(wait_s, self._gone)
            self.ended(self)
        else:
            self._gone()
            self.ended(self)

    def _gone(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self._extensions.close()
        for release in self._releases:
            release()
        for connection in list(self._connections):
            connection.abort()
        self._processes.kill()
        self._log.close()
        if self._extensions_log is not None:
            self._extensions_log.close()

    def check_memory(self) -> None:
        """Kill it if it holds more than its memory (what it keeps in /tmp is not counted, as on AWS)."""
        if 0 < self._processes.group.charged_bytes() <= max(self._used_bytes, _SMALL_BYTES):
            return
        used = self._processes.memory_used_bytes()
        self._used_bytes = max(self._used_bytes, used)
        if used > self.spec.memory_mb * _MB and self.state is not State.ENDED:
            self._out_of_memory = True
            self._exited(9)

    # -- the Runtime API's side -----------------------------------------------------------------------------------

    def connection_made(self, connection: RuntimeConnection) -> bool:
        if len(self._connections) >= _CONNECTIONS_MAX or (self.state is State.ENDED and not self._lingering):
            return False
        if self._shared_network:
            peer = connection.peer()
            if peer is None or socket_owner(peer) != self._processes.uid:
                return False
        self._connections.add(connection)
        self._connected = True
        return True

    def connection_lost(self, connection: RuntimeConnection) -> None:
        self._connections.discard(connection)
        self._extensions.connection_lost(connection)
        if self._next is connection:
            self._next = None

    def on_next(self, connection: RuntimeConnection) -> bytes | None:
        job = self._job
        if self._next is not None or self.state is State.ENDED or (job is not None and job.delivered):
            return runtime_api.WRONG_STATE
        self._next = connection
        self._step()
        return None

    def on_extension(
        self, connection: RuntimeConnection, method: bytes, url: bytes, headers: dict[bytes, str], body: bytes | None
    ) -> bytes | None:
        return self._extensions.answer(connection, method, url, headers, body)

    def _step(self) -> None:
        """The runtime or an extension asks for more: once all do, the next event goes out, if there is one."""
        if self._next is None or self.state is State.ENDED or not self._extensions.ready():
            return
        job = self._job
        if self.state is State.STARTING:
            self._init_ms = (time.monotonic() - self._began) * 1000
            self._initialised("")
            self._report_init()
            if job is not None:
                self._begin(job)
        if job is not None:
            self._deliver(job)
            return
        self.state = State.IDLE
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._free()

    def _report_init(self) -> None:
        """To extensions that subscribed while the environment initialised."""
        for extension in self._extensions.registered.values():
            events = sorted(extension.events)
            self._extensions.platform("extension", {"name": extension.name, "state": "Ready", "events": events})
        kind = "on-demand" if self._first is not None else "provisioned-concurrency"
        done = {"initializationType": kind, "phase": "init", "status": "success"}
        self._extensions.platform("initRuntimeDone", done)
        self._extensions.platform("initReport", {**done, "metrics": {"durationMs": round(self._init_ms or 0, 3)}})

    def _launching(self, names: list[str], output: int) -> None:
        self._extensions.launched = frozenset(names)
        if names:
            os.set_blocking(output, False)
            self._extensions_log = self._log.beside(output)
            self._extensions_log.tap = self._extensions.own_line

    def _extension_failed(self, kind: str, message: str) -> None:
        """An extension gave up: so does the environment, as on AWS."""
        if self.state is State.ENDED:
            return
        job = self._job
        text = f"RequestId: {job.invocation.request_id if job else ''} Error: {message}"
        self._fail(outcomes.error_document(kind, text), f"Status: error\tError Type: {kind}", text + "\n")

    def _extension_exited(self, name: str, wait_status: int) -> None:
        self._extensions.launched -= {name}
        if self.state is not State.ENDED:
            reason = outcomes.exit_reason(wait_status).removeprefix("Runtime exited with error: ")
            self._extension_failed("Extension.Crash", f"extension {name}: {reason}")
        elif not self._extensions.launched and self._lingering is not None:
            self._gone()

    def on_stream(self, request_id: str) -> ResponseStream | None:
        job = self._job
        return None if job is None or _refuse(job, request_id) else job.invocation.stream

    def on_response(self, request_id: str, body: bytes | None, streamed: Streamed | None = None) -> bytes:
        job = self._job
        if refused := _refuse(job, request_id):
            return refused
        assert job is not None
        if body is None:
            status = "Status: error\tError Type: Function.ResponseSizeTooLarge"
            self._answer(job, outcomes.too_large(), "Unhandled", status)
            return runtime_api.TOO_LARGE
        if streamed is not None:
            job.content_type = streamed.content_type
            if streamed.error_type or streamed.error:
                document = streamed.error or outcomes.error_document(streamed.error_type, "")
                self._answer(job, document, "Unhandled")
                return runtime_api.ACCEPTED
        self._answer(job, body, "")
        return runtime_api.ACCEPTED

    def on_error(self, request_id: str, body: bytes | None) -> bytes:
        job = self._job
        if refused := _refuse(job, request_id):
            return refused
        assert job is not None
        self._answer(job, outcomes.too_large() if body is None else body, "Unhandled")
        return runtime_api.TOO_LARGE if body is None else runtime_api.ACCEPTED

    def on_init_error(self, body: bytes | None) -> bytes:
        if self.state is not State.STARTING:
            return runtime_api.WRONG_STATE
        document = outcomes.too_large() if body is None else body
        self._init_ms = (time.monotonic() - self._began) * 1000
        self._fail(document, f"Status: error\tError Type: {outcomes.error_type(document)}")
        return runtime_api.ACCEPTED

    # -- an invocation's course -----------------------------------------------------------------------------------

    def _begin(self, job: Job) -> None:
        """The function's time runs from here, whether its runtime has asked for the event or not."""
        job.began = self._began if self._init_in_invoke and job.cold else time.monotonic()
        self.state = State.BUSY
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(job.began + self.spec.timeout_s, self._timed_out)

    def _deliver(self, job: Job) -> None:
        connection, self._next = self._next, None
        assert connection is not None
        job.delivered = True
        self._log.write(self._start_line(job))
        invocation = job.invocation
        left_s = self.spec.timeout_s - (time.monotonic() - job.began)
        deadline_ms = int((self._clock.host_now() + left_s) * 1000)
        if self._extensions.registered:
            self._extensions.platform("start", {"requestId": invocation.request_id, "version": self.spec.version})
            self._extensions.invoke(invocation, deadline_ms)
        self._extensions.init_over = True
        connection.write(runtime_api.event(invocation, deadline_ms))

    def _answer(self, job: Job, payload: bytes, error: str, status: str = "") -> None:
        """The runtime has answered: it may have another event, as soon as it asks."""
        self.state = State.ANSWERED  # the timer goes on: a runtime that never asks again is ended
        self._finish(job, payload, error, status)
        self._free()

    def _free(self) -> None:
        self.idle_since = time.monotonic()
        self.freed(self)

    def _finish(self, job: Job, payload: bytes, error: str, status: str) -> None:
        """Write the invocation's last lines and answer who waits for it."""
        self._job = None
        duration_ms = (time.monotonic() - job.began) * 1000
        if status == "Status: timeout":
            duration_ms = self.spec.timeout_s * 1000
        init_ms = self._init_ms if job.cold and not self._init_in_invoke else None
        self._used_bytes = max(self._used_bytes, self._processes.memory_peak_bytes())
        used_mb = self.spec.memory_mb if self._out_of_memory else math.ceil(self._used_bytes / _MB)
        used_mb = min(used_mb, self.spec.memory_mb)
        billed_ms = outcomes.billed(duration_ms, init_ms)
        request_id = job.invocation.request_id
        self._log.drain()
        for line in platform_events.end(
            self.spec, request_id, duration_ms, billed_ms, used_mb, init_ms, status, self._clock.now()
        ):
            if line:
                self._log.write(line)
        if self._extensions.subscriptions:
            self._report(request_id, duration_ms, billed_ms, used_mb, init_ms, status)
        if not job.done.done():
            job.done.set_result(
                Outcome(
                    payload, error, self._log.take_tail(), duration_ms, billed_ms, init_ms, used_mb, job.cold,
                    job.content_type,
                )
            )  # fmt: skip
        if job.invocation.stream is not None:
            job.invocation.stream.end()

    def _report(
        self, request_id: str, duration_ms: float, billed_ms: int, used_mb: int, init_ms: float | None, status: str
    ) -> None:
        """To extensions that subscribed."""
        word, _, kind = status.removeprefix("Status: ").partition("\tError Type: ")
        record: dict[str, object] = {"requestId": request_id, "status": word or "success"}
        if kind:
            record["errorType"] = kind
        metrics: dict[str, object] = {"durationMs": round(duration_ms, 3)}
        self._extensions.platform("runtimeDone", {**record, "metrics": dict(metrics)})
        metrics |= {"billedDurationMs": billed_ms, "memorySizeMB": self.spec.memory_mb, "maxMemoryUsedMB": used_mb}
        if init_ms is not None:
            metrics["initDurationMs"] = round(init_ms, 3)
        self._extensions.platform("report", {**record, "metrics": metrics})

    def _initialised(self, reason: str) -> None:
        if not self.initialised.done():
            self.initialised.set_result(reason)

    def _fail(self, payload: bytes, status: str, *lines: str) -> None:
        """The environment cannot go on: say why, answer who waits, and end it."""
        self._initialised(payload.decode("utf-8", "replace"))
        job = self._job
        if job is not None:
            if self.state is State.STARTING and not self._init_in_invoke:
                job.began = time.monotonic()
            self._log.drain()
            if not job.delivered:
                self._log.write(self._start_line(job))
            for line in lines:
                self._log.write(line)
            self._used_bytes = max(self._used_bytes, self._processes.memory_peak_bytes())
            if self._extensions.registered and not self._out_of_memory:
                self._processes.signal_runtime(signal.SIGKILL)
            else:
                self._processes.kill()
            self._finish(job, payload, "Unhandled", status)
        self.end("timeout" if status == "Status: timeout" else "failure")

    def _start_line(self, job: Job) -> str:
        return platform_events.start(self.spec, job.invocation.request_id, self._clock.now())

    def _timed_out(self) -> None:
        job = self._job
        if job is None:
            self.end()
            return
        request_id = job.invocation.request_id
        at = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="milliseconds")[:-6]
        line = f"{at}Z {request_id} Task timed out after {self.spec.timeout_s:.2f} seconds\n"
        self._fail(outcomes.timed_out(request_id, self.spec.timeout_s), "Status: timeout", line)

    def _running(self, at: float) -> None:
        """The runtime's process has begun: the init phase runs from here, however long a busy host took until now."""
        if self.state is State.STARTING:
            self._began = min(at, time.monotonic())
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._began + self._init_limit_s(), self._init_timed_out)

    def _init_limit_s(self) -> float:
        if self._first is None:  # https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
            return max(_INIT_AHEAD_S, self.spec.timeout_s)
        return self.spec.timeout_s if self._init_in_invoke else self.spec.init_timeout_s

    def _not_made(self) -> None:
        self._failed("Sandbox.Failure", f"it was not ready within {_MAKING_S_MAX:.0f} seconds")

    def _init_timed_out(self) -> None:
        job = self._job
        if self._init_in_invoke or job is None:
            if job is not None:
                job.began = self._began
            self._initialised(f"its init phase took longer than {self._init_limit_s():g} seconds")
            self._timed_out()
            return
        init_ms = self.spec.init_timeout_s * 1000
        self._log.write(f"INIT_REPORT Init Duration: {init_ms:.2f} ms\tPhase: init\tStatus: timeout\n")
        self._job = None
        if not job.done.done():
            job.done.set_exception(InitTimedOut())
        self.end()

    def _failed(self, kind: str, reason: str) -> None:
        """No runtime came to run: the function's fault (its bootstrap), or this host's."""
        job = self._job
        if kind == "Sandbox.Failure":
            log.error("an execution environment could not be made: %s", reason)
            self._initialised(f"an execution environment could not be made: {reason}")
            if job is not None and not job.done.done():
                job.done.set_exception(RuntimeUnsupported(f"an execution environment could not be made: {reason}"))
            self._job = None
            self.end()
            return
        message = f"RequestId: {job.invocation.request_id if job else ''} Error: {reason}"
        self._fail(outcomes.error_document(kind, message), f"Status: error\tError Type: {kind}", message + "\n")

    def _exited(self, wait_status: int) -> None:
        """The runtime's process is gone, or the whole environment."""
        job = self._job
        silent = self.state is State.STARTING and not self._connected and not self._last_try
        if job is not None and not job.delivered and (silent or (self.state is State.BUSY and not job.cold)):
            self._job = None
            if not job.done.done():
                job.done.set_exception(NeverDelivered())
        elif job is None and self.state is State.STARTING:
            self._initialised(outcomes.exit_reason(wait_status))
        elif job is not None:
            request_id = job.invocation.request_id
            kind = "Runtime.ExitError"
            if self._out_of_memory or self._processes.group.out_of_memory():
                self._out_of_memory, kind = True, "Runtime.OutOfMemory"
            line = f"RequestId: {request_id} Error: {outcomes.exit_reason(wait_status)}\nRuntime.ExitError\n"
            self._fail(outcomes.exited(request_id, wait_status), f"Status: error\tError Type: {kind}", line)
        self.end()


def _refuse(job: Job | None, request_id: str) -> bytes:
    if job is None or not job.delivered:
        return runtime_api.WRONG_STATE
    return b"" if job.invocation.request_id == request_id else runtime_api.WRONG_ID
