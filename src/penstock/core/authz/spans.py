"""Where in a policy's text its statements are: for simulation, which points at the statements that matched."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """A statement's text: offsets of its opening brace and of what follows its closing one."""

    begin: int
    end: int


def statement_spans(text: str) -> list[Span]:
    """The spans of the top-level Statement's objects in valid JSON, in order."""
    spans: list[Span] = []
    depth, begin, key, inside = 0, 0, "", False
    i = 0
    while i < len(text):
        char = text[i]
        if char == '"':
            end = _string_end(text, i)
            if depth == 1 and text[end:].lstrip().startswith(":"):
                key = text[i + 1 : end - 1]
            i = end
            continue
        if char in "{[":
            depth += 1
            if char == "{" and key == "Statement" and not inside and depth in (2, 3):
                inside, begin, opened_at = True, i, depth
        elif char in "}]":
            if inside and char == "}" and depth == opened_at:
                spans.append(Span(begin, i + 1))
                inside = False
            depth -= 1
        i += 1
    return spans


def position(text: str, offset: int) -> dict[str, int]:
    """An offset as AWS counts: lines and columns from 1, a column being the one after the character there."""
    line_start = text.rfind("\n", 0, offset) + 1
    return {"Line": text.count("\n", 0, offset) + 1, "Column": offset - line_start + 2}


def _string_end(text: str, at: int) -> int:
    i = at + 1
    while text[i] != '"':
        i += 2 if text[i] == "\\" else 1
    return i + 1
