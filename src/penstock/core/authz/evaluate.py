"""The decision: one principal, one action, one resource, every policy that applies.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html, its pages on
requests within one account and across accounts, and on permissions boundaries and session policies.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core.authz.document import Policy, PolicyError, Statement, compile_policy
from penstock.core.authz.facts import Facts
from penstock.core.authz.group import Group
from penstock.core.authz.principals import Named
from penstock.core.identity import Identity, Kind, PolicyText, Principal

IDENTITY = "identity-based policy"
RESOURCE = "resource-based policy"
BOUNDARY = "permissions boundary"
SESSION = "session policy"
TRUST = "role trust policy"


class Question:
    """What is to be decided. owner: the account the resource belongs to.

    resource_policy: the resource's own policy, None where it has none. must_be_named: the resource's policy has to
    allow even inside one account (a role's trust policy, a key's key policy).
    """

    __slots__ = (
        "action", "facts", "identity", "must_be_named", "owner", "principal", "resource", "resource_policy",
    )  # fmt: skip

    def __init__(
        self,
        principal: Principal,
        action: str,
        resource: str,
        owner: str,
        facts: Facts,
        identity: Identity,
        resource_policy: PolicyText | None = None,
        *,
        must_be_named: bool = False,
    ) -> None:
        self.principal = principal
        self.action = action
        self.resource = resource
        self.owner = owner
        self.facts = facts
        self.identity = identity
        self.resource_policy = resource_policy
        self.must_be_named = must_be_named


class Decision:
    """What came out. kind: the kind of policy that decided; where: the policy and statement that did, for the log."""

    __slots__ = ("allowed", "explicit", "kind", "where")

    def __init__(self, allowed: bool, explicit: bool, kind: str, where: str) -> None:
        self.allowed = allowed
        self.explicit = explicit
        self.kind = kind
        self.where = where


ALLOWED = Decision(True, False, "", "")


class _Found(Exception):
    """A statement that denies."""

    def __init__(self, kind: str, where: str) -> None:
        super().__init__(where)
        self.kind = kind
        self.where = where


def decide(question: Question) -> Decision:
    """Decide. Never raises: a document that cannot be understood denies, and the decision says which."""
    try:
        return _decide(question)
    except _Found as denied:
        return Decision(False, True, denied.kind, denied.where)


def _decide(q: Question) -> Decision:
    principal, identity = q.principal, q.identity
    if identity.missing:
        return Decision(False, False, IDENTITY, identity.missing)
    by_identity = bool(identity.policies) and _identity_allows(q)
    bounded = identity.boundary is None or _allows((identity.boundary,), BOUNDARY, q)
    in_session = not principal.session_policies or _allows(_session(q), SESSION, q)
    named = Named.NOT if q.resource_policy is None else _named(q.resource_policy, q)

    if principal.kind in (Kind.SERVICE, Kind.ANONYMOUS, Kind.WEB):
        return ALLOWED if named else _missing(TRUST if q.must_be_named and q.action.startswith("sts:") else RESOURCE, q)
    if principal.kind is Kind.ROOT:
        by_identity = True
    if q.must_be_named and not named:
        return _missing(TRUST if q.action.startswith("sts:") else RESOURCE, q)
    if principal.account != q.owner:
        if not by_identity:
            return _missing(IDENTITY, q)
        if not named:
            return _missing(RESOURCE, q)
    elif named is Named.OUTRIGHT:
        return ALLOWED
    elif not by_identity and named is not Named.BY_ROLE:
        return _missing(IDENTITY, q)
    if not bounded:
        return _missing(BOUNDARY, q)
    return ALLOWED if in_session else _missing(SESSION, q)


def _identity_allows(q: Question) -> bool:
    """Whether the principal's own policies allow. Raises _Found where one denies."""
    group = q.identity.memo.get("group")
    if group is None:
        group = q.identity.memo["group"] = Group(q.identity.policies)
    if group.broken:
        raise _Found(IDENTITY, group.broken)
    denying, allowing = group.about(q.action)
    if denying.applies(q.resource, q.facts):
        raise _Found(IDENTITY, denying.which(q.resource, q.facts))
    applies: bool = allowing.applies(q.resource, q.facts)
    return applies


def _session(q: Question) -> list[PolicyText]:
    """The policies that narrow the session: managed ones come with the identity, inline ones with the principal."""
    inline = (text for text in q.principal.session_policies if not text.startswith("arn:"))
    return [*q.identity.session, *(PolicyText("a session policy", text) for text in inline)]


def _allows(policies: Iterable[PolicyText], kind: str, q: Question) -> bool:
    """Whether one of the policies allows. Raises _Found where one denies."""
    action, resource, facts = q.action, q.resource, q.facts
    allowed = False
    for policy in policies:
        denying, allowing = _compiled(policy, kind).about(action)
        for statement in denying:
            if statement.applies(resource, facts):
                raise _Found(kind, _place(statement, policy))
        if not allowed:
            for statement in allowing:
                if statement.applies(resource, facts):
                    allowed = True
                    break
    return allowed


def _named(policy: PolicyText, q: Question) -> Named:
    """How closely the resource's policy allows the principal. Raises _Found where it denies."""
    denying, allowing = _compiled(policy, RESOURCE).about(q.action)
    for statement in denying:
        if statement.named(q.principal) and statement.applies(q.resource, q.facts):
            raise _Found(RESOURCE, _place(statement, policy))
    best = Named.NOT
    for statement in allowing:
        named = statement.named(q.principal)
        if named > best and statement.applies(q.resource, q.facts):
            best = named
    return best


def _compiled(policy: PolicyText, kind: str) -> Policy:
    try:
        return compile_policy(policy.text)
    except PolicyError as error:
        raise _Found(kind, f"{policy.source} cannot be understood: {error}") from None


def _place(statement: Statement, policy: PolicyText) -> str:
    return f"{statement} of {policy.source}"


def _missing(kind: str, q: Question) -> Decision:
    if kind == IDENTITY:
        looked = ", ".join(policy.source for policy in q.identity.policies)
    elif kind == BOUNDARY:
        looked = q.identity.boundary.source if q.identity.boundary else ""
    elif kind == SESSION:
        looked = "the session's policies"
    else:
        looked = q.resource_policy.source if q.resource_policy else ""
    return Decision(False, False, kind, f"no statement that allows it in: {looked or 'no policy at all'}")
