"""Filter patterns: which log events FilterLogEvents answers with.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html

Terms here (`ERROR -debug "a phrase"`, `?ERROR ?WARN`); { JSON } in `json_patterns`, [space, delimited] in
`field_patterns`. Regular expressions (%...%) are refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from penstock.services.logs import errors
from penstock.services.logs.field_patterns import compile_fields
from penstock.services.logs.json_patterns import compile_json
from penstock.wire.errors import not_implemented

_TERM = re.compile(r'([?-]?)("(?:[^"\\]|\\.)*"|\S+)')
_PLAIN = re.compile(r"\w+")


@functools.lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """The test that a pattern stands for. Raises AwsError InvalidParameterException, NotImplemented for a regex."""
    text = pattern.strip()
    if text.startswith("{") and text.endswith("}"):
        return compile_json(text[1:-1])
    if text.startswith("[") and text.endswith("]"):
        return compile_fields(text[1:-1])
    return _compile_terms(text)


def _compile_terms(text: str) -> Callable[[str], bool]:
    required: list[str] = []
    excluded: list[str] = []
    optional: list[str] = []
    at = 0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None:  # white space
            at += 1
            continue
        at = match.end()
        sign, term = match.groups()
        {"": required, "-": excluded, "?": optional}[sign].append(_term(term))
    if optional and not required and not excluded:
        return lambda message: any(term in message for term in optional)
    # "You can't combine the question mark with other filter patterns": AWS ignores the optional terms then.
    return lambda message: all(t in message for t in required) and not any(t in message for t in excluded)


def _term(text: str) -> str:
    if text[0] == '"' and len(text) > 1 and text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    if text[0] == "%":
        raise not_implemented("regular expressions in filter patterns")
    if not _PLAIN.fullmatch(text):
        raise errors.invalid(f"Invalid character(s) in term '{text}'")
    return text
