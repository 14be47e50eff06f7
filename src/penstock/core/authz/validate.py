"""A policy document as it is written: what AWS refuses before it stores one, in IAM's wording.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.core.authz.document import PolicyError, compile_policy

_VERSIONS = ("2012-10-17", "2008-10-17")
_TOP = {"Version", "Id", "Statement"}
_STATEMENT = {
    "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition",
}  # fmt: skip
_ACTION = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_SYNTAX = "Syntax errors in policy."
_PARTITIONS = ("aws", "aws-cn", "aws-us-gov", "*")


class Purpose(enum.Enum):
    """What a document is for; it decides which elements may and must be there."""

    IDENTITY = "identity"
    RESOURCE = "resource"
    TRUST = "trust"


def validate(text: str, purpose: Purpose = Purpose.IDENTITY) -> dict[str, Any]:
    """The parsed document. Raises PolicyError in the words IAM uses for MalformedPolicyDocument."""
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise PolicyError(_syntax(purpose)) from None
    if not isinstance(document, dict) or not set(document) <= _TOP:
        raise PolicyError(_SYNTAX)
    if document.get("Version", _VERSIONS[1]) not in _VERSIONS:
        raise PolicyError("The policy must contain a valid version string")
    if purpose is Purpose.IDENTITY and document.get("Version") != _VERSIONS[0]:
        raise PolicyError("Policy document must be version 2012-10-17 or greater.")
    statements = document.get("Statement")
    statements = [statements] if isinstance(statements, dict) else statements
    if not isinstance(statements, list) or not statements:
        raise PolicyError(_SYNTAX)
    sids: set[str] = set()
    for statement in statements:
        if not isinstance(statement, dict):
            raise PolicyError(_SYNTAX)
        _check_statement(statement, purpose)
        sid = statement.get("Sid", "")
        if sid and sid in sids:
            raise PolicyError("Statement IDs (SID) in a single policy must be unique.")
        sids.add(sid)
    compile_policy(text)
    return document


def _syntax(purpose: Purpose) -> str:
    return "This policy contains invalid Json" if purpose is Purpose.TRUST else _SYNTAX


def _check_statement(statement: Mapping[str, Any], purpose: Purpose) -> None:
    for field in statement:
        if field not in _STATEMENT:
            raise PolicyError(_SYNTAX if purpose is not Purpose.TRUST else f"Unknown field {field}")
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise PolicyError(
            "Missing required field Effect" if purpose is Purpose.TRUST and "Effect" not in statement else _SYNTAX
        )
    if not isinstance(statement.get("Sid", ""), str) or not isinstance(statement.get("Condition", {}), dict):
        raise PolicyError(_SYNTAX)
    for one, other in (("Action", "NotAction"), ("Resource", "NotResource"), ("Principal", "NotPrincipal")):
        if one in statement and other in statement:
            raise PolicyError(_SYNTAX)
    principal = "Principal" in statement or "NotPrincipal" in statement
    resource = "Resource" in statement or "NotResource" in statement
    _check_actions(statement, purpose)
    if purpose is Purpose.IDENTITY:
        if principal:
            raise PolicyError("Policy document should not specify a principal.")
        if not resource:
            raise PolicyError("Policy statement must contain resources.")
    elif not principal:
        raise PolicyError("Missing required field Principal")
    if purpose is Purpose.TRUST:
        if resource:
            raise PolicyError("Has prohibited field Resource")
    elif resource:
        _check_resources(statement, purpose)


def _check_actions(statement: Mapping[str, Any], purpose: Purpose) -> None:
    actions = _list(statement.get("Action", statement.get("NotAction")))
    if not actions:
        missing = (
            "Missing required field Action" if purpose is Purpose.TRUST else "Policy statement must contain actions."
        )
        raise PolicyError(missing)
    for action in actions:
        if action == "*":
            if purpose is Purpose.TRUST:
                raise PolicyError("AssumeRole policy may only specify STS AssumeRole actions.")
            continue
        if ":" not in action:
            raise PolicyError("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
        if not _ACTION.fullmatch(action):
            raise PolicyError("Actions/Condition can contain only one colon." if action.count(":") > 1 else _SYNTAX)
        if purpose is Purpose.TRUST and not action.lower().startswith("sts:"):
            raise PolicyError("AssumeRole policy may only specify STS AssumeRole actions.")


def _check_resources(statement: Mapping[str, Any], purpose: Purpose) -> None:
    resources = _list(statement.get("Resource", statement.get("NotResource")))
    if not resources:
        if purpose is Purpose.IDENTITY and (statement.get("Resource") == [] or statement.get("NotResource") == []):
            raise PolicyError("Policy statement must contain resources.")
        raise PolicyError(_SYNTAX)
    for resource in resources:
        if resource == "*":
            continue
        parts = resource.split(":", 5)
        if parts[0] != "arn":
            raise PolicyError(f'Resource {resource} must be in ARN format or "*".')
        if len(parts) > 1 and parts[1] not in _PARTITIONS and "*" not in parts[1]:
            raise PolicyError(f'Partition "{parts[1]}" is not valid for resource "{resource}".')
        if len(parts) < 6 and "*" not in parts[-1]:
            raise PolicyError("The policy failed legacy parsing")


def _list(value: Any) -> list[str]:
    """One string or a list of them, as a list. Raises PolicyError for anything else."""
    if value is None:
        return []
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise PolicyError(_SYNTAX)
    return values
