"""botocore as the peer: values made from its models, its serializers and its parsers. Used by the round-trip tests."""

from __future__ import annotations

import copy
import functools
import gzip
import random
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from botocore import parsers, serialize
from botocore.awsrequest import HeadersDict
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.utils import parse_timestamp

from penstock.wire import catalog, models, query_models
from penstock.wire.message import Request, Response

_loader = Loader()
IN_HEAD = frozenset({"header", "headers", "uri", "querystring"})


@functools.cache
def ours(name: str) -> models.ServiceModel:
    """Our model as botocore has it, whatever a service that is imported has patched."""
    entry = catalog.BY_NAME[name]
    return models.load(gzip.decompress((models.DATA / name / entry.version / "service-2.json.gz").read_bytes()), entry)


def service_model(name: str, protocol: str = "") -> ServiceModel:
    """botocore's model. protocol: "query" for its names there, where the model itself no longer tells them."""
    raw = _loader.load_service_model(name, "service-2", models.service(name).entry.version)
    if protocol == "query":
        raw = _in_query(copy.deepcopy(raw), name)
    return ServiceModel(raw, name)


def _in_query(raw: dict[str, Any], name: str) -> dict[str, Any]:
    model = query_models.model(models.service(name))
    for shape_name, shape in raw["shapes"].items():
        ours = model.shapes[shape_name]
        for member, target in shape.get("members", {}).items():
            if wire := ours.members[member].location_name:
                target["locationName"] = wire
        for part in ("member", "key", "value"):
            if part in shape and (wire := getattr(ours, part).location_name):
                shape[part]["locationName"] = wire
    for operation_name, operation in raw["operations"].items():
        if "output" in operation:
            operation["output"]["resultWrapper"] = model.operations[operation_name].output.result_wrapper
    return raw


class Values:
    """Values that keep to a shape's constraints (but for patterns), biased to the awkward."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def of(self, shape: Any, depth: int = 0, location: str = "") -> Any:
        match shape.type_name:
            case "structure":
                return self._structure(shape, depth)
            case "list":
                size = self._size(shape, 2)
                return [self.of(shape.member, depth + 1, location) for _ in range(size)]
            case "map":
                size = self._size(shape, 2)
                keys = (self.of(shape.key, depth + 1, location) for _ in range(size))
                named = (key.lower() if location == "headers" else key for key in keys)
                return {key: self.of(shape.value, depth + 1) for key in named}
            case "string" | "character":
                return self._string(shape, location)
            case "boolean":
                return self._random.random() < 0.5
            case "blob":
                return self._random.randbytes(self._size(shape, 9))
            case "timestamp":
                return datetime.fromtimestamp(self._random.randrange(0, 2**31), UTC)
            case "float" | "double":
                low, high = self._bounds(shape, -1e6, 1e6)
                return min(max(round(self._random.uniform(-1000, 1000), 3), low), high)
            case _:
                low, high = self._bounds(shape, -(2**31), 2**31 - 1)
                return int(min(max(self._random.randrange(-5, 10**6), low), high))

    def _structure(self, shape: Any, depth: int) -> Any:
        if getattr(shape, "is_document_type", False):
            return {"any": ["thing", 1, None, {"deep": 1.5}]}
        if shape.is_tagged_union:
            name = self._random.choice(list(shape.members))
            return {name: self.of(shape.members[name], depth + 1)}
        result = {}
        for name, member in shape.members.items():
            wanted = name in shape.required_members or (depth < 6 and self._random.random() < 0.6)
            if wanted and depth < 13:
                result[name] = self.of(member, depth + 1, member.serialization.get("location", ""))
        if not result and shape.members and depth < 13:
            name, member = next(iter(shape.members.items()))  # an empty structure cannot be told from an absent one
            result[name] = self.of(member, depth + 1, member.serialization.get("location", ""))
        return result

    def _bounds(self, shape: Any, low: float, high: float) -> tuple[float, float]:
        return shape.metadata.get("min", low), shape.metadata.get("max", high)

    def _size(self, shape: Any, usual: int) -> int:
        low, high = self._bounds(shape, 1, 2**31)
        return int(max(low, min(high, self._random.randint(1, usual))))

    def _string(self, shape: Any, location: str) -> str:
        if shape.enum:
            return str(self._random.choice(shape.enum))
        alphabet = (
            "abcXYZ019" if location in IN_HEAD and location not in ("uri", "querystring") else "ab<&>\"'é1 %+/=?,;😀"
        )
        return "".join(self._random.choice(alphabet) for _ in range(self._size(shape, 8)))


def request(operation: OperationModel, protocol: str, params: dict[str, Any]) -> Request:
    """The request that botocore sends."""
    wire = serialize.create_serializer(protocol).serialize_to_request(params, operation)
    body = wire["body"]
    if isinstance(body, dict):
        body = urlencode(body).encode()
    elif isinstance(body, str):
        body = body.encode()
    path, _, query = wire["url_path"].partition("?")
    given = wire["query_string"]
    if isinstance(given, dict):
        given = urlencode([(k, x) for k, v in given.items() for x in (v if isinstance(v, list) else [v])])
    query = "&".join(part for part in (query, given) if part)
    headers = {k.lower(): str(v) for k, v in wire["headers"].items()}
    return Request(wire["method"], path, query, headers, bytes(body or b""))


def parsed(operation: OperationModel, protocol: str, response: Response) -> dict[str, Any]:
    """What botocore reads from a response. A streaming body is given back as bytes."""
    shape = operation.output_shape
    parser = parsers.create_parser(protocol)
    parser._timestamp_parser = lambda value: parse_timestamp(value).timestamp()
    body: Any = response.body
    wire = {"status_code": response.status, "headers": HeadersDict(dict(response.headers)), "body": body}
    result = parser.parse(wire, shape)
    result.pop("ResponseMetadata", None)
    return result


def plain(value: Any) -> Any:
    """Timestamps as seconds; what is empty is left out, as most wires do not tell it from what is absent."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, dict):
        items = {k: plain(v) for k, v in value.items()}
        return {k: v for k, v in items.items() if v not in (None, "", b"", [], {})}
    if isinstance(value, list):
        return [p for v in value if (p := plain(v)) not in (None, {}, [])]
    return value
