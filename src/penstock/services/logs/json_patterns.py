"""Filter patterns for JSON log events: { $.eventType = "UpdateTrail" && $.items[0].size > 3 }
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from penstock.services.logs.conditions import MISSING, Operand, compile_condition, invalid_pattern

_SELECTOR = re.compile(r"\$((?:\.[\w-]+|\[\d+\])+)")
_STEP = re.compile(r"\.([\w-]+)|\[(\d+)\]")


def compile_json(inner: str) -> Callable[[str], bool]:
    """The test for what stands between the braces. A message that is no JSON object fails it.

    Raises AwsError InvalidParameterException.
    """
    condition = compile_condition(inner, _selector)

    def matches(message: str) -> bool:
        try:
            document = msgspec.json.decode(message)
        except (msgspec.DecodeError, RecursionError):
            return False
        return isinstance(document, dict) and condition(document)

    return matches


def _selector(text: str) -> Operand:
    match = _SELECTOR.fullmatch(text)
    if match is None:
        raise invalid_pattern()
    steps: list[str | int] = [int(index) if index else name for name, index in _STEP.findall(match[1])]

    def select(document: Any) -> Any:
        for step in steps:
            if isinstance(step, str):
                if not isinstance(document, dict) or step not in document:
                    return MISSING
            elif not isinstance(document, list) or step >= len(document):
                return MISSING
            document = document[step]
        return document

    return select
