"""Filter patterns, by the examples of AWS's page and by hostile ones.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.services.logs.conditions import comparison
from penstock.services.logs.patterns import compile_pattern
from penstock.wire.errors import AwsError

LINES = [
    "[ERROR 400] BAD REQUEST",
    "[ERROR 401] UNAUTHORIZED REQUEST",
    "[ERROR 419] MISSING ARGUMENTS",
    "[ERROR 420] INVALID ARGUMENTS",
    "[WARN] internal: INTERNAL SERVER ERROR",
    "[INFO] fine",
]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("ERROR", [0, 1, 2, 3, 4]),
        ("error", []),
        ("ERROR ARGUMENTS", [2, 3]),
        ("?ERROR ?WARN", [0, 1, 2, 3, 4]),
        ("?BAD ?fine", [0, 5]),
        ("ERROR -ARGUMENTS", [0, 1, 4]),
        ("-ERROR", [5]),
        ('"INTERNAL SERVER ERROR"', [4]),
        ('-"[ERROR 400]" ERROR', [1, 2, 3, 4]),
        ('?"fine" ARGUMENTS', [2, 3]),
    ],
)
def test_terms(pattern: str, expected: list[int]) -> None:
    matches = compile_pattern(pattern)
    assert [n for n, line in enumerate(LINES) if matches(line)] == expected


EVENT = """{"eventType": "UpdateTrail", "sourceIPAddress": "111.111.111.111", "arrayKey": ["value", "another value"],
 "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}], "SomeObject": null, "ThisFlag": true, "off": false,
 "bandwidth": 75.5, "errorCode": 400, "text": "400", "latency": 8e2, "deep": {"er": {"-dash_": "x y"}}}"""


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('{ $.eventType = "UpdateTrail" }', True),
        ("{ $.eventType = UpdateTrail }", True),
        ("{ $.eventType = updatetrail }", False),
        ('{ $.eventType = "*Trail" }', True),
        ("{ $.eventType = Upd*Tr*l }", True),
        ("{ $.eventType = * }", True),
        ('{ $.eventType != "UpdateTrail" }', False),
        ("{ $.sourceIPAddress != 123.123.* }", True),
        ("{ $.sourceIPAddress = 111.111.* }", True),
        ('{ $.arrayKey[0] = "value" }', True),
        ("{ $.arrayKey[7] = * }", False),
        ("{ $.arrayKey[7] NOT EXISTS }", True),
        ("{ $.objectList[1].id = 2 }", True),
        ("{ $.SomeObject IS NULL }", True),
        ("{ $.SomeOtherObject NOT EXISTS }", True),
        ("{ $.SomeObject NOT EXISTS }", False),
        ("{ $.ThisFlag IS TRUE }", True),
        ("{ $.off IS FALSE }", True),
        ("{ $.errorCode IS TRUE }", False),
        ("{ $.bandwidth > 75 }", True),
        ("{ $.bandwidth > 75.5 }", False),
        ("{ $.bandwidth >= 7.55e1 }", True),
        ("{ $.latency = 800 }", True),
        ("{ $.errorCode = 400 }", True),
        ("{ $.errorCode = 4* }", True),
        ('{ $.text = "400" }', True),
        ("{ $.errorCode < -1 }", False),
        ("{ $.eventType < 5 }", False),
        ("{ $.missing != 5 }", False),
        ('{ $.deep.er.-dash_ = "x y" }', True),
        ("{ $.eventType = nope || $.errorCode = 400 && $.ThisFlag IS TRUE }", True),
        ("{ ($.eventType = nope || $.errorCode = 400) && $.ThisFlag IS FALSE }", False),
        ('{ ($.errorCode = 400) && (($.eventType = "Up*") || ($.a = 1)) }', True),
    ],
)
def test_json(pattern: str, expected: bool) -> None:
    assert compile_pattern(pattern)(EVENT) is expected
    assert not compile_pattern(pattern)("no json")
    assert not compile_pattern(pattern)("[1]")


APACHE = '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[ip, id, user, timestamp, request, status_code, bytes]", True),
        ("[ip, id, user, timestamp, request, status_code]", False),
        ("[ip, user, username, timestamp, request =*.html*, status_code = 4*, bytes]", True),
        ("[ip, user, username, timestamp, request, status_code = 5*, bytes]", False),
        ("[..., status_code = 404, bytes > 1000]", True),
        ("[..., bytes < 1000]", False),
        ("[ip = 127.0.*, ...]", True),
        ("[ip, ..., size]", True),
        ('[ip, user, u = "frank", ...]', True),
        ("[ip, user, u != frank, ...]", False),
        ("[..., s = 404 || s = 410, b]", True),
        ("[..., s >= 400 && s < 404, b]", False),
    ],
)
def test_fields(pattern: str, expected: bool) -> None:
    assert compile_pattern(pattern)(APACHE) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "a.b", "[ERROR", "{ $.a }", "{ $.a = }", "{ a = 1 }", "{ $.a = 1 && }", "{ ($.a = 1 }", "{ $.a > x }", "{}",
        "{ $.a = 1 $.b = 2 }", "{ $.a IS 5 }", "{ $.a = 1 ^ }", "[]", "[a,,b]", "[a, ..., b, ...]", "[a = 1 || b = 2]",
        '[a = "]', "{" + "(" * 400 + "$.a = 1" + ")" * 400 + "}", "?", "-", "{ $. = 1 }", "{ $.a[x] = 1 }",
    ],
)  # fmt: skip
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(AwsError) as caught:
        compile_pattern(pattern)
    assert caught.value.code == "InvalidParameterException"


def test_regular_expressions_are_refused_as_such() -> None:
    with pytest.raises(AwsError) as caught:
        compile_pattern("%AUTH.*%")
    assert caught.value.code == "NotImplemented"


def test_no_pattern_keeps_the_server_busy() -> None:
    began = time.perf_counter()
    message = '{"a": "' + "a" * 200_000 + '"}'
    for pattern in ("{ $.a = " + "*a" * 500 + "*b }", "?" + "a" * 900, '"' + "a" * 1000 + '"', "[" + "a," * 500 + "a]"):
        compile_pattern(pattern)(message)
    assert time.perf_counter() - began < 2


@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
def test_wildcards_are_what_regular_expressions_would_say(like: str, text: str) -> None:
    import re

    expected = re.fullmatch(re.escape(like).replace(r"\*", ".*"), text) is not None
    assert comparison("=", f'"{like}"', quoted=True)(text) is expected


@given(st.text(max_size=60))
def test_any_text_is_compiled_or_refused(pattern: str) -> None:
    for text in (pattern, "{" + pattern + "}", "[" + pattern + "]"):
        try:
            compile_pattern(text)('{"a": 1} x "y z"')
        except AwsError as error:
            assert error.code in ("InvalidParameterException", "NotImplemented")
