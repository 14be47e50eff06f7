"""botocore's own protocol cases, in reverse: what its clients send is parsed, what they read is serialized.

The cases are in botocore's repository (tests/unit/protocols), not in its wheel. PENSTOCK_PROTOCOL_CASES names the
folder; without it these tests are skipped, and `test_peer_round_trip` covers the same ground with generated values.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import math
import os
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore import parsers
from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel
from botocore.model import ServiceModel as BotocoreModel
from botocore.utils import parse_timestamp

from penstock.wire import catalog, codec, error_out, models, uris
from penstock.wire.errors import AwsError
from penstock.wire.message import Request

FOLDER = os.environ.get("PENSTOCK_PROTOCOL_CASES", "")
SPOKEN = {"json", "query", "rest-json", "rest-xml", "smithy-rpc-v2-cbor"}

_NOT_IN_MAP = "the case's map leaves out the named parameters; a server puts all of the query into it (smithy.io)"
# What a server cannot or need not do as the case says, each with its reason.
NOT_IN_REVERSE = {
    "Idempotency token auto fill": "the client fills in what the case leaves out",
    "Test cases for QueryIdempotencyTokenAutoFill operation": "the client fills in what the case leaves out",
    "Test cases for PutWithContentEncoding operation": "the case has no body; decompression is the edge's",
    "Test cases for HostWithPathOperation operation": "the endpoint's path is the client's configuration",
    "RestJsonQueryPrecedence": "the client drops a value, which cannot be seen on the wire",
    "RestXmlQueryPrecedence": "the client drops a value, which cannot be seen on the wire",
    "MediaTypeHeaderInputBase64": "botocore's model lacks the media type (botocore skips it too)",
    "MediaTypeHeaderOutputBase64": "botocore's model lacks the media type (botocore skips it too)",
    "AllQueryStringTypes": _NOT_IN_MAP,
    "RestXmlQueryStringEscaping": _NOT_IN_MAP,
    "RestXmlSupportsNaNFloatQueryValues": _NOT_IN_MAP,
    "RestXmlSupportsInfinityFloatQueryValues": _NOT_IN_MAP,
    "RestXmlSupportsNegativeInfinityFloatQueryValues": _NOT_IN_MAP,
    "RestXmlZeroAndFalseQueryValues": _NOT_IN_MAP,
    "RestJsonQueryParamsStringListMap": _NOT_IN_MAP,
    "RestXmlQueryParamsStringListMap": _NOT_IN_MAP,
    "HttpPrefixHeadersResponse": "an empty prefix takes every header, ours too",
    "Supports header maps": "an empty prefix takes every header, ours too",
    "TestBlobPayloadNoParams": "its contentType member is the header that is always there",
    # What botocore's parser cannot read; botocore skips these itself.
    "QueryXmlLists": "botocore reads flattened lists by the list member's name",
    "XmlLists": "botocore reads flattened lists by the list member's name",
    "RestJsonHttpPayloadWithUnsetUnion": "botocore refuses an absent union",
    "RestXmlHttpPayloadWithUnsetUnion": "botocore refuses an absent union",
    "RestJsonInputAndOutputWithTimestampHeaders": "botocore does not split lists of dates",
    "InputAndOutputWithTimestampHeaders": "botocore does not split lists of dates",
    "RestJsonInputAndOutputWithQuotedStringHeaders": "botocore does not unescape",
    "QueryComplexError": "botocore reads an error's structures only beside the error",
    "ComplexError": "botocore reads an error's structures only beside the error",
    "BodyWithXmlName": "botocore looks for the shape's name",
}
READABLE = {
    "XmlLists", "RestJsonInputAndOutputWithTimestampHeaders", "InputAndOutputWithTimestampHeaders",
    "RestJsonInputAndOutputWithQuotedStringHeaders", "BodyWithXmlName",
}  # fmt: skip


def _left_out(suite: dict[str, Any], case: dict[str, Any]) -> str:
    names = (suite["description"], case.get("id", ""), case["given"].get("name", ""))
    return next((NOT_IN_REVERSE[name] for name in names if name in NOT_IN_REVERSE), "")


def _cases(direction: str) -> list[Any]:
    found = []
    for path in sorted(Path(FOLDER).glob(f"**/{direction}/*.json")) if FOLDER else ():
        for suite in json.loads(path.read_text()):
            if suite["metadata"]["protocol"] not in SPOKEN:
                continue
            for at, case in enumerate(suite["cases"]):
                if _left_out(suite, case) and not (direction == "input" and case.get("id") in READABLE):
                    continue
                age = "legacy" if "legacy" in path.parts else "current"
                name = f"{age}:{path.stem}:{suite['description']}:{case.get('id', at)}"
                found.append(pytest.param(suite, case, id=name.replace(" ", "-")))
    return found


def _model(suite: dict[str, Any], case: dict[str, Any]) -> tuple[models.ServiceModel, str, str]:
    protocol = suite["metadata"]["protocol"]
    given = copy.deepcopy(case["given"])
    given.setdefault("http", {"method": "POST", "requestUri": "/"})
    given["errors"] = given.get("errors", [])
    name = given.setdefault("name", "OperationName")
    if protocol == "query" and "output" in given:
        given["output"] = {"resultWrapper": f"{name}Result", **given["output"]}
    source = _modern({**suite, "operations": {name: given}})
    entry = catalog.Entry("case", "1", "case", (protocol,))
    return models.load(json.dumps(source).encode(), entry), name, protocol


def _modern(source: dict[str, Any]) -> dict[str, Any]:
    """Old cases have traits on shapes that models of today have on members, and namespaces as bare strings."""
    source = copy.deepcopy(source)
    shapes = source["shapes"].values()
    for operation in source["operations"].values():
        for target in (operation.get("input", {}), operation.get("output", {})):
            if "payload" in target:
                source["shapes"][target["shape"]]["payload"] = target["payload"]
    inner = [[*s.get("members", {}).values(), s.get("member"), s.get("key"), s.get("value")] for s in shapes]
    members = [m for each in inner for m in each if m]
    for member in members:
        shape = source["shapes"][member["shape"]]
        for trait in ("location", "locationName", "xmlAttribute", "jsonvalue"):
            if trait in shape and trait not in member and shape["type"] != "structure":
                member[trait] = shape[trait]
    for each in (*members, *shapes, *(o.get("input", {}) for o in source["operations"].values())):
        if isinstance(each.get("xmlNamespace"), str):
            each["xmlNamespace"] = {"uri": each["xmlNamespace"]}
    return source


def _comparable(value: Any) -> Any:
    """Blobs and special floats as the cases write them; what is empty like what is absent, as it is on most wires."""
    if isinstance(value, dict):
        pruned = {k: _comparable(v) for k, v in value.items()}
        return {k: v for k, v in pruned.items() if v not in (None, "", [], {})}
    if isinstance(value, list):
        return [_comparable(v) for v in value]
    if isinstance(value, (bytes, bytearray)):
        return value.decode()
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


@pytest.mark.parametrize(("suite", "case"), _cases("input"))
def test_requests_of_clients_are_understood(suite: dict[str, Any], case: dict[str, Any]) -> None:
    if "params" not in case:
        pytest.skip("a case without parameters in it")
    model, name, protocol = _model(suite, case)
    wire = case["serialized"]
    path, _, query = wire.get("uri", "/").partition("?")
    headers = {k.lower(): v for k, v in wire.get("headers", {}).items()}
    body = wire.get("body", "")
    encoded = urlencode(body).encode() if isinstance(body, dict) else body.encode()
    if protocol == "smithy-rpc-v2-cbor":
        encoded = base64.b64decode(encoded)
    method = wire.get("method", model.operations[name].method)
    labels: dict[str, str] = {}
    if protocol.startswith("rest"):
        found = uris.match_in(model, method, path, query, headers)
        assert found is not None and found[0] == name
        labels = found[1]
    params = codec.make(model, name, protocol).parse(Request(method, path, query, headers, encoded), labels)
    assert _comparable(params) == _comparable(case["params"])


@pytest.mark.parametrize(("suite", "case"), _cases("output"))
def test_answers_are_understood_by_clients(suite: dict[str, Any], case: dict[str, Any]) -> None:
    model, name, protocol = _model(suite, case)
    given = {"http": {"method": "POST", "requestUri": "/"}, "name": name, **case["given"]}
    peer = BotocoreModel({**suite, "operations": {name: given}}, "case")
    operation = OperationModel(given, peer)
    shape = operation.output_shape
    if "SDK_UNKNOWN_MEMBER" in str(case.get("result")):
        pytest.skip("no server sends a member that its model does not have")
    if "error" in case:
        _check_error(case, model, peer, protocol, name)
        return
    result = _values(model, model.output_shape(name), case["result"])
    events = shape.event_stream_name if shape is not None else None
    response = codec.make(model, name, protocol).serialize(result, "request-1")
    if protocol == "query" and shape is not None and shape.members:
        shape.serialization["resultWrapper"] = f"{name}Result"
    if events:
        response.body = Raw(asyncio.run(_collected(response.stream)))
    parsed = _peer_parse(protocol, response, shape)
    if events:
        parsed[events] = list(parsed[events])
    assert _comparable(parsed) == _comparable(case["result"])


async def _sent(events: list[Any]) -> AsyncIterator[Any]:
    for event in events:
        yield event


async def _collected(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])


class Raw:
    """A body as botocore's event streams take it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Iterator[bytes]:
        yield self._data


def _peer_parse(protocol: str, response: Any, shape: Any) -> dict[str, Any]:
    parser = parsers.create_parser(protocol)
    parser._timestamp_parser = lambda value: parse_timestamp(value).timestamp()
    headers = HeadersDict(dict(response.headers))
    parsed = parser.parse(
        {"status_code": response.status, "headers": headers, "body": response.body, "context": {}}, shape
    )
    parsed.pop("ResponseMetadata", None)
    return parsed


def _check_error(case: dict[str, Any], model: models.ServiceModel, peer: Any, protocol: str, name: str) -> None:
    error = AwsError(case["errorCode"], case.get("errorMessage", ""), members=dict(case["error"]))
    response = error_out.render(model, protocol, name, error, "request-1")
    parsed = _peer_parse(protocol, response, None)
    assert parsed["Error"]["Code"] == case["errorCode"]
    assert (parsed["Error"]["Message"] or "") == case.get("errorMessage", "")
    shape = peer.shape_for_error_code(case["errorCode"]) if case["error"] else None
    if shape is not None:
        members = _peer_parse(protocol, response, shape)
        members.pop("Error", None)
        assert _comparable(members) == _comparable(case["error"])


def _values(model: models.ServiceModel, shape: Any, value: Any) -> Any:
    """A case's result as an operation would give it: blobs as bytes, special floats as floats."""
    if value is None or shape is None:
        return {} if shape is None else None
    match shape.type:
        case "structure" if shape.eventstream and isinstance(value, list):
            return _sent([_values(model, shape, event) for event in value])
        case "structure" if not shape.document:
            return {
                k: _values(model, model.shapes[shape.members[k].shape], v)
                for k, v in value.items()
                if k in shape.members
            }
        case "list":
            return [_values(model, model.shapes[shape.member.shape], v) for v in value]
        case "map":
            return {k: _values(model, model.shapes[shape.value.shape], v) for k, v in value.items()}
        case "blob":
            return value.encode()
        case "float" | "double":
            return float(value)
    return value
