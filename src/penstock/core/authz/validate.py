"""A policy document as it is written: what AWS refuses before it stores one, in IAM's wording.

The rules come in AWS's order: the shape of everything first, then what its older parser insists on, then statement ids,
resources and actions. Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html; order and
wording as IAM answers.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.core.authz.conditions import OPERATORS
from penstock.core.authz.document import PolicyError, compile_policy

_VERSIONS = ("2012-10-17", "2008-10-17")
_TOP = {"Version", "Id", "Statement"}
_STATEMENT = {
    "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition",
}  # fmt: skip
_EXCLUSIVE = (("Action", "NotAction"), ("Resource", "NotResource"), ("Principal", "NotPrincipal"))
_VENDOR = re.compile(r"[A-Za-z0-9.*?-]+")
_DATE = re.compile(
    r"(\d{4}(-\d\d(-\d\d)?)?|\d\d)([Tt](\d{1,2}(:\d\d(:\d\d(\.\d{1,9})?)?)?([Zz]|[+-]\d\d(:?\d\d)?)?)?)?"
)  # fmt: skip
_SYNTAX = "Syntax errors in policy."
_LEGACY = "The policy failed legacy parsing"
_PARTITIONS = ("aws", "aws-cn", "aws-us-gov")
_IAM_PATHS = (
    "user/", "federated-user/", "role/", "group/", "instance-profile/", "mfa/", "server-certificate/", "policy/",
    "sms-mfa/", "saml-provider/", "oidc-provider/", "report/", "access-report/",
)  # fmt: skip


class Purpose(enum.Enum):
    """What a document is for; it decides which elements may and must be there."""

    IDENTITY = "identity"
    RESOURCE = "resource"
    TRUST = "trust"


def validate(text: str, purpose: Purpose = Purpose.IDENTITY) -> dict[str, Any]:
    """The parsed document. Raises PolicyError in the words IAM uses for MalformedPolicyDocument."""
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PolicyError("This policy contains invalid Json" if purpose is Purpose.TRUST else _SYNTAX) from None
    statements = _checked_shape(document, purpose)
    if purpose is Purpose.IDENTITY and document.get("Version") != _VERSIONS[0]:
        raise PolicyError("Policy document must be version 2012-10-17 or greater.")
    for statement in statements:
        _check_legacy(statement)
    sids = [statement["Sid"] for statement in statements if statement.get("Sid")]
    if len(set(sids)) != len(sids):
        raise PolicyError("Statement IDs (SID) in a single policy must be unique.")
    for statement in statements:
        _check_statement(statement, purpose)
    compile_policy(text)
    found: dict[str, Any] = document
    return found


def _checked_shape(document: Any, purpose: Purpose) -> list[dict[str, Any]]:
    """The statements of a document whose every part has the right type."""
    if not isinstance(document, dict) or not set(document) <= _TOP or not isinstance(document.get("Id", ""), str):
        raise PolicyError(_SYNTAX)
    if document.get("Version", _VERSIONS[1]) not in _VERSIONS:
        raise PolicyError(_SYNTAX)
    statements = document.get("Statement")
    statements = [statements] if isinstance(statements, dict) else statements
    if not isinstance(statements, list) or (not statements and purpose is not Purpose.IDENTITY):
        raise PolicyError(_SYNTAX)
    for statement in statements:
        if not isinstance(statement, dict):
            raise PolicyError(_SYNTAX)
        _check_shape(statement, purpose)
    if not statements and document.get("Version") == _VERSIONS[0]:
        raise PolicyError(_SYNTAX)
    return statements


def _check_shape(statement: Mapping[str, Any], purpose: Purpose) -> None:
    trust = purpose is Purpose.TRUST
    for field in statement:
        if field not in _STATEMENT:
            raise PolicyError(f"Unknown field {field}" if trust else _SYNTAX)
    effect = statement.get("Effect")
    if effect is None and trust:
        raise PolicyError("Missing required field Effect")
    if not isinstance(effect, str) or effect.lower() not in ("allow", "deny"):
        raise PolicyError(_SYNTAX)
    if not isinstance(statement.get("Sid", ""), str) or any(a in statement and b in statement for a, b in _EXCLUSIVE):
        raise PolicyError(_SYNTAX)
    for name in ("Action", "NotAction", "Resource", "NotResource"):
        _list(statement.get(name, []))
    conditions = statement.get("Condition", {})
    if not isinstance(conditions, dict):
        raise PolicyError(_SYNTAX)
    for operator, block in conditions.items():
        name = operator.removeprefix("ForAllValues:").removeprefix("ForAnyValue:")
        if block != {} and name != "Null" and name.removesuffix("IfExists") not in OPERATORS:
            raise PolicyError(_SYNTAX)
        if not isinstance(block, dict) or not all(_is_value(value) for value in block.values()):
            raise PolicyError(_SYNTAX)


def _is_value(value: Any) -> bool:
    """Whether a condition's value is a scalar or a list of scalars."""
    values = value if isinstance(value, list) else [value]
    return all(isinstance(item, (str, bool, int, float)) for item in values)


def _check_legacy(statement: Mapping[str, Any]) -> None:
    if statement["Effect"] not in ("Allow", "Deny"):
        raise PolicyError(_LEGACY)
    for resource in _list(statement.get("Resource", statement.get("NotResource"))):
        parts = resource.split(":")
        if resource.startswith("arn:aws:") and (
            (len(parts) < 6 and "::" in resource) or (len(parts) > 2 and not parts[2])
        ):
            raise PolicyError(_LEGACY)
    for operator, block in statement.get("Condition", {}).items():
        if not operator.rpartition(":")[2].startswith("Date"):
            continue
        for values in block.values():
            if not all(_is_date(str(value)) for value in (values if isinstance(values, list) else [values])):
                raise PolicyError(_LEGACY)


def _is_date(text: str) -> bool:
    if re.fullmatch(r"[+-]?\d+", text) and len(text) > 4:
        return -(2**63) <= int(text) < 2**63
    return "${" in text or _DATE.fullmatch(text) is not None


def _check_statement(statement: Mapping[str, Any], purpose: Purpose) -> None:
    actions = _list(statement.get("Action", statement.get("NotAction")))
    principal = "Principal" in statement or "NotPrincipal" in statement
    resource = "Resource" in statement or "NotResource" in statement
    if not actions:
        missing = (
            "Missing required field Action" if purpose is Purpose.TRUST else "Policy statement must contain actions."
        )
        raise PolicyError(missing)
    if purpose is Purpose.IDENTITY:
        if principal:
            raise PolicyError("Policy document should not specify a principal.")
    elif not principal:
        raise PolicyError("Missing required field Principal")
    if purpose is Purpose.TRUST and resource:
        raise PolicyError("Has prohibited field Resource")
    for text in _list(statement.get("Resource", statement.get("NotResource"))):
        _check_resource(text)
    for action in actions:
        _check_action(action, purpose)
    if purpose is Purpose.IDENTITY and not _list(statement.get("Resource", statement.get("NotResource"))):
        raise PolicyError("Policy statement must contain resources.")


def _check_action(action: str, purpose: Purpose) -> None:
    if purpose is Purpose.TRUST and (action == "*" or (":" in action and not action.lower().startswith("sts:"))):
        raise PolicyError("AssumeRole policy may only specify STS AssumeRole actions.")
    if action == "*":
        return
    if ":" not in action:
        raise PolicyError("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
    if action.count(":") > 1:
        raise PolicyError("Actions/Condition can contain only one colon.")
    vendor = action.partition(":")[0]
    if not _VENDOR.fullmatch(vendor):
        raise PolicyError(f"Vendor {vendor} is not valid")


def _check_resource(resource: str) -> None:
    if resource == "*":
        return
    if ":" not in resource:
        raise PolicyError(f'Resource {resource} must be in ARN format or "*".')
    _, *parts = resource.split(":")
    if parts[0] not in _PARTITIONS and "*" not in parts[0]:
        shown = ":".join(["arn", *parts, *["*"] * (5 - len(parts))])
        raise PolicyError(f'Partition "{parts[0]}" is not valid for resource "{shown}".')
    if len(parts) == 1:
        raise PolicyError("Resource vendor must be fully qualified and cannot contain regexes.")
    service = parts[1]
    region = parts[2] if len(parts) > 2 else ""
    if service == "iam":
        if region not in ("", "*"):
            raise PolicyError(f"IAM resource {resource} cannot contain region information.")
        path = ":".join(parts[4:])
        if path and not path.startswith("*") and not path.startswith(_IAM_PATHS) and path != "root":
            raise PolicyError(f'IAM resource path must either be "*" or start with {", ".join(_IAM_PATHS)}.')
    if service == "s3" and region not in ("", "*") and parts[3:4] == [""]:
        raise PolicyError(f"Resource {resource} can not contain region information.")


def _list(value: Any) -> list[str]:
    """One string or a list of them, as a list; AWS takes nulls among them. Raises PolicyError for anything else."""
    if value is None:
        return []
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) or item is None for item in values):
        raise PolicyError(_SYNTAX)
    return [item for item in values if item is not None]
