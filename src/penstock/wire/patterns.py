r"""The models' regular expressions, which are Java's, as Python's: \p{...} classes, anchored."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata

_PROPERTY = re.compile(r"\\([pP])(?:\{(?:Is|In)?\^?([A-Za-z_]+)\}|([A-Z]))")
_SURROGATES = re.compile(r"\\u[dD]800\\u[dD][cC]00-\\u[dD][bB][fF][fF]\\u[dD][fF][fF][fF]")
"""All astral characters, in Java's UTF-16."""
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
    pattern = _SURROGATES.sub(r"\\U00010000-\\U0010ffff", pattern)
    try:
        out: list[str] = []
        at, in_class = 0, 0
        while at < len(pattern):
            char = pattern[at]
            if match := _PROPERTY.match(pattern, at):
                ranges = _ranges(match[2] or match[3])
                negated = match[1] == "P"
                if in_class and negated:
                    return ""
                out.append(ranges if in_class else f"[{'^' if negated else ''}{ranges}]")
                at = match.end()
                continue
            if char == "\\":
                out.append({r"\z": r"\Z", r"\h": r"[ \t]" if not in_class else r" \t"}.get(
                    pattern[at : at + 2], pattern[at : at + 2]))  # fmt: skip
                at += 2
                continue
            if char == "[":
                if in_class:
                    if pattern.startswith("[", at) and "&&" in pattern:
                        return ""
                    char = r"\["
                else:
                    in_class = 1
                    if pattern.startswith("[^]", at) or pattern.startswith("[]", at):
                        out.append(pattern[at : pattern.index("]", at) + 1])
                        at = pattern.index("]", at) + 1
                        continue
            elif char == "]":
                in_class = 0
            elif in_class and char in "&|~" and pattern.startswith(char * 2, at):
                if char == "&":
                    return ""
                char = "\\" + char
            out.append(char)
            at += 1
        return rf"\A(?:{''.join(out)})\Z"
    except (KeyError, ValueError):
        return ""


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
