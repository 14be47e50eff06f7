"""What IAM knows for the explanation of a decision that nobody has asked for yet: the principal and its policies."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from penstock.core import identity
from penstock.core.arn import account_of, is_arn, parse
from penstock.core.authz import why as explanation
from penstock.core.authz.evaluate import Question
from penstock.core.identity import Asked, Identity, Kind, PolicyText, Principal
from penstock.core.operation import REGISTRY
from penstock.services.iam import arns, errors, simulation
from penstock.services.iam.records import Role
from penstock.services.iam.state import State
from penstock.store.api import Transaction

_AS_CLOSE = 0.88
"""How alike two actions are that differ by a slip and not in what they mean."""


def why(txn: Transaction, asked: Asked, now: float, tags: Mapping[str, str]) -> dict[str, Any]:
    """See `core.identity.Directory.why`. now: seconds since the epoch. tags: the resource's, as condition keys."""
    service, colon, name = asked.action.partition(":")
    if not (service and colon and name):
        raise errors.invalid_input(f"{asked.action} is no action: it names its service too, as in s3:GetObject.")
    principal, held = _who(txn, asked.principal)
    policy, required = _resource_policy(txn, asked)
    facts = explanation.ImaginedFacts({**tags, **asked.context}, principal, held, asked.resource, now)
    owner = account_of(asked.resource) or principal.account
    told = explanation.told(
        Question(principal, asked.action, asked.resource, owner, facts, held, policy, must_be_named=required)
    )
    return told | {"meant": _meant(asked.action)}


def _meant(action: str) -> str:
    """An action that operations here ask for and that this one may be a slip of; "" for none."""
    known = {declared.action for declared in REGISTRY.values()}
    if action.lower() in map(str.lower, known):
        return ""
    return next(iter(difflib.get_close_matches(action, known, 1, _AS_CLOSE)), "")


def _who(txn: Transaction, name: str) -> tuple[Principal, Identity]:
    if not is_arn(name):
        if name.endswith(".amazonaws.com"):
            return identity.service(name), Identity()
        raise errors.invalid_input(f"{name} is neither an ARN nor a service's name.")
    arn = parse(name)
    if arn.service == "iam" and arn.resource == "root":
        return identity.root(arn.account), Identity()
    state = State(txn, arn.account)
    if arn.service == "sts" and arn.resource.startswith("assumed-role/"):
        role = state.get(Role, arn.resource.split("/")[1])
        _, held = simulation.of_source(state, arns.arn(arn.account, role))
        session = f"{role.id}:{arn.resource.rpartition('/')[2]}"
        return Principal(Kind.ROLE, arn.account, name, session, role_arn=arns.arn(arn.account, role)), held
    return simulation.of_source(state, name)


def _resource_policy(txn: Transaction, asked: Asked) -> tuple[PolicyText | None, bool]:
    """The resource's policy, and whether it must allow even inside one account, as a role's and a key's must."""
    service, _, operation = asked.action.partition(":")
    if asked.resource_policy:
        return PolicyText(f"the policy of {asked.resource}", asked.resource_policy), service == "kms"
    if service == "sts" and operation.startswith("AssumeRole") and is_arn(asked.resource):
        arn = parse(asked.resource)
        role = State(txn, arn.account).get(Role, arn.resource.rpartition("/")[2])
        return PolicyText(f"the trust policy of {asked.resource}", role.trust), True
    return None, False
