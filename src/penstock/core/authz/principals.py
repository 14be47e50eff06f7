"""The Principal element: whom a statement of a resource's policy is about, and how closely it names them.

How closely matters: naming an account delegates to that account's own policies, naming a role leaves the role's
boundary and session policies in force, naming a user or a session grants outright
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics.html).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from penstock.core.authz.facts import principal_arn
from penstock.core.identity import Kind, Principal


class Named(enum.IntEnum):
    """How a statement names a principal, from not at all to by its very ARN."""

    NOT = 0
    BY_ACCOUNT = 1
    BY_ROLE = 2
    """By the role of a session, the user of a federated session, or "*": boundary and session policies still limit."""
    OUTRIGHT = 3


class PrincipalSet:
    """A compiled Principal or NotPrincipal element."""

    __slots__ = ("accounts", "anybody", "arns", "federated", "inverted", "services")

    def __init__(self, element: Any, *, inverted: bool) -> None:
        """Raises ValueError for a form AWS does not know."""
        self.inverted = inverted
        self.anybody = element == "*"
        self.arns: set[str] = set()
        self.accounts: set[str] = set()
        self.services: set[str] = set()
        self.federated: set[str] = set()
        if self.anybody:
            return
        if not isinstance(element, Mapping):
            raise ValueError("Invalid principal in policy")
        for kind, names in element.items():
            for name in [names] if isinstance(names, str) else names:
                if not isinstance(name, str):
                    raise ValueError("Invalid principal in policy")
                self._add(kind, name)

    def _add(self, kind: str, name: str) -> None:
        if kind == "Service":
            self.services.add(name)
        elif kind == "Federated":
            self.federated.add(name)
        elif kind == "CanonicalUser":
            self.arns.add(name)
        elif kind != "AWS":
            raise ValueError(f'Invalid principal in policy: "{kind}"')
        elif name == "*":
            self.anybody = True
        elif name.isdigit() and len(name) == 12:
            self.accounts.add(name)
        elif name.endswith(":root") and name.startswith("arn:") and ":iam::" in name:
            self.accounts.add(name.split(":", 5)[4])
        else:
            self.arns.add(name)

    def names(self, principal: Principal) -> Named:
        """How closely the element names the principal. NotPrincipal names everybody it does not list."""
        found = self._named(principal)
        if self.inverted:
            return Named.BY_ROLE if found is Named.NOT else Named.NOT
        return found

    def _named(self, principal: Principal) -> Named:
        kind = principal.kind
        if kind is Kind.SERVICE:
            return Named.OUTRIGHT if self.anybody or principal.arn in self.services else Named.NOT
        if kind is Kind.WEB:
            # A provider's ARN names its account too, but who comes from it is none of that account's principals.
            return Named.OUTRIGHT if self.anybody or principal.arn in self.federated else Named.NOT
        if principal.arn in self.arns:
            return Named.OUTRIGHT
        if kind is Kind.ROOT and principal.account in self.accounts:
            return Named.OUTRIGHT
        if principal_arn(principal) in self.arns or (principal.id and principal.id.partition(":")[0] in self.arns):
            return Named.OUTRIGHT if kind is Kind.USER else Named.BY_ROLE
        if self.anybody:
            return Named.BY_ROLE if kind in (Kind.ROLE, Kind.FEDERATED) else Named.OUTRIGHT
        return Named.BY_ACCOUNT if principal.account and principal.account in self.accounts else Named.NOT
