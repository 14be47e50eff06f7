"""Wildcards and policy variables: a policy's strings compiled to predicates.

`*` is any run of characters and `?` any one. In an ARN's first five segments a `*` stays inside its segment unless it
is the segment's last character (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html).
`${key}` and `${key, 'default'}` are variables, and `${*}`, `${?}`, `${$}` those very characters
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from penstock.core.authz.facts import Facts

_SINGLE = frozenset(":/-_")
"""Characters up to the first of which a star is a plain class, faster than a group."""
Predicate: TypeAlias = Callable[[str, Facts], bool]

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_STAR, _ANY = "\0*", "\0?"
_LITERALS = {"*": "*", "?": "?", "$": "$"}


class Variable:
    """A reference to a request's condition key, with what stands in for a missing one."""

    __slots__ = ("default", "key")

    def __init__(self, key: str, default: str | None) -> None:
        self.key = key
        self.default = default

    def value(self, facts: Facts) -> str | None:
        """The one value of the key; None where the request has none, or several."""
        values = facts.get(self.key)
        if values is None or len(values) != 1:
            return self.default
        return values[0]


def tokens(text: str, *, wildcards: bool, variables: bool) -> list[str | Variable]:
    """Literals, wildcards (as NUL-marked tokens) and variables of a policy string."""
    found: list[str | Variable] = []

    def plain(part: str) -> None:
        if not wildcards:
            if part:
                found.append(part)
            return
        found.extend("\0" + piece if piece in "*?" else piece for piece in re.split(r"([*?])", part) if piece)

    if not variables:
        plain(text)
        return found
    at = 0
    for match in _VARIABLE.finditer(text):
        plain(text[at : match.start()])
        at = match.end()
        name = match.group(1).strip()
        if name in _LITERALS:
            found.append(_LITERALS[name])
            continue
        key, comma, default = name.partition(",")
        found.append(Variable(key.strip().lower(), default.strip().strip("'") if comma else None))
    plain(text[at:])
    return found


def compile_pattern(
    text: str, *, wildcards: bool = True, variables: bool = False, ignore_case: bool = False, arn: bool = False
) -> Predicate:
    """A predicate (value, facts) for one policy string. A variable that cannot be resolved matches nothing."""
    parts = tokens(text, wildcards=wildcards, variables=variables)
    if any(isinstance(part, Variable) for part in parts):
        return _with_variables(parts, ignore_case, arn)
    plain = [part for part in parts if isinstance(part, str)]
    if not ignore_case:
        if not any(part in (_STAR, _ANY) for part in plain):
            wanted = "".join(plain)
            return lambda value, facts: value == wanted
        if plain == [_STAR]:
            return lambda value, facts: True
        if plain[-1] == _STAR and len(plain) == 2 and plain[0] not in (_STAR, _ANY):
            prefix = plain[0]
            return lambda value, facts: value.startswith(prefix)
    fullmatch = _regex(tuple(plain), ignore_case, arn).fullmatch
    return lambda value, facts: fullmatch(value) is not None


def _with_variables(parts: list[str | Variable], ignore_case: bool, arn: bool) -> Predicate:
    def check(value: str, facts: Facts) -> bool:
        filled: list[str] = []
        for part in parts:
            if isinstance(part, Variable):
                found = part.value(facts)
                if found is None or found in (_STAR, _ANY):
                    return False
                filled.append(found)
            else:
                filled.append(part)
        return _regex(tuple(filled), ignore_case, arn).fullmatch(value) is not None

    return check


def plain_patterns(texts: list[str], variables: bool) -> tuple[tuple[str, str], ...] | None:
    """Resource patterns without variables: a literal ARN as (literal, ""), else ("", regular expression)."""
    found: list[tuple[str, str]] = []
    for text in texts:
        parts = tokens(text, wildcards=True, variables=variables)
        plain = tuple(part for part in parts if isinstance(part, str))
        if len(plain) != len(parts):
            return None
        if any(part in (_STAR, _ANY) for part in plain):
            found.append(("", _source(plain, arn=True)))
        else:
            found.append(("".join(plain), ""))
    return tuple(found)


@lru_cache(maxsize=4096)
def _regex(parts: tuple[str, ...], ignore_case: bool, arn: bool) -> re.Pattern[str]:
    return re.compile(_source(parts, arn=arn), re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def _source(parts: tuple[str, ...], *, arn: bool) -> str:
    """The regular expression of a pattern's parts, made so that it never backtracks from one star into another.

    A star followed by a free star need not look beyond the first place where what stands between them matches: what
    comes after can be found from there too. So that stretch is an atomic group, and matching takes time in proportion
    to the value whatever the number of stars. Only stars that must stay inside an ARN's segment can backtrack.
    """
    pieces: list[tuple[str, str]] = []  # a star's expression ("" for the part before the first), then what follows it
    star, text, colons = "", "", 0
    for i, part in enumerate(parts):
        if part == _ANY:
            text += "[^:]" if arn and colons < 5 else "."
        elif part == _STAR:
            following = parts[i + 1] if i + 1 < len(parts) else ""
            inside = arn and colons < 5 and following != "" and not following.startswith(":")
            pieces.append((star, text))
            star, text = "[^:]*?" if inside else ".*?", ""
        else:
            colons += part.count(":")
            text += re.escape(part)
    pieces.append((star, text))
    free = True
    source = ""
    for i in range(len(pieces) - 1, -1, -1):
        star, text = pieces[i]
        last = i == len(pieces) - 1
        if star and free and not last:
            source = (f"[^{text}]*{text}" if text in _SINGLE and star == ".*?" else f"(?>{star}{text})") + source
        else:
            source = (star.rstrip("?") if last else star) + text + source
        free = free and star != "[^:]*?"
    return source
