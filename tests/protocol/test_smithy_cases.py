"""Smithy's protocol tests (smithy-aws-protocol-tests and smithy-protocol-tests of smithy-lang/smithy), server side.

The suite is not ours to carry: PENSTOCK_SMITHY_CASES names a checkout of that repository, and without it nothing of this
runs. Requests are parsed and compared with the case's parameters; results are serialized and compared with its message.
The end of pytest's output counts what was applied.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import math
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from botocore.eventstream import EventStreamBuffer

import smithy_idl
from penstock.edge.route import route
from penstock.wire import catalog, cbor, codec, error_out, event_stream, models, timestamps, uris
from penstock.wire.errors import AwsError
from penstock.wire.message import Request
from smithy_models import PROTOCOLS, Converter

FOLDER = os.environ.get("PENSTOCK_SMITHY_CASES", "")
SHAPES = smithy_idl.read(
    path.read_text() for path in sorted(Path(FOLDER).glob("smithy-*protocol-tests/model/**/*.smithy")) if FOLDER
)
CONVERTER = Converter(SHAPES)
S3 = "com.amazonaws.s3#"

_DEFAULTS = "AWS's published models have no defaults: an operation gives its own"
_HIDDEN = "the parameters hold what the message cannot show"
_CLIENT = "written for a client: the server's half is not in it"
_EMPTY_PREFIX = "no operation of ours has a map of all headers (see test_what_is_left_out_occurs_nowhere)"
_SPARSE = "no shape of ours is sparse (see test_what_is_left_out_occurs_nowhere)"
_MEDIA = "AWS's published models lack media types other than JSON's"
_LENIENT = "AWS's own services, older than this suite, take it"
_ANY_TYPE = "AWS's own services look at neither Content-Type nor Accept"
NOT_HERE = {
    r".*Server\w*Defaults?\w*": _DEFAULTS,
    r"SDKApp\w+": "compression is the edge's (tests/protocol/test_cbor_and_gzip.py); the case has no body",
    r"RestJsonOmitsEmptyListQueryValues|QueryEmptyQueryMaps": _HIDDEN,
    r"\w*Sparse\w*|RpcV2CborSerializesNullMapValues|RpcV2CborDeserializesNullMapValues": _SPARSE,
    r"\w*HttpEmptyPrefixHeaders\w*": _EMPTY_PREFIX,
    r"MediaTypeHeader\w+Base64": "JSON in a header is a value here, in the case it is its text",
    r"\w+WithMediaTypeWithBlob": _MEDIA,
    r"AllQueryStringTypes|RestXml(QueryStringEscaping|Supports\w+QueryValues|ZeroAndFalseQueryValues)": (
        "its map holds no named parameters; RestXmlServersPutAllQueryParamsInMap says that it does"
    ),
    r"QueryNoInputAndNoOutputWithResponseMetadata": "the service's namespace is missing in it",
    r"RestJsonHttpWithHeadersButNoPayload": "an empty document is a payload with nothing in it",
    r"GlacierVersionHeader|RestJsonStreamingTraits\w*NoBlobBody": "a stream of no bytes is a stream",
    r"AwsJson11IntEnums": "wants a request's header in an answer",
    r"parses_the_request_id_from_the_response": "the request id is ours to choose",
    r"RestXmlDateTimeWith\w+Offset": "timestamps are written in UTC",
    r"InvalidGreetingError|ComplexError": "its body holds an element or a message that its parameters do not",
    r"RestXmlHttpResponseCode": "wants a type for a body that is not there",
    r"S3VirtualHost(Dualstack)?AccelerateAddressing": "buckets are not accelerated: that is AWS's network",
    r"S3OperationNoErrorWrappingResponse": "written for a client: S3's errors never say Sender",
    r"RestJson\w*BooleanStringCoercion": _LENIENT,
    r"RestJsonBody(Byte|Short|Integer|Long)UnderflowOverflow": _LENIENT,
    r"RestJsonBody(Byte|Short|Integer|Long)MalformedValueRejected:2": "a fraction is cut: " + _LENIENT,
    r"RestJsonBodyMalformedMapNullValue": _LENIENT,
    r"RestJson(Body|Header|Path|Query)Timestamp\w+Rejects\w+": "any of AWS's formats is taken anywhere: " + _LENIENT,
    r"RestJson\w*(ContentType\w*|Accept)": _ANY_TYPE,
    r"RestJsonMalformedUniqueItems\w+": "AWS's published models do not say which items are unique",
    r"RestJsonMalformedPatternReDOSString": "a pattern of the suite; AWS's own are tested (tests/unit/wire/test_patterns.py)",
}
"""What a server cannot or need not do as the case says: a pattern of whole ids, and the reason."""
_LEFT_OUT = re.compile("|".join(f"(?:{pattern})" for pattern in NOT_HERE)).fullmatch


def _cases(trait: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(shape, case, protocol) of all that a server can be asked."""
    for name, shape in SHAPES.items():
        for case in shape["traits"].get(f"smithy.test#{trait}", ()):
            protocol = str(case["protocol"]).rpartition("#")[2]
            if case.get("appliesTo") != "client" and protocol in PROTOCOLS:
                yield name, case, protocol


def _parametrized(trait: str) -> list[Any]:
    return [
        pytest.param(*found, id=f"{found[2]}:{found[1]['id']}")
        for found in _cases(trait)
        if not _LEFT_OUT(found[1]["id"])
    ]


def _body(case: dict[str, Any], protocol: str) -> bytes:
    body = str(case.get("body", ""))
    return base64.b64decode(body) if protocol == "rpcv2Cbor" else body.encode()


def _comparable(value: Any) -> Any:
    """Blobs and special floats as the cases write them."""
    if isinstance(value, dict):
        return {k: _comparable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_comparable(v) for v in value]
    if isinstance(value, (bytes, bytearray)):
        return value.decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _parse(
    operation: str, protocol: str, method: str, uri: str, query: str, headers: dict[str, str], body: bytes
) -> Any:
    model = CONVERTER.model(operation, protocol)
    name = operation.rpartition("#")[2]
    labels: dict[str, str] = {}
    kind = PROTOCOLS[protocol][0]
    if kind.startswith("rest"):
        found = uris.match_in(model, method, uri, query, headers)
        if found is None:
            raise AwsError("UnknownOperationException", "", 404)
        labels = found[1]
    return codec.make(model, name, kind).parse(Request(method, uri, query, headers, body), labels)


@pytest.mark.parametrize(("operation", "case", "protocol"), _parametrized("httpRequestTests"))
def test_requests_are_understood(operation: str, case: dict[str, Any], protocol: str) -> None:
    headers = {k.lower(): v for k, v in case.get("headers", {}).items()}
    query = "&".join(case.get("queryParams", ()))
    if operation.startswith(S3):
        params = _parse_s3(operation, case, query, headers)
    else:
        params = _parse(operation, protocol, case["method"], case["uri"], query, headers, _body(case, protocol))
    assert _comparable(params) == case.get("params", {})


def _parse_s3(operation: str, case: dict[str, Any], query: str, headers: dict[str, str]) -> Any:
    """By S3's own model and the edge's routing: a virtual host is not the wire's business."""
    headers["host"] = case.get("resolvedHost", case["host"])
    request = Request(case["method"], case["uri"], query, headers, _body(case, "restXml"))
    to = route(request)
    assert (to.service, to.operation) == ("s3", operation.removeprefix(S3))
    return codec.codec("s3", to.operation, "rest-xml").parse(request, to.labels)


@pytest.mark.parametrize(("name", "case", "protocol"), _parametrized("httpResponseTests"))
def test_answers_are_as_they_should_be(name: str, case: dict[str, Any], protocol: str) -> None:
    kind = PROTOCOLS[protocol][0]
    if SHAPES[name]["type"] == "operation":
        model = models.service("s3") if name.startswith(S3) else CONVERTER.model(name, protocol)
        short = name.rpartition("#")[2]
        result = _values(model, model.output_shape(short), case.get("params", {}))
        response = codec.make(model, short, kind).serialize(result, "request-1")
    else:
        model = CONVERTER.model(name.partition("#")[0] + "#Operation", protocol, name)
        shape = model.shapes[name.rpartition("#")[2]]
        given = _values(model, shape, case.get("params", {}))
        message = next((n for n in given if n.lower() == "message"), "")
        members = {k: v for k, v in given.items() if k != message}
        error = AwsError(shape.name, given.get(message, ""), members=members)
        response = error_out.render(model, kind, "Operation", error, "request-1")
    assert response.status == case["code"]
    headers = {"content-length": str(len(response.body)), **{k.lower(): v for k, v in response.headers}}
    for header, value in case.get("headers", {}).items():
        assert headers.get(header.lower()) == value, header
    assert not {h.lower() for h in case.get("forbidHeaders", ())} & set(headers)
    if "body" in case:
        assert _document(response.body, case, protocol) == _document(_body(case, protocol), case, protocol)


def _document(body: bytes, case: dict[str, Any], protocol: str) -> Any:
    """A body as what it says, so that spaces, order of keys and prefixes do not count."""
    media = case.get("bodyMediaType") or ("application/xml" if body.startswith(b"<") else "")
    if not body:
        return None
    if protocol == "rpcv2Cbor":
        return _comparable(cbor.decode(body))
    if media == "application/json":
        return json.loads(body)
    if media in ("application/xml", "text/xml"):
        return _element(ElementTree.fromstring(body), namespaces="<ErrorResponse" not in body.decode())
    return body


def _element(element: ElementTree.Element, *, namespaces: bool) -> Any:
    """Of errors the namespace does not count: the suite's have none, AWS's have."""
    inside = [
        _element(each, namespaces=namespaces)
        for each in element
        if not each.tag.endswith(("ResponseMetadata", "RequestId"))
    ]
    tag = element.tag if namespaces else element.tag.rpartition("}")[2]
    return (
        tag, sorted(element.attrib.items()), (element.text or "").strip() if not len(element) else "",
        sorted(inside, key=lambda each: str(each[0])),
    )  # fmt: skip


def _values(model: Any, shape: Any, value: Any) -> Any:
    """A case's parameters as an operation gives them: blobs as bytes, special floats as floats."""
    if value is None or shape is None:
        return {} if shape is None else None
    match shape.type:
        case "structure" if not shape.document:
            return {k: _values(model, model.shapes[shape.members[k].shape], v) for k, v in value.items()}
        case "list":
            return [_values(model, model.shapes[shape.member.shape], v) for v in value]
        case "map":
            return {k: _values(model, model.shapes[shape.value.shape], v) for k, v in value.items()}
        case "blob":
            return str(value).encode()
        case "float" | "double":
            return float(value)
    return value


def _event_cases() -> list[Any]:
    """The events of answers: without the stream's own head, of which there are cases elsewhere."""
    found = []
    for name, case, protocol in _cases("eventStreamTests"):
        for at, event in enumerate(case.get("events", ())):
            if event["type"] == "response":
                found.append(pytest.param(name, event, protocol, id=f"{protocol}:{case['id']}:{at}"))
    return found


@pytest.mark.parametrize(("operation", "event", "protocol"), _event_cases())
def test_answers_events_are_as_they_should_be(operation: str, event: dict[str, Any], protocol: str) -> None:
    model = CONVERTER.model(operation, protocol)
    output = model.output_shape(operation.rpartition("#")[2])
    shape = model.shapes[output.members[event_stream.find(model, output)].shape]
    ((name, members),) = event["params"].items()
    given = _values(model, model.shapes[shape.members[name].shape], members)
    if isinstance(given.get("timestampHeader"), str):
        given["timestampHeader"] = timestamps.parse(given["timestampHeader"])
    sent = asyncio.run(_sent(model, shape, protocol, name, given))
    assert _messages(sent) == _messages(base64.b64decode(event["bytes"]))


async def _sent(model: models.ServiceModel, shape: models.Shape, protocol: str, name: str, given: Any) -> bytes:
    thrown = model.shapes[shape.members[name].shape]

    async def events() -> AsyncIterator[Any]:
        if thrown.exception:
            raise AwsError(thrown.name, given.pop("message", ""), members=given)
        yield {name: given}

    writer = event_stream.EventWriter(model, shape, PROTOCOLS[protocol][0])
    return b"".join([piece async for piece in writer.stream(events())])


def _messages(data: bytes) -> list[Any]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


def _filled(template: Any, values: dict[str, str]) -> Any:
    """A malformed request's template with one set of its parameters in it."""
    if isinstance(template, dict):
        return {k: _filled(v, values) for k, v in template.items()}
    if isinstance(template, list):
        return [_filled(v, values) for v in template]
    if not isinstance(template, str):
        return template

    def one(match: re.Match[str]) -> str:
        if match.group(1) not in values:
            return match.group()
        return json.dumps(values[match.group(1)]) if match.group(2) == "S" else values[match.group(1)]

    return re.sub(r"\$(\w+):([SL])", one, template).replace("$$", "$")


def _malformed() -> list[Any]:
    found = []
    for name, case, protocol in _cases("httpMalformedRequestTests"):
        table = case.get("testParameters", {})
        rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=False)] if table else [{}]
        for at, row in enumerate(rows):
            filled = {"request": _filled(case["request"], row), "response": _filled(case["response"], row)}
            if not _LEFT_OUT(case["id"]) and not _LEFT_OUT(f"{case['id']}:{at}"):
                found.append(pytest.param(name, filled, protocol, id=f"{protocol}:{case['id']}:{at}"))
    return found


@pytest.mark.parametrize(("operation", "case", "protocol"), _malformed())
def test_malformed_requests_are_refused(operation: str, case: dict[str, Any], protocol: str) -> None:
    asked, wanted = case["request"], case["response"]
    headers = {k.lower(): v for k, v in asked.get("headers", {}).items()}
    query = "&".join(asked.get("queryParams", ()))
    with pytest.raises(AwsError) as caught:
        _parse(operation, protocol, asked["method"], asked["uri"], query, headers, asked.get("body", "").encode())
    model = CONVERTER.model(operation, protocol)
    response = error_out.render(model, PROTOCOLS[protocol][0], "Operation", caught.value, "request-1")
    given = {k.lower(): v for k, v in response.headers}
    assert response.status == wanted["code"]
    for header, value in wanted.get("headers", {}).items():
        assert given.get(header.lower()) == value, header


@pytest.mark.skipif(not FOLDER, reason="the suite is not here")
def test_reasons_are_of_use() -> None:
    """Every pattern of what is left out names at least one case."""
    traits = ("httpRequestTests", "httpResponseTests", "httpMalformedRequestTests")
    ids = [case["id"] for trait in traits for _, case, _ in _cases(trait)]
    ids += [f"{name}:2" for name in ids]
    assert [pattern for pattern in NOT_HERE if not any(re.fullmatch(pattern, name) for name in ids)] == []


def test_what_is_left_out_occurs_nowhere() -> None:
    """What the wire leaves out because no model of ours needs it: a new botocore may bring it."""
    for entry in catalog.ENTRIES:
        source = gzip.decompress((models.DATA / entry.name / entry.version / "service-2.json.gz").read_bytes())
        assert b'"sparse"' not in source
        model = models.service(entry.name)
        for name in model.operations:
            shape = model.input_shape(name)
            members = shape.members.values() if shape else ()
            assert not any(model.shapes[m.shape].eventstream for m in members), f"{entry.name}:{name} takes events"
            assert not any(m.location == "headers" and not m.location_name for m in members)
            assert not any(m.location == "querystring" and model.shapes[m.shape].type == "map" for m in members)
