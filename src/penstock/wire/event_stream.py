"""Answers that are a stream of events (application/vnd.amazon.eventstream): framing, and events by the model.

An operation's result holds, as its event-stream member, an async iterator of {event name: its members}. An AwsError that
the iterator raises is sent as the stream's last message. Framing: "Event stream encoding" in the Amazon Transcribe and
S3 SelectObjectContent pages of the API references.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

from penstock.wire import json_out, models, xml_out
from penstock.wire.errors import AwsError
from penstock.wire.models import Shape

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_PRELUDE, _CRC = struct.Struct(">II"), struct.Struct(">I")
_TRUE, _FALSE, _LONG, _BYTES, _STRING, _TIMESTAMP = 0, 1, 5, 6, 7, 8
_WIDTHS = {2: 1, 3: 2, 4: 4, _LONG: 8}
_INTEGERS = {"byte": 2, "short": 3, "integer": 4}

Event: TypeAlias = dict[str, dict[str, Any]]
WriteEvent: TypeAlias = Callable[[dict[str, Any]], bytes]


def message(headers: dict[str, Any], payload: bytes = b"") -> bytes:
    """One message: str, bytes, bool, int, float (a timestamp) and `Narrow` headers, and a payload, with both checksums."""
    head = b"".join(_header(name, value) for name, value in headers.items())
    prelude = _PRELUDE.pack(16 + len(head) + len(payload), len(head))
    body = b"".join((prelude, _CRC.pack(zlib.crc32(prelude)), head, payload))
    return body + _CRC.pack(zlib.crc32(body))


def _header(name: str, value: Any) -> bytes:
    start = bytes((len(name),)) + name.encode("ascii")
    if isinstance(value, bool):
        return start + bytes((_TRUE if value else _FALSE,))
    if isinstance(value, int):
        kind = value.kind if isinstance(value, Narrow) else _LONG
        return start + bytes((kind,)) + value.to_bytes(_WIDTHS[kind], "big", signed=True)
    if isinstance(value, float):
        return start + bytes((_TIMESTAMP,)) + round(value * 1000).to_bytes(8, "big", signed=True)
    data = value if isinstance(value, bytes) else str(value).encode("utf-8")
    return start + bytes((_BYTES if isinstance(value, bytes) else _STRING,)) + len(data).to_bytes(2, "big") + data


class Narrow(int):
    """An integer header of fewer bytes than a long's: `kind` is its type on the wire."""

    kind: int

    @classmethod
    def of(cls, kind: int) -> Callable[[int], Narrow]:
        """What makes them of that kind."""

        def make(value: int) -> Narrow:
            made = cls(value)
            made.kind = kind
            return made

        return make


def _as_it_is(value: Any) -> Any:
    return value


def _header_form(shape: Shape) -> Callable[[Any], Any]:
    """What a header member's value becomes for `message`."""
    if shape.type in _INTEGERS:
        return Narrow.of(_INTEGERS[shape.type])
    return float if shape.type == "timestamp" else _as_it_is


def find(model: models.ServiceModel, shape: Shape | None) -> str:
    """The output's member that is an event stream; "" where it has none."""
    for name, member in shape.members.items() if shape else ():
        if model.shapes[member.shape].eventstream:
            return name
    return ""


class EventWriter:
    """The writer of one event-stream shape's events, in XML for rest-xml and in JSON for every other protocol."""

    def __init__(self, model: models.ServiceModel, shape: Shape, protocol: str) -> None:
        self._model = model
        self._xml = xml_out.XmlWriter(model) if protocol == "rest-xml" else None
        self._json = json_out.JsonWriter(model)
        self._events = {
            name: self._event(name, model.shapes[member.shape])
            for name, member in shape.members.items()
            if not model.shapes[member.shape].exception
        }
        self._exceptions = {member.shape: name for name, member in shape.members.items()}

    async def stream(self, events: AsyncIterator[Event], first: bytes = b"") -> AsyncIterator[bytes]:
        """The messages of `events`, behind `first`."""
        if first:
            yield first
        try:
            async for event in events:
                for name, members in event.items():
                    yield self._events[name](members)
        except AwsError as error:
            yield self._error(error)
        except Exception:
            # The head is out, so this is where AWS says it too.
            log.exception("a stream of events failed")
            yield self._error(AwsError("InternalFailure", "The request processing has failed.", 500))
        finally:
            if (close := getattr(events, "aclose", None)) is not None:
                await close()

    def _event(self, name: str, shape: Shape) -> WriteEvent:
        headers = {":message-type": "event", ":event-type": name}
        in_headers = [
            (n, m.location_name or n, _header_form(self._model.shapes[m.shape]))
            for n, m in shape.members.items()
            if m.eventheader
        ]
        payload = next((n for n, m in shape.members.items() if m.eventpayload), "")
        inner = self._model.shapes[shape.members[payload].shape] if payload else shape
        content_type, encode = self._payload(name, inner, payload)

        def write(members: dict[str, Any]) -> bytes:
            given = {wire: form(members[n]) for n, wire, form in in_headers if members.get(n) is not None}
            value = members.get(payload) if payload else members
            body = encode(value) if value is not None else b""
            typed = {":content-type": content_type} if content_type else {}
            return message({**headers, **typed, **given}, body)

        return write

    def _payload(self, event: str, shape: Shape, payload: str) -> tuple[str, Callable[[Any], bytes]]:
        if shape.type == "blob":
            return "application/octet-stream", bytes
        if shape.type == "string":
            return "text/plain", lambda value: str(value).encode("utf-8")
        located = frozenset(n for n, m in shape.members.items() if m.eventheader)
        if len(located) == len(shape.members) and not payload:
            return "", lambda value: b""
        if self._xml is not None:
            element = self._xml.root(shape.name if payload else event, shape, None)
            return "text/xml", lambda value: element(value).encode("utf-8")
        encode = self._json.shape(shape)
        return "application/json", lambda value: encode({k: v for k, v in value.items() if k not in located})

    def _error(self, error: AwsError) -> bytes:
        """The last message: a modelled exception as such, any other as an error of the protocol."""
        shape = self._model.error_shape(error.code)
        if shape is None:
            head = {":message-type": "error", ":error-code": error.code, ":error-message": error.message}
            return message(head)
        kind = self._exceptions.get(shape.name, shape.name)
        head = {":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"}
        name = next((m.location_name or n for n, m in shape.members.items() if n.lower() == "message"), "message")
        return message(head, self._json.shape(shape)({**error.members, name: error.message}))


def initial_response(body: bytes, content_type: str) -> bytes:
    """The first message of the protocols that have no other place for the members beside the stream."""
    head = {":message-type": "event", ":event-type": "initial-response", ":content-type": content_type}
    return message(head, body)
