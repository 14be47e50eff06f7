"""Filter criteria, by AWS's rules and by properties."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.services.lambda_.event_filters import BadPattern, compile_filter

RECORD = {"eventName": "INSERT", "n": 5, "flag": True, "none": None, "deep": {"text": "Hello", "list": ["a", "b"]}}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"eventName": ["INSERT"]}, True),
        ({"eventName": ["REMOVE", "INSERT"]}, True),
        ({"eventName": ["REMOVE"]}, False),
        ({"eventName": ["INSERT"], "n": [6]}, False),
        ({"deep": {"text": [{"prefix": "He"}]}}, True),
        ({"deep": {"text": [{"suffix": "lo"}]}}, True),
        ({"deep": {"text": [{"equals-ignore-case": "HELLO"}]}}, True),
        ({"deep": {"text": [{"anything-but": ["Hello"]}]}}, False),
        ({"deep": {"text": [{"anything-but": {"prefix": "X"}}]}}, True),
        ({"deep": {"list": ["b"]}}, True),
        ({"n": [{"numeric": [">", 4, "<=", 5]}]}, True),
        ({"n": [{"numeric": ["<", 5]}]}, False),
        ({"n": [5.0]}, True),
        ({"flag": [True]}, True),
        ({"flag": [1]}, False),
        ({"none": [None]}, True),
        ({"gone": [{"exists": False}]}, True),
        ({"n": [{"exists": True}]}, True),
        ({"gone": [None]}, False),
        ({"$or": [{"n": [1]}, {"eventName": ["INSERT"]}]}, True),
        ({"$or": [{"n": [1]}, {"eventName": ["REMOVE"]}]}, False),
    ],
)
def test_patterns(pattern: dict[str, Any], expected: bool) -> None:
    assert compile_filter(json.dumps(pattern))(RECORD) is expected


@pytest.mark.parametrize(
    "text",
    ["x", "[]", '"text"', '{"a": "b"}', '{"a": []}', '{"a": [{"no-such": 1}]}', '{"a": [{"numeric": [">"]}]}', "1"],
)
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(BadPattern):
        compile_filter(text)


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.booleans() | st.none(), min_size=1))
def test_a_record_matches_itself(record: dict[str, Any]) -> None:
    record = {name: value for name, value in record.items() if name != "$or"}
    assert compile_filter(json.dumps({name: [value] for name, value in record.items()}))(record)


@pytest.mark.parametrize(
    "text", ["[" * 4000, '{"a":' * 780 + "[1]" + "}" * 780, '{"$or":[' * 101 + '{"a":[1]}' + "]}" * 101]
)
def test_a_pattern_may_not_be_deeper_than_it_can_be_matched(text: str) -> None:
    with pytest.raises(BadPattern):
        compile_filter(text)
    inner: Any = {"a": [1]}
    for _ in range(90):
        inner = {"a": inner}
    record: Any = {"a": 1}
    for _ in range(90):
        record = {"a": record}
    assert compile_filter(json.dumps(inner))(record)
