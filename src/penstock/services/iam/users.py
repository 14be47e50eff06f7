"""Users: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_users.html"""

from __future__ import annotations

from typing import Any

from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, ids, keys, last_used, listing, quotas, tagging
from penstock.services.iam.boundaries import boundary_conditions, boundary_view, clear_boundary, set_boundary
from penstock.services.iam.records import AccessKey, User, VirtualMfa
from penstock.services.iam.state import State, changing, encode, reading

USER = arns.existing(User)


def view(account: str, user: User, *, full: bool = True) -> dict[str, Any]:
    """A user as answers show it; lists leave tags and the boundary out."""
    shown: dict[str, Any] = {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.id,
        "Arn": arns.arn(account, user),
        "CreateDate": user.created,
    }
    if full:
        shown |= boundary_view(user.boundary)
        if user.tags:
            shown["Tags"] = tagging.to_list(user.tags)
    return shown


def name_of_caller(call: Call, params: Params) -> str:
    """The user a request names, or the one who sends it. Raises AwsError ValidationError where neither is a user."""
    if "UserName" in params:
        return str(params["UserName"])
    if call.principal.kind is not Kind.USER:
        raise errors.invalid("Must specify userName when calling with non-User credentials")
    return call.principal.arn.rpartition("/")[2]


@operation("iam:CreateUser", resource=arns.new(User), conditions=boundary_conditions)
@changing
def create_user(state: State, call: Call, params: Params) -> Result:
    state.check_count(User, quotas.USERS, "UsersPerAccount", call)
    user = User(
        name=params["UserName"],
        path=params.get("Path", "/"),
        id=ids.unique(ids.USER),
        created=int(call.now),
        tags=tagging.given(params.get("Tags")),
    )
    state.add(user)
    if "PermissionsBoundary" in params:
        set_boundary(state, user, params["PermissionsBoundary"])
    return {"User": view(call.account, user)}


@operation("iam:GetUser", resource=USER)
@reading
def get_user(state: State, call: Call, params: Params) -> Result:
    if "UserName" not in params and call.principal.kind is Kind.ROOT:
        return {"User": {"Path": "/", "UserName": "root", "UserId": call.account, "Arn": call.principal.arn,
                         "CreateDate": 0}}  # fmt: skip
    return {"User": view(call.account, state.get(User, name_of_caller(call, params)))}


@operation("iam:ListUsers", resource=arns.all_of(User))
@reading
def list_users(state: State, call: Call, params: Params) -> Result:
    prefix, after = params.get("PathPrefix", "/"), listing.marker(params, "ListUsers")
    found = (user for user in state.all(User, after) if user.path.startswith(prefix))
    return listing.page(
        found, params, "ListUsers", "Users", lambda u: u.name, lambda u: view(call.account, u, full=False)
    )  # fmt: skip


@operation("iam:UpdateUser", resource=USER)
@changing
def update_user(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, params["UserName"])
    new_name = params.get("NewUserName", user.name)
    if new_name.lower() != user.name.lower() and state.taken(User, new_name) is not None:
        raise errors.exists("user", new_name)
    user.path = params.get("NewPath", user.path)
    if new_name != user.name:
        _rename(state, user, new_name)
    state.save(user)
    return {}


def _rename(state: State, user: User, new_name: str) -> None:
    """Move what is kept under the user's name. The unique id stays, so policies that name it still do."""
    state.remove(user)
    txn, account = state.txn, state.account
    moved = [(how, arn) for arn in user.attached for how in ("attached",)]
    moved += [("bounded", user.boundary)] if user.boundary else []
    for how, arn in moved:
        txn.clear(keys.use(account, how, arn, "user", user.name))
        txn.set(keys.use(account, how, arn, "user", new_name), b"")
    for group in user.groups:
        txn.clear(keys.member(account, group, user.name))
        txn.set(keys.member(account, group, new_name), b"")
    for access_key_id in user.keys:
        key = state.access_key(access_key_id)
        txn.set(keys.access_key(access_key_id), encode(AccessKey(
            account=account, user=new_name, secret=key.secret, created=key.created, active=key.active,
        )))  # fmt: skip
    for mine in user.mfa:
        device = state.get(VirtualMfa, mine.serial.rpartition("/")[2])
        device.user = new_name
        state.save(device)
    user.name = new_name


@operation("iam:DeleteUser", resource=USER)
@changing
def delete_user(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, params["UserName"])
    for holds, text in (
        (user.groups, "must remove users from group first."),
        (user.attached, "must detach all policies first."),
        (user.inline, "must delete policies first."),
        (user.keys, "must delete access keys first."),
        (user.login, "must delete login profile first."),
        (user.mfa, "must delete MFA device first."),
        (user.certificates, "must delete signing certificates first."),
        (user.ssh_keys or user.service_credentials, "must remove referenced objects first."),
    ):
        if holds:
            raise errors.conflict(f"Cannot delete entity, {text}")
    clear_boundary(state, user)
    last_used.forget(state, call, arns.arn(call.account, user))
    state.remove(user)
    return {}


@operation("iam:PutUserPermissionsBoundary", resource=USER, conditions=boundary_conditions)
@changing
def put_user_permissions_boundary(state: State, call: Call, params: Params) -> Result:
    set_boundary(state, state.get(User, params["UserName"]), params["PermissionsBoundary"])
    return {}


@operation("iam:DeleteUserPermissionsBoundary", resource=USER)
@changing
def delete_user_permissions_boundary(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, params["UserName"])
    if not user.boundary:
        raise errors.no_such_entity(f"Cannot find permissions boundary for user {user.name}")
    clear_boundary(state, user)
    return {}


@operation("iam:TagUser", resource=USER)
@changing
def tag_user(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, params["UserName"])
    user.tags = tagging.merged(user.tags, tagging.given(params["Tags"]))
    state.save(user)
    return {}


@operation("iam:UntagUser", resource=USER)
@changing
def untag_user(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, params["UserName"])
    user.tags = tagging.removed(user.tags, params["TagKeys"])
    state.save(user)
    return {}


@operation("iam:ListUserTags", resource=USER)
@reading
def list_user_tags(state: State, call: Call, params: Params) -> Result:
    return tagging.list_tags(state.get(User, params["UserName"]).tags, params, "user")
