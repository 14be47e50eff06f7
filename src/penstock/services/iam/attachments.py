"""Managed policies attached to users, groups and roles, three operations for each; and who carries a policy."""

from __future__ import annotations

from typing import Any, TypeAlias

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, keys, listing, managed, quotas
from penstock.services.iam.records import Group, Role, User
from penstock.services.iam.roles import modifiable
from penstock.services.iam.state import KINDS, State, changing, reading

Kind: TypeAlias = type[User] | type[Group] | type[Role]


def policy_condition(call: Call, params: Params) -> dict[str, Any]:
    """The condition key with which a policy limits what may be attached."""
    return {"iam:PolicyARN": params.get("PolicyArn")}


def _entity(state: State, kind: Kind, name: str) -> User | Group | Role:
    return modifiable(state, name) if kind is Role else state.get(kind, name)


def _attach(state: State, call: Call, params: Params, kind: Kind, name: str) -> Result:
    entity = _entity(state, kind, name)
    arn = params["PolicyArn"]
    if not arn.startswith("arn:") or ":policy/" not in arn:
        raise errors.invalid("Invalid ARN:  Could not be parsed!")
    if state.policy_text(arn) is None:
        raise errors.no_such_entity(f"Policy {arn} does not exist or is not attachable.")
    if arn.startswith(managed.LINKED_HEAD):
        raise errors.not_attachable("Cannot attach a Service Role Policy to a Customer Role.")
    if arn in entity.attached:
        return {}
    quota = quotas.ATTACHED[KINDS[kind]]
    if call.node.settings.limits and len(entity.attached) >= quota:
        raise errors.limit(f"Cannot exceed quota for PoliciesPer{kind.__name__}: {quota}")
    entity.attached.append(arn)
    state.txn.set(keys.use(call.account, "attached", arn, KINDS[kind], name), b"")
    state.save(entity)
    return {}


def _detach(state: State, call: Call, params: Params, kind: Kind, name: str) -> Result:
    entity = _entity(state, kind, name)
    arn = params["PolicyArn"]
    if arn not in entity.attached:
        raise errors.no_such_entity(f"Policy {arn} was not found.")
    entity.attached.remove(arn)
    state.txn.clear(keys.use(call.account, "attached", arn, KINDS[kind], name))
    state.save(entity)
    return {}


def _list(state: State, call: Call, params: Params, kind: Kind, name: str) -> Result:
    prefix = params.get("PathPrefix", "/")

    carried = [arn for arn in state.get(kind, name).attached if _path(arn).startswith(prefix)]
    return listing.page_of_list(
        carried, params, f"Attached:{KINDS[kind]}:{name}", "AttachedPolicies", lambda arn: arn, attached_view
    )  # fmt: skip


def attached_view(arn: str) -> dict[str, str]:
    """An attached policy as answers show it."""
    return {"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn}


def _path(arn: str) -> str:
    """The path in a managed policy's ARN."""
    tail = arn.partition(":policy")[2]
    return tail[: tail.rfind("/") + 1]


@operation("iam:ListEntitiesForPolicy", resource=arns.policy_arn)
@reading
def list_entities_for_policy(state: State, call: Call, params: Params) -> Result:
    arn = params["PolicyArn"]
    usage = params.get("PolicyUsageFilter", "")
    wanted = {"User": "user", "Role": "role", "Group": "group"}.get(params.get("EntityFilter", ""), "")
    prefix = params.get("PathPrefix", "/")

    if state.policy_text(arn) is None:
        raise errors.no_such("policy", arn)
    found: set[tuple[str, str]] = set()
    if usage != "PermissionsBoundary":
        found |= {(key[4], key[5]) for key in state.names(keys.uses(call.account, "attached", arn))}
    if usage != "PermissionsPolicy":
        found |= {(key[4], key[5]) for key in state.names(keys.uses(call.account, "bounded", arn))}
    result: Result = {"PolicyGroups": [], "PolicyUsers": [], "PolicyRoles": []}
    kinds: dict[str, Kind] = {"group": Group, "user": User, "role": Role}
    shown = listing.page_of_list(
        [pair for pair in found if wanted in ("", pair[0])], params, f"Entities:{arn}", "found",
        "/".join, lambda pair: pair,
    )  # fmt: skip
    for kind, name in shown.pop("found"):
        entity = state.taken(kinds[kind], name)
        if entity is not None and entity.path.startswith(prefix):
            noun = kind.capitalize()
            result[f"Policy{noun}s"].append({f"{noun}Name": entity.name, f"{noun}Id": entity.id})
    return result | shown


@operation("iam:AttachUserPolicy", resource=arns.existing(User), conditions=policy_condition)
@changing
def attach_user_policy(state: State, call: Call, params: Params) -> Result:
    return _attach(state, call, params, User, params["UserName"])


@operation("iam:DetachUserPolicy", resource=arns.existing(User), conditions=policy_condition)
@changing
def detach_user_policy(state: State, call: Call, params: Params) -> Result:
    return _detach(state, call, params, User, params["UserName"])


@operation("iam:ListAttachedUserPolicies", resource=arns.existing(User))
@reading
def list_attached_user_policies(state: State, call: Call, params: Params) -> Result:
    return _list(state, call, params, User, params["UserName"])


@operation("iam:AttachGroupPolicy", resource=arns.existing(Group), conditions=policy_condition)
@changing
def attach_group_policy(state: State, call: Call, params: Params) -> Result:
    return _attach(state, call, params, Group, params["GroupName"])


@operation("iam:DetachGroupPolicy", resource=arns.existing(Group), conditions=policy_condition)
@changing
def detach_group_policy(state: State, call: Call, params: Params) -> Result:
    return _detach(state, call, params, Group, params["GroupName"])


@operation("iam:ListAttachedGroupPolicies", resource=arns.existing(Group))
@reading
def list_attached_group_policies(state: State, call: Call, params: Params) -> Result:
    return _list(state, call, params, Group, params["GroupName"])


@operation("iam:AttachRolePolicy", resource=arns.existing(Role), conditions=policy_condition)
@changing
def attach_role_policy(state: State, call: Call, params: Params) -> Result:
    return _attach(state, call, params, Role, params["RoleName"])


@operation("iam:DetachRolePolicy", resource=arns.existing(Role), conditions=policy_condition)
@changing
def detach_role_policy(state: State, call: Call, params: Params) -> Result:
    return _detach(state, call, params, Role, params["RoleName"])


@operation("iam:ListAttachedRolePolicies", resource=arns.existing(Role))
@reading
def list_attached_role_policies(state: State, call: Call, params: Params) -> Result:
    return _list(state, call, params, Role, params["RoleName"])
