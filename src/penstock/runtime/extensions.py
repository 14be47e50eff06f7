"""An environment's extensions: who registered, what they wait for, what they are told.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html. External ones are the executables in
/opt/extensions, started before the runtime; internal ones are part of the runtime's process. They share the environment:
nothing here protects one of them from another, as on AWS.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.runtime.api import FunctionSpec, Invocation
from penstock.runtime.telemetry_api import BadSubscription, Connect, Subscription, encode

if TYPE_CHECKING:
    from penstock.runtime.runtime_api import RuntimeConnection

PREFIXES = (b"/2020-01-01/extension/", b"/2022-07-01/telemetry", b"/2020-08-15/logs")
_EXTENSIONS_MAX = 10
"""https://docs.aws.amazon.com/lambda/latest/dg/lambda-extensions.html: ten for a function."""
EXTERNAL_SHUTDOWN_S, INTERNAL_SHUTDOWN_S = 2.0, 0.5


@dataclass(slots=True)
class Extension:
    """One that has registered."""

    name: str
    id: str
    external: bool
    events: frozenset[str]
    next: RuntimeConnection | None = None
    """Where it waits for its next event."""
    began: bool = False
    """Whether it has ever asked for an event: then its init is over."""
    told: dict[str, Any] | None = None
    """An event that waits until it asks."""


@dataclass(slots=True)
class Extensions:
    """All of an environment's. launched: external ones that were started; they must register and ask for events."""

    spec: FunctionSpec
    connect: Connect
    now: Callable[[], float]
    stepped: Callable[[], None]
    """Called when one has asked for an event: perhaps all are ready now."""
    failed: Callable[[str, str], None]
    """(error type, message): one of them gave up."""
    launched: frozenset[str] = frozenset()
    registered: dict[str, Extension] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    init_start: tuple[float, dict[str, Any]] | None = None
    """When init began, and what of it a subscriber hears first, however late it subscribes."""
    init_over: bool = False
    shutting_down: bool = False

    def ready(self) -> bool:
        """Whether all wait for an event."""
        if not self.launched and not self.registered:
            return True
        names = {e.name for e in self.registered.values() if e.external}
        return self.launched <= names and all(e.next is not None for e in self.registered.values())

    def invoke(self, invocation: Invocation, deadline_ms: int) -> None:
        """An event goes to the runtime: tell who wants to know."""
        self.init_over = True
        event = {
            "eventType": "INVOKE", "deadlineMs": deadline_ms, "requestId": invocation.request_id,
            "invokedFunctionArn": invocation.invoked_arn,
            "tracing": {"type": "X-Amzn-Trace-Id", "value": invocation.trace_id},
        }  # fmt: skip
        for extension in self.registered.values():
            if "INVOKE" in extension.events:
                self._tell(extension, event)

    def shut_down(self, reason: str) -> float:
        """The environment ends: spindown, timeout or failure. Returns how long they may take, in seconds; 0: at once."""
        self.shutting_down = True
        for subscription in self.subscriptions.values():
            subscription.flush()
        wait_s = 0.0
        for extension in self.registered.values():
            wait_s = max(wait_s, EXTERNAL_SHUTDOWN_S if extension.external else INTERNAL_SHUTDOWN_S)
        for extension in self.registered.values():
            if "SHUTDOWN" in extension.events:
                deadline_ms = int((self.now() + wait_s) * 1000)
                self._tell(extension, {"eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": deadline_ms})
        return wait_s

    def close(self) -> None:
        """The environment is gone."""
        for subscription in self.subscriptions.values():
            subscription.close()

    def connection_lost(self, connection: RuntimeConnection) -> None:
        """Who waited there waits no more."""
        for extension in self.registered.values():
            if extension.next is connection:
                extension.next = None

    # -- telemetry ------------------------------------------------------------------------------------------------

    def line(self, at: float, line: str) -> None:
        """The function printed something."""
        if self.subscriptions:
            self._record("function", at, "function", line.removesuffix("\n"))

    def own_line(self, at: float, line: str) -> None:
        """An external extension printed something."""
        if self.subscriptions:
            self._record("extension", at, "extension", line.removesuffix("\n"))

    def platform(self, kind: str, record: dict[str, Any]) -> None:
        """Something happened to the environment: "start", "runtimeDone", "report" ..."""
        if self.subscriptions:
            self._record("platform", self.now(), f"platform.{kind}", record)

    def _record(self, group: str, at: float, kind: str, record: Any) -> None:
        document = encode(_written(at), kind, record)
        for subscription in self.subscriptions.values():
            if group in subscription.types:
                subscription.add(document)

    # -- what they ask --------------------------------------------------------------------------------------------

    def answer(
        self, connection: RuntimeConnection, method: bytes, url: bytes, headers: dict[bytes, str], body: bytes | None
    ) -> bytes | None:
        """The whole HTTP response to a request of an extension; None: it comes later."""
        path = url.partition(b"?")[0]
        if path == PREFIXES[0] + b"register":
            return (
                self._register(headers, body or b"") if method == b"POST" else _refused(405, "MethodNotAllowed", "POST")
            )
        extension = self.registered.get(headers.get(b"lambda-extension-identifier", ""))
        if extension is None:
            kind = "Unknown" if b"lambda-extension-identifier" in headers else "Missing"
            return _refused(403, f"Extension.{kind}ExtensionIdentifier", f"{kind} extension identifier")
        if path == PREFIXES[0] + b"event/next" and method == b"GET":
            return self._next(extension, connection)
        if path in (PREFIXES[0] + b"init/error", PREFIXES[0] + b"exit/error") and method == b"POST":
            return self._error(extension, headers, init=path.endswith(b"init/error"))
        if path in PREFIXES[1:] and method == b"PUT":
            return self._subscribe(extension, path, body or b"")
        return _refused(404, "NotFound", "there is no such resource in the Extensions API")

    def _register(self, headers: dict[bytes, str], body: bytes) -> bytes:
        name = headers.get(b"lambda-extension-name", "")
        if not name:
            return _refused(400, "Extension.MissingExtensionName", "the header Lambda-Extension-Name is missing")
        if self.init_over:
            return _refused(403, "Extension.RegistrationClosed", "Extension registration closed already")
        try:
            events = frozenset(msgspec.json.decode(body or b"{}").get("events") or ())
        except (msgspec.DecodeError, AttributeError, TypeError):
            return _refused(400, "InvalidRequestFormat", "the body is malformed")
        external = name in self.launched
        if not events <= {"INVOKE", "SHUTDOWN"}:
            return _refused(400, "Extension.InvalidEventType", "events must be INVOKE or SHUTDOWN")
        if not external and "SHUTDOWN" in events:
            return _refused(
                400, "ShutdownEventNotSupportedForInternalExtension", "SHUTDOWN is for external extensions only"
            )
        if any(e.name == name for e in self.registered.values()):
            return _refused(403, "Extension.AlreadyRegistered", f"Extension {name} is registered already")
        if len(self.registered) >= _EXTENSIONS_MAX:
            return _refused(403, "Extension.TooManyExtensions", f"Extension limit ({_EXTENSIONS_MAX}) reached")
        extension = Extension(name, str(uuid.uuid4()), external, events)
        self.registered[extension.id] = extension
        document = {
            "functionName": self.spec.name, "functionVersion": self.spec.version, "handler": self.spec.handler
        }  # fmt: skip
        if "accountid" in headers.get(b"lambda-extension-accept-feature", "").lower():
            document["accountId"] = self.spec.arn.split(":")[4]
        return _response(200, msgspec.json.encode(document), f"Lambda-Extension-Identifier: {extension.id}\r\n")

    def _next(self, extension: Extension, connection: RuntimeConnection) -> bytes | None:
        if extension.next is not None:
            return _refused(403, "Extension.InvalidExtensionState", "it waits for an event already")
        extension.next = connection
        extension.began = True
        if extension.told is not None:
            event, extension.told = extension.told, None
            self._tell(extension, event)
            return None
        self.stepped()
        return None

    def _error(self, extension: Extension, headers: dict[bytes, str], *, init: bool) -> bytes:
        kind = (
            headers.get(b"lambda-extension-function-error-type", "") or f"Extension.{'Init' if init else 'Exit'}Error"
        )
        if not self.shutting_down:
            self.failed(kind, f"extension {extension.name} reported {kind}")
        return _response(202, b'{"status":"OK"}')

    def _subscribe(self, extension: Extension, path: bytes, body: bytes) -> bytes:
        if self.init_over:
            return _refused(403, "Telemetry.SubscriptionClosed", "Telemetry API subscription is closed already")
        telemetry = path == PREFIXES[1]
        try:
            self.subscriptions[extension.id] = Subscription(
                body, self.connect, lambda: _written(self.now()), schema="2022" if telemetry else ""
            )  # fmt: skip
        except BadSubscription as error:
            return _refused(400, "ValidationError", str(error))
        subscription = self.subscriptions[extension.id]
        if self.init_start is not None and "platform" in subscription.types:
            at, record = self.init_start
            subscription.add(encode(_written(at), "platform.initStart", record))
        types = sorted(subscription.types)
        self.platform("telemetrySubscription", {"name": extension.name, "state": "Subscribed", "types": types})
        return _response(200, b'"OK"')

    def _tell(self, extension: Extension, event: dict[str, Any]) -> None:
        connection, extension.next = extension.next, None
        if connection is None:
            extension.told = event
            return
        headers = f"Lambda-Extension-Event-Identifier: {uuid.uuid4()}\r\n"
        connection.write(_response(200, msgspec.json.encode(event), headers))


def _response(status: int, body: bytes, headers: str = "") -> bytes:
    reason = {200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found"}.get(status, "Error")
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _refused(status: int, kind: str, message: str) -> bytes:
    return _response(status, msgspec.json.encode({"errorType": kind, "errorMessage": message}))


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
