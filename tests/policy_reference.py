"""Policy evaluation a second time: slow, plain, straight from AWS's documentation, sharing no code with penstock.

Written from these pages of https://docs.aws.amazon.com/IAM/latest/UserGuide/:
reference_policies_evaluation-logic, reference_policies_elements_{principal,notprincipal,action,notaction,resource,
notresource,condition,condition_operators}, reference_policies_variables, reference_policies_multi-value-conditions.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
from typing import Any

Keys = dict[str, list[str]]


class Caller:
    """kind: root, user, role, federated, service, anonymous, web identity (arn: its provider's). role: the role's ARN
    behind a session. id: a user's unique id, which stands in policies for a user of that ARN."""

    def __init__(self, kind: str, account: str, arn: str, role: str = "", id: str = "") -> None:
        self.kind, self.account, self.arn, self.role, self.id = kind, account, arn, role, id


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def glob(pattern: list[str], text: str) -> bool:
    """pattern: single characters, where "*" and "?" are wild and longer items stand for literal characters."""
    if not pattern:
        return not text
    head, rest = pattern[0], pattern[1:]
    if head == "*":
        return any(glob(rest, text[i:]) for i in range(len(text) + 1))
    if not text:
        return False
    if head == "?":
        return glob(rest, text[1:])
    return text[0] == head[-1] and glob(rest, text[1:])


def literal(text: str) -> list[str]:
    """Characters that match only themselves (marked, so that a star stays a star)."""
    return ["=" + char for char in text]


def expand(text: str, keys: Keys, version: str, *, wild: bool) -> list[str] | None:
    """A policy string as glob items, variables filled in; None where a variable has no value."""
    items: list[str] = []
    i = 0
    while i < len(text):
        if version == "2012-10-17" and text.startswith("${", i) and "}" in text[i:]:
            end = text.index("}", i)
            name, _, default = text[i + 2 : end].partition(",")
            name = name.strip()
            if name in ("*", "?", "$"):
                items += literal(name)
            else:
                values = keys.get(name.lower())
                if values is not None and len(values) == 1:
                    items += literal(values[0])
                elif default:
                    items += literal(default.strip().strip("'"))
                else:
                    return None
            i = end + 1
        else:
            items.append(text[i] if wild and text[i] in "*?" else "=" + text[i])
            i += 1
    return items


def matches_action(pattern: str, action: str) -> bool:
    items = [char if char in "*?" else "=" + char for char in pattern.lower()]
    return glob(items, action.lower())


def matches_resource(pattern: str, resource: str, keys: Keys, version: str) -> bool:
    items = expand(pattern, keys, version, wild=True)
    return items is not None and glob(items, resource)


NEGATED = {
    "StringNotEquals": "StringEquals", "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike", "NumericNotEquals": "NumericEquals", "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress", "ArnNotEquals": "ArnLike", "ArnNotLike": "ArnLike",
}  # fmt: skip


def number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def date(text: str) -> float | None:
    if number(text) is not None:
        return number(text)
    try:
        parsed = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)).timestamp()


def compare(operator: str, wanted: str, value: str, keys: Keys, version: str) -> bool:
    if operator.startswith(("Numeric", "Date")):
        kind = "Numeric" if operator.startswith("Numeric") else "Date"
        parse = number if kind == "Numeric" else date
        left, right = parse(value), parse(wanted)
        if left is None or right is None:
            return False
        return {
            "Equals": left == right, "LessThan": left < right, "LessThanEquals": left <= right,
            "GreaterThan": left > right, "GreaterThanEquals": left >= right,
        }[operator.removeprefix(kind)]  # fmt: skip
    if operator == "BinaryEquals":
        try:
            return base64.b64decode(value, validate=True) == base64.b64decode(wanted, validate=True)
        except ValueError:
            return False
    if operator == "IpAddress":
        try:
            return ipaddress.ip_address(value) in ipaddress.ip_network(wanted, strict=False)
        except ValueError:
            return False
    if operator in ("ArnLike", "ArnEquals"):
        left_parts, right_parts = value.split(":", 5), wanted.split(":", 5)
        if len(left_parts) != 6 or len(right_parts) != 6:
            return False
        for part, pattern in zip(left_parts, right_parts, strict=True):
            items = expand(pattern, keys, version, wild=True)
            if items is None or not glob(items, part):
                return False
        return True
    items = expand(wanted, keys, version, wild=operator == "StringLike")
    if items is None:
        return False
    if operator in ("StringEqualsIgnoreCase", "Bool"):
        return glob([item.lower() for item in items], value.lower())
    return glob(items, value)


def holds(operator: str, key: str, wanted: list[str], keys: Keys, version: str) -> bool:
    quantifier, _, name = operator.rpartition(":")
    values = keys.get(key.lower(), [])
    if name == "Null":
        return any((w == "true") == (not values) for w in wanted)
    if name.endswith("IfExists"):
        name = name.removesuffix("IfExists")
        if not values:
            return True
    positive = NEGATED.get(name, name)
    negated = name in NEGATED

    def one(value: str) -> bool:
        found = False
        for w in wanted:
            found = found or compare(positive, w, value, keys, version)
        return not found if negated else found

    if quantifier == "ForAllValues":
        return all(one(value) for value in values)
    if quantifier == "ForAnyValue":
        return any(one(value) for value in values)
    if not values:
        return negated
    if negated:
        return all(one(value) for value in values)
    return any(one(value) for value in values)


def applies(statement: dict[str, Any], version: str, action: str, resource: str, keys: Keys) -> bool:
    if "Action" in statement and not any(matches_action(a, action) for a in as_list(statement["Action"])):
        return False
    if "NotAction" in statement and any(matches_action(a, action) for a in as_list(statement["NotAction"])):
        return False
    if "Resource" in statement and not any(
        matches_resource(r, resource, keys, version) for r in as_list(statement["Resource"])
    ):
        return False
    if "NotResource" in statement and any(
        matches_resource(r, resource, keys, version) for r in as_list(statement["NotResource"])
    ):
        return False
    for operator, block in statement.get("Condition", {}).items():
        for key, wanted in block.items():
            if not holds(operator, key, [str(w) for w in as_list(wanted)], keys, version):
                return False
    return True


def listed(element: Any, caller: Caller) -> str:
    """How a Principal element lists the caller: "", "account", "role" or "direct"."""
    if caller.kind == "service":
        if element == "*":
            return "direct"
        return "direct" if caller.arn in as_list(element.get("Service", [])) or "*" in as_list(
            element.get("AWS", [])
        ) else ""  # fmt: skip
    names = ["*"] if element == "*" else as_list(element.get("AWS", []))
    if caller.kind == "web identity":
        providers = [] if element == "*" else as_list(element.get("Federated", []))
        return "direct" if "*" in names or caller.arn in providers else ""
    own_account = (caller.account, f"arn:aws:iam::{caller.account}:root")
    if caller.account and (caller.arn in names or (caller.id and caller.id in names)):
        return "direct"
    if caller.kind == "root" and any(name in own_account for name in names):
        return "direct"
    if caller.role and caller.role in names:
        return "role"
    if "*" in names:
        return "role" if caller.kind in ("role", "federated") else "direct"
    if caller.account and any(name in own_account for name in names):
        return "account"
    return ""


def effect(documents: list[dict[str, Any]], action: str, resource: str, keys: Keys) -> str:
    """ "deny", "allow" or "" for policies without principals."""
    found = ""
    for document in documents:
        for statement in as_list(document["Statement"]):
            if applies(statement, document.get("Version", ""), action, resource, keys):
                if statement["Effect"] == "Deny":
                    return "deny"
                found = "allow"
    return found


def evaluate(
    caller: Caller,
    action: str,
    resource: str,
    owner: str,
    keys: Keys,
    identity: list[dict[str, Any]],
    boundary: dict[str, Any] | None,
    session: list[dict[str, Any]],
    policy: dict[str, Any] | None,
    must_be_named: bool,
) -> bool:
    by_identity = effect(identity, action, resource, keys)
    by_boundary = "allow" if boundary is None else effect([boundary], action, resource, keys)
    by_session = "allow" if not session else effect(session, action, resource, keys)
    grants: set[str] = set()
    denied = "deny" in (by_identity, by_boundary, by_session)
    for statement in as_list(policy["Statement"]) if policy else []:
        if "NotPrincipal" in statement:
            how = "" if listed(statement["NotPrincipal"], caller) else "role"
        else:
            how = listed(statement["Principal"], caller)
        if how and applies(statement, (policy or {}).get("Version", ""), action, resource, keys):
            if statement["Effect"] == "Deny":
                denied = True
            else:
                grants.add(how)
    if denied:
        return False
    if caller.kind in ("service", "anonymous", "web identity"):
        return bool(grants)
    if caller.kind == "root":
        by_identity = "allow"
    if must_be_named and not grants:
        return False
    narrowed = by_boundary == "allow" and by_session == "allow"
    if caller.account != owner:
        return bool(grants) and by_identity == "allow" and narrowed
    if "direct" in grants:
        return True
    return (by_identity == "allow" or "role" in grants) and narrowed
