r"""The models' regular expressions, which are Java's, as Python's: \p{...} classes, anchored."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

_PROPERTY = re.compile(r"\\([pP])(?:\{(?:Is|In)?\^?([A-Za-z_]+)\}|([A-Z]))")
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
    start = -1
    for code in [*range(0x323B0), *range(0xE0000, 0xE0200), sys.maxunicode + 1]:
        inside = code <= sys.maxunicode and unicodedata.category(chr(code)).startswith(name)
        if inside and start < 0:
            start = code
        elif not inside and start >= 0:
            found.append(f"\\U{start:08x}-\\U{code - 1:08x}" if code - 1 > start else f"\\U{start:08x}")
            start = -1
    if not found:
        raise KeyError(name)
    return "".join(found)
