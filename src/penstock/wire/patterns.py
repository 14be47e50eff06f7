r"""The models' regular expressions, which are Java's, as Python's: \p{...} classes, anchored."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata

_PROPERTY = re.compile(r"\\([pP])(?:\{(?:Is|In)?\^?([A-Za-z_]+)\}|([A-Z]))")
_SURROGATES = re.compile(r"\\u[dD]800\\u[dD][cC]00-\\u[dD][bB][fF][fF]\\u[dD][fF][fF][fF]")
"""All astral characters, in Java's UTF-16."""
_CLASS_OPENING = re.compile(r"\[\^?\]?")
_CLASS_ESCAPES = frozenset((r"\w", r"\d", r"\s"))
_EXPONENTIAL = {
    r"[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*": r"\t*[\x20-\x7E][\t\x20-\x7E]*",
    r"[ \t]*[^\x00-\x1F:\x7F]+([ \t]+[^\x00-\x1F:\x7F]+)*[ \t]*": r"\t*[^\x00-\x1F:\x7F][^\x00-\x08\x0A-\x1F:\x7F]*",
}
"""Patterns of HTTP header values that take for ever on a row of spaces, and what says the same in one pass."""
_POSIX = {
    "Alpha": "a-zA-Z", "Digit": "0-9", "Alnum": "a-zA-Z0-9", "Upper": "A-Z", "Lower": "a-z",
    "Punct": r"!-/:-@\[-`{-~", "Graph": "!-~", "Print": " -~", "Blank": r" \t", "Space": r" \t\n\x0b\f\r",
    "XDigit": "0-9a-fA-F", "Cntrl": r"\x00-\x1f\x7f", "ASCII": r"\x00-\x7f",
}  # fmt: skip


@functools.lru_cache(4096)
def compiled(pattern: str) -> re.Pattern[str] | None:
    """The pattern anchored at both ends (Coral matches whole values), or None where Python cannot express it."""
    source = translated(pattern)
    try:
        return re.compile(source) if source else None
    except (re.error, RecursionError, OverflowError):
        return None


def translated(pattern: str) -> str:
    """Python's source for the anchored pattern; "" where it is one that cannot be translated."""
    flags = ""
    if pattern.startswith("(?i)"):
        flags, pattern = "(?i)", pattern[4:]
    for slow, fast in _EXPONENTIAL.items():
        pattern = pattern.replace(slow, fast)
    pattern = _SURROGATES.sub(r"\\U00010000-\\U0010ffff", pattern)
    out: list[str] = []
    at, in_class = 0, False
    try:
        while at < len(pattern):
            if not in_class and pattern[at] == "[":
                opening = _CLASS_OPENING.match(pattern, at)
                assert opening is not None
                piece, at, in_class = opening.group().replace("]", "\\]"), opening.end(), True
            elif in_class:
                piece, at, in_class = _in_class(pattern, at)
            else:
                piece, at = _outside(pattern, at)
            out.append(piece)
    except (KeyError, ValueError):
        return ""
    return rf"{flags}\A(?:{''.join(out)})\Z"


def _outside(pattern: str, at: int) -> tuple[str, int]:
    """The next piece outside of a character class, and where it ends."""
    if match := _PROPERTY.match(pattern, at):
        return f"[{'^' if match[1] == 'P' else ''}{_ranges(match[2] or match[3])}]", match.end()
    if pattern[at] == "\\":
        escape = pattern[at : at + 2]
        return {r"\z": r"\Z", r"\h": r"[ \t]"}.get(escape, escape), at + 2
    return pattern[at], at + 1


def _in_class(pattern: str, at: int) -> tuple[str, int, bool]:
    """The next piece inside of a character class, where it ends, and whether the class goes on behind it."""
    if match := _PROPERTY.match(pattern, at):
        if match[1] == "P":
            raise ValueError("a negated property inside of a class")
        return _ranges(match[2] or match[3]), match.end(), True
    char = pattern[at]
    if char == "\\":
        escape = pattern[at : at + 2]
        if escape in _CLASS_ESCAPES and pattern[at + 2 : at + 3] == "-" and pattern[at + 3 : at + 4] != "]":
            return escape + r"\-", at + 3, True  # no range can begin with a class: to Java the "-" is itself
        return (r" \t" if escape == r"\h" else escape), at + 2, True
    if char == "]":
        return char, at + 1, False
    if pattern.startswith("&&", at):
        raise ValueError("an intersection of classes")
    return ("\\" + char if char in "[&|~" else char), at + 1, True


@functools.cache
def _ranges(name: str) -> str:
    """A character class's inside for a Unicode category or POSIX name. Raises KeyError for one that is neither."""
    if name in _POSIX:
        return _POSIX[name]
    if len(name) > 2:
        name = {"Letter": "L", "Alphabetic": "L", "Punctuation": "P"}[name]
    found: list[str] = []
    last = -2
    for category, start, end in _runs():
        if category.startswith(name):
            if start == last + 1:
                found[-1] = found[-1].partition("-")[0] + f"-\\U{end:08x}"
            else:
                found.append(f"\\U{start:08x}-\\U{end:08x}")
            last = end
    if not found:
        raise KeyError(name)
    return "".join(found)


@functools.cache
def _runs() -> list[tuple[str, int, int]]:
    """(category, first, last) of every run of assigned code points: planes 0 to 3, where all letters are, and tags."""
    runs: list[tuple[str, int, int]] = []
    for begin, end in ((0, 0x32400), (0xE0000, 0xE0200)):
        at = begin
        for category, group in itertools.groupby(map(unicodedata.category, map(chr, range(begin, end)))):
            length = sum(1 for _ in group)
            runs.append((category, at, at + length - 1))
            at += length
    return runs
