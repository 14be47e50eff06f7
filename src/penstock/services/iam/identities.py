"""What IAM holds about a principal: its policies, its boundary, its tags, and whether it is still there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.core.authz.evaluate import Question, decide
from penstock.core.authz.facts import GivenFacts
from penstock.core.identity import FEDERATED_BY, Identity, Kind, PolicyText, Principal, service
from penstock.services.iam import arns
from penstock.services.iam.records import Group, Role, User
from penstock.services.iam.state import State
from penstock.wire.errors import AwsError

TAKEN_BY = "penstock:taken-by"
"""In the session of a role that a service took by itself: that service's name."""
_EVERYTHING = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'
_NOTHING = '{"Version":"2012-10-17","Statement":[]}'


def identity_of(state: State, principal: Principal, managed_session: tuple[str, ...] = ()) -> Identity:
    """What IAM holds about a user, a role's session or a federated user. managed_session: ARNs that narrow it."""
    arn = principal.role_arn or principal.arn
    name = arn.rpartition("/")[2]
    unique_id = principal.id.partition(":")[0]
    session = tuple(PolicyText(a, state.policy_text(a) or _NOTHING) for a in managed_session)
    if principal.kind is Kind.ROLE:
        role = state.find(Role, name)
        if role is None or not (role.id == unique_id or _made_since(role, principal)):
            return Identity(missing=f"the role {arn} does not exist")
        return Identity(_policies(state, role, f"role {name}"), _boundary(state, role), role.tags, "", session)
    user_name = principal.session.get(FEDERATED_BY, name)
    if not user_name:
        return Identity((PolicyText("root", _EVERYTHING),), session=session)
    user = state.find(User, user_name)
    if user is None:
        return Identity(missing=f"the user {user_name} does not exist")
    if principal.kind is Kind.USER and user.id != unique_id:
        return Identity(missing=f"the user {arn} of these credentials does not exist")
    policies = _policies(state, user, f"user {user.name}")
    for group_name in user.groups:
        group = state.find(Group, group_name)
        if group is not None:
            policies += _policies(state, group, f"group {group_name}")
    return Identity(policies, _boundary(state, user), user.tags, "", session)


def identity_of_group(state: State, group: Group) -> Identity:
    """What a group's policies alone amount to."""
    return Identity(_policies(state, group, f"group {group.name}"))


def _made_since(role: Role, principal: Principal) -> bool:
    """Whether a service took the role before there was one, and the role that there is now trusts that service."""
    service = principal.session.get(TAKEN_BY, "")
    if principal.id.partition(":")[0] or not service:
        return False
    try:
        check_trust(role, principal.account, service, {})
    except AwsError:
        return False
    return True


def _policies(state: State, entity: User | Group | Role, of: str) -> tuple[PolicyText, ...]:
    inline = tuple(PolicyText(f"inline policy {name} of {of}", text) for name, text in entity.inline.items())
    attached = ((arn, state.policy_text(arn)) for arn in entity.attached)
    return inline + tuple(PolicyText(f"{arn} attached to {of}", text) for arn, text in attached if text is not None)


def _boundary(state: State, entity: User | Role) -> PolicyText | None:
    if not entity.boundary:
        return None
    return PolicyText(f"permissions boundary {entity.boundary}", state.policy_text(entity.boundary) or _NOTHING)


def check_trust(role: Role, account: str, name: str, context: Mapping[str, Any]) -> None:
    """Whether a service may take the role, by the role's own trust policy. Raises AwsError AccessDenied."""
    arn = arns.arn(account, role)
    trust = PolicyText(f"the trust policy of {arn}", role.trust)
    caller, facts = service(name, account), GivenFacts(context)
    question = Question(caller, "sts:AssumeRole", arn, account, facts, Identity(), trust, must_be_named=True)
    if not decide(question).allowed:
        raise AwsError("AccessDenied", f"{name} is not authorized to perform: sts:AssumeRole on resource: {arn}", 403)
