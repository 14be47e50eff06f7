"""The seam between the Lambda service and whatever runs functions."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from penstock.runtime.streams import ResponseStream


@dataclass(frozen=True, slots=True)
class ImageRun:
    """How a function of a container image begins. arguments: entry point and command. environment: the image's own."""

    arguments: tuple[str, ...]
    working_directory: str = ""
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """All an environment needs to know of a function's version. Two invocations share environments iff `key` is equal.

    code: unpacked package folder, shown read-only at /var/task. layers: unpacked, merged in order at /opt.
    environment: the user's variables and AWS's own that do not differ between environments (AWS_REGION,
    AWS_LAMBDA_FUNCTION_NAME, ...). Credentials come from `Credentials` for each environment.
    """

    key: str
    arn: str
    name: str
    version: str
    handler: str
    runtime: str
    code: Path
    timeout_s: float
    memory_mb: int
    ephemeral_mb: int
    log_group: str
    layers: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    init_timeout_s: float = 10.0
    debug: bool = False
    """The runtime's own: it waits for a debugger before it loads the handler."""
    snap_start: bool = False
    """Environments are forks of one that has initialised (`Runtime.snapshot`). Python only."""
    reload: bool = False
    """The code is a live folder of the host: an environment made before a file in it changed serves no more events."""
    log_format: str = "Text"
    """Or JSON: then what the environment itself says are events, from `system_level` (DEBUG, INFO, WARN) on."""
    system_level: str = "INFO"
    image: ImageRun | None = None
    """`code` is an image's whole root, and this is run in it; `runtime` is then a provided one."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Temporary credentials of the function's role."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Invocation:
    """One event for a function."""

    request_id: str
    payload: bytes
    invoked_arn: str
    client_context: str = ""
    cognito_identity: str = ""
    trace_id: str = ""
    stream: ResponseStream | None = None
    """Takes a response that the runtime streams; None: it is collected and is the Outcome's payload, up to 6 MB."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an invocation.

    payload: the response document, or the error document {"errorMessage", "errorType", ...} when `error` is set
    ("Unhandled" as in X-Amz-Function-Error). log: this invocation's lines, START/END/REPORT included; the service
    returns the last 4 KB of them for LogType=Tail. Durations in ms; init_ms is None on a warm start.
    """

    payload: bytes
    error: str
    log: bytes
    duration_ms: float
    billed_ms: int
    init_ms: float | None
    memory_used_mb: int
    cold: bool
    content_type: str = ""
    """Of a streamed response that was collected, and of one that went to `Invocation.stream`; else ""."""


@dataclass(frozen=True, slots=True)
class Provisioned:
    """How a version's provisioned environments stand. reason: what the last one that did not come up failed with."""

    wanted: int
    ready: int
    reason: str


LogSink = Callable[[FunctionSpec, str, list[tuple[float, str]]], None]
"""(function, log stream name, [(seconds since the epoch, line)]): called on the event loop, must not block."""


class TooManyEnvironments(Exception):
    """No environment is free and no more may be started: the caller is throttled."""


class RuntimeUnsupported(Exception):
    """This host cannot run that runtime; the message says why and what would help."""


class Runtime(Protocol):
    """A pool of execution environments. Made by `penstock.runtime.open.open_runtime(settings, clock, state_dir)`."""

    log_sink: LogSink | None
    """Where lines go; set by whoever keeps logs. None: they are dropped (the invocation's own tail stays)."""
    serve: Callable[[socket.socket], Callable[[], None] | None] | None
    """Set by the composition root: have the edge serve AWS's API on a listening socket that lives inside an
    environment's network namespace. Returns what stops serving and closes the socket; if it returns nothing, the socket
    is closed under it when the environment ends. Who connects there is a function: never the loopback's privileges."""

    async def start(self) -> None:
        """Bring up what can be brought up ahead of the first invocation (the zygote). Returns quickly."""
        ...

    def supports(self, runtime: str) -> str:
        """ "" where functions of that AWS runtime identifier can run here, else a sentence saying why not."""
        ...

    async def invoke(self, spec: FunctionSpec, invocation: Invocation, credentials: Credentials) -> Outcome:
        """Run one event in a warm environment of the function, or in a new one.

        A time-out, an out-of-memory kill or an exit gives an Outcome with AWS's error document and ends the
        environment; a handler's exception leaves it. Raises TooManyEnvironments, RuntimeUnsupported.
        """
        ...

    def provision(self, spec: FunctionSpec, count: int, credentials: Callable[[], Awaitable[Credentials]]) -> None:
        """Keep `count` environments of a version initialised ahead of invocations, and replace those that end; 0: none.

        Returns at once: `provisioned` says how far it is. Invocations of the same spec key use them, and beyond them
        ordinary ones. They see AWS_LAMBDA_INITIALIZATION_TYPE=provisioned-concurrency, may initialise for 130 s or
        their time-out, are not ended when idle, and are asked for again after a restart of the server. credentials:
        called for each environment. `retire` of the key does not end the provision; a further `provision` with 0 does.
        """
        ...

    def provisioned(self, key: str) -> Provisioned:
        """How far `provision` of that spec key is; all zero where there is none."""
        ...

    async def snapshot(self, spec: FunctionSpec, credentials: Credentials) -> str:
        """Initialise a version that has `snap_start`, for its environments to be forks of. "" once done, or why not.

        Best awaited while the version is published. Without it, or after a restart of the server, the first invocation
        does so. `retire` of its key ends it. Functions see AWS_LAMBDA_INITIALIZATION_TYPE=snap-start, and the hooks that
        they registered with snapshot-restore-py run before it and in each fork. A host without user namespaces
        answers with a reason, and invocations start environments afresh.
        """
        ...

    async def debug(self, arn: str, runtime: str, port: int | None) -> int:
        """Let a debugger attach to a function at a port of the host's loopback (0: any); None: no longer.

        Returns the port. While it is on, events run one after the other in an environment that first waits for the
        debugger, and have an hour each. Raises RuntimeUnsupported, OSError.
        """
        ...

    async def retire(self, key_prefix: str) -> None:
        """End the environments whose spec key starts so, once idle: the function changed or is gone."""
        ...

    def protections(self) -> dict[str, str]:
        """What isolates functions on this host: protection -> "on (how)" or "off (why)". For `penstock doctor`."""
        ...

    async def close(self) -> None:
        """End every environment and the zygote."""
        ...
