"""Table names, and ARNs where a table is named by one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from penstock.core.call import Call
from penstock.services.dynamodb import keys
from penstock.services.dynamodb.errors import invalid
from penstock.wire.errors import AwsError

PATTERN = "[a-zA-Z0-9_.-]+"
MAX_LENGTH = 255
_matches = re.compile(PATTERN + r"\Z").match
_ARN = re.compile(r"arn:aws:dynamodb:([a-z0-9-]+):([0-9]{12}):table/([a-zA-Z0-9_.-]+)\Z").match


match_resource = re.compile(
    r"arn:aws:dynamodb:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12}):table/(?P<table>[a-zA-Z0-9_.-]+)"
    r"(?:/stream/(?P<stream>[0-9T:.-]+))?\Z"
).match
"""The parts of the ARN of a table or of a stream."""


def arn(account: str, region: str, name: str) -> str:
    """The ARN of a table."""
    return f"arn:aws:dynamodb:{region}:{account}:table/{name}"


def resource(call: Call, params: Mapping[str, Any]) -> str:
    """The ARN that a request's TableName means, for the permission check."""
    name = str(params.get("TableName", "*"))
    return name if name.startswith("arn:") else arn(call.account, call.region, name)


def record_key(call: Call, name: str) -> bytes:
    """Where the record of the table is that `name` (a name or an ARN) means. Raises AwsError."""
    return keys.table(call.account, call.region, resolve(call.account, call.region, name))


@lru_cache(maxsize=4096)
def resolve(account: str, region: str, name: str) -> str:
    """The bare name. Raises ValidationException for no possible name, AccessDeniedException for another's ARN."""
    if name.startswith("arn:"):
        match = _ARN(name)
        if match is None:
            raise invalid(f"Invalid table ARN: {name}")
        if match[1] != region or match[2] != account:
            raise AwsError("AccessDeniedException", f"There is no access to {name} from {account} in {region}")
        return match[3]
    check(name, 1)
    return name


def check(name: str, min_length: int) -> None:
    """Raises ValidationException in the model's words unless it can be a table's name."""
    broken = []
    if len(name) < min_length:
        broken.append(f"Member must have length greater than or equal to {min_length}")
    if len(name) > MAX_LENGTH:
        broken.append(f"Member must have length less than or equal to {MAX_LENGTH}")
    if not _matches(name):
        broken.append(f"Member must satisfy regular expression pattern: {PATTERN}")
    if broken:
        found = "; ".join(f"Value '{name}' at 'tableName' failed to satisfy constraint: {rule}" for rule in broken)
        raise invalid(f"{len(broken)} validation error{'s' if len(broken) > 1 else ''} detected: {found}")
