"""The model's constraints: quick yes/no predicates compiled from shapes, and AWS's wording of what is broken.

Predicates run on every request that was not already checked while decoding; the wording is made only for a request
that failed, by walking the model once more. The wording is Coral's, AWS's own framework.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from penstock.wire import knot, models, patterns
from penstock.wire.errors import AwsError
from penstock.wire.models import Member, Shape

Check: TypeAlias = Callable[[Any], bool]

MAX_REPORTED = 10
MAX_VALUE_SHOWN = 4096
MAX_ITEMS_SHOWN = 200
MAX_DEPTH_SHOWN = 8
_SIZED = frozenset({"string", "list", "map", "blob"})
_NUMBERS = frozenset({"integer", "long", "float", "double", "short", "byte", "bigInteger", "bigDecimal"})


def violations(model: models.ServiceModel, shape: Shape, value: dict[str, Any]) -> AwsError:
    """The error for a value whose check failed, up to ten violations together, worded as AWS does."""
    found: list[str] = []
    for line in _walk(model, shape, value, ""):
        found.append(line)
        if len(found) == MAX_REPORTED:
            break
    plural = "s" if len(found) > 1 else ""
    return AwsError(model.entry.validation, f"{len(found)} validation error{plural} detected: {'; '.join(found)}", 400)


def _walk(model: models.ServiceModel, shape: Shape, value: Any, path: str) -> Iterator[str]:
    if shape.opaque:
        return
    if shape.type == "structure":
        yield from _walk_structure(model, shape, value, path)
        return
    for rule in _broken(shape, value):
        yield _line(model, shape, value, path, rule)
    if shape.type == "list" and shape.member:
        element = model.shapes[shape.member.shape]
        if _simple(element):
            if any(True for v in value for _ in _broken(element, v)):
                yield _nested(model, shape, value, path, "Member", element)
        else:
            for at, each in enumerate(value, 1):
                yield from _walk(model, element, each, f"{path}.{at}.member")
    elif shape.type == "map" and shape.key and shape.value:
        key, element = model.shapes[shape.key.shape], model.shapes[shape.value.shape]
        if any(True for k in value for _ in _broken(key, k)):
            yield _nested(model, shape, value, path, "Map keys", key)
        if _simple(element) and any(True for v in value.values() for _ in _broken(element, v)):
            yield _nested(model, shape, value, path, "Map value", element)
        elif not _simple(element):
            for name, each in value.items():
                yield from _walk(model, element, each, f"{path}.{name}.member")


def _walk_structure(model: models.ServiceModel, shape: Shape, value: Any, path: str) -> Iterator[str]:
    prefix = path + "." if path else ""
    for name, member in shape.members.items():
        here = prefix + lower_first(name)
        if value.get(name) is not None:
            yield from _walk(model, model.shapes[member.shape], value[name], here)
        elif name in shape.required:
            null = "" if model.entry.terse else " null"
            yield f"Value{null} at '{here}' failed to satisfy constraint: Member must not be null"


def _nested(model: models.ServiceModel, shape: Shape, value: Any, path: str, what: str, element: Shape) -> str:
    """A container's line for elements that are scalars: Coral words all rules of the element, broken or not."""
    rules = ", ".join(_rules(element))
    return _line(model, shape, value, path, f"{what} must satisfy constraint: [{rules}]")


def _line(model: models.ServiceModel, shape: Shape, value: Any, path: str, rule: str) -> str:
    """One violation: a terse service (see `catalog.Entry`) names neither the value nor an enum's members.

    Nor is the value of a sensitive shape named (KMS's Plaintext).
    """
    if shape.sensitive:
        return f"Value at '{path}' failed to satisfy constraint: {rule}"
    if not model.entry.terse:
        return f"Value '{shown(model, shape, value)}' at '{path}' failed to satisfy constraint: {rule}"
    head, enum, _ = rule.partition("enum value set: [")
    rule = head + "enum value set" if enum and "[" not in head else rule
    return f"Value at '{path}' failed to satisfy constraint: {rule}"


def _simple(shape: Shape) -> bool:
    return shape.type not in ("structure", "list", "map")


def _rules(shape: Shape) -> Iterator[str]:
    """The wording of every constraint of a scalar shape, whether broken or not."""
    if shape.enum:
        yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
    noun = "value" if shape.type in _NUMBERS else "length"
    if shape.max is not None:
        yield f"Member must have {noun} less than or equal to {_number(shape.max)}"
    if shape.min is not None:
        yield f"Member must have {noun} greater than or equal to {_number(shape.min)}"
    if shape.pattern:
        yield f"Member must satisfy regular expression pattern: {shape.pattern}"


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    if shape.opaque:
        return
    if shape.type == "string":
        if shape.pattern and (pattern := patterns.compiled(shape.pattern)) and not pattern.match(value):
            yield f"Member must satisfy regular expression pattern: {shape.pattern}"
        if shape.enum and value not in shape.enum:
            yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
            return
    if shape.type in _SIZED:
        if shape.type == "blob" and not isinstance(value, bytes):
            return
        if shape.max is not None and len(value) > shape.max:
            yield f"Member must have length less than or equal to {_number(shape.max)}"
        if shape.min is not None and len(value) < shape.min:
            yield f"Member must have length greater than or equal to {_number(shape.min)}"
    elif shape.type in _NUMBERS:
        if shape.max is not None and not value <= shape.max:  # so that NaN is refused
            yield f"Member must have value less than or equal to {_number(shape.max)}"
        if shape.min is not None and not value >= shape.min:
            yield f"Member must have value greater than or equal to {_number(shape.min)}"


def _number(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)


def lower_first(name: str) -> str:
    """A member's name in Coral's paths: tableName."""
    return name[:1].lower() + name[1:]


def shown(model: models.ServiceModel, shape: Shape, value: Any) -> str:
    """A value as Java's toString shows it, cut where it would make the answer huge."""
    text = _shown(model, shape, value, 0)
    return text if len(text) <= MAX_VALUE_SHOWN else text[:MAX_VALUE_SHOWN] + "..."


def _shown(model: models.ServiceModel, shape: Shape | None, value: Any, depth: int) -> str:
    def inner(member: Member | None, each: Any) -> str:
        return _shown(model, model.shapes[member.shape] if member else None, each, depth + 1)

    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
    if isinstance(value, (list, dict)) and depth >= MAX_DEPTH_SHOWN:
        return "..."
    if shape is not None and shape.opaque:
        shape = None
    if shape is not None and shape.sensitive:
        return "***Sensitive Data Redacted***"
    if isinstance(value, list):
        return f"[{', '.join(inner(shape.member if shape else None, v) for v in value[:MAX_ITEMS_SHOWN])}]"
    if isinstance(value, dict):
        items = itertools.islice(value.items(), MAX_ITEMS_SHOWN)
        if shape is not None and shape.type == "structure":
            return f"{shape.name}({', '.join(f'{lower_first(k)}={inner(shape.members.get(k), v)}' for k, v in items)})"
        return f"{{{', '.join(f'{k}={inner(shape.value if shape else None, v)}' for k, v in items)}}}"
    return str(value)[: MAX_VALUE_SHOWN + 1]


def check(model: models.ServiceModel, shape: Shape) -> Check | None:
    """The predicate of a shape: does the value keep to every constraint? None where there is nothing to keep to."""
    known: dict[str, Check | None] = model.made("checks")
    if shape.name in known:
        return known[shape.name]
    known[shape.name] = tie = knot.Knot()
    made = known[shape.name] = _make(model, shape)
    tie.target = made or _holds
    return made


def _holds(_value: Any) -> bool:
    return True


def _make(model: models.ServiceModel, shape: Shape) -> Check | None:
    if shape.opaque or shape.document or shape.eventstream:
        return None
    if shape.type == "structure":
        return _make_structure(model, shape)
    if shape.type == "list" and shape.member:
        return _make_list(shape, _member_check(model, shape.member))
    if shape.type == "map" and shape.key and shape.value:
        return _make_map(shape, _member_check(model, shape.key), _member_check(model, shape.value))
    return _make_scalar(shape)


def _member_check(model: models.ServiceModel, member: Member) -> Check | None:
    return check(model, model.shapes[member.shape])


def _make_scalar(shape: Shape) -> Check | None:
    low, high = shape.min, shape.max
    if shape.type == "string":
        if shape.enum:
            return frozenset(shape.enum).__contains__
        pattern = patterns.compiled(shape.pattern) if shape.pattern else None
        if low is None and high is None and pattern is None:
            return None
        least, most = low or 0, float("inf") if high is None else high
        if pattern is None:
            return lambda value: least <= len(value) <= most
        matches = pattern.match
        return lambda value: least <= len(value) <= most and matches(value) is not None
    if low is None and high is None:
        return None
    bottom, top = float("-inf") if low is None else low, float("inf") if high is None else high
    if shape.type in _NUMBERS:
        return lambda value: bottom <= value <= top
    if shape.type == "blob":
        return lambda value: not isinstance(value, bytes) or bottom <= len(value) <= top
    return None


def _make_list(shape: Shape, each: Check | None) -> Check | None:
    low, high = shape.min, shape.max
    if low is None and high is None and each is None:
        return None
    least, most = low or 0, float("inf") if high is None else high
    if each is None:
        return lambda value: least <= len(value) <= most
    return lambda value: least <= len(value) <= most and all(map(each, value))


def _make_map(shape: Shape, key: Check | None, each: Check | None) -> Check | None:
    low, high = shape.min, shape.max
    if low is None and high is None and key is None and each is None:
        return None
    least, most = low or 0, float("inf") if high is None else high

    def keeps(value: dict[str, Any]) -> bool:
        return (
            least <= len(value) <= most
            and (key is None or all(map(key, value)))
            and (each is None or all(map(each, value.values())))
        )

    return keeps


def _make_structure(model: models.ServiceModel, shape: Shape) -> Check | None:
    required = frozenset(shape.required)
    checks = {
        name: made for name, member in shape.members.items() if (made := _member_check(model, member)) is not None
    }
    if not required and not checks:
        return None
    checked = checks.__contains__

    def keeps(value: dict[str, Any]) -> bool:
        if not value.keys() >= required:
            return False
        for name in filter(checked, value):  # noqa: SIM110 - `all` of a generator takes longer
            if not checks[name](value[name]):
                return False
        return True

    return keeps
