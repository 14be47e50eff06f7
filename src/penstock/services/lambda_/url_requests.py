"""What answers at a function's URL: the request as an event, the function's answer as a response.

Events and answers have the payload format 2.0: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from penstock.core.authz import authorize
from penstock.core.call import Call
from penstock.core.identity import ANONYMOUS, Kind, Principal
from penstock.core.operation import Operation, Params, Result
from penstock.core.web import Visit, site
from penstock.runtime.api import Outcome
from penstock.runtime.streams import ResponseStream
from penstock.services.lambda_ import access, invocations, url_cors, urls
from penstock.services.lambda_.access import Target
from penstock.services.lambda_.urls import Url
from penstock.store import Transaction
from penstock.wire import querystring
from penstock.wire.errors import AwsError
from penstock.wire.message import Request, Response

log = logging.getLogger(__name__)

_HOST = r"(?P<id>[a-z0-9]{32})\.lambda-url\.(?P<region>[a-z0-9-]+)\.(localhost|localhost\.localstack\.cloud|on\.aws)"
_FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, see: "
    "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)
_TEXT = ("text/", "application/json", "application/javascript", "application/xml")
_JSON = ("Content-Type", "application/json")
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "content-length"})
WITH_PRELUDE = "application/vnd.awslambda.http-integration-response"
PRELUDE_BYTES_MAX = 1024 * 1024
PRELUDE_END = bytes(8)
"""Between the metadata and the body of a streamed answer, as AWS's streaming libraries write it."""


async def _never(call: Call, params: Params) -> Result:
    raise AssertionError("there is no such operation: the function's URL is the way to it")


async def _policy(call: Call, params: Params) -> Mapping[str, Any] | None:
    return await access.load_policy(call, params)


INVOKE_URL = Operation(
    "lambda", "InvokeFunctionUrl", _never, "lambda:InvokeFunctionUrl", lambda call, params: params["Arn"], _policy,
    lambda call, params: {"lambda:FunctionUrlAuthType": params["AuthType"], "lambda:FunctionArn": params["Arn"]}, {},
)  # fmt: skip
"""An action without an operation: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"""


@site("lambda:InvokeFunctionUrl", host=_HOST)
async def answer(visit: Visit) -> Response:
    """Authorize the request, run the function, and answer as it says."""
    node, request = visit.node, visit.request

    def body(txn: Transaction) -> tuple[Url, Target | None] | None:
        url = urls.find(txn, visit.labels["id"])
        if url is None or url.region != visit.labels["region"]:
            return None
        try:
            return url, access.target(txn, url.account, url.region, url.name, url.qualifier)
        except AwsError:
            return url, None

    found = await node.store.transact(body, read_only=True)
    if found is None or found[1] is None:
        return _refused(403, None)
    url, target = found
    assert target is not None
    if url.cors is not None and url_cors.is_preflight(request):
        return url_cors.preflight(url.cors, request)
    await visit.collect(invocations.SYNC_PAYLOAD_BYTES_MAX)
    try:
        principal = await _authorized(visit, url)
    except AwsError as error:
        log.info("a request to the URL of %s was refused: %s", url.arn, error)
        return _refused(403, _FORBIDDEN)
    event = msgspec.json.encode(event_of(request, url, principal, visit.request_id, node.clock.now()))
    trace = request.headers.get("x-amzn-trace-id", "")
    try:
        if url.invoke_mode == "RESPONSE_STREAM":
            response = await _streamed(visit, target, event, trace)
        else:
            response = respond(await invocations.run(node, target, visit.request_id, event, trace=trace))
    except AwsError as error:
        return _refused(429 if error.status == 429 else 502, error.message)
    response.headers.append(("x-amzn-RequestId", visit.request_id))
    if url.cors is not None:
        url_cors.allow(url.cors, request, response)
    return response


async def _authorized(visit: Visit, url: Url) -> Principal:
    """Who calls, if he may. Raises AwsError."""
    principal = ANONYMOUS
    region = url.region
    if url.auth_type == "AWS_IAM":
        principal, region = await visit.authenticate("lambda")
        if principal is ANONYMOUS:
            raise AwsError("AccessDeniedException", _FORBIDDEN, 403)
    call = Call(
        visit.node, INVOKE_URL, principal, principal.account, region or url.region, visit.request_id,
        source_ip=visit.request.peer, secure=visit.request.secure, user_agent=visit.request.headers.get("user-agent", ""),
    )  # fmt: skip
    await authorize(call, {"FunctionName": url.arn, "Arn": url.arn, "AuthType": url.auth_type})
    return principal


def _refused(status: int, message: str | None) -> Response:
    kind = {403: "AccessDeniedException", 429: "TooManyRequestsException"}.get(status, "InternalFailure")
    return Response(status, [_JSON, ("x-amzn-ErrorType", kind)], msgspec.json.encode({"Message": message}))


def event_of(request: Request, url: Url, principal: Principal, request_id: str, now: float) -> dict[str, Any]:
    """The event that a request is for the function."""
    headers = {name: value for name, value in request.headers.items() if name not in ("connection", "authorization")}
    if "authorization" in request.headers and url.auth_type == "NONE":
        headers["authorization"] = request.headers["authorization"]
    proto, port = ("https", "443") if request.secure else ("http", "80")
    host = headers.get("host", "")
    headers |= {
        "x-forwarded-for": request.peer, "x-forwarded-proto": proto, "x-forwarded-port": host.partition(":")[2] or port,
        "x-amzn-trace-id": f"Root=1-{int(now):08x}-{request_id.replace('-', '')[:24]}",
    }  # fmt: skip
    path = querystring.unquote(request.path)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous" if principal is ANONYMOUS else principal.account,
            "apiId": url.id,
            "domainName": host.partition(":")[0],
            "domainPrefix": url.id,
            "http": {
                "method": request.method, "path": path, "protocol": f"HTTP/{request.http_version}",
                "sourceIp": request.peer, "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }  # fmt: skip
    if cookie := headers.get("cookie"):
        event["cookies"] = [part.strip() for part in cookie.split(";") if part.strip()]
    if request.query:
        values: dict[str, list[str]] = {}
        for name, value in querystring.parse(request.query):
            values.setdefault(name, []).append(value)
        event["queryStringParameters"] = {name: ",".join(several) for name, several in values.items()}
    if principal is not ANONYMOUS:
        event["requestContext"]["authorizer"] = {"iam": _iam(principal)}
    if request.body:
        _put_body(event, request.body, headers.get("content-type", ""))
    return event


def _iam(principal: Principal) -> dict[str, Any]:
    return {
        "accessKey": principal.access_key_id,
        "accountId": principal.account,
        "callerId": principal.id or principal.account,
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": principal.role_arn if principal.kind is Kind.WEB else principal.arn,
        "userId": principal.id or principal.account,
    }


def _put_body(event: dict[str, Any], body: bytes, content_type: str) -> None:
    if content_type.lower().startswith(_TEXT):
        try:
            event["body"] = body.decode()
        except UnicodeDecodeError:
            pass
        else:
            return
    event["body"] = base64.b64encode(body).decode()
    event["isBase64Encoded"] = True


def respond(outcome: Outcome) -> Response:
    """The response that a function's answer is."""
    if outcome.error:
        return _bad_gateway()
    answered = _parsed(outcome.payload)
    if not isinstance(answered, dict) or "statusCode" not in answered:
        return Response(200, [_JSON], _as_bytes(answered))
    body = answered.get("body", "")
    if answered.get("isBase64Encoded") is True:
        try:
            body = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError, TypeError):
            return _bad_gateway()
    return _as_said(answered, _as_bytes(body))


def _bad_gateway() -> Response:
    return Response(502, [_JSON], b"Internal Server Error")


async def _streamed(visit: Visit, target: Target, event: bytes, trace: str) -> Response:
    """The response of a function whose URL streams: what it sends is the body, after a prelude where it has one.

    One that does not stream is sent as it is. Raises AwsError.
    """
    stream = ResponseStream()
    task = asyncio.ensure_future(
        invocations.run(visit.node, target, visit.request_id, event, trace=trace, stream=stream)
    )
    begun = asyncio.ensure_future(stream.begun())
    try:
        await asyncio.wait((task, begun), return_when=asyncio.FIRST_COMPLETED)
    finally:
        begun.cancel()
    if not stream.content_type:
        outcome = await task
        if outcome.error:
            return _bad_gateway()
        return Response(200, [("Content-Type", "application/octet-stream")], outcome.payload)
    pieces = aiter(stream)
    if stream.content_type != WITH_PRELUDE:
        return Response(200, [("Content-Type", stream.content_type)], stream=_rest(b"", pieces, stream, task))
    head = b""
    async for piece in pieces:
        head += piece
        if PRELUDE_END in head or len(head) > PRELUDE_BYTES_MAX:
            break
    head, found, first = head.partition(PRELUDE_END)
    answered = _parsed(head)
    response = _as_said(answered, b"") if found and isinstance(answered, dict) else _bad_gateway()
    if response.status == 502:
        stream.abandon()
        return response
    response.stream = _rest(first, pieces, stream, task)
    return response


async def _rest(
    first: bytes, pieces: AsyncIterator[bytes], stream: ResponseStream, task: asyncio.Future[Outcome]
) -> AsyncIterator[bytes]:
    """What follows. Raises AwsError where the function broke off: the connection ends without the body's end."""
    try:
        if first:
            yield first
        async for piece in pieces:
            yield piece
        outcome = await task
        if outcome.error:
            raise AwsError("InternalFailure", "The function ended before its response did.", 502)
    finally:
        stream.abandon()


def _parsed(payload: bytes) -> Any:
    try:
        return msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return payload.decode("utf-8", "replace")


def _as_bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else b"" if body is None else msgspec.json.encode(body)


def _as_said(answered: dict[str, Any], body: bytes) -> Response:
    """With the status, headers and cookies that the function gave."""
    try:
        status = int(answered.get("statusCode", 200))
        if not 100 <= status <= 599:
            raise ValueError(status)
        headers = [
            (str(name), ",".join(map(_text, value)) if isinstance(value, list) else _text(value))
            for name, value in (answered.get("headers") or {}).items()
            if str(name).lower() not in _HOP_BY_HOP
        ]
        headers += [("Set-Cookie", str(cookie)) for cookie in answered.get("cookies") or ()]
    except (ValueError, TypeError, AttributeError):
        return _bad_gateway()
    if any(_breaks_out(name) or _breaks_out(value) for name, value in headers):
        return _bad_gateway()
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(_JSON)
    return Response(status, headers, body)


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _breaks_out(text: str) -> bool:
    """Whether the text would end the header that it stands in."""
    return not text.isascii() or "\r" in text or "\n" in text or "\0" in text
