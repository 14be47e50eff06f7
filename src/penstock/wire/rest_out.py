"""Results of rest-json and rest-xml operations to responses: status, headers and body as the model has them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import msgspec

from penstock.wire import event_stream, json_out, models, s3_quirks, scalars, xml_out
from penstock.wire.message import OutgoingStream, Response
from penstock.wire.models import Member, Shape

Serialize: TypeAlias = Callable[[dict[str, Any], str], Response]
Body: TypeAlias = Callable[[dict[str, Any]], bytes]

XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


class RestWriter:
    """One service's response serializers over one of the two REST protocols."""

    def __init__(self, model: models.ServiceModel, protocol: str) -> None:
        self._model = model
        self._xml = protocol == "rest-xml"
        self._s3 = model.name == "s3"
        self._writer = xml_out.XmlWriter(model)
        self._json = json_out.JsonWriter(model)
        self._type = "application/xml" if self._xml else "application/json"

    def operation(self, name: str) -> Serialize:
        """The serializer of an operation's results."""
        operation = self._model.operations[name]
        shape = self._model.output_shape(name)
        default_status = operation.status
        id_header = "x-amz-request-id" if self._s3 else "x-amzn-RequestId"
        host_id = ("x-amz-id-2", s3_quirks.HOST_ID) if self._s3 else None
        is_head = operation.method == "HEAD"
        to_header, map_member, prefix, status_member = self._headers(shape, is_head)
        type_member = next((name for name, (wire, _) in to_header.items() if wire.lower() == "content-type"), "")
        write_body = None if is_head else self._body(name, shape)
        payload = shape.payload if shape else ""
        events = self._events(shape)
        body_type = self._body_type(shape)

        def serialize(result: dict[str, Any], request_id: str) -> Response:
            headers = [(id_header, request_id), host_id] if host_id is not None else [(id_header, request_id)]
            for member, value in result.items():
                found = to_header.get(member)
                if found is not None and value is not None:
                    wire, write = found
                    if write is not None or type(value) is not str or "\n" in value or "\r" in value:
                        value = (write or header_safe)(value)
                    headers.append((wire, value))
            if map_member and (values := result.get(map_member)):
                headers.extend((prefix + k, header_safe(v)) for k, v in values.items())
            status = (result.get(status_member) or default_status) if status_member else default_status
            if status in (204, 304):
                return Response(status, headers)
            content: Any = b""
            if write_body is not None:
                content = write_body(result)
            elif events is not None:
                headers.append(("Content-Type", event_stream.CONTENT_TYPE))
                return Response(status, headers, stream=events(result[payload]))
            elif payload and not is_head:
                content = result.get(payload)
            if content and result.get(type_member) is None:
                headers.append(("Content-Type", body_type))
            if type(content) is bytes:
                return Response(status, headers, content)
            return _holding(content, status, headers)

        return serialize

    def _events(self, shape: Shape | None) -> Callable[[Any], AsyncIterator[bytes]] | None:
        name = event_stream.find(self._model, shape)
        if shape is None or not name:
            return None
        inner = self._model.shapes[shape.members[name].shape]
        return event_stream.EventWriter(self._model, inner, "rest-xml" if self._xml else "rest-json").stream

    def _headers(
        self, shape: Shape | None, head: bool
    ) -> tuple[dict[str, tuple[str, scalars.Write | None]], str, str, str]:
        """(member -> header and its writer, None for plain text; the map's member, its headers' prefix; status' member)."""
        table: dict[str, tuple[str, scalars.Write | None]] = {}
        map_member = prefix = status_member = ""
        for name, member in shape.members.items() if shape else ():
            wire = member.location_name or name
            if wire.lower() == "content-length" and not head:
                continue  # the listener knows it from the body or the stream
            if member.location == "header":
                write = self.header(member)
                table[name] = (wire, None if write is header_safe else write)
            elif member.location == "headers":
                map_member, prefix = name, member.location_name
            elif member.location == "statusCode":
                status_member = name
        return table, map_member, prefix, status_member

    def header(self, member: Member) -> scalars.Write:
        """The writer of a header's value."""
        shape = self._model.shapes[member.shape]
        if member.jsonvalue:
            return lambda value: base64.b64encode(msgspec.json.encode(value)).decode("ascii")
        if shape.type == "list":
            assert shape.member is not None
            each = scalars.writer(self._model.shapes[shape.member.shape], shape.member, "rfc822")
            return lambda value: ", ".join(_quoted(each(v)) for v in value)
        if shape.type == "string":
            return header_safe
        return scalars.writer(shape, member, "rfc822")

    def _body_type(self, shape: Shape | None) -> str:
        found = self._model.payload(shape)
        if found is None or found[1].type == "structure":
            return self._type
        if found[1].type == "string":
            return "application/json" if self._s3 else "text/plain"
        if self._s3:
            return "binary/octet-stream"
        return "application/json" if self._model.name == "lambda" else "application/octet-stream"  # an event's answer

    def _body(self, name: str, shape: Shape | None) -> Body | None:
        """The writer of a body that is a document; None where there is none, or where it is raw bytes."""
        if shape is None:
            return None
        found = self._model.payload(shape)
        if found is None:
            if self._xml and all(m.in_answer_head for m in shape.members.values()):
                return None
            return self._xml_document(name, shape) if self._xml else self._json_document(shape)
        member, inner = found
        if (inner.type not in ("structure", "list", "map") and not inner.document) or inner.eventstream:
            return None
        payload = shape.payload
        if self._xml:
            root = member.location_name or inner.location_name or payload
            write = self._root(root, inner, member.xml_namespace)
            return lambda result: write(result[payload]) if result.get(payload) is not None else b""
        encode = self._json.shape(inner)
        return lambda result: encode(result[payload]) if result.get(payload) is not None else b""

    def _json_document(self, shape: Shape) -> Body:
        located = frozenset(n for n, m in shape.members.items() if m.in_answer_head)
        encode = self._json.shape(shape)
        if not located:
            return encode
        return lambda result: encode({k: v for k, v in result.items() if k not in located})

    def _xml_document(self, name: str, shape: Shape) -> Body:
        if self._s3:
            root = s3_quirks.ROOTS.get(name, shape.location_name or shape.name)
            if name == "GetBucketLocation":
                opening = f'{XML_HEAD}<{root} xmlns="{s3_quirks.NAMESPACE}">'
                return lambda result: f"{opening}{result.get(root) or ''}</{root}>".encode()
        else:
            target = self._model.operations[name].output
            root = (target.location_name if target else "") or shape.location_name or shape.name
        return self._root(root, shape, None)

    def _root(self, root: str, shape: Shape, namespace: dict[str, str] | None) -> Body:
        found = namespace or shape.xml_namespace
        if found is None:
            uri = s3_quirks.NAMESPACE if self._s3 else self._model.xml_namespace
            found = {"uri": uri} if uri else None
        element = self._writer.root(root, shape, found)
        return lambda value: f"{XML_HEAD}{element(value)}".encode()


def _holding(content: Any, status: int, headers: list[tuple[str, str]]) -> Response:
    """A response with a content of whatever kind."""
    if isinstance(content, OutgoingStream):
        if content.whole is None:
            return Response(status, headers, stream=content.lent, length=content.length)
        content = content.whole
    elif isinstance(content, str):
        content = content.encode("utf-8")
    return Response(status, headers, b"" if content is None else content)


def header_safe(value: Any) -> str:
    """Text that cannot end its header: a name or value that a client chose comes back to it in headers."""
    text = str(value)
    return " ".join(text.splitlines()) if "\n" in text or "\r" in text else text


def _quoted(text: str) -> str:
    if "," in text or '"' in text:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"' if not text.endswith(" GMT") else text
    return text
