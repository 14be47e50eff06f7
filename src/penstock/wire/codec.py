"""The wire's front door: for each (service, operation, protocol) one parser and one serializer, made on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from penstock.wire import (
    constraints,
    error_out,
    event_stream,
    json_in,
    json_out,
    json_typed,
    json_words,
    models,
    query_in,
    query_models,
    querystring,
    rest_in,
    rest_out,
    rpc_cbor,
    xml_out,
)
from penstock.wire.errors import AwsError
from penstock.wire.message import Request, Response

try:
    from isal.isal_zlib import crc32  # a tenth of what zlib's takes
except ImportError:  # a machine it is not built for
    from zlib import crc32

error_response = error_out.response


class Codec:
    """How one operation's requests are read and its results written, over one protocol.

    parse(request, labels): the parameters by member names: blobs are bytes, timestamps float seconds; types and
    constraints are checked. Raises AwsError in AWS's wording. serialize(result, request_id): the response; members
    that are absent or None are not written.
    """

    __slots__ = ("parse", "serialize", "streams")

    def __init__(
        self,
        parse: Callable[[Request, dict[str, str]], dict[str, Any]],
        serialize: Callable[[dict[str, Any], str], Response],
        streams: bool,
    ) -> None:
        self.parse = parse
        self.serialize = serialize
        self.streams = streams
        """Whether the request's body may be handed over as a stream; else it must be whole before `parse`."""


def codec(service: str, operation: str, protocol: str) -> Codec:
    """The codec. Raises KeyError for a service or operation that AWS does not have, ValueError for a protocol."""
    model = models.service(service)
    found: Codec | None = model.made("codec").get((operation, protocol))
    if found is None:
        if protocol not in model.protocols:
            raise ValueError(f"{service} does not speak {protocol}")
        found = model.made("codec")[operation, protocol] = make(model, operation, protocol)
    return found


def make(model: models.ServiceModel, operation: str, protocol: str) -> Codec:
    """A codec from any model. Raises as `codec` does."""
    model.operation(operation)
    match protocol:
        case "json":
            return Codec(_json_parse(model, operation), _json_serialize(model, operation), False)
        case "query":
            model = query_models.model(model)
            return Codec(_query_parse(model, operation), _query_serialize(model, operation), False)
        case "rest-json" | "rest-xml":
            reader, writer = _rest(model, protocol)
            return Codec(reader.operation(operation), writer.operation(operation), model.streams_input(operation))
        case "smithy-rpc-v2-cbor" | "cbor":
            parse, serialize = rpc_cbor.parser, rpc_cbor.serializer
            return Codec(parse(model, operation, protocol), serialize(model, operation, protocol), False)
        case _:
            raise ValueError(f"{protocol} is no protocol")


def _rest(model: models.ServiceModel, protocol: str) -> tuple[rest_in.RestReader, rest_out.RestWriter]:
    made = model.made(protocol)
    if not made:
        made["reader"], made["writer"] = rest_in.RestReader(model, protocol), rest_out.RestWriter(model, protocol)
    return made["reader"], made["writer"]


def _json(model: models.ServiceModel) -> tuple[json_in.JsonReader, json_out.JsonWriter]:
    made = model.made("json")
    if not made:
        made["reader"], made["writer"] = json_in.JsonReader(model), json_out.JsonWriter(model)
    return made["reader"], made["writer"]


def _json_parse(model: models.ServiceModel, operation: str) -> Callable[[Request, dict[str, str]], dict[str, Any]]:
    shape = model.input_shape(operation)
    if shape is None:
        return lambda request, labels: {}
    convert = _json(model)[0].shape(shape)
    keeps = constraints.check(model, shape)

    def careful(request: Request, _labels: dict[str, str]) -> dict[str, Any]:
        try:
            params: dict[str, Any] = convert(json_in.decode(request.body)) if request.body else {}
            if keeps is not None and not keeps(params):
                raise constraints.violations(model, shape, params)
        except RecursionError:
            raise json_words.refusal("") from None
        return params

    decoder = json_typed.decoder(model, shape)
    if decoder is None:
        return careful
    decode = decoder.decode

    def parse(request: Request, labels: dict[str, str]) -> dict[str, Any]:
        try:
            return decode(request.body)  # type: ignore[no-any-return]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return careful(request, labels)

    return parse


def _json_serialize(model: models.ServiceModel, operation: str) -> Callable[[dict[str, Any], str], Response]:
    content_type = ("Content-Type", f"application/x-amz-json-{model.json_version}")
    shape = model.output_shape(operation)
    if shape is None:
        return lambda result, request_id: Response(200, [("x-amzn-RequestId", request_id), content_type])
    encode = _json(model)[1].shape(shape)
    if event_stream.find(model, shape):
        return _json_events(model, shape, encode, content_type[1])

    def serialize(result: dict[str, Any], request_id: str) -> Response:
        return Response(200, [("x-amzn-RequestId", request_id), content_type], encode(result))

    def serialize_checked(result: dict[str, Any], request_id: str) -> Response:
        body = encode(result)
        checksum = ("x-amz-crc32", str(crc32(body)))
        return Response(200, [("x-amzn-RequestId", request_id), content_type, checksum], body)

    return serialize_checked if model.entry.crc32 else serialize


def _json_events(
    model: models.ServiceModel, shape: models.Shape, encode: Callable[[Any], bytes], content_type: str
) -> Callable[[dict[str, Any], str], Response]:
    """An answer in events, of which the first holds the members beside the stream."""
    name = event_stream.find(model, shape)
    events = event_stream.EventWriter(model, model.shapes[shape.members[name].shape], "json")

    def serialize(result: dict[str, Any], request_id: str) -> Response:
        beside = encode({k: v for k, v in result.items() if k != name})
        first = event_stream.initial_response(beside, content_type)
        headers = [("x-amzn-RequestId", request_id), ("Content-Type", event_stream.CONTENT_TYPE)]
        return Response(200, headers, stream=events.stream(result[name], first))

    return serialize


def _query_parse(model: models.ServiceModel, operation: str) -> Callable[[Request, dict[str, str]], dict[str, Any]]:
    shape = model.input_shape(operation)
    if shape is None:
        return lambda request, labels: {}
    read = query_in.QueryReader(model).shape(shape)
    keeps = constraints.check(model, shape)

    def parse(request: Request, _labels: dict[str, str]) -> dict[str, Any]:
        try:
            pairs = querystring.parse(request.query)
            if request.body:
                pairs += querystring.parse(request.body.decode("latin-1"))
        except AwsError:
            raise AwsError("MalformedQueryString", "The query string contains a syntax error.", 400) from None
        try:
            params: dict[str, Any] = read(query_in.tree(pairs))
        except (ValueError, OverflowError, RecursionError) as error:
            raise AwsError("MalformedInput", str(error)[:200], 400) from None
        if keeps is not None and not keeps(params):
            raise constraints.violations(model, shape, params)
        return params

    return parse


def _query_serialize(model: models.ServiceModel, operation: str) -> Callable[[dict[str, Any], str], Response]:
    shape, target = model.output_shape(operation), model.operations[operation].output
    content = xml_out.XmlWriter(model).content(shape) if shape else None
    wrapper = target.result_wrapper if target else ""
    uri = model.xml_namespace
    opening = f'<{operation}Response xmlns="{uri}">' if uri else f"<{operation}Response>"
    if wrapper:
        opening += f"<{wrapper}>"
    closing = f"</{wrapper}>" if wrapper else ""

    def serialize(result: dict[str, Any], request_id: str) -> Response:
        body = content(result) if content is not None else ""
        text = (
            f"{opening}{body}{closing}<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
            f"</{operation}Response>"
        )
        return Response(200, [("x-amzn-RequestId", request_id), ("Content-Type", "text/xml")], text.encode())

    return serialize
