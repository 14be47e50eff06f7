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
from penstock.services.iam.state import KINDS, State
from penstock.store.api import Transaction

Kind: TypeAlias = type[User] | type[Group] | type[Role]


def _entity(state: State, kind: Kind, name: str) -> User | Group | Role:
    return modifiable(state, name) if kind is Role else state.get(kind, name)


async def _put(call: Call, params: Params, kind: Kind, name: str) -> Result:
    text = documents.checked(params["PolicyDocument"], Purpose.IDENTITY)

    def body(txn: Transaction) -> Result:
        state = State(txn, call.account)
        entity = _entity(state, kind, name)
        entity.inline[params["PolicyName"]] = text
        quota = quotas.INLINE_CHARS[KINDS[kind]]
        if sum(documents.size(document) for document in entity.inline.values()) > quota:
            raise errors.limit(f"Maximum policy size of {quota} bytes exceeded for {KINDS[kind]} {name}")
        state.save(entity)
        return {}

    return await call.store.transact(body)


async def _get(call: Call, params: Params, kind: Kind, name: str) -> Result:
    def body(txn: Transaction) -> Result:
        policy = params["PolicyName"]
        text = State(txn, call.account).get(kind, name).inline.get(policy)
        if text is None:
            raise errors.no_such_entity(f"The {KINDS[kind]} policy with name {policy} cannot be found.")
        return {f"{kind.__name__}Name": name, "PolicyName": policy, "PolicyDocument": documents.shown(text)}

    return await call.store.transact(body, read_only=True)


async def _delete(call: Call, params: Params, kind: Kind, name: str) -> Result:
    def body(txn: Transaction) -> Result:
        state = State(txn, call.account)
        entity = _entity(state, kind, name)
        if entity.inline.pop(params["PolicyName"], None) is None:
            raise errors.no_such_entity(
                f"The {KINDS[kind]} policy with name {params['PolicyName']} cannot be found."
            )  # fmt: skip
        state.save(entity)
        return {}

    return await call.store.transact(body)


async def _list(call: Call, params: Params, kind: Kind, name: str) -> Result:
    def body(txn: Transaction) -> Result:
        names = State(txn, call.account).get(kind, name).inline
        scope = f"Inline:{KINDS[kind]}:{name}"
        return listing.page_of_list(names, params, scope, "PolicyNames", lambda n: n, lambda n: n)

    return await call.store.transact(body, read_only=True)


@operation("iam:PutUserPolicy", resource=arns.existing(User))
async def put_user_policy(call: Call, params: Params) -> Result:
    return await _put(call, params, User, params["UserName"])


@operation("iam:GetUserPolicy", resource=arns.existing(User))
async def get_user_policy(call: Call, params: Params) -> Result:
    return await _get(call, params, User, params["UserName"])


@operation("iam:DeleteUserPolicy", resource=arns.existing(User))
async def delete_user_policy(call: Call, params: Params) -> Result:
    return await _delete(call, params, User, params["UserName"])


@operation("iam:ListUserPolicies", resource=arns.existing(User))
async def list_user_policies(call: Call, params: Params) -> Result:
    return await _list(call, params, User, params["UserName"])


@operation("iam:PutGroupPolicy", resource=arns.existing(Group))
async def put_group_policy(call: Call, params: Params) -> Result:
    return await _put(call, params, Group, params["GroupName"])


@operation("iam:GetGroupPolicy", resource=arns.existing(Group))
async def get_group_policy(call: Call, params: Params) -> Result:
    return await _get(call, params, Group, params["GroupName"])


@operation("iam:DeleteGroupPolicy", resource=arns.existing(Group))
async def delete_group_policy(call: Call, params: Params) -> Result:
    return await _delete(call, params, Group, params["GroupName"])


@operation("iam:ListGroupPolicies", resource=arns.existing(Group))
async def list_group_policies(call: Call, params: Params) -> Result:
    return await _list(call, params, Group, params["GroupName"])


@operation("iam:PutRolePolicy", resource=arns.existing(Role))
async def put_role_policy(call: Call, params: Params) -> Result:
    return await _put(call, params, Role, params["RoleName"])


@operation("iam:GetRolePolicy", resource=arns.existing(Role))
async def get_role_policy(call: Call, params: Params) -> Result:
    return await _get(call, params, Role, params["RoleName"])


@operation("iam:DeleteRolePolicy", resource=arns.existing(Role))
async def delete_role_policy(call: Call, params: Params) -> Result:
    return await _delete(call, params, Role, params["RoleName"])


@operation("iam:ListRolePolicies", resource=arns.existing(Role))
async def list_role_policies(call: Call, params: Params) -> Result:
    return await _list(call, params, Role, params["RoleName"])
