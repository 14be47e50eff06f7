"""S3 Select's grammar: whatever comes in, either an error of AWS's comes out or SQL of a few known forms."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.services.s3.select import source
from penstock.services.s3.select.grammar import Parser
from penstock.services.s3.select.terms import TEXT, Term, named
from penstock.wire.errors import AwsError

WORDS = st.sampled_from(
    "SELECT FROM WHERE LIMIT AND OR NOT BETWEEN IN LIKE ESCAPE IS NULL MISSING CASE WHEN THEN ELSE END AS TRUE S3Object s id "
    "COUNT SUM CAST INT SUBSTRING TRIM EXTRACT YEAR DATE_ADD COALESCE NULLIF UTCNOW read_csv ( ) , . * + - / % = <> < > [ ] "
    "|| 1 2.5 'x' '' \"q\" ; -- /* $ ? ::".split()
)
KNOWN = re.compile(
    r"\b(CAST|TRY_CAST|COUNT|SUM|AVG|MIN|MAX|LOWER|UPPER|length|COALESCE|NULLIF|make_timestamp|substring|GREATEST|LEAST|"
    r"trim|ltrim|rtrim|EXTRACT|datesub|strftime|TRUNC|DECIMAL|IN|AND|OR|NOT|WHEN|THEN|ELSE|LIKE)\s*\("
)


def resolve(path: Sequence[str | int]) -> Term:
    return Term(named(str(path[0])), TEXT)


def sql_of(text: str) -> str:
    parser = Parser(text, 0.0)
    parser.source()
    query = parser.query(resolve)
    return " ".join([term.sql for _, term in query.columns or []] + [query.where])


@given(st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=60).map(lambda t: f"SELECT {t} FROM S3Object"))
@example("SELECT '" + "'" * 9 + " FROM S3Object")
@example('SELECT "a""; DROP TABLE x" FROM S3Object')
def test_nothing_but_known_sql_comes_out(text: str) -> None:
    try:
        sql = sql_of(text)
    except AwsError as error:
        assert error.status == 400
        return
    bare = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", "x", sql)
    assert not re.search(r"[;$?\\:]|--|/\*", bare)
    called = set(re.findall(r"\b\w+\s*\(", bare))
    assert all(KNOWN.fullmatch(name) for name in called), called


def nested(form: str, depth: int) -> str:
    sql = "a"
    for _ in range(depth):
        sql = form.replace("?", sql)
    return sql


@pytest.mark.parametrize(
    "text",
    [
        nested("(? BETWEEN 1 AND 2)", 55),
        nested("(? IN (1, 2, 3))", 55),
        nested("CASE ? WHEN 1 THEN 2 WHEN 3 THEN 4 END", 55),
        nested("SUBSTRING('x', ?, 1)", 55),
        ", ".join([nested("(? BETWEEN 1 AND 2)", 16)] * 300),
        "COALESCE(" + ", ".join([nested("(? BETWEEN 1 AND 2)", 16)] * 300) + ")",
        " OR ".join([nested("(? BETWEEN 1 AND 2)", 16)] * 300),
        nested("(? BETWEEN 1 AND 2)", 16) + " IN (" + ", ".join("1" * 400) + ")",
        "a" + " + 1" * 20_000,
    ],
    ids=range(9),
)
def test_a_short_query_stays_short(text: str) -> None:
    with pytest.raises(AwsError) as caught:
        sql_of(f"SELECT {text} FROM S3Object")
    assert caught.value.code == "ExpressionTooLong"


@pytest.mark.parametrize(
    "text",
    [
        "x FROM S3Object LIMIT " + "9" * 5000,
        f"s.a[{'9' * 5000}] FROM S3Object s",
        f"CAST(x AS DECIMAL({'9' * 5000})) FROM S3Object",
    ],
)
def test_endless_numbers_are_refused(text: str) -> None:
    with pytest.raises(AwsError):
        sql_of(f"SELECT {text}")


@pytest.mark.parametrize("begin", range(0, 40, 3))
def test_scan_ranges_split_lines_without_loss(begin: int) -> None:
    data = b"".join(b"%d\n" % (7**i) for i in range(12))
    ends = [*range(begin, len(data), 5), len(data)]
    pieces = [source.cut(data, low, high) for low, high in zip([0, *ends], ends, strict=False)]
    assert b"".join(pieces) == data
