"""Tags as AWS limits them: https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html

Each service has its own error codes, so what is wrong comes back as a `TagProblem` for the service to put in its words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MAX_TAGS = 50
MAX_KEY_CHARS = 128
MAX_VALUE_CHARS = 256
_ALLOWED = re.compile(r"[\w\s.:/=+\-@]*", re.UNICODE)


class TagProblem(ValueError):
    """Tags that AWS refuses. kind: "duplicate", "reserved", "key", "value" or "count"; the text is AWS's usual one."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def from_list(tags: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """A list of {Key, Value} as a checked dict, in the order given. Raises TagProblem."""
    found: dict[str, str] = {}
    for tag in tags or ():
        key, value = str(tag.get("Key", "")), str(tag.get("Value", ""))
        if key in found:
            raise TagProblem("duplicate", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        found[key] = value
    return check(found)


def check(tags: dict[str, str]) -> dict[str, str]:
    """The same dict, checked: lengths in characters, characters, the reserved prefix, the count. Raises TagProblem."""
    for key, value in tags.items():
        if not 1 <= len(key) <= MAX_KEY_CHARS or not _ALLOWED.fullmatch(key):
            raise TagProblem("key", f"The tag key {key!r} is not valid.")
        if key.lower().startswith("aws:"):
            raise TagProblem("reserved", "Tag keys that start with 'aws:' are reserved for AWS.")
        if len(value) > MAX_VALUE_CHARS or not _ALLOWED.fullmatch(value):
            raise TagProblem("value", f"The value of the tag {key!r} is not valid.")
    if len(tags) > MAX_TAGS:
        raise TagProblem("count", f"The number of tags may not exceed {MAX_TAGS}.")
    return tags


def to_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """The list of {Key, Value} that most services answer with."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
