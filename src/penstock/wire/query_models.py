"""What the query protocol calls things where a service's own model is of a newer protocol (SQS): names, wrappers, codes.

Clients of before speak query; clients of today speak JSON or CBOR and are told the old code of an error in a header
(https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait).
"""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import msgspec

from penstock.wire.models import ServiceModel, Shape


class _Names(msgspec.Struct, forbid_unknown_fields=True):
    """One service's part of query-models.json. entries: a map's names for key and value; errors: code and status."""

    reason: str
    namespace: str
    members: dict[str, dict[str, str]]
    elements: dict[str, str]
    entries: dict[str, tuple[str, str]]
    errors: dict[str, tuple[str, int]]


@functools.cache
def _names() -> dict[str, _Names]:
    data = Path(__file__).with_name("query-models.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, _Names])


def model(base: ServiceModel) -> ServiceModel:
    """The model as the query protocol has it: `base` itself where it tells all of that."""
    made = base.made("query model")
    if not made:
        names = _names().get(base.name)
        made["model"] = base if names is None else _renamed(base, names)
    found: ServiceModel = made["model"]
    return found


def code_of(base: ServiceModel, shape: Shape) -> str:
    """What an exception of the model is called in query."""
    return str(model(base).shapes[shape.name].error.get("code", shape.name))


def error_shape(base: ServiceModel, code: str) -> Shape | None:
    """The exception that query calls so, as `base` has it."""
    found = model(base).error_shape(code)
    return None if found is None else base.shapes[found.name]


def _renamed(base: ServiceModel, names: _Names) -> ServiceModel:
    shapes = copy.deepcopy(base.shapes)
    for name, wires in names.members.items():
        for member, wire in wires.items():
            shapes[name].members[member].location_name = wire
    for name, wire in names.elements.items():
        element = shapes[name].member
        assert element is not None
        element.location_name = wire
    for name, (key, value) in names.entries.items():
        shape = shapes[name]
        assert shape.key is not None and shape.value is not None
        shape.key.location_name, shape.value.location_name = key, value
    for name, (code, status) in names.errors.items():
        shapes[name].error = {"code": code, "httpStatusCode": status, "senderFault": True}
    operations = copy.deepcopy(base.operations)
    for name, operation in operations.items():
        if operation.output is not None:
            operation.output.result_wrapper = f"{name}Result"
    return ServiceModel({**base.metadata, "xmlNamespace": names.namespace}, operations, shapes, base.name, base.entry)
