"""Smithy's RPC v2 CBOR: the careful JSON reader and writer over other bytes, with blobs and timestamps of their own.

The protocol is smithy.io's "Smithy RPC v2 CBOR"; CloudWatch speaks it first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.wire import cbor, constraints, json_in, json_out, models, timestamps
from penstock.wire.json_words import refusal
from penstock.wire.message import Request, Response
from penstock.wire.models import Member, Shape

HEADERS = (("smithy-protocol", "rpc-v2-cbor"), ("Content-Type", "application/cbor"))


class CborReader(json_in.JsonReader):
    """Converters from decoded CBOR."""

    def _blob(self, value: Any) -> bytes:
        if type(value) is bytes:
            return value
        raise self._words.scalar(value, "Blob")

    def _float(self, value: Any) -> float:
        if type(value) is float or type(value) is int:
            return float(value)
        raise self._words.scalar(value, "Double")

    def _timestamp(self, value: Any) -> float:
        if isinstance(value, float | int) and not isinstance(value, bool) and abs(value) < timestamps.LIMIT_S:
            return float(value)
        raise self._words.scalar(value, "Date")


class CborWriter(json_out.JsonWriter):
    """Encoders to CBOR."""

    _encode = staticmethod(cbor.encode)

    def _scalar_change(self, shape: Shape, member: Member | None) -> json_out.Change | None:
        return cbor.Timestamp if shape.type == "timestamp" else None


def wire_form(model: models.ServiceModel, shape: Shape | None, value: dict[str, Any]) -> dict[str, Any]:
    """The value as `cbor.encode` takes it: timestamps marked, members by their wire names."""
    change = CborWriter(model).change(shape) if shape is not None else None
    changed: dict[str, Any] = value if change is None else change(value)
    return changed


def parser(model: models.ServiceModel, operation: str) -> Callable[[Request, dict[str, str]], dict[str, Any]]:
    """The parser of an operation's requests."""
    shape = model.input_shape(operation)
    if shape is None:
        return lambda request, labels: {}
    convert = CborReader(model).shape(shape)
    keeps = constraints.check(model, shape)

    def parse(request: Request, _labels: dict[str, str]) -> dict[str, Any]:
        try:
            params: dict[str, Any] = convert(cbor.decode(request.body)) if request.body else {}
        except (cbor.BadCborError, OverflowError):
            raise refusal("") from None
        if keeps is not None and not keeps(params):
            raise constraints.violations(model, shape, params)
        return params

    return parse


def serializer(model: models.ServiceModel, operation: str) -> Callable[[dict[str, Any], str], Response]:
    """The serializer of an operation's results."""
    shape = model.output_shape(operation)
    encode = CborWriter(model).shape(shape) if shape is not None else None

    def serialize(result: dict[str, Any], request_id: str) -> Response:
        headers = [("x-amzn-RequestId", request_id), HEADERS[0]]
        if encode is None:
            return Response(200, headers)
        headers.append(HEADERS[1])
        return Response(200, headers, encode(result))

    return serialize
