"""The server's own endpoints: /_penstock/… and the few of /_localstack/… that scripts wait for.

What changes the server's state needs loopback or an account root's signature, and no foreign web page behind it.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any

import msgspec

from penstock import __version__
from penstock.core import shared_clock
from penstock.core.arn import is_arn
from penstock.core.authz.reach import MOST
from penstock.core.identity import Asked, Kind
from penstock.core.operation import REGISTRY
from penstock.core.scrub import scrub
from penstock.edge.authenticate import Authenticator, is_loopback
from penstock.edge.origin import allow, trusted
from penstock.edge.refusals import Family
from penstock.edge.route import read_host
from penstock.edge.sigv4 import query_pairs
from penstock.events import dead_letters
from penstock.runtime.api import RuntimeUnsupported
from penstock.store.api import StoreError
from penstock.wire import catalog
from penstock.wire.errors import AwsError
from penstock.wire.message import Request, Response

if TYPE_CHECKING:
    from penstock.core.node import Node

log = logging.getLogger(__name__)
_OURS = re.compile(r"/_(penstock|localstack)(/|$)").match
_ADVANCE_MAX_S = 100 * 366 * 86400.0


class _Redrive(msgspec.Struct):
    keys: list[str]


class _Debug(msgspec.Struct):
    arn: str
    runtime: str
    port: int | None = None


class _Refused(Exception):
    """A request to these endpoints that is not carried out."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(status, why)
        self.status = status
        self.why = why


class Admin:
    """Called by the chain for every path that begins with "/_"."""

    def __init__(self, node: Node, authenticate: Authenticator, *, inside: bool = False) -> None:
        self._node = node
        self._authenticate = authenticate
        self._inside = inside
        self._began = time.monotonic()
        self.ready = True
        """Whether requests are wanted: no longer, once the server drains."""
        self._paths = {
            "/_penstock/health": ("GET", self._health),
            "/_penstock/ready": ("GET", self._ready),
            "/_penstock/metrics": ("GET", self._metrics),
            "/_penstock/state": ("GET", self._state),
            "/_penstock/authz": ("GET", self._authz),
            "/_penstock/authz/calls": ("GET", self._authz_calls),
            "/_penstock/authz/why": ("POST", self._authz_why),
            "/_penstock/deliveries": ("GET", self._deliveries),
            "/_penstock/deliveries/redrive": ("POST", self._redrive),
            "/_penstock/reset": ("POST", self._reset),
            "/_penstock/clock": ("POST", self._clock),
            "/_penstock/debug": ("POST", self._debug),
            "/_penstock/scrub": ("POST", self._scrub),
            "/_localstack/health": ("GET", self._localstack_health),
            "/_localstack/init": ("GET", self._localstack_init),
            "/_localstack/init/ready": ("GET", self._localstack_init),
            "/_localstack/state/reset": ("POST", self._reset),
        }

    async def __call__(self, request: Request, request_id: str) -> Response | None:
        """The answer, or None for a path that is not ours (an object's: no bucket's name begins with "_")."""
        if not _OURS(request.path) or read_host(request.headers.get("host", "")).bucket:
            return None
        try:
            if self._inside:
                raise _Refused(404, "not found")
            found = self._paths.get(request.path.rstrip("/"))
            if found is None:
                raise _Refused(404, "not found")
            method, answer = found
            if request.method != method and not (method == "GET" and request.method == "HEAD"):
                raise _Refused(405, f"this is for {method}")
            if method == "POST":
                await self._permit(request)
            response = await answer(request)
        except _Refused as refused:
            response = _json(refused.status, {"message": refused.why})
        except (StoreError, OSError) as error:
            log.error("%s failed: %s (request %s)", request.path, error, request_id)
            response = _json(503, {"message": str(error)})
        response.headers.append(("x-amzn-RequestId", request_id))
        if "origin" in request.headers:
            allow(request.headers["origin"], response)
        return response

    async def _permit(self, request: Request) -> None:
        if not trusted(request):
            raise _Refused(403, "a foreign Origin or Host may not change this server's state")
        if request.stream is not None:
            raise _Refused(413, "the body is too large")
        if "authorization" not in request.headers:
            if not is_loopback(request.peer):
                raise _Refused(403, "only from loopback, or signed by an account's root")
            return
        try:
            principal, _, _ = await self._authenticate(request, Family.JSON, "", "")
        except AwsError as error:
            raise _Refused(403, str(error)) from None
        if principal.kind is not Kind.ROOT:
            raise _Refused(403, "only from loopback, or signed by an account's root")

    async def _health(self, request: Request) -> Response:
        return _json(200, {"status": "ok", "version": __version__, "uptime_s": self._uptime_s()})

    async def _ready(self, request: Request) -> Response:
        """Ready means: this node takes requests and its store answers."""
        if not self.ready:
            return _json(503, {"ready": False, "reason": "draining"})
        try:
            await self._node.store.transact(lambda txn: txn.get(b"\x00ready"), read_only=True)
        except Exception as error:
            return _json(503, {"ready": False, "reason": str(error)})
        return _json(200, {"ready": True})

    async def _metrics(self, request: Request) -> Response:
        text = self._node.telemetry.render().encode()
        return Response(200, [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")], text)

    async def _state(self, request: Request) -> Response:
        node = self._node
        services: dict[str, int] = {}
        for service, _ in REGISTRY:
            services[service] = services.get(service, 0) + 1
        return _json(
            200,
            {
                "version": __version__,
                "node": node.id,
                "uptime_s": self._uptime_s(),
                "now": node.clock.now(),
                "clock_ahead_s": round(node.clock.ahead_s, 3),
                "region": node.settings.region,
                "operations": services,
            },
        )

    async def _authz(self, request: Request) -> Response:
        """The newest decisions first: who might not do what, and for want of which statement. For friends only."""
        await self._permit(request)
        given = dict(query_pairs(request.query))
        denied_only = given.get("denied", "") in ("1", "true")
        limit = given.get("limit", "")
        count = int(limit) if re.fullmatch("[0-9]{1,6}", limit) else 100
        recent = self._node.decisions.recent(count, denied_only=denied_only)
        return _json(200, {"decisions": [d._asdict() for d in recent]})

    async def _authz_calls(self, request: Request) -> Response:
        """What a user or role has called so far, and on what. For friends only."""
        await self._permit(request)
        given = dict(query_pairs(request.query))
        principal, most = given.get("principal", ""), given.get("most", str(MOST))
        if not is_arn(principal):
            raise _Refused(400, '"principal" must be the ARN of a user or role')
        if not re.fullmatch("[1-9][0-9]{0,5}", most):
            raise _Refused(400, '"most" must be a number from 1')
        return _json(200, {"principal": principal, "calls": await self._node.directory.calls(principal, int(most))})

    async def _authz_why(self, request: Request) -> Response:
        """What would be decided, and why."""
        try:
            asked = msgspec.json.decode(request.body, type=Asked)
        except msgspec.DecodeError as error:
            raise _Refused(400, f"the body must name a principal, an action and a resource: {error}") from None
        try:
            return _json(200, await self._node.directory.why(asked))
        except AwsError as error:
            raise _Refused(error.status or 400, error.message) from None

    async def _deliveries(self, request: Request) -> Response:
        """How many events are on their way, and those that were given up on. For friends only."""
        await self._permit(request)
        try:
            return _json(
                200, await dead_letters.overview(self._node, dict(query_pairs(request.query)).get("after", ""))
            )
        except ValueError:
            raise _Refused(400, '"after" must be a dead letter\'s key') from None

    async def _redrive(self, request: Request) -> Response:
        try:
            keys = msgspec.json.decode(request.body, type=_Redrive).keys
            return _json(200, {"redriven": await dead_letters.redrive(self._node, keys)})
        except (msgspec.DecodeError, ValueError):
            raise _Refused(400, 'the body must be {"keys": [keys of dead letters]}') from None

    async def _reset(self, request: Request) -> Response:
        await self._node.reset()
        log.warning("emptied by request of %s", request.peer or "a local client")
        return _json(200, {"status": "ok"})

    async def _clock(self, request: Request) -> Response:
        try:
            body = msgspec.json.decode(request.body or b"{}")
            step_s = float(body["advance_s"])
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            raise _Refused(400, 'the body must be {"advance_s": seconds}') from None
        if not 0 <= step_s <= _ADVANCE_MAX_S - self._node.clock.ahead_s:
            raise _Refused(400, "the clock only moves forward, by a hundred years at most in all")
        return _json(200, {"now": await shared_clock.advance(self._node, step_s)})

    async def _debug(self, request: Request) -> Response:
        """Let a debugger attach to a function, or no longer."""
        try:
            wanted = msgspec.json.decode(request.body, type=_Debug)
            port = await self._node.runtime.debug(wanted.arn, wanted.runtime, wanted.port)
        except (msgspec.DecodeError, RuntimeUnsupported, OSError) as error:
            raise _Refused(400, str(error)) from None
        return _json(200, {"port": port})

    async def _scrub(self, request: Request) -> Response:
        """Read everything, and tell what is damaged."""
        return _json(200, (await scrub(self._node))._asdict())

    async def _localstack_health(self, request: Request) -> Response:
        """What scripts that wait for LocalStack look at: every service that has an operation is available."""
        here = {service for service, _ in REGISTRY}
        services = {e.name: "available" if e.name in here else "disabled" for e in catalog.ENTRIES}
        return _spaced({"services": services, "edition": "penstock", "version": __version__})

    async def _localstack_init(self, request: Request) -> Response:
        stages = {"BOOT": True, "START": True, "READY": True, "SHUTDOWN": False}
        if request.path.rstrip("/").endswith("/ready"):
            return _spaced({"stage": "READY", "completed": True, "scripts": []})
        return _spaced({"completed": stages, "scripts": []})

    def _uptime_s(self) -> float:
        return round(time.monotonic() - self._began, 3)


def _json(status: int, value: Any) -> Response:
    return Response(status, [("Content-Type", "application/json")], msgspec.json.encode(value))


def _spaced(value: Any) -> Response:
    """JSON with blanks after colons and commas: scripts look for `"s3": "available"` as text."""
    return Response(200, [("Content-Type", "application/json")], json.dumps(value).encode())
