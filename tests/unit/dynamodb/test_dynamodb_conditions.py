"""Conditions: what they mean, against a slow reference over random items; and how AWS refuses them."""

from __future__ import annotations

import base64
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.services.dynamodb.attributes import check_item
from penstock.services.dynamodb.expressions.request import compile_request
from penstock.wire.errors import AwsError

Item: TypeAlias = dict[str, Any]
Meaning: TypeAlias = Callable[[Item], bool]

TEXT = st.text("ab\u00e9", max_size=3)
NUMBER = st.integers(-3, 3).map(str) | st.sampled_from(["0.5", "-0.5", "1e1"])
BINARY = st.binary(max_size=2).map(lambda raw: base64.b64encode(raw).decode())
SCALAR = st.one_of(
    TEXT.map(lambda x: {"S": x}),
    NUMBER.map(lambda x: {"N": x}),
    BINARY.map(lambda x: {"B": x}),
    st.booleans().map(lambda x: {"BOOL": x}),
    st.just({"NULL": True}),
)
SETS = st.one_of(
    st.sets(TEXT, min_size=1, max_size=3).map(lambda x: {"SS": sorted(x, reverse=True)}),
    st.sets(st.integers(-3, 3).map(str), min_size=1, max_size=3).map(lambda x: {"NS": list(x)}),
    st.sets(BINARY, min_size=1, max_size=3).map(lambda x: {"BS": list(x)}),
)
VALUE = st.recursive(
    SCALAR | SETS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda x: {"L": x})
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(lambda x: {"M": x})
    ),
    max_leaves=6,
)
ITEM = st.dictionaries(st.sampled_from("abc"), VALUE, max_size=3)
PATHS: list[tuple[str, list[Any]]] = [
    ("a", ["a"]), ("b", ["b"]), ("c", ["c"]), ("a.b", ["a", "b"]), ("a[0]", ["a", 0]), ("b[1].c", ["b", 1, "c"]),
]  # fmt: skip
OPERATORS = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def plain(value: Any) -> Any:
    """A value as (type, comparable Python)."""
    if value is None:
        return None
    ((kind, inner),) = value.items()
    match kind:
        case "N":
            return kind, Decimal(inner)
        case "B":
            return kind, base64.b64decode(inner)
        case "S":
            return kind, inner.encode()
        case "SS":
            return kind, frozenset(each.encode() for each in inner)
        case "NS":
            return kind, frozenset(map(Decimal, inner))
        case "BS":
            return kind, frozenset(map(base64.b64decode, inner))
        case "L":
            return kind, [plain(each) for each in inner]
        case "M":
            return kind, {name: plain(each) for name, each in inner.items()}
    return kind, inner


def look(item: Item, path: list[Any]) -> Any:
    found: Any = ("M", {name: plain(value) for name, value in item.items()})
    for part in path:
        if found is None:
            return None
        kind, inner = found
        if isinstance(part, int):
            found = inner[part] if kind == "L" and part < len(inner) else None
        else:
            found = inner.get(part) if kind == "M" else None
    return found


def compare(name: str, left: Any, right: Any) -> bool:
    if name == "=":
        return left is not None and left == right
    if name == "<>":
        return bool(left != right)
    if left is None or right is None or left[0] != right[0] or left[0] not in "SNB":
        return False
    return bool(OPERATORS[name](left[1], right[1]))


def bind(draw: st.DrawFn, values: dict[str, Any], strategy: Any) -> tuple[str, Any]:
    """Draw a value and bind it. Returns its placeholder and what it means."""
    name = f":v{len(values)}"
    values[name] = draw(strategy)
    return name, plain(values[name])


@st.composite
def conditions(draw: st.DrawFn, values: dict[str, Any], depth: int = 2) -> tuple[str, Meaning]:
    kind = draw(
        st.sampled_from(["compare", "exists", "begins", "contains", "type", "between", "in", "size"] + ["logic"] * 4)
    )
    text, path = draw(st.sampled_from(PATHS))

    def value(strategy: Any) -> tuple[str, Any]:
        return bind(draw, values, strategy)

    if kind == "logic" and depth:
        first, x = draw(conditions(values, depth - 1))
        second, y = draw(conditions(values, depth - 1))
        how = draw(st.sampled_from(["AND", "or", "Not"]))
        if how == "Not":
            return f"Not ({first}) AND ({second})", lambda item: not x(item) and y(item)
        if how == "AND":
            return f"({first}) AND ({second})", lambda item: x(item) and y(item)
        return f"{first} or {second}", lambda item: x(item) or y(item)
    if kind == "exists":
        return f"attribute_exists({text})", lambda item: look(item, path) is not None
    if kind == "begins":
        name, prefix = value(TEXT.map(lambda x: {"S": x}) | BINARY.map(lambda x: {"B": x}))

        def begins(item: Item) -> bool:
            found = look(item, path)
            return found is not None and found[0] == prefix[0] and found[1].startswith(prefix[1])

        return f"begins_with({text}, {name})", begins
    return draw(more_conditions(values, kind, text, path))


@st.composite
def more_conditions(
    draw: st.DrawFn, values: dict[str, Any], kind: str, text: str, path: list[Any]
) -> tuple[str, Meaning]:
    def value(strategy: Any) -> tuple[str, Any]:
        return bind(draw, values, strategy)

    if kind == "contains":
        name, part = value(SCALAR)

        def contains(item: Item) -> bool:
            found = look(item, path)
            if found is None:
                return False
            if found[0] in ("S", "B"):
                return bool(part[0] == found[0] and part[1] in found[1])
            if found[0] in ("SS", "NS", "BS"):
                return bool(part[0] == found[0][0] and part[1] in found[1])
            return found[0] == "L" and part in found[1]

        return f"contains({text}, {name})", contains
    if kind == "type":
        name, wanted = value(
            st.sampled_from(["S", "N", "B", "SS", "NS", "BS", "L", "M", "BOOL", "NULL"]).map(lambda x: {"S": x})
        )
        return (
            f"attribute_type({text}, {name})",
            lambda item: (look(item, path) or [b""])[0].encode() == wanted[1] if look(item, path) else False,
        )
    if kind == "between":
        low, high = sorted(draw(st.tuples(st.integers(-3, 3), st.integers(-3, 3))))
        a, _ = value(st.just({"N": str(low)}))
        b, _ = value(st.just({"N": str(high)}))

        def between(item: Item) -> bool:
            found = look(item, path)
            return found is not None and found[0] == "N" and low <= found[1] <= high

        return f"{text} BETWEEN {a} AND {b}", between
    if kind == "in":
        names = [value(VALUE) for _ in range(2)]
        return (
            f"{text} IN ({names[0][0]}, {names[1][0]})",
            lambda item: look(item, path) is not None and look(item, path) in [each for _, each in names],
        )
    if kind == "size":
        name, bound = value(st.integers(0, 3).map(lambda x: {"N": str(x)}))

        def size(item: Item) -> bool:
            found = look(item, path)
            return found is not None and found[0] not in ("N", "BOOL", "NULL") and len(found[1]) > bound[1]

        return f"size({text}) > {name}", size
    how = draw(st.sampled_from(list(OPERATORS)))
    name, right = value(VALUE if how in ("=", "<>") else SCALAR.filter(lambda x: next(iter(x)) in "SNB"))
    return f"{text} {how} {name}", lambda item: compare(how, look(item, path), right)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, Meaning, dict[str, Any]]:
    values: dict[str, Any] = {}
    text, meaning = draw(conditions(values))
    return text, meaning, values


@given(cases(), st.lists(ITEM, min_size=1, max_size=4))
def test_conditions_mean_what_the_reference_says(case: tuple[str, Meaning, dict[str, Any]], items: list[Item]) -> None:
    text, meaning, values = case
    params: dict[str, Any] = {"ConditionExpression": text}
    if values:
        params["ExpressionAttributeValues"] = values
    compiled, bound = compile_request(params)
    assert compiled.condition
    for item in items:
        check_item(item)
        assert compiled.condition(item, bound) == meaning(item), (text, item)


def refusal(text: str, names: dict[str, str] | None = None, **values: Any) -> str:
    params: dict[str, Any] = {"ConditionExpression": text}
    if names:
        params["ExpressionAttributeNames"] = names
    if values:
        params["ExpressionAttributeValues"] = {f":{name}": value for name, value in values.items()}
    with pytest.raises(AwsError) as caught:
        compile_request(params)
    return caught.value.message


N, S = {"N": "1"}, {"S": "x"}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (refusal(""), "The expression can not be empty;"),
        (refusal("a"), 'Syntax error; token: "<EOF>", near: "a"'),
        (refusal("a = = b"), 'Syntax error; token: "=", near: "= = b"'),
        (refusal("a ! b"), 'Syntax error; token: "!", near: "a ! b"'),
        (refusal("a = :v AND", v=N), 'Syntax error; token: "<EOF>", near: "AND"'),
        (refusal("a[x] = :v", v=N), 'Syntax error; token: "x", near: "[x]"'),
        (refusal("((a = :v))", v=N), "The expression has redundant parentheses;"),
        (refusal("a = ((:v))", v=N), "The expression has redundant parentheses;"),
        (refusal("what(a)"), "Invalid function name; function: what"),
        (refusal("size(a)"), "The function is not allowed to be used this way in an expression; function: size"),
        (
            refusal("a = contains(b, :v)", v=N),
            "The function is not allowed to be used this way in an expression; function: contains",
        ),
        (refusal("Status = :v", v=N), "Attribute name is a reserved keyword; reserved keyword: Status"),
        (
            refusal("#a = :v", v=N),
            "An expression attribute name used in the document path is not defined; attribute name: #a",
        ),
        (
            refusal("a = :v"),
            "An expression attribute value used in expression is not defined; attribute value: :v",
        ),
        (
            refusal("contains(a)"),
            "Incorrect number of operands for operator or function; operator or function: contains, "
            "number of operands: 1",
        ),
        (
            refusal("a = a"),
            "The first operand must be distinct from the remaining operands for this operator or function; "
            "operator: =, first operand: [a]",
        ),
        (
            refusal("begins_with(a, :v)", v=N),
            "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
        ),
        (
            refusal("attribute_exists(:v)", v=N),
            "Operator or function requires a document path; operator or function: attribute_exists",
        ),
        (
            refusal("attribute_type(a, :v)", v=S),
            "Invalid attribute type name found; type: x, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}",
        ),
        (
            refusal("a BETWEEN :v AND :w", v=N, w={"N": "0"}),
            "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; "
            "lower bound operand: AttributeValue: {N:1}, upper bound operand: AttributeValue: {N:0}",
        ),
        (
            refusal("a BETWEEN :v AND :w", v=N, w=S),
            "The BETWEEN operator requires same data type for lower and upper bounds; "
            "lower bound operand: AttributeValue: {N:1}, upper bound operand: AttributeValue: {S:x}",
        ),
    ],
)
def test_refusals_are_awss(message: str, said: str) -> None:
    assert message == f"Invalid ConditionExpression: {said}"


def test_unused_and_malformed_placeholders() -> None:
    assert refusal("a = :v", {"#x": "y"}, v=N) == (
        "Value provided in ExpressionAttributeNames unused in expressions: keys: {#x}"
    )
    assert refusal("a = :v", v=N, w=N, x=N) == (
        "Value provided in ExpressionAttributeValues unused in expressions: keys: {:w, :x}"
    )
    assert refusal("a = :v", {"x": "y"}, v=N) == (
        'ExpressionAttributeNames contains invalid key: Syntax error; key: "x"'
    )
    assert refusal("a = :v", v={"N": "x"}) == (
        "ExpressionAttributeValues contains invalid value: The parameter cannot be converted to a numeric value: x "
        "for key :v"
    )


def test_long_and_deep_expressions_are_bounded() -> None:
    assert "maximum allowed size" in refusal("a = b AND " * 500 + "a = b")
    assert "nested" in refusal("NOT (" * 100 + "a = b" + ")" * 100)
    wide = " AND ".join(["a = :v"] * 300)
    compiled, values = compile_request({"ConditionExpression": wide, "ExpressionAttributeValues": {":v": N}})
    assert compiled.condition
    assert compiled.condition({"a": N}, values)
