"""Roles: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html"""

from __future__ import annotations

from typing import Any

from penstock.core.authz.validate import Purpose
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, documents, errors, ids, keys, last_used, listing, quotas, tagging
from penstock.services.iam.boundaries import boundary_conditions, boundary_view, clear_boundary, set_boundary
from penstock.services.iam.records import Role
from penstock.services.iam.state import State, changing, reading

ROLE = arns.existing(Role)


def view(account: str, role: Role, *, full: bool = True) -> dict[str, Any]:
    """A role as answers show it; lists leave tags and the boundary out."""
    shown: dict[str, Any] = {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.id,
        "Arn": arns.arn(account, role),
        "CreateDate": role.created,
        "AssumeRolePolicyDocument": documents.shown(role.trust),
        "MaxSessionDuration": role.max_session_s,
    }
    if role.description is not None:
        shown["Description"] = role.description
    if full:
        shown |= boundary_view(role.boundary)
        if role.tags:
            shown["Tags"] = tagging.to_list(role.tags)
    return shown


def trust_checked(text: str) -> str:
    """A trust policy, checked. Raises AwsError MalformedPolicyDocument or LimitExceeded."""
    documents.checked(text, Purpose.TRUST)
    if documents.size(text) > quotas.TRUST_CHARS:
        raise errors.limit(f"Cannot exceed quota for ACLSizePerRole: {quotas.TRUST_CHARS}")
    return text


def modifiable(state: State, name: str) -> Role:
    """The role, for a change. Raises AwsError UnmodifiableEntity for a service-linked one."""
    role = state.get(Role, name)
    if role.linked_service:
        raise errors.unmodifiable(f"Cannot perform the operation on the protected role '{name}' - this role is only "
                                  f"modifiable by AWS")  # fmt: skip
    return role


@operation("iam:CreateRole", resource=arns.new(Role), conditions=boundary_conditions)
@changing
def create_role(state: State, call: Call, params: Params) -> Result:
    if params.get("Path", "/").startswith("/aws-service-role/"):
        raise errors.invalid("Path /aws-service-role/ is reserved for service-linked roles.")
    role = Role(
        name=params["RoleName"],
        path=params.get("Path", "/"),
        id=ids.unique(ids.ROLE),
        created=int(call.now),
        trust=trust_checked(params["AssumeRolePolicyDocument"]),
        description=params.get("Description"),
        max_session_s=params.get("MaxSessionDuration", 3600),
        tags=tagging.given(params.get("Tags")),
    )

    state.check_count(Role, quotas.ROLES, "RolesPerAccount", call)
    state.add(role)
    if "PermissionsBoundary" in params:
        set_boundary(state, role, params["PermissionsBoundary"])
    shown = view(call.account, role)
    del shown["MaxSessionDuration"]  # AWS's answer to CreateRole leaves it out
    return {"Role": shown}


@operation("iam:GetRole", resource=ROLE)
@reading
def get_role(state: State, call: Call, params: Params) -> Result:
    role = state.get(Role, params["RoleName"])
    return {"Role": view(call.account, role) | {"RoleLastUsed": last_used.of_role(state, call, role)}}


@operation("iam:ListRoles", resource=arns.all_of(Role))
@reading
def list_roles(state: State, call: Call, params: Params) -> Result:
    prefix = params.get("PathPrefix", "/")
    after = listing.marker(params, "ListRoles")

    found = (role for role in state.all(Role, after) if role.path.startswith(prefix))
    return listing.page(
        found, params, "ListRoles", "Roles", lambda r: r.name, lambda r: view(call.account, r, full=False)
    )  # fmt: skip


@operation("iam:UpdateRole", resource=ROLE)
@changing
def update_role(state: State, call: Call, params: Params) -> Result:
    role = modifiable(state, params["RoleName"])
    role.description = params.get("Description", role.description)
    role.max_session_s = params.get("MaxSessionDuration", 3600)
    state.save(role)
    return {}


@operation("iam:UpdateRoleDescription", resource=ROLE)
@changing
def update_role_description(state: State, call: Call, params: Params) -> Result:
    role = state.get(Role, params["RoleName"])
    role.description = params["Description"]
    state.save(role)
    return {"Role": view(call.account, role)}


@operation("iam:UpdateAssumeRolePolicy", resource=ROLE)
@changing
def update_assume_role_policy(state: State, call: Call, params: Params) -> Result:
    trust = trust_checked(params["PolicyDocument"])

    role = modifiable(state, params["RoleName"])
    role.trust = trust
    state.save(role)
    return {}


@operation("iam:DeleteRole", resource=ROLE)
@changing
def delete_role(state: State, call: Call, params: Params) -> Result:
    role = modifiable(state, params["RoleName"])
    if state.names(keys.holders(call.account, role.name)):
        raise errors.conflict("Cannot delete entity, must remove roles from instance profile first.")
    if role.attached:
        raise errors.conflict("Cannot delete entity, must detach all policies first.")
    if role.inline:
        raise errors.conflict("Cannot delete entity, must delete policies first.")
    clear_boundary(state, role)
    last_used.forget(state, call, arns.arn(call.account, role))
    state.remove(role)
    return {}


@operation("iam:PutRolePermissionsBoundary", resource=ROLE, conditions=boundary_conditions)
@changing
def put_role_permissions_boundary(state: State, call: Call, params: Params) -> Result:
    set_boundary(state, modifiable(state, params["RoleName"]), params["PermissionsBoundary"])
    return {}


@operation("iam:DeleteRolePermissionsBoundary", resource=ROLE)
@changing
def delete_role_permissions_boundary(state: State, call: Call, params: Params) -> Result:
    role = modifiable(state, params["RoleName"])
    if not role.boundary:
        raise errors.no_such_entity(f"Cannot find permissions boundary for role {role.name}")
    clear_boundary(state, role)
    return {}


@operation("iam:TagRole", resource=ROLE)
@changing
def tag_role(state: State, call: Call, params: Params) -> Result:
    tags = tagging.given(params["Tags"])

    role = state.get(Role, params["RoleName"])
    role.tags = tagging.merged(role.tags, tags)
    state.save(role)
    return {}


@operation("iam:UntagRole", resource=ROLE)
@changing
def untag_role(state: State, call: Call, params: Params) -> Result:
    role = state.get(Role, params["RoleName"])
    role.tags = tagging.removed(role.tags, params["TagKeys"])
    state.save(role)
    return {}


@operation("iam:ListRoleTags", resource=ROLE)
@reading
def list_role_tags(state: State, call: Call, params: Params) -> Result:
    return tagging.list_tags(state.get(Role, params["RoleName"]).tags, params, "role")
