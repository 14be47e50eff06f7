"""UpdateItem's expressions: what they do to an item, and how AWS refuses them."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.services.dynamodb.attributes import check_item
from penstock.services.dynamodb.expressions.request import compile_request
from penstock.wire.errors import AwsError


def n(number: int | str) -> dict[str, Any]:
    return {"N": str(number)}


def s(text: str) -> dict[str, Any]:
    return {"S": text}


def l(*values: Any) -> dict[str, Any]:  # noqa: E743
    return {"L": list(values)}


def update(text: str, item: dict[str, Any], **values: Any) -> dict[str, Any]:
    params: dict[str, Any] = {"UpdateExpression": text}
    if values:
        params["ExpressionAttributeValues"] = {f":{name}": value for name, value in values.items()}
    compiled, bound = compile_request(params)
    assert compiled.update
    compiled.update.apply(item, bound)
    check_item(item)
    return item


@pytest.mark.parametrize(
    ("text", "before", "values", "after"),
    [
        ("SET a = :v", {}, {"v": n(1)}, {"a": n(1)}),
        ("SET a = b, b = a", {"a": n(1), "b": n(2)}, {}, {"a": n(2), "b": n(1)}),
        ("SET a = b, b.x = :v", {"b": {"M": {}}}, {"v": n(1)}, {"a": {"M": {}}, "b": {"M": {"x": n(1)}}}),
        ("SET a = a + :v", {"a": n("0.1")}, {"v": n("0.2")}, {"a": n("0.3")}),
        ("SET a = :v - a", {"a": n(3)}, {"v": n(1)}, {"a": n(-2)}),
        ("SET a = if_not_exists(a, :v) + :v", {}, {"v": n(5)}, {"a": n(10)}),
        ("SET a = (a + :v)", {"a": n(1)}, {"v": n(5)}, {"a": n(6)}),
        ("SET a = if_not_exists(b.c, :v)", {"b": {"M": {"c": s("x")}}}, {"v": n(5)},
         {"a": s("x"), "b": {"M": {"c": s("x")}}}),
        ("SET a = list_append(:v, a)", {"a": l(n(1))}, {"v": l(n(0))}, {"a": l(n(0), n(1))}),
        ("SET a = list_append(if_not_exists(a, :e), :v)", {}, {"e": l(), "v": l(n(0))}, {"a": l(n(0))}),
        ("SET a[1] = :v", {"a": l(n(1), n(2))}, {"v": n(9)}, {"a": l(n(1), n(9))}),
        ("SET a[9] = :v, a[5] = :w", {"a": l(n(1))}, {"v": n(9), "w": n(5)}, {"a": l(n(1), n(5), n(9))}),
        ("SET a.b[0].c = :v", {"a": {"M": {"b": l({"M": {}})}}}, {"v": n(9)},
         {"a": {"M": {"b": l({"M": {"c": n(9)}})}}}),
        ("REMOVE a", {"a": n(1), "b": n(2)}, {}, {"b": n(2)}),
        ("REMOVE a", {"b": n(2)}, {}, {"b": n(2)}),
        ("REMOVE a[0], a[2]", {"a": l(n(0), n(1), n(2), n(3))}, {}, {"a": l(n(1), n(3))}),
        ("REMOVE a[7]", {"a": l(n(0))}, {}, {"a": l(n(0))}),
        ("SET a[2] = :v REMOVE a[0]", {"a": l(n(0), n(1), n(2))}, {"v": s("x")}, {"a": l(n(1), s("x"))}),
        ("REMOVE a.b, a.c[0]", {"a": {"M": {"b": n(1), "c": l(n(1))}}}, {}, {"a": {"M": {"c": l()}}}),
        ("ADD a :v", {}, {"v": n(3)}, {"a": n(3)}),
        ("ADD a :v", {"a": n("1.5")}, {"v": n(-3)}, {"a": n("-1.5")}),
        ("ADD a.b :v", {"a": {"M": {}}}, {"v": n(3)}, {"a": {"M": {"b": n(3)}}}),
        ("ADD a :v", {}, {"v": {"SS": ["x"]}}, {"a": {"SS": ["x"]}}),
        ("ADD a :v", {"a": {"SS": ["x", "a"]}}, {"v": {"SS": ["x", "b"]}}, {"a": {"SS": ["a", "b", "x"]}}),
        ("ADD a :v", {"a": {"NS": ["10", "9"]}}, {"v": {"NS": ["1.0"]}}, {"a": {"NS": ["1", "9", "10"]}}),
        ("DELETE a :v", {"a": {"SS": ["a", "b"]}}, {"v": {"SS": ["b", "c"]}}, {"a": {"SS": ["a"]}}),
        ("DELETE a :v", {"a": {"BS": ["YQ=="]}}, {"v": {"BS": ["YQ=="]}}, {}),
        ("DELETE a :v", {}, {"v": {"SS": ["b"]}}, {}),
        ("set x = :v add y :v remove z", {"z": n(1)}, {"v": n(1)}, {"x": n(1), "y": n(1)}),
    ],
)  # fmt: skip
def test_updates_do(text: str, before: dict[str, Any], values: dict[str, Any], after: dict[str, Any]) -> None:
    check_item(before)
    assert update(text, before, **values) == after


WRONG_TYPE = "An operand in the update expression has an incorrect data type"
BAD_PATH = "The document path provided in the update expression is invalid for update"
MISSING = "The provided expression refers to an attribute that does not exist in the item"


@pytest.mark.parametrize(
    ("text", "item", "values", "message"),
    [
        ("SET a = b", {}, {}, MISSING),
        ("SET a = b + :v", {}, {"v": n(1)}, MISSING),
        ("SET a = a + :v", {"a": s("x")}, {"v": n(1)}, WRONG_TYPE),
        ("SET a = list_append(a, :v)", {"a": s("x")}, {"v": l()}, WRONG_TYPE),
        ("SET a.b = :v", {}, {"v": n(1)}, BAD_PATH),
        ("SET a.b = :v", {"a": l()}, {"v": n(1)}, BAD_PATH),
        ("SET a[0] = :v", {"a": {"M": {}}}, {"v": n(1)}, BAD_PATH),
        ("REMOVE a.b", {}, {}, BAD_PATH),
        ("ADD a :v", {"a": s("x")}, {"v": n(1)}, WRONG_TYPE),
        ("ADD a :v", {"a": {"SS": ["x"]}}, {"v": {"NS": ["1"]}}, WRONG_TYPE),
        ("DELETE a :v", {"a": {"SS": ["x"]}}, {"v": {"NS": ["1"]}}, WRONG_TYPE),
        ("SET a = a + :v", {"a": n("9" * 38)}, {"v": n("0.1")},
         "Attempting to store more than 38 significant digits in a Number"),
        (
            "SET a = a + :v", {"a": n("9" + "0" * 125)}, {"v": n("9" + "0" * 125)},
            "Number overflow. Attempting to store a number with magnitude larger than supported range",
        ),
    ],
)  # fmt: skip
def test_items_that_do_not_allow_it(text: str, item: dict[str, Any], values: dict[str, Any], message: str) -> None:
    with pytest.raises(AwsError) as caught:
        update(text, item, **values)
    assert caught.value.message == message


OPERAND = "Incorrect operand type for operator or function; "
COUNT = "Incorrect number of operands for operator or function; "
UNDEFINED = "An expression attribute value used in expression is not defined; "
OVERLAP = "Two document paths overlap with each other; must remove or rewrite one of these paths; "
CONFLICT = "Two document paths conflict with each other; must remove or rewrite one of these paths; "


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        ("", {}, "The expression can not be empty;"),
        ("PUT a = :v", {"v": n(1)}, 'Syntax error; token: "PUT", near: "PUT a"'),
        ("ADD hits : incr", {}, 'Syntax error; token: ":", near: "hits : incr"'),
        ("SET a = :v,", {"v": n(1)}, 'Syntax error; token: "<EOF>", near: ","'),
        ("SET a = :v SET b = :v", {"v": n(1)}, 'The "SET" section can only be used once in an update expression;'),
        ("SET a = what(:v)", {"v": n(1)}, "Invalid function name; function: what"),
        ("SET name = :v", {"v": n(1)}, "Attribute name is a reserved keyword; reserved keyword: name"),
        ("SET a = :v, a = :v", {"v": n(1)}, OVERLAP + "path one: [a], path two: [a]"),
        ("SET a.b[1] = :v REMOVE a", {"v": n(1)}, OVERLAP + "path one: [a, b, [1]], path two: [a]"),
        ("REMOVE a.b, a[1]", {}, CONFLICT + "path one: [a, b], path two: [a, [1]]"),
        ("ADD a :v", {"v": s("x")}, OPERAND + "operator: ADD, operand type: STRING"),
        ("DELETE a :v", {"v": n(1)}, OPERAND + "operator: DELETE, operand type: NUMBER"),
        ("SET a = b + :v", {"v": s("x")}, OPERAND + "operator or function: +, operand type: S"),
        ("SET a = list_append(b, :v)", {"v": s("x")},
         OPERAND + "operator or function: list_append, operand type: S"),
        ("SET a = if_not_exists(:v, :v)", {"v": s("x")},
         "Operator or function requires a document path; operator or function: if_not_exists"),
        ("SET a = if_not_exists(b)", {},
         COUNT + "operator or function: if_not_exists, number of operands: 1"),
        ("SET a = :x", {"v": n(1)}, UNDEFINED + "attribute value: :x"),
    ],
)  # fmt: skip
def test_refusals_are_awss(text: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(AwsError) as caught:
        update(text, {}, **values)
    assert caught.value.message == f"Invalid UpdateExpression: {said}"
