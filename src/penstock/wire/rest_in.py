"""Requests of rest-json and rest-xml to dicts: labels, query, headers and body, each from where the model puts it.

Only what a request carries is looked at: names are looked up in tables, the model's members are never walked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from penstock.wire import constraints, json_in, models, querystring, s3_quirks, scalars, xml_in, xml_tree
from penstock.wire.errors import AwsError
from penstock.wire.message import Request
from penstock.wire.models import Member, Shape

Parse: TypeAlias = Callable[[Request, dict[str, str]], dict[str, Any]]
ParseBody: TypeAlias = Callable[[Request, dict[str, Any]], None]
ReadHeaders: TypeAlias = Callable[[dict[str, str], dict[str, Any]], None]
Bind: TypeAlias = tuple[str, scalars.Read | None, Shape]


_HOISTED = frozenset(("if-match", "if-none-match"))
"""Headers that a presigned URL of S3 may carry beside those that begin with x-amz-."""


class RestReader:
    """One service's request parsers over one of the two REST protocols."""

    def __init__(self, model: models.ServiceModel, protocol: str) -> None:
        self._model = model
        self._xml = protocol == "rest-xml"
        self._s3 = model.name == "s3"
        self._json_reader = json_in.JsonReader(model)
        self._xml_reader = xml_in.XmlReader(model)

    def operation(self, name: str) -> Parse:
        """The parser of an operation's requests. It raises AwsError."""
        shape = self._model.input_shape(name)
        if shape is None:
            return lambda request, labels: dict(labels)
        labels = self._bindings(shape, "uri")
        typed_labels = {k: b for k, b in labels.items() if b[1] is not None}
        by_member = {b[0]: (wire, b[1], b[2]) for wire, b in typed_labels.items()}
        query = self._bindings(shape, "querystring")
        query_map = next(
            (n for n, m in shape.members.items() if m.location == "querystring" and self._kind(m) == "map"), ""
        )
        read_headers = self._headers(shape)
        read_query = self._query(shape, query, query_map, read_headers) if query or query_map or self._s3 else None
        read_body = self._body(name, shape)
        keeps = constraints.check(self._model, shape)
        convert = self._convert

        def parse(request: Request, labels: dict[str, str]) -> dict[str, Any]:
            params: dict[str, Any] = dict(labels)
            for member, (wire, read, inner) in by_member.items():
                if member in params and read is not None:
                    params[member] = convert(wire, read, inner, params[member])
            if read_query is not None and request.query:
                read_query(request.query, params)
            if read_headers is not None:
                read_headers(request.headers, params)
            if read_body is not None:
                read_body(request, params)
            if keeps is not None and not keeps(params):
                raise self._violations(shape, params)
            return params

        return parse

    def _kind(self, member: Member) -> str:
        return self._model.shapes[member.shape].type

    def _bindings(self, shape: Shape, location: str) -> dict[str, Bind]:
        found: dict[str, Bind] = {}
        for name, member in shape.members.items():
            if member.location == location and self._kind(member) != "map":
                inner = self._model.shapes[member.shape]
                wire = member.location_name or name
                if wire == "Content-Length":
                    continue  # the listener has read it, and the body is as long
                found[wire.lower() if location == "header" else wire] = (name, self._reader(member, inner), inner)
        return found

    def _reader(self, member: Member, shape: Shape) -> scalars.Read | None:
        """Text to value; None for plain strings."""
        if member.jsonvalue:
            return _json_value
        if shape.type == "list":
            assert shape.member is not None
            element = self._model.shapes[shape.member.shape]
            read = scalars.reader(element)
            return read if member.location == "querystring" else _header_list(read, element.type)
        return None if shape.type == "string" else scalars.reader(shape)

    def _convert(self, wire: str, read: scalars.Read, shape: Shape, text: str) -> Any:
        try:
            return read(text)
        except (ValueError, OverflowError):
            if self._s3:
                raise s3_quirks.unreadable(wire, text, shape.type) from None
            raise AwsError(
                "SerializationException", f"{text[:200]!r} is not a valid {shape.type} for {wire}", 400
            ) from None

    def _query(
        self, shape: Shape, bindings: dict[str, Bind], query_map: str, read_headers: ReadHeaders | None
    ) -> Callable[[str, dict[str, Any]], None]:
        """The reader of a query. S3 takes headers there as well: a presigned URL carries its headers so.

        A member that is a map of the query holds all of it, named parameters too.
        """
        convert = self._convert
        s3 = self._s3
        map_of_lists = False
        if query_map:
            values = self._model.shapes[shape.members[query_map].shape].value
            map_of_lists = values is not None and self._kind(values) == "list"

        def read(query: str, params: dict[str, Any]) -> None:
            rest: dict[str, Any] = {}
            hoisted: dict[str, str] = {}
            for name, text in querystring.parse(query):
                if map_of_lists:
                    rest.setdefault(name, []).append(text)
                elif query_map:
                    rest.setdefault(name, text)
                found = bindings.get(name)
                if found is None:
                    if s3 and (name[:6].lower() == "x-amz-" or name.lower() in _HOISTED):
                        hoisted[name.lower()] = text
                    continue
                member, to_value, kind = found
                if to_value is None:
                    params.setdefault(member, text)
                elif kind.type == "list":
                    params.setdefault(member, []).append(convert(name, to_value, kind, text))
                elif text:
                    params.setdefault(member, convert(name, to_value, kind, text))
            if rest:
                params[query_map] = rest
            if hoisted and read_headers is not None:
                read_headers(hoisted, params)

        return read

    def _headers(self, shape: Shape) -> ReadHeaders | None:
        bindings = self._bindings(shape, "header")
        prefixes = [
            ((member.location_name or "").lower(), name)
            for name, member in shape.members.items()
            if member.location == "headers"
        ]
        if not bindings and not prefixes:
            return None
        prefix, map_member = prefixes[0] if prefixes else ("", "")
        cut = len(prefix)
        bound = bindings.__contains__
        convert = self._convert

        def read(headers: dict[str, str], params: dict[str, Any]) -> None:
            for name in filter(bound, headers):  # most of what a request has is for nobody here
                member, to_value, kind = bindings[name]
                text = headers[name]
                if to_value is None:
                    params[member] = text
                elif text:
                    try:
                        params[member] = convert(name, to_value, kind, text)
                    except AwsError:
                        if not name.endswith("modified-since"):  # RFC 9110, 13.1.3: ignored if it is no date
                            raise
            if map_member and prefix in "\n".join(headers):
                found = {name[cut:]: headers[name] for name in headers if name.startswith(prefix) and not bound(name)}
                if found:
                    params[map_member] = {**params.get(map_member, {}), **found}

        return read

    def _body(self, operation: str, shape: Shape) -> ParseBody | None:
        if shape.payload:
            return self._payload(shape)
        if all(m.location for m in shape.members.values()):
            return None
        if self._xml:
            target = self._model.operations[operation].input
            return self._xml_body(shape, target.location_name if target else "", None)
        return self._json_body(shape, None)

    def _payload(self, shape: Shape) -> ParseBody:
        name = shape.payload
        member = shape.members[name]
        inner = self._model.shapes[member.shape]
        if (inner.type == "structure" and not inner.eventstream) or inner.document or inner.type in ("list", "map"):
            if self._xml:
                return self._xml_body(inner, member.location_name or inner.location_name or "", name)
            return self._json_body(inner, name)
        streaming = member.streaming or inner.streaming or inner.eventstream

        def raw(request: Request, params: dict[str, Any]) -> None:
            if request.stream is not None:
                params[name] = request.stream
            elif inner.type == "blob" or inner.eventstream:
                if request.body or streaming:
                    params[name] = request.body
            elif request.body:
                params[name] = _text(request.body)

        return raw

    def _json_body(self, shape: Shape, member: str | None) -> ParseBody:
        convert = self._json_reader.shape(shape)

        def read(request: Request, params: dict[str, Any]) -> None:
            if request.body:
                value = convert(json_in.decode(request.body))
                if member is None:
                    params.update(value)
                else:
                    params[member] = value

        return read

    def _xml_body(self, shape: Shape, root: str, member: str | None) -> ParseBody:
        to_value = self._xml_reader.shape(shape)
        strict = self._s3
        inner_check = constraints.check(self._model, shape) if member is not None else None

        def read(request: Request, params: dict[str, Any]) -> None:
            if not request.body:
                return
            try:
                element = xml_tree.parse(request.body)
                if strict and root and xml_tree.local(element.tag) != root:
                    raise ValueError(element.tag)
                value = to_value(element)
            except (ValueError, OverflowError, RecursionError):
                if strict:
                    raise s3_quirks.malformed_xml() from None
                raise AwsError("MalformedInput", "Could not parse XML", 400) from None
            if strict and inner_check is not None and not inner_check(value):
                raise s3_quirks.malformed_xml()
            if member is None:
                params.update(value)
            else:
                params[member] = value

        return read

    def _violations(self, shape: Shape, params: dict[str, Any]) -> AwsError:
        if not self._s3:
            return constraints.violations(self._model, shape, params)
        for name in shape.required:
            if name not in params:
                member = shape.members[name]
                if shape.payload == name:
                    return AwsError("MissingRequestBodyError", "Request body is empty", 400)
                where = "header" if member.location == "header" else "query parameter"
                wire = member.location_name or name
                return AwsError("InvalidRequest", f"Missing required {where} for this request: {wire}", 400)
        for name, value in params.items():
            member = shape.members[name]
            each = constraints.check(self._model, self._model.shapes[member.shape])
            if each is not None and not each(value):
                wire = member.location_name or name
                values = value if isinstance(value, list) else [value]
                return s3_quirks.not_of_enum(wire.lower() if member.location == "header" else wire, str(values[0]))
        return AwsError("InvalidRequest", "The request is not valid", 400)


def _json_value(text: str) -> Any:
    try:
        return msgspec.json.decode(base64.b64decode(text, validate=True))
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _header_list(read: scalars.Read, kind: str) -> scalars.Read:
    def many(text: str) -> list[Any]:
        if kind == "timestamp":  # an HTTP date holds one comma itself
            parts = text.split(",")
            pairs = [",".join(parts[i : i + 2]) for i in range(0, len(parts), 2)] if " " in text else parts
            return [read(p.strip()) for p in pairs]
        if '"' in text:
            return [read(p) for p in _split_quoted(text)]
        return [read(p.strip()) for p in text.split(",")]

    return many


def _split_quoted(text: str) -> list[str]:
    found: list[str] = []
    current: list[str] = []
    quoted = escaped = False
    for char in text:
        if escaped:
            current.append(char)
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            found.append("".join(current).strip())
            current = []
        else:
            current.append(char)
    found.append("".join(current).strip())
    return found


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise AwsError("SerializationException", "The body is not UTF-8", 400) from None
