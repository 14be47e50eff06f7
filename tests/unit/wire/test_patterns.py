"""Java's regular expressions in Python."""

from __future__ import annotations

import pytest

from penstock.wire import catalog, models, patterns


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
    ],
)
def test_whole_values_match(pattern: str, good: list[str], bad: list[str]) -> None:
    compiled = patterns.compiled(pattern)
    if compiled is None:
        assert not good
        return
    assert all(compiled.match(text) for text in good)
    assert not any(compiled.match(text) for text in bad)


def test_the_models_patterns_are_expressible() -> None:
    lost = []
    for entry in catalog.ENTRIES:
        for shape in models.service(entry.name).shapes.values():
            if shape.pattern and patterns.compiled(shape.pattern) is None:
                lost.append((entry.name, shape.name, shape.pattern))
    assert len(lost) <= 3, lost
