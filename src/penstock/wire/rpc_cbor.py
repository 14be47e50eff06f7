"""The two CBOR protocols: the careful JSON reader and writer over other bytes, with blobs and timestamps of their own.

"smithy-rpc-v2-cbor" is smithy.io's "Smithy RPC v2 CBOR", CloudWatch's first protocol. "cbor" is its forerunner, JSON 1.1 in
other bytes (application/x-amz-cbor-1.1, X-Amz-Target), in which the SDKs for Java speak to Kinesis: timestamps are in ms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from penstock.wire import cbor, constraints, event_stream, json_in, json_out, models, timestamps
from penstock.wire.errors import AwsError
from penstock.wire.json_words import refusal
from penstock.wire.message import Request, Response
from penstock.wire.models import Member, Shape


class Dialect(NamedTuple):
    """What the protocols differ in: headers of every answer, of those with a body, and timestamps' ticks a second."""

    headers: tuple[tuple[str, str], ...]
    content_type: tuple[str, str]
    ticks_per_s: int


DIALECTS = {
    "smithy-rpc-v2-cbor": Dialect((("smithy-protocol", "rpc-v2-cbor"),), ("Content-Type", "application/cbor"), 1),
    "cbor": Dialect((), ("Content-Type", "application/x-amz-cbor-1.1"), 1000),
}


class CborReader(json_in.JsonReader):
    """Converters from decoded CBOR."""

    def __init__(self, model: models.ServiceModel, dialect: Dialect) -> None:
        super().__init__(model)
        self._ticks_per_s = dialect.ticks_per_s

    def _blob(self, value: Any) -> bytes:
        if type(value) is bytes:
            return value
        raise self._words.scalar(value, "Blob")

    def _float(self, value: Any) -> float:
        if type(value) is float or type(value) is int:
            return float(value)
        raise self._words.scalar(value, "Double")

    def _timestamp(self, value: Any) -> float:
        if isinstance(value, float | int) and not isinstance(value, bool):
            seconds = float(value) / self._ticks_per_s
            if abs(seconds) < timestamps.LIMIT_S:
                return seconds
        raise self._words.scalar(value, "Date")


class CborWriter(json_out.JsonWriter):
    """Encoders to CBOR."""

    _encode = staticmethod(cbor.encode)

    def __init__(self, model: models.ServiceModel, dialect: Dialect) -> None:
        super().__init__(model)
        self._ticks_per_s = dialect.ticks_per_s

    def _scalar_change(self, shape: Shape, member: Member | None) -> json_out.Change | None:
        if shape.type != "timestamp":
            return None
        ticks_per_s = self._ticks_per_s
        if ticks_per_s == 1:
            return cbor.Timestamp
        return lambda seconds: cbor.Timestamp(round(seconds * ticks_per_s))


def parser(
    model: models.ServiceModel, operation: str, protocol: str
) -> Callable[[Request, dict[str, str]], dict[str, Any]]:
    """The parser of an operation's requests."""
    if event_stream.find(model, model.output_shape(operation)):
        return _no_events
    shape = model.input_shape(operation)
    if shape is None:
        return lambda request, labels: {}
    convert = CborReader(model, DIALECTS[protocol]).shape(shape)
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


def _no_events(_request: Request, _labels: dict[str, str]) -> dict[str, Any]:
    """The SDKs that speak CBOR ask for event streams in JSON: AWS documents no other form of them."""
    raise AwsError("InvalidArgumentException", "An operation that answers in events is asked for in JSON.", 400)


def serializer(model: models.ServiceModel, operation: str, protocol: str) -> Callable[[dict[str, Any], str], Response]:
    """The serializer of an operation's results."""
    dialect = DIALECTS[protocol]
    shape = model.output_shape(operation)
    events = event_stream.find(model, shape)
    encode = CborWriter(model, dialect).shape(shape) if shape is not None and not events else None

    def serialize(result: dict[str, Any], request_id: str) -> Response:
        headers = [("x-amzn-RequestId", request_id), *dialect.headers]
        if encode is None:
            return Response(200, headers)
        headers.append(dialect.content_type)
        return Response(200, headers, encode(result))

    return serialize


def error_body(model: models.ServiceModel, protocol: str, shape: Shape | None, body: dict[str, Any]) -> bytes:
    """An error's members, those of its shape in their wire form, as CBOR."""
    change = CborWriter(model, DIALECTS[protocol]).change(shape) if shape is not None else None
    return cbor.encode(body if change is None else change(body))
