"""Inline policies of users, groups and roles: the same four operations for each.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_managed-vs-inline.html
"""

from __future__ import annotations

from typing import TypeAlias

from penstock.core.authz.validate import Purpose
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, documents, errors, listing, quotas
from penstock.services.iam.records import Group, Role, User
from penstock.services.iam.roles import modifiable
from penstock.services.iam.state import KINDS, State, changing, reading

Kind: TypeAlias = type[User] | type[Group] | type[Role]


def _entity(state: State, kind: Kind, name: str) -> User | Group | Role:
    return modifiable(state, name) if kind is Role else state.get(kind, name)


def _put(state: State, call: Call, params: Params, kind: Kind, name: str) -> Result:
    text = documents.checked(params["PolicyDocument"], Purpose.IDENTITY)

    entity = _entity(state, kind, name)
    entity.inline[params["PolicyName"]] = text
    quota = quotas.INLINE_CHARS[KINDS[kind]]
    if sum(documents.size(document) for document in entity.inline.values()) > quota:
        raise errors.limit(f"Maximum policy size of {quota} bytes exceeded for {KINDS[kind]} {name}")
    state.save(entity)
    return {}


def _get(state: State, call: Call, params: Params, kind: Kind, name: str) -> Result:
    policy = params["PolicyName"]
    text = state.get(kind, name).inline.get(policy)
    if text is None:
        raise errors.no_such_entity(f"The {KINDS[kind]} policy with name {policy} cannot be found.")
    return {f"{kind.__name__}Name": name, "PolicyName": policy, "PolicyDocument": documents.shown(text)}


def _delete(state: State, call: Call, params: Params, kind: Kind, name: str) -> Result:
    entity = _entity(state, kind, name)
    if entity.inline.pop(params["PolicyName"], None) is None:
        raise errors.no_such_entity(
            f"The {KINDS[kind]} policy with name {params['PolicyName']} cannot be found."
        )  # fmt: skip
    state.save(entity)
    return {}


def _list(state: State, call: Call, params: Params, kind: Kind, name: str) -> Result:
    names = state.get(kind, name).inline
    scope = f"Inline:{KINDS[kind]}:{name}"
    return listing.page_of_list(names, params, scope, "PolicyNames", lambda n: n, lambda n: n)


@operation("iam:PutUserPolicy", resource=arns.existing(User))
@changing
def put_user_policy(state: State, call: Call, params: Params) -> Result:
    return _put(state, call, params, User, params["UserName"])


@operation("iam:GetUserPolicy", resource=arns.existing(User))
@reading
def get_user_policy(state: State, call: Call, params: Params) -> Result:
    return _get(state, call, params, User, params["UserName"])


@operation("iam:DeleteUserPolicy", resource=arns.existing(User))
@changing
def delete_user_policy(state: State, call: Call, params: Params) -> Result:
    return _delete(state, call, params, User, params["UserName"])


@operation("iam:ListUserPolicies", resource=arns.existing(User))
@reading
def list_user_policies(state: State, call: Call, params: Params) -> Result:
    return _list(state, call, params, User, params["UserName"])


@operation("iam:PutGroupPolicy", resource=arns.existing(Group))
@changing
def put_group_policy(state: State, call: Call, params: Params) -> Result:
    return _put(state, call, params, Group, params["GroupName"])


@operation("iam:GetGroupPolicy", resource=arns.existing(Group))
@reading
def get_group_policy(state: State, call: Call, params: Params) -> Result:
    return _get(state, call, params, Group, params["GroupName"])


@operation("iam:DeleteGroupPolicy", resource=arns.existing(Group))
@changing
def delete_group_policy(state: State, call: Call, params: Params) -> Result:
    return _delete(state, call, params, Group, params["GroupName"])


@operation("iam:ListGroupPolicies", resource=arns.existing(Group))
@reading
def list_group_policies(state: State, call: Call, params: Params) -> Result:
    return _list(state, call, params, Group, params["GroupName"])


@operation("iam:PutRolePolicy", resource=arns.existing(Role))
@changing
def put_role_policy(state: State, call: Call, params: Params) -> Result:
    return _put(state, call, params, Role, params["RoleName"])


@operation("iam:GetRolePolicy", resource=arns.existing(Role))
@reading
def get_role_policy(state: State, call: Call, params: Params) -> Result:
    return _get(state, call, params, Role, params["RoleName"])


@operation("iam:DeleteRolePolicy", resource=arns.existing(Role))
@changing
def delete_role_policy(state: State, call: Call, params: Params) -> Result:
    return _delete(state, call, params, Role, params["RoleName"])


@operation("iam:ListRolePolicies", resource=arns.existing(Role))
@reading
def list_role_policies(state: State, call: Call, params: Params) -> Result:
    return _list(state, call, params, Role, params["RoleName"])
