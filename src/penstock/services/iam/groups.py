"""Groups and who is in them: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_groups.html"""

from __future__ import annotations

from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, ids, keys, listing, quotas, users
from penstock.services.iam.records import Group, User
from penstock.services.iam.state import State, changing, reading

GROUP = arns.existing(Group)


def view(account: str, group: Group) -> dict[str, Any]:
    """A group as answers show it."""
    return {
        "Path": group.path,
        "GroupName": group.name,
        "GroupId": group.id,
        "Arn": arns.arn(account, group),
        "CreateDate": group.created,
    }


@operation("iam:CreateGroup", resource=arns.new(Group))
@changing
def create_group(state: State, call: Call, params: Params) -> Result:
    state.check_count(Group, quotas.GROUPS, "GroupsPerAccount", call)
    group = Group(
        name=params["GroupName"], path=params.get("Path", "/"), id=ids.unique(ids.GROUP), created=int(call.now)
    )  # fmt: skip
    state.add(group)
    return {"Group": view(call.account, group)}


@operation("iam:GetGroup", resource=GROUP)
@reading
def get_group(state: State, call: Call, params: Params) -> Result:
    group = state.get(Group, params["GroupName"])
    names = [key[4] for key in state.names(keys.members(call.account, group.name))]
    members = (user for user in (state.taken(User, name) for name in names) if user is not None)
    shown = listing.page_of_list(
        members, params, f"GetGroup:{group.name}", "Users", lambda u: u.name.lower(),
        lambda u: users.view(call.account, u, full=False),
    )  # fmt: skip
    return {"Group": view(call.account, group)} | shown


@operation("iam:ListGroups", resource=arns.all_of(Group))
@reading
def list_groups(state: State, call: Call, params: Params) -> Result:
    prefix, after = params.get("PathPrefix", "/"), listing.marker(params, "ListGroups")
    found = (group for group in state.all(Group, after) if group.path.startswith(prefix))
    return listing.page(found, params, "ListGroups", "Groups", lambda g: g.name, lambda g: view(call.account, g))


@operation("iam:UpdateGroup", resource=GROUP)
@changing
def update_group(state: State, call: Call, params: Params) -> Result:
    group = state.get(Group, params["GroupName"])
    new_name = params.get("NewGroupName", group.name)
    if new_name.lower() != group.name.lower() and state.taken(Group, new_name) is not None:
        raise errors.exists("group", new_name)
    group.path = params.get("NewPath", group.path)
    if new_name != group.name:
        _rename(state, group, new_name)
    state.save(group)
    return {}


def _rename(state: State, group: Group, new_name: str) -> None:
    state.remove(group)
    txn, account = state.txn, state.account
    for arn in group.attached:
        txn.clear(keys.use(account, "attached", arn, "group", group.name))
        txn.set(keys.use(account, "attached", arn, "group", new_name), b"")
    for key in state.names(keys.members(account, group.name)):
        txn.clear(keys.member(account, group.name, key[4]))
        txn.set(keys.member(account, new_name, key[4]), b"")
        user = state.taken(User, key[4])
        if user is not None:
            user.groups = [new_name if name == group.name else name for name in user.groups]
            state.save(user)
    group.name = new_name


@operation("iam:DeleteGroup", resource=GROUP)
@changing
def delete_group(state: State, call: Call, params: Params) -> Result:
    group = state.get(Group, params["GroupName"])
    if state.names(keys.members(call.account, group.name)):
        raise errors.conflict("Cannot delete entity, must remove users from group first.")
    if group.attached:
        raise errors.conflict("Cannot delete entity, must detach all policies first.")
    if group.inline:
        raise errors.conflict("Cannot delete entity, must delete policies first.")
    state.remove(group)
    return {}


@operation("iam:AddUserToGroup", resource=GROUP)
@changing
def add_user_to_group(state: State, call: Call, params: Params) -> Result:
    group, user = state.get(Group, params["GroupName"]), state.get(User, params["UserName"])
    if group.name in user.groups:
        return {}
    if call.node.settings.limits and len(user.groups) >= quotas.GROUPS_PER_USER:
        raise errors.limit(f"Cannot exceed quota for GroupsPerUser: {quotas.GROUPS_PER_USER}")
    user.groups.append(group.name)
    state.txn.set(keys.member(call.account, group.name, user.name), b"")
    state.save(user)
    return {}


@operation("iam:RemoveUserFromGroup", resource=GROUP)
@changing
def remove_user_from_group(state: State, call: Call, params: Params) -> Result:
    group, user = state.get(Group, params["GroupName"]), state.get(User, params["UserName"])
    if group.name not in user.groups:
        raise errors.no_such_entity(f"User {user.name} not in group {group.name}")
    user.groups.remove(group.name)
    state.txn.clear(keys.member(call.account, group.name, user.name))
    state.save(user)
    return {}


@operation("iam:ListGroupsForUser", resource=arns.existing(User))
@reading
def list_groups_for_user(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, params["UserName"])
    found = (group for group in (state.find(Group, name) for name in user.groups) if group is not None)
    return listing.page_of_list(
        found, params, f"GroupsForUser:{user.name}", "Groups", lambda g: g.name, lambda g: view(call.account, g)
    )  # fmt: skip
