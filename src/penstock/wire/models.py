"""AWS's service models: the one place that knows where botocore keeps them. Loaded on first use, one service at a time.

Only botocore's data files are read, not its code: `botocore.model` costs 130 ms and 20 MB to import, a decoded model
3-8 ms. What the wire does not use (documentation, traits of the client) is skipped while decoding.
"""

from __future__ import annotations

import functools
import gzip
from pathlib import Path
from typing import Any

import botocore
import msgspec

from penstock.wire import catalog

DATA = Path(botocore.__file__).parent / "data"


class Member(msgspec.Struct, rename="camel"):
    """A structure's member, a list's element, a map's key or value: a shape, and how it stands there."""

    shape: str
    location: str = ""
    """"" (the body), "uri", "querystring", "header", "headers" (a prefix) or "statusCode"."""
    location_name: str = ""
    streaming: bool = False
    jsonvalue: bool = False
    xml_attribute: bool = False
    xml_namespace: dict[str, str] | None = None
    flattened: bool = False
    timestamp_format: str = ""
    deprecated: bool = False
    eventpayload: bool = False
    eventheader: bool = False

    @property
    def in_answer_head(self) -> bool:
        """Whether it goes into an answer's headers or status; labels and query are a request's."""
        return self.location in ("header", "headers", "statusCode")


class Shape(msgspec.Struct, rename="camel"):
    """A shape of the model. `opaque`: its values stay exactly in wire form (see `patch`)."""

    type: str
    name: str = ""
    members: dict[str, Member] = {}
    required: list[str] = []
    member: Member | None = None
    key: Member | None = None
    value: Member | None = None
    min: float | None = None
    max: float | None = None
    pattern: str = ""
    enum: list[str] = []
    flattened: bool = False
    location_name: str = ""
    xml_namespace: dict[str, str] | None = None
    payload: str = ""
    timestamp_format: str = ""
    streaming: bool = False
    document: bool = False
    union: bool = False
    exception: bool = False
    fault: bool = False
    error: dict[str, Any] = {}
    eventstream: bool = False
    event: bool = False
    sensitive: bool = False
    """No error and no log shows its values."""
    opaque: bool = False


class Target(msgspec.Struct, rename="camel"):
    """An operation's input, output or error: a shape and the element that wraps it."""

    shape: str
    location_name: str = ""
    result_wrapper: str = ""
    xml_namespace: dict[str, str] | None = None


class OperationModel(msgspec.Struct, rename="camel"):
    """An operation of the model."""

    name: str
    http: dict[str, Any]
    input: Target | None = None
    output: Target | None = None
    errors: list[Target] = []
    deprecated: bool = False
    unsigned_payload: bool = False
    auth_type: str = msgspec.field(name="authtype", default="")
    http_checksum: dict[str, Any] = {}

    @property
    def method(self) -> str:
        return str(self.http["method"])

    @property
    def uri(self) -> str:
        return str(self.http["requestUri"])

    @property
    def status(self) -> int:
        return int(self.http.get("responseCode", 200))


class ServiceModel(msgspec.Struct):
    """A service: its operations and shapes, by name. Immutable once its patch is in."""

    metadata: dict[str, Any]
    operations: dict[str, OperationModel]
    shapes: dict[str, Shape]
    name: str = ""
    entry: catalog.Entry = catalog.Entry("", "", "", ())
    _made: dict[str, dict[Any, Any]] = msgspec.field(default_factory=dict)

    def made(self, what: str) -> dict[Any, Any]:
        """What one part of the wire has compiled from this model: that part's own dict, gone when the model goes."""
        return self._made.setdefault(what, {})

    @property
    def signing_name(self) -> str:
        return str(self.metadata.get("signingName") or self.metadata["endpointPrefix"])

    @property
    def endpoint_prefix(self) -> str:
        return str(self.metadata["endpointPrefix"])

    @property
    def target_prefix(self) -> str:
        return str(self.metadata.get("targetPrefix", ""))

    @property
    def protocols(self) -> tuple[str, ...]:
        """What the service accepts, the usual one first."""
        return self.entry.protocols

    @property
    def json_version(self) -> str:
        return str(self.metadata.get("jsonVersion", "1.0"))

    @property
    def xml_namespace(self) -> str:
        return str(self.metadata.get("xmlNamespace", ""))

    @property
    def query_compatible(self) -> bool:
        return "awsQueryCompatible" in self.metadata

    def operation(self, name: str) -> OperationModel:
        """Raises KeyError for an operation that the service does not have."""
        return self.operations[name]

    def input_shape(self, operation: str) -> Shape | None:
        target = self.operations[operation].input
        return self.shapes[target.shape] if target else None

    def output_shape(self, operation: str) -> Shape | None:
        target = self.operations[operation].output
        return self.shapes[target.shape] if target else None

    def payload(self, shape: Shape | None) -> tuple[Member, Shape] | None:
        """The member that is the whole body, with its shape."""
        if shape is None or not shape.payload:
            return None
        member = shape.members[shape.payload]
        return member, self.shapes[member.shape]

    def streams_input(self, operation: str) -> bool:
        """Whether the request's body is a streaming blob, so that it need not be read before the operation runs."""
        found = self.payload(self.input_shape(operation))
        return found is not None and (found[0].streaming or found[1].streaming)

    def error_shape(self, code: str) -> Shape | None:
        """The exception of that shape name or wire code."""
        found: dict[str, Shape] = self.made("errors")
        if not found:
            exceptions = [shape for shape in self.shapes.values() if shape.exception or shape.error]
            found.update((str(shape.error.get("code", shape.name)), shape) for shape in reversed(exceptions))
            found.update((shape.name, shape) for shape in exceptions)
        return found.get(code)


_patches: dict[str, bytes] = {}


@functools.cache
def service(name: str) -> ServiceModel:
    """The model of botocore's service `name`. Raises KeyError for one that is not in the catalogue."""
    entry = catalog.BY_NAME[name]
    with gzip.open(DATA / name / entry.version / "service-2.json.gz") as f:
        model = load(f.read(), entry)
    if name in _patches:
        _apply(model, msgspec.json.decode(_patches[name]))
    return model


def load(source: bytes, entry: catalog.Entry) -> ServiceModel:
    """A model from the JSON of its service-2.json."""
    model = msgspec.json.decode(source, type=ServiceModel)
    model.name, model.entry = entry.name, entry
    for name, shape in model.shapes.items():
        shape.name = name
    return model


@functools.cache
def regions() -> frozenset[str]:
    """All Regions that AWS has, of every partition."""
    document = msgspec.json.decode((DATA / "partitions.json").read_bytes())
    names = {name for partition in document["partitions"] for name in partition["regions"]}
    return frozenset(name for name in names if not name.endswith("-global"))


def by_target(header: str) -> tuple[str, str] | None:
    """(service, operation) of an X-Amz-Target header, or None."""
    prefix, _, operation = header.rpartition(".")
    name = catalog.BY_TARGET.get(prefix)
    return (name, operation) if name else None


S3_EXPRESS = "s3express"
"""What requests about directory buckets are signed for."""


by_signing_name = catalog.BY_SIGNING.get
"""The service that signs under a name (where several do, the one that is not told by its target), or None."""


def by_endpoint_prefix(prefix: str) -> str | None:
    """The service of a host's first label, e.g. "monitoring" of monitoring.us-east-1.amazonaws.com."""
    if prefix == "streams.dynamodb":
        return "dynamodbstreams"
    return catalog.BY_SIGNING.get(prefix) or (prefix if prefix in catalog.BY_NAME else None)


def patch(name: str, path: str | Path) -> None:
    """Register a service's model-patch.json: where AWS differs from its model. Applied when the model is loaded.

    {"opaque_shapes": {shape: reason},
     "shapes": {shape: {"reason": ..., "set": {field: value}, "members": {member: {...} or null}}},
     "operations": {operation: {"reason": ..., "set": {field: value}}}}

    A shape's `set` replaces its fields (required, enum, min, max, pattern, error...), null takes one away; `members`
    adds, changes or (null) removes members. Raises ValueError for a patch without a reason, or of what is not there.
    """
    _patches[name] = Path(path).read_bytes()
    service.cache_clear()


def _apply(model: ServiceModel, changes: dict[str, Any]) -> None:
    for name, reason in changes.get("opaque_shapes", {}).items():
        if not reason or name not in model.shapes:
            raise ValueError(f"{model.name}: opaque shape {name} has no reason or does not exist")
        model.shapes[name].opaque = True
    for name, change in changes.get("shapes", {}).items():
        if not change.get("reason"):
            raise ValueError(f"{model.name}: the patch of {name} gives no reason")
        raw = msgspec.to_builtins(model.shapes[name]) if name in model.shapes else {"type": "structure", "name": name}
        _merge(raw, change.get("set", {}))
        members = raw.setdefault("members", {})
        for member, fields in change.get("members", {}).items():
            if fields is None:
                del members[member]
            else:
                members[member] = {**members.get(member, {}), **fields}
        model.shapes[name] = msgspec.convert(raw, Shape)
    for name, change in changes.get("operations", {}).items():
        if not change.get("reason"):
            raise ValueError(f"{model.name}: the patch of {name} gives no reason")
        raw = msgspec.to_builtins(model.operations[name])
        _merge(raw, change.get("set", {}))
        model.operations[name] = msgspec.convert(raw, OperationModel)


def _merge(raw: dict[str, Any], fields: dict[str, Any]) -> None:
    for field, value in fields.items():
        if value is None:
            raw.pop(field, None)
        else:
            raw[field] = value
