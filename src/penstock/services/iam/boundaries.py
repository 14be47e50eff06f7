"""Permissions boundaries of users and roles.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
"""

from __future__ import annotations

from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.iam import errors, keys
from penstock.services.iam.records import Role, User
from penstock.services.iam.state import KINDS, State


def boundary_conditions(call: Call, params: Params) -> dict[str, Any]:
    """The condition key with which a policy demands a boundary."""
    return {"iam:PermissionsBoundary": params.get("PermissionsBoundary")}


def boundary_view(arn: str) -> dict[str, Any]:
    """The PermissionsBoundary member of a user or role; nothing where it has none."""
    if not arn:
        return {}
    return {"PermissionsBoundary": {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn}}


def set_boundary(state: State, entity: User | Role, arn: str) -> None:
    """Make a managed policy the entity's boundary. Raises AwsError ValidationError or NoSuchEntity."""
    if ":policy/" not in arn or not arn.startswith("arn:"):
        raise errors.invalid(f"Value ({arn}) for parameter PermissionsBoundary is invalid.")
    if state.policy_text(arn) is None:
        raise errors.no_such_entity(f"Policy {arn} does not exist or is not attachable.")
    clear_boundary(state, entity)
    entity.boundary = arn
    state.txn.set(keys.use(state.account, "bounded", arn, KINDS[type(entity)], entity.name), b"")
    state.save(entity)


def clear_boundary(state: State, entity: User | Role) -> None:
    """Take the entity's boundary away, if it has one."""
    if entity.boundary:
        state.txn.clear(keys.use(state.account, "bounded", entity.boundary, KINDS[type(entity)], entity.name))
        entity.boundary = ""
        state.save(entity)
