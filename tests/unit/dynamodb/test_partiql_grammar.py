"""PartiQL's grammar: literals survive being written and read, and no text at all breaks the parser."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynamodb_calls  # noqa: F401  (loads the services)
from penstock.services.dynamodb.attributes import check_value
from penstock.services.dynamodb.partiql.grammar import parse
from penstock.services.dynamodb.partiql.literals import value_of
from penstock.wire.errors import AwsError

SCALARS = (
    st.text(st.characters(exclude_categories=("Cs",)), max_size=8).map(lambda text: {"S": text})
    | st.integers(-(10**20), 10**20).map(lambda number: {"N": str(number)})
    | st.booleans().map(lambda value: {"BOOL": value})
    | st.just({"NULL": True})
)
SETS = st.sets(st.integers(-99, 99), min_size=1, max_size=4).map(lambda found: {"NS": [str(n) for n in sorted(found)]})
VALUES = st.recursive(
    SCALARS | SETS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda members: {"L": members})
        | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=5), inner, max_size=3).map(
            lambda members: {"M": members}
        )
    ),
    max_leaves=12,
)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def written(value: dict[str, Any]) -> str:
    (kind, inner), *_ = value.items()
    match kind:
        case "S":
            return quoted(inner)
        case "N":
            return str(inner)
        case "BOOL":
            return "true" if inner else "FALSE"
        case "NULL":
            return "NULL"
        case "NS":
            return f"<<{', '.join(inner)}>>"
        case "L":
            return f"[{', '.join(map(written, inner))}]"
        case _:
            return "{" + ", ".join(f"{quoted(name)}: {written(each)}" for name, each in inner.items()) + "}"


@given(VALUES)
def test_literals_mean_what_they_say(value: dict[str, Any]) -> None:
    statement = parse(f"INSERT INTO tab VALUE {{'pk': {written(value)}}}")
    assert statement.item is not None
    found = value_of(statement.item, ())["M"]["pk"]
    check_value(found)
    assert found == value


WORDS = st.sampled_from(
    [*"()[]{}<>=,.:?*+-;'\"", "<<", ">>", "SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "BETWEEN", "IS", "MISSING",
     "NULL", "UPDATE", "SET", "REMOVE", "INSERT", "INTO", "VALUE", "DELETE", "RETURNING", "ALL", "OLD", "EXISTS", "ORDER", "BY",
     "DESC", "tab", '"tab"', "a", '"b c"', "'x'", "1", "-2.5e3", "size", "begins_with", "set_add", "true", "--", "/*", "\n"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=30).map(" ".join) | st.text(max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parse(text)
    except AwsError as error:
        assert error.code == "ValidationException"


@pytest.mark.parametrize(
    "opening", ["NOT ", "(", "size(", "["], ids=["not", "parentheses", "calls", "lists"]
)  # fmt: skip
def test_nesting_is_bounded(opening: str) -> None:
    with pytest.raises(AwsError) as caught:
        parse("SELECT * FROM tab WHERE a = 1 AND " + opening * 2000)
    assert caught.value.code == "ValidationException"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected data manipulation"),
        ("DROP TABLE tab", "Expected data manipulation"),
        ("UPDATE my-tab SET a = 1", "Expected data manipulation"),
        ("SELECT * FROM my-tab", "Unexpected from source"),
        ("SELECT * FROM a, b", "Unexpected from source"),
        ("SELECT * FROM 'tab'", "Unexpected from source"),
        ("SELECT 'a' FROM tab", "Expected identifier for simple path"),
        ("SELECT from FROM tab", "Unexpected keyword"),
        ("INSERT INTO tab VALUES (1)", "Unexpected keyword"),
        ("SELECT * FROM tab WHERE", "Unexpected end of statement"),
        ("SELECT * FROM tab WHERE a", "Unexpected end of statement"),
        ("SELECT * FROM tab WHERE a = 1 1", "Unexpected token"),
        ("SELECT * FROM tab WHERE a = 'x", "Unclosed quotes"),
        ("DELETE FROM tab WHERE a = 1 RETURNING SOME OLD *", "Unexpected returning clause"),
    ],
)
def test_broken_statements(text: str, message: str) -> None:
    with pytest.raises(AwsError) as caught:
        parse(text)
    assert caught.value.message == f"Statement wasn't well formed, can't be processed: {message}"
