"""The path of a request, on one screen: route, authenticate, parse, authorize, admit, operation, serialize, observe."""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any

from penstock.core import web
from penstock.core.authz import authorize
from penstock.core.call import Call
from penstock.core.identity import ANONYMOUS
from penstock.core.operation import NotReady, find
from penstock.core.web import Visit
from penstock.edge import origin, payload, post_form, post_policy, refusals
from penstock.edge.admin import Admin
from penstock.edge.authenticate import Authenticator
from penstock.edge.refusals import Family
from penstock.edge.route import FORM, Route, place_of, read_host, route
from penstock.store.api import Conflict, StoreError, TransactionTooLarge, UnknownCommit
from penstock.wire import models
from penstock.wire.codec import codec, error_response
from penstock.wire.errors import AwsError
from penstock.wire.message import Request, Response

if TYPE_CHECKING:
    from penstock.core.identity import Principal
    from penstock.core.node import Node
    from penstock.core.web import Site
    from penstock.wire.codec import Codec

log = logging.getLogger(__name__)
access_log = logging.getLogger("penstock.access")

_S3 = Family.S3  # asking an enum for a member takes Python 3.11 a fifth of a microsecond
OPEN = frozenset({"s3", "sns", "sqs"})
"""Services that take unsigned requests and leave it to the resource's policy; elsewhere only what the model says."""


class Chain:
    """What the listener calls for each request. Knows every step's order and none of their insides.

    inside: requests come from a function's execution environment, where the server itself is out of reach.
    """

    def __init__(self, node: Node, *, inside: bool = False) -> None:
        self.node = node
        self._telemetry = node.telemetry
        self._authenticate = Authenticator(node)
        self._admin = Admin(node, self._authenticate, inside=inside)
        self._ids = RequestIds()
        self._collect = payload.Collector()
        self._at_work = 0
        settings = node.settings
        self._body_bytes = {
            Family.S3: settings.max_xml_bytes,
            Family.JSON: settings.max_json_bytes,
            Family.REST_JSON: settings.max_rest_json_bytes,
            Family.QUERY: settings.max_query_bytes,
        }

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop, so that /_penstock/ready says no."""
        return not self._admin.ready

    @draining.setter
    def draining(self, value: bool) -> None:
        self._admin.ready = not value

    async def __call__(self, request: Request) -> Response:
        """Answer a request. Raises nothing: what goes wrong is an AWS error."""
        request_id, headers = self._ids.next(), request.headers
        host = headers.get("host")
        found = web.by_host(origin.bare_host(host)) if host else None
        if found is None and request.path[:2] == "/_":
            if (response := await self._admin(request, request_id)) is not None:
                return response
            found = None if host and read_host(host).bucket else web.by_path(request.path)
        if found is not None:  # it is no call of AWS's API
            return await self._visit(request, found[0], found[1], request_id)
        if request.method == "OPTIONS" and (response := await self._preflight(request, request_id)) is not None:
            return response
        to: Route | None = None
        code = ""
        try:
            if request.stream is not None and headers.get("content-type", "").startswith(FORM):
                await self._collect(request, self._body_bytes[Family.QUERY], Family.QUERY)
            if "content-encoding" in headers and headers.get("content-type", "").startswith(FORM):
                to = route(payload.legible(request, self._body_bytes[Family.QUERY]))
            else:
                to = route(request)
            if to.service == "s3" and not to.operation and post_form.is_form(request):
                request, to, response = await self._post_object(request, to, request_id)
            else:
                response = await self._carry_out(request, to, request_id)
        except AwsError as error:
            code = error.code
            response = self._error(to, error, request_id)
        except Exception as error:
            code = type(error).__name__
            response = self._error(to, _internal(error, to, request_id), request_id)
        if "origin" in request.headers and not await self._allowed(request, to, response):
            origin.allow(request.headers["origin"], response)
        service, operation = (to.service, to.operation) if to is not None else ("", "")
        self._telemetry.operation_ended(service, operation, code, request.received_at)
        if access_log.isEnabledFor(logging.DEBUG):
            self._note(request, to, code, response, request_id)
        return response

    async def _preflight(self, request: Request, request_id: str) -> Response | None:
        """What a bucket tells browsers; where it says nothing, pages of this machine may use it."""
        place, rules = place_of(request), web.CROSS_ORIGIN.get("s3")
        if rules is None or place is None:
            return origin.preflight(request)
        own = origin.preflight(request)
        try:
            response = await rules.preflight(
                self.node, request, place, own if own is not None and own.status < 400 else None
            )
            response.headers.append(("x-amz-request-id", request_id))
            return response
        except AwsError as error:
            return error_response("s3", "rest-xml", None, error, request_id)
        except StoreError as error:
            return error_response("s3", "rest-xml", None, _internal(error, None, request_id), request_id)

    async def _allowed(self, request: Request, to: Route | None, response: Response) -> bool:
        """Whether the service has decided which pages may read the answer."""
        rules = web.CROSS_ORIGIN.get(to.service) if to is not None else None
        if rules is None or to is None or "Bucket" not in to.labels:
            return False
        try:
            return await rules.allow(
                self.node, request, web.Place(to.labels["Bucket"], to.labels.get("Key", "")), response
            )
        except StoreError:
            return False

    async def _carry_out(self, request: Request, to: Route, request_id: str) -> Response:
        service, name, kind, headers = to.service, to.operation, to.family, request.headers
        coding = codec(service, name, to.protocol) if name else None
        limit_bytes = self._body_bytes[kind]
        # Who waits to be asked for a body is asked once it is known who that is; outside of S3 the body is signed, too.
        if (coding is None or not coding.streams) and (
            (request.stream is not None and (kind is not _S3 or "expect" not in headers))
            or len(request.body) > limit_bytes
        ):
            await self._collect(request, limit_bytes, kind, name)
        found = self._authenticate.begin(request, kind, to.signing, to.region, to.signed)
        principal, proof, region = found if isinstance(found, tuple) else await found
        if coding is None:
            raise to.problem or AwsError("UnknownOperationException", "", 404)
        if (
            principal is ANONYMOUS
            and service not in OPEN
            and models.service(service).operations[name].auth_type != "none"
        ):
            raise refusals.unsigned(kind)
        if proof is None or proof.payload:  # else the body is what was signed
            payload.settle(request, proof, kind)
        if "content-encoding" in headers and kind in payload.COMPRESSIBLE:
            payload.inflate(request, self._body_bytes[kind], kind)
        if kind is _S3 and not coding.streams:
            if request.stream is not None:
                await self._collect(request, limit_bytes, kind, name)
            payload.check_document(request, name)
        return await self._perform(request, to, coding, principal, region, request_id)

    async def _post_object(self, request: Request, to: Route, request_id: str) -> tuple[Request, Route, Response]:
        """An upload by form: the PutObject it stands for, that one's route, and the answer the form wants."""
        form = await post_form.read(request)
        principal, region = await self._authenticate.form(request, form.fields, to.region)
        put = form.as_put(request)
        to = route(put)
        if to.operation != "PutObject":
            raise to.problem or AwsError("MethodNotAllowed", post_form.NOT_ALLOWED, 405)
        bucket = to.labels["Bucket"]
        if form.fields.get("policy"):
            sizes = post_policy.check(form.fields["policy"], form.fields, bucket, self.node.clock.host_now())
            if sizes is not None:
                form.content.least_bytes, form.content.most_bytes = sizes
        coding = codec(to.service, to.operation, to.protocol)
        response = await self._perform(put, to, coding, principal, region, request_id, {"s3:authType": "POST"})
        return put, to, form.answer(put, bucket, response)

    async def _perform(
        self,
        request: Request,
        to: Route,
        coding: Codec,
        principal: Principal,
        region: str,
        request_id: str,
        context: dict[str, Any] | None = None,
    ) -> Response:
        """From parsing to serializing, for whoever it was found to be."""
        headers, kind, node = request.headers, to.family, self.node
        operation = find(to.service, to.operation)
        params = coding.parse(request, to.labels)
        call = Call(
            node, operation, principal, principal.account, region or node.settings.region, request_id,
            source_ip=request.peer, secure=request.secure,
            endpoint=f"{'https' if request.secure else 'http'}://{headers.get('host', '')}",
            user_agent=headers.get("user-agent", ""), context=context, request=request,
        )  # fmt: skip
        if "x-amzn-trace-id" in headers:
            call.trace = headers["x-amzn-trace-id"]
        if operation.unsupported:
            operation.refuse_unsupported(params)
        try:
            await authorize(call, params)
            if self._at_work >= node.settings.max_requests:
                raise refusals.overloaded(kind)
            self._at_work += 1
            try:
                result = await operation.handler(call, params)
            except NotReady as missing:
                result = await operation.again(call, params, missing)
            finally:
                self._at_work -= 1
            response = coding.serialize(result, request_id)
        except AwsError as error:
            if call.on_end is not None:
                call.on_end(call, request, self._error(to, error, request_id), error.code)
            raise
        if call.on_end is not None:
            call.on_end(call, request, response, "")
        return response

    async def _visit(self, request: Request, site: Site, labels: dict[str, str], request_id: str) -> Response:
        """Have the site answer. Cross-origin rules are its own."""

        async def authenticate(service: str) -> tuple[Principal, str]:
            kind = Family.REST_JSON
            principal, proof, region = await self._authenticate(request, kind, service, labels.get("region", ""))
            payload.settle(request, proof, kind)
            return principal, region

        async def collect(size_bytes: int) -> None:
            await self._collect(request, size_bytes, Family.REST_JSON)

        code = ""
        try:
            if self._at_work >= self.node.settings.max_requests:
                raise refusals.overloaded(Family.REST_JSON)
            self._at_work += 1
            try:
                response = await site.answer(Visit(self.node, request, request_id, labels, authenticate, collect))
            finally:
                self._at_work -= 1
        except AwsError as error:
            code = error.code
            response = error_response(site.service, "rest-json", None, error, request_id)
        except Exception as error:
            code = type(error).__name__
            log.error("%s:%s failed (request %s)", site.service, site.name, request_id, exc_info=error)
            failure = refusals.internal(Family.REST_JSON, site.service, "")
            response = error_response(site.service, "rest-json", None, failure, request_id)
        self._telemetry.operation_ended(site.service, site.name, code, request.received_at)
        return response

    def _error(self, to: Route | None, error: AwsError, request_id: str) -> Response:
        if to is None:
            return error_response("s3", "rest-xml", None, error, request_id)
        return error_response(to.service, to.protocol, to.operation or None, error, request_id)

    def _note(self, request: Request, to: Route | None, code: str, response: Response, request_id: str) -> None:
        """A line of the access log."""
        service, operation = (to.service, to.operation) if to else ("", "")
        fields = {
            "peer": request.peer, "method": request.method, "path": request.path, "service": service,
            "operation": operation, "status": response.status, "code": code, "request_id": request_id,
            "ms": round((time.monotonic() - request.received_at) * 1000, 3),
        }  # fmt: skip
        access_log.debug(
            "%(method)s %(path)s %(service)s:%(operation)s %(status)s %(code)s %(ms)s ms", fields,
            extra={"fields": fields},
        )  # fmt: skip


class RequestIds:
    """Unique ids without asking the system for randomness each time: shaped as UUIDs, random in front, then counted."""

    def __init__(self) -> None:
        random = secrets.token_hex(10)
        self._prefix = f"{random[:8]}-{random[8:12]}-4{random[12:15]}-a{random[15:18]}-"
        self._count = itertools.count(secrets.randbits(44))

    def next(self) -> str:
        """The next id."""
        return f"{self._prefix}{next(self._count):012x}"


def _internal(error: Exception, to: Route | None, request_id: str) -> AwsError:
    """AWS's answer for a failure that is ours; the log has what happened.

    SDKs try any 5xx again. So it stands for what may go better, or may have been done already, and for nothing else.
    """
    where = f"{to.service}:{to.operation}" if to else "the edge"
    kind = to.family if to else Family.S3
    if isinstance(error, Conflict):
        log.warning("%s lost every retry against other transactions (request %s)", where, request_id)
        return refusals.contended(kind)
    if isinstance(error, TransactionTooLarge):
        log.warning("%s needs too large a transaction: %s (request %s)", where, error, request_id)
        return refusals.too_much_at_once(kind)
    if isinstance(error, StoreError | OSError):
        log.error("%s failed: %s (request %s)", where, error, request_id)
        if isinstance(error, StoreError) and not isinstance(error, UnknownCommit):
            return AwsError("ServiceUnavailable", "The service is unavailable. Please try again later.", 503)
    else:
        log.error("%s failed (request %s)", where, request_id, exc_info=error)
    return refusals.internal(kind, to.service if to else "", to.operation if to else "")
