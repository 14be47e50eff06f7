"""May this principal do this? Policy documents compiled to predicates, evaluated as AWS documents it.

Lives here: `pattern`, `conditions`, `principals`, `document` and `group` (policies compiled), `facts` (a request's condition
keys), `evaluate` (the decision), `denial`, `decisions` and `why` (how it is told), `reach` (what calls were about),
`validate` (a policy as it is written).
Knows policies and condition keys; knows no service and no storage (documents come through `identity.Directory` and the
operation's own policy loader).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.arn import account_of
from penstock.core.authz.decisions import Decided, Decisions
from penstock.core.authz.denial import denied
from penstock.core.authz.evaluate import Decision, Question, decide
from penstock.core.authz.facts import CallFacts
from penstock.core.authz.resource_tags import resource_tags, tags_of
from penstock.core.identity import RESTRICTED, Identity, Kind, PolicyText, RequiredPolicy
from penstock.wire.errors import AwsError

if TYPE_CHECKING:
    from penstock.core.call import Call
    from penstock.core.operation import Params

__all__ = ["PASS_ROLE", "Decided", "Decisions", "authorize", "check_pass_role", "require", "resource_tags"]

log = logging.getLogger(__name__)

_NOBODY = Identity()
PASS_ROLE = "iam:PassRole"
_ROOT = Kind.ROOT
_IN_IAM = frozenset({Kind.USER, Kind.ROLE, Kind.FEDERATED})


async def authorize(call: Call, params: Params) -> None:
    """Raises AwsError AccessDenied (in the service's own code and wording) unless the call is allowed."""
    principal, operation = call.principal, call.operation
    restricted = bool(principal.session) and RESTRICTED in principal.session
    is_own_root = principal.kind is _ROOT and principal.account == call.account
    if not restricted and (not operation.action or (is_own_root and operation.policy is None)):
        return
    policy, required = None, False
    if operation.policy is not None:
        document = await operation.policy(call, params)
        required = document is not None and isinstance(document, RequiredPolicy)
        is_own_root = is_own_root and principal.account == call.account  # the loader may have found another owner
        if is_own_root and not restricted and (document is None or required):
            return
        policy = _as_text(document, "the resource's policy")
    action = operation.action if operation.action_of is None else operation.action_of(params)
    if restricted and call.instead is None:
        raise AwsError("AccessDenied", "Access Denied", 403)
    resources = None
    if call.instead is not None:
        action, instead = call.instead
        if not action or (is_own_root and policy is None):
            return
        resources = [instead]
    identity = await _identity(call)
    if principal.kind in _IN_IAM:
        call.node.directory.used(principal, call.now, action, call.region)
    for resource in resources or await operation.resources(call, params):
        await _check(call, params, action, resource, identity, policy, None, must_be_named=required)


async def require(
    call: Call,
    params: Params,
    action: str,
    resource: str,
    *,
    owner: str = "",
    policy: Mapping[str, Any] | str | None = None,
    must_be_named: bool = False,
    even_root: bool = False,
    conditions: Mapping[str, Any] | None = None,
) -> None:
    """Demand a further permission from within an operation (a copy's source, iam:PassRole, another owner's bucket).

    owner: the account the resource belongs to (default: the one in its ARN, else the call's). policy: the resource's
    own. must_be_named: that policy must allow even inside one account. even_root: whether it can deny the owner's root
    too. conditions: condition keys in place of the operation's. Raises AwsError AccessDenied.
    """
    principal = call.principal
    owner = owner or account_of(resource) or call.account
    if principal.kind is Kind.ROOT and principal.account == owner and not (must_be_named or even_root):
        return
    identity = await _identity(call)
    text = _as_text(policy, f"the policy of {resource}")
    await _check(call, params, action, resource, identity, text, conditions or {}, owner, must_be_named=must_be_named)


async def check_pass_role(call: Call, role_arn: str, service: str) -> None:
    """Demand iam:PassRole on a role for `service` (e.g. "lambda.amazonaws.com"). Raises AwsError AccessDenied.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
    """
    await require(call, {}, PASS_ROLE, role_arn, conditions={"iam:PassedToService": service})


async def _identity(call: Call) -> Identity:
    if call.principal.kind in _IN_IAM:
        return await call.node.directory.identity(call.principal)
    return _NOBODY


async def _check(
    call: Call,
    params: Params,
    action: str,
    resource: str,
    identity: Identity,
    policy: PolicyText | None,
    conditions: Mapping[str, Any] | None,
    owner: str = "",
    *,
    must_be_named: bool = False,
) -> None:
    owner = owner or account_of(resource) or call.account
    facts = CallFacts(call, params, identity, owner, conditions)
    if action == PASS_ROLE:
        facts.tags = {}  # "You cannot use the tag on an IAM role to control access to who can pass that role"
    question = Question(
        call.principal, action, resource, owner, facts, identity, policy, must_be_named=must_be_named
    )  # fmt: skip
    decision = decide(question)
    if facts.asked_tags:
        facts.tags = await tags_of(call.store, resource)
        decision = decide(question)
    _tell(call, action, resource, decision)
    if call.principal.kind in _IN_IAM:
        call.node.directory.reached(call.principal, action, resource, allowed=decision.allowed)
    if not decision.allowed:
        raise denied(call.operation.service, call.principal, action, resource, decision)


def _tell(call: Call, action: str, resource: str, decision: Decision) -> None:
    principal = call.principal
    call.node.decisions.ring.append(
        (call.now, call.request_id, principal.arn, action, resource, decision.allowed, decision.where)
    )
    if not decision.allowed:
        how = "denied by" if decision.explicit else "not allowed:"
        log.warning(
            "denied: %s may not %s on %s: %s %s, %s", principal.arn, action, resource, how, decision.kind,
            decision.where, extra={"fields": {"request_id": call.request_id}},
        )  # fmt: skip


def _as_text(document: Mapping[str, Any] | str | None, source: str) -> PolicyText | None:
    if document is None:
        return None
    return PolicyText(source, str(document) if isinstance(document, str) else msgspec.json.encode(document).decode())
