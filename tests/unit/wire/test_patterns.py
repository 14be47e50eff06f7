"""Java's regular expressions in Python."""

from __future__ import annotations

import signal

import pytest

import peer
from penstock.wire import catalog, patterns


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("[a-zA-Z0-9_.-]+", ["a.b-c_1"], ["", "a;", "a\n"]),
        (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", ["", "Grüße 1", "名前", "a-b@c"], ["a#", "a\t"]),
        (r"\p{Alpha}+", ["abc"], ["a1"]),
        (r"[\P{L}]+", [], []),
        (r"(\d{12})", ["123456789012"], ["1234", "1234567890123"]),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\t]*", ["a\tb"], ["\x01"]),
        (r"a|b", ["a", "b"], ["ab"]),
        (r"[\w+=,.@-]*", ["a+b"], ["a b"]),
        (r"[^\x00]*", ["x"], ["\x00"]),
        (r"[[]x]", ["[x]"], []),
        (r"[]x]+", ["x]"], ["y"]),
        (r"[\w-_]*", ["a-b_"], ["a b"]),
        (r"(?i)all|[0-9]{2}", ["ALL", "12"], ["allx"]),
        (r"^[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*$", ["a", "\t a\tb ", " "], ["", "\t", "\t\t", "a\n"]),
    ],
)
def test_whole_values_match(pattern: str, good: list[str], bad: list[str]) -> None:
    compiled = patterns.compiled(pattern)
    if compiled is None:
        assert not good
        return
    assert all(compiled.match(text) for text in good)
    assert not any(compiled.match(text) for text in bad)


def _patterns() -> dict[str, str]:
    return {
        shape.pattern: f"{entry.name}:{shape.name}"
        for entry in catalog.ENTRIES
        for shape in peer.ours(entry.name).shapes.values()
        if shape.pattern
    }


def test_the_models_patterns_are_expressible() -> None:
    assert not {name: p for p, name in _patterns().items() if patterns.compiled(p) is None}


class _TooSlow(Exception):
    pass


def _alarm(*_: object) -> None:
    raise _TooSlow


def test_no_text_keeps_a_pattern_busy() -> None:
    """Exponential ones would take minutes on these; all 200,000 matches together take a second or two."""
    characters = "aA0-./:_ @+*\t"
    rows = [a * 28 for a in characters] + [(a + b) * 14 for a in characters for b in characters if a != b]
    starts = ["", "arn:aws:", "arn:aws:iam::123456789012:", "https://", "s3://", "$."]
    texts = [start + row + "\x00" for start in starts for row in rows]
    before = signal.signal(signal.SIGALRM, _alarm)
    try:
        for pattern, name in _patterns().items():
            compiled = patterns.compiled(pattern)
            assert compiled is not None
            signal.alarm(20)
            try:
                for text in texts:
                    compiled.match(text)
            except _TooSlow:
                pytest.fail(f"{name} is too slow: {pattern}")
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
