"""An AwsError as the protocol at hand shows it: codes, statuses and members from the model's exception shapes."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from penstock.wire import catalog, json_out, models, query_models, rest_out, rpc_cbor, s3_quirks, xml_out
from penstock.wire.errors import AwsError
from penstock.wire.message import Response
from penstock.wire.models import Shape

_CORAL_SERVICE = "com.amazon.coral.service#"
_CORAL_VALIDATE = "com.amazon.coral.validate#"

_CORAL = {
    "ValidationException": _CORAL_VALIDATE,
    **dict.fromkeys(
        (
            "AccessDeniedException", "IncompleteSignatureException", "InvalidSignatureException",
            "MissingAuthenticationTokenException", "SerializationException", "UnknownOperationException",
            "UnrecognizedClientException", "InternalFailure", "ServiceUnavailableException",
        ),
        _CORAL_SERVICE,
    ),
}  # fmt: skip

_ALIASES = {
    "json": {
        "AccessDenied": "AccessDeniedException",
        "SignatureDoesNotMatch": "InvalidSignatureException",
        "RequestTimeTooSkewed": "InvalidSignatureException",
        "InvalidAccessKeyId": "UnrecognizedClientException",
        "InvalidClientTokenId": "UnrecognizedClientException",
        "InvalidToken": "UnrecognizedClientException",
        "ExpiredToken": "ExpiredTokenException",
        "MissingAuthenticationToken": "MissingAuthenticationTokenException",
        "IncompleteSignature": "IncompleteSignatureException",
        "InternalError": "InternalFailure",
        "InvalidAction": "UnknownOperationException",
    },
    "query": {
        "AccessDeniedException": "AccessDenied",
        "InvalidSignatureException": "SignatureDoesNotMatch",
        "UnrecognizedClientException": "InvalidClientTokenId",
        "InvalidAccessKeyId": "InvalidClientTokenId",
        "ExpiredTokenException": "ExpiredToken",
        "MissingAuthenticationTokenException": "MissingAuthenticationToken",
        "IncompleteSignatureException": "IncompleteSignature",
        "InternalError": "InternalFailure",
        "SerializationException": "MalformedInput",
    },
    "rest-xml": {
        "AccessDeniedException": "AccessDenied",
        "InvalidSignatureException": "SignatureDoesNotMatch",
        "UnrecognizedClientException": "InvalidAccessKeyId",
        "InvalidClientTokenId": "InvalidAccessKeyId",
        "ExpiredTokenException": "ExpiredToken",
        "InternalFailure": "InternalError",
    },
}
_ALIASES["rest-json"] = _ALIASES["smithy-rpc-v2-cbor"] = _ALIASES["cbor"] = _ALIASES["json"]
"""One mistake, each protocol's own code for it. A code that the service's model has is never renamed."""

_REST_STATUSES = {
    "AccessDeniedException": 403, "ExpiredTokenException": 403, "IncompleteSignatureException": 403,
    "InvalidSignatureException": 403, "MissingAuthenticationTokenException": 403, "UnrecognizedClientException": 403,
    "UnknownOperationException": 404, "ThrottlingException": 429, "TooManyRequestsException": 429,
}  # fmt: skip
_QUERY_STATUSES = {
    "AccessDenied": 403, "ExpiredToken": 403, "IncompleteSignature": 400, "SignatureDoesNotMatch": 403,
    "MissingAuthenticationToken": 403, "InvalidClientTokenId": 403, "OptInRequired": 403,
}  # fmt: skip
_FAULTS = {"InternalFailure": 500, "InternalServerError": 500, "ServiceUnavailable": 503, "NotImplemented": 501}


def response(service: str, protocol: str, operation: str | None, error: AwsError, request_id: str) -> Response:
    """The answer for an error. `service` may be one that is not in the catalogue, when nothing was found to call."""
    return render(
        models.service(service) if service in catalog.BY_NAME else None, protocol, operation, error, request_id
    )


def render(
    model: models.ServiceModel | None, protocol: str, operation: str | None, error: AwsError, request_id: str
) -> Response:
    """`response` by any model."""
    code = error.code
    if model is not None and protocol == "query":
        model = query_models.model(model)
    shape = model.error_shape(code) if model else None
    if model and shape is None and model.query_compatible:
        shape = query_models.error_shape(model, code)
    if model and shape is None:
        alias = _ALIASES.get(protocol, {}).get(code)
        if alias is not None:
            code = alias
            shape = model.error_shape(code)
    if model is not None and model.name == "s3":
        return _s3(model, operation, error, code, shape, request_id)
    if protocol in rpc_cbor.DIALECTS and model is not None:
        return _cbor(model, protocol, error, code, shape, request_id)
    if protocol in ("query", "rest-xml"):
        return _query(model, protocol, error, code, shape, request_id)
    return _json(model, protocol, error, code, shape, request_id)


def _status(error: AwsError, code: str, shape: Shape | None, table: dict[str, int]) -> int:
    if error.status:
        return error.status
    if shape is not None:
        if status := shape.error.get("httpStatusCode"):
            return int(status)
        if shape.fault:
            return 500
    return table.get(code) or _FAULTS.get(code) or 400


def _json(
    model: models.ServiceModel | None, protocol: str, error: AwsError, code: str, shape: Shape | None, request_id: str
) -> Response:
    rest = protocol == "rest-json"
    wire_code = shape.name if shape is not None else code
    body: dict[str, Any] = {}
    if model is not None and model.entry.namespace and not rest:
        body["__type"] = (
            model.entry.namespace if shape is not None else _CORAL.get(wire_code, model.entry.namespace)
        ) + wire_code
    elif not rest:
        body["__type"] = wire_code
    located, members = _split(model, shape, error, protocol)
    if model is not None and shape is not None and members:
        members = msgspec.json.decode(json_out.JsonWriter(model).shape(shape)(members))
    body.update(members)
    if error.message or (rest and (shape is None or _message_name(shape))):
        body[_message_member(shape, wire_code, rest)] = error.message
    status = _status(error, code, shape, _REST_STATUSES if rest else {})
    version = model.json_version if model else "1.1"
    content_type = "application/json" if rest else f"application/x-amz-json-{version}"
    headers = [("x-amzn-RequestId", request_id), ("Content-Type", content_type)]
    if rest:
        headers.append(("x-amzn-ErrorType", wire_code))
    headers += _query_error(model, shape, wire_code, status)
    headers += located
    headers.extend(error.headers.items())
    encoded = msgspec.json.encode(body)
    if model is not None and model.entry.crc32:
        headers.append(("x-amz-crc32", str(zlib.crc32(encoded))))
    return Response(status, headers, encoded)


def _query_error(
    model: models.ServiceModel | None, shape: Shape | None, wire_code: str, status: int
) -> list[tuple[str, str]]:
    """The header in which a service that once spoke query says the code it had there."""
    if model is None or not model.query_compatible:
        return []
    query_code = query_models.code_of(model, shape) if shape else wire_code
    return [("x-amzn-query-error", f"{query_code};{'Receiver' if status >= 500 else 'Sender'}")]


def _cbor(
    model: models.ServiceModel, protocol: str, error: AwsError, code: str, shape: Shape | None, request_id: str
) -> Response:
    wire_code = shape.name if shape is not None else code
    status = _status(error, code, shape, _REST_STATUSES)
    body: dict[str, Any] = {"__type": model.entry.namespace + wire_code}
    _, members = _split(model, shape, error, protocol)
    if error.message:
        body[_message_member(shape, wire_code, True)] = error.message
    dialect = rpc_cbor.DIALECTS[protocol]
    headers = [("x-amzn-RequestId", request_id), *dialect.headers, dialect.content_type]
    headers += _query_error(model, shape, wire_code, status)
    headers.extend(error.headers.items())
    return Response(status, headers, rpc_cbor.error_body(model, protocol, shape, {**body, **members}))


def _split(
    model: models.ServiceModel | None, shape: Shape | None, error: AwsError, protocol: str
) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """An error's members that go into headers, and those that go into the body beside the message."""
    headers: list[tuple[str, str]] = []
    body: dict[str, Any] = {}
    for name, value in error.members.items():
        member = shape.members.get(name) if shape is not None else None
        if model is not None and member is not None and member.location == "header":
            headers.append((member.location_name or name, rest_out.RestWriter(model, protocol).header(member)(value)))
        elif (member is None or not member.in_answer_head) and not (name.lower() == "message" and error.message):
            body[name] = value
    return headers, body


def _message_name(shape: Shape) -> str:
    return next((m.location_name or n for n, m in shape.members.items() if n.lower() == "message"), "")


def _message_member(shape: Shape | None, code: str, rest: bool) -> str:
    if shape is not None and (name := _message_name(shape)):
        return name
    return "Message" if code in ("SerializationException", "AccessDeniedException") and not rest else "message"


def _query(
    model: models.ServiceModel | None, protocol: str, error: AwsError, code: str, shape: Shape | None, request_id: str
) -> Response:
    wire_code = str(shape.error.get("code", shape.name)) if shape is not None else code
    status = _status(error, code, shape, _QUERY_STATUSES)
    out = ['<?xml version="1.0"?>\n<ErrorResponse']
    if model is not None and model.xml_namespace:
        out.append(f' xmlns="{model.xml_namespace}"')
    out.append(
        f"><Error><Type>{'Receiver' if status >= 500 else 'Sender'}</Type><Code>{xml_out.escape(wire_code)}</Code>"
    )
    if error.message or shape is None or _message_name(shape):
        out.append(f"<Message>{xml_out.escape(error.message)}</Message>")
    located, members = _split(model, shape, error, protocol)
    _members(out, model, members, shape)
    out.append(f"</Error><RequestId>{xml_out.escape(request_id)}</RequestId></ErrorResponse>")
    content_type = "application/xml" if protocol == "rest-xml" else "text/xml"
    headers = [("x-amzn-RequestId", request_id), ("Content-Type", content_type), *located, *error.headers.items()]
    return Response(status, headers, "".join(out).encode("utf-8"))


def _members(out: list[str], model: models.ServiceModel | None, members: dict[str, Any], shape: Shape | None) -> None:
    """Further members: by the model where the exception shape knows them, else as plain elements."""
    for name, value in members.items():
        if model is not None and shape is not None and name in shape.members:
            out.append(xml_out.XmlWriter(model).member(name, shape.members[name])(value))
        elif isinstance(value, list):
            out.extend(f"<{name}>{xml_out.escape(str(each))}</{name}>" for each in value)
        elif isinstance(value, dict):
            out.append(f"<{name}>")
            _members(out, model, value, None)
            out.append(f"</{name}>")
        else:
            out.append(f"<{name}>{xml_out.escape(str(value))}</{name}>")


def _s3(
    model: models.ServiceModel | None, operation: str | None, error: AwsError, code: str, shape: Shape | None,
    request_id: str,
) -> Response:  # fmt: skip
    status = _status(error, code, shape, s3_quirks.STATUSES)
    headers = [("x-amz-request-id", request_id), ("x-amz-id-2", s3_quirks.HOST_ID), *error.headers.items()]
    head = model is not None and operation in model.operations and model.operations[operation].method == "HEAD"
    if head or status == 304:
        return Response(status, headers)
    out = [f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{xml_out.escape(code)}</Code>']
    out.append(f"<Message>{xml_out.escape(error.message)}</Message>")
    _members(out, model, error.members, shape)
    out.append(f"<RequestId>{xml_out.escape(request_id)}</RequestId><HostId>{s3_quirks.HOST_ID}</HostId></Error>")
    headers.append(("Content-Type", "application/xml"))
    return Response(status, headers, "".join(out).encode("utf-8"))
