"""Service-linked roles: made for one service, changed by nobody else (`service-linked-roles.json`).

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-service-linked-role.html
"""

from __future__ import annotations

import json
import uuid
from functools import cache

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, ids, keys, last_used, managed, roles
from penstock.services.iam.records import Role
from penstock.services.iam.state import State, changing, reading


class Linked(msgspec.Struct, frozen=True):
    """What AWS makes for a service: the role's name after AWSServiceRoleFor, and the policy that it carries.

    service: without .amazonaws.com. suffix: whether there may be several roles, told apart by a suffix.
    """

    service: str
    role: str
    policy: str
    description: str | None = None
    suffix: bool = False


@cache
def _known() -> dict[str, Linked]:
    return {row.service: row for row in msgspec.json.decode(managed.LINKED_FILE.read_bytes(), type=list[Linked])}


def _short(service: str) -> str:
    return service.removesuffix(".amazonaws.com")


def _name(service: str, suffix: str) -> str:
    words = _short(service).replace("-", ".").split(".")
    known = _known().get(_short(service))
    name = known.role if known else "".join(word[:1].upper() + word[1:] for word in reversed(words))
    return f"AWSServiceRoleFor{name}" + (f"_{suffix}" if suffix else "")


def _resource(call: Call, params: Params) -> str:
    service = params["AWSServiceName"]
    name = _name(service, params.get("CustomSuffix", ""))
    return f"arn:aws:iam::{call.account}:role/aws-service-role/{service}/{name}"


@operation(
    "iam:CreateServiceLinkedRole",
    resource=_resource,
    conditions=lambda call, params: {"iam:AWSServiceName": params["AWSServiceName"]},
)
@changing
def create_service_linked_role(state: State, call: Call, params: Params) -> Result:
    service, suffix = params["AWSServiceName"], params.get("CustomSuffix", "")
    if not service.endswith(".amazonaws.com"):
        raise errors.invalid_input(f"Service name {service} is not valid.")
    known = _known().get(_short(service))
    if suffix and not (known and known.suffix):
        raise errors.invalid_input(f"Custom suffix is not allowed for {service}")
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    }
    role = Role(
        name=_name(service, suffix),
        path=f"/aws-service-role/{service}/",
        id=ids.unique(ids.ROLE),
        created=int(call.now),
        trust=json.dumps(trust),
        description=params.get("Description") or (known.description if known else None),
        linked_service=service,
    )
    if state.taken(Role, role.name) is not None:
        raise errors.invalid_input(
            f"Service role name {role.name} has been taken in this account, please try a different suffix."
        )  # fmt: skip
    if known:
        arn = managed.LINKED_HEAD + known.policy
        role.attached.append(arn)
        state.txn.set(keys.use(call.account, "attached", arn, "role", role.name), b"")
    state.add(role)
    shown = roles.view(call.account, role)
    del shown["MaxSessionDuration"]
    return {"Role": shown}


@operation("iam:DeleteServiceLinkedRole", resource=arns.existing(Role))
@changing
def delete_service_linked_role(state: State, call: Call, params: Params) -> Result:
    role = state.get(Role, params["RoleName"])
    if not role.linked_service:
        raise errors.invalid_input(f"Role {role.name} is not a service linked role.")
    for arn in role.attached:
        state.txn.clear(keys.use(call.account, "attached", arn, "role", role.name))
    last_used.forget(state, call, arns.arn(call.account, role))
    state.remove(role)
    return {"DeletionTaskId": f"task/aws-service-role/{role.linked_service}/{role.name}/{uuid.uuid4()}"}


@operation("iam:GetServiceLinkedRoleDeletionStatus")
@reading
def get_service_linked_role_deletion_status(state: State, call: Call, params: Params) -> Result:
    """The role went with the call that asked for it, so a task is either done or none of ours."""
    parts = params["DeletionTaskId"].split("/")
    if len(parts) != 5 or parts[:2] != ["task", "aws-service-role"]:
        raise errors.no_such_entity(f"Deletion task {params['DeletionTaskId']} cannot be found.")
    return {"Status": "SUCCEEDED"}
