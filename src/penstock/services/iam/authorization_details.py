"""GetAccountAuthorizationDetails: all of an account's IAM, as tools that audit or import it read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.core.paging import encode
from penstock.services.iam import (
    arns,
    documents,
    groups,
    instance_profiles,
    keys,
    listing,
    managed,
    policies,
    roles,
    users,
)
from penstock.services.iam.attachments import attached_view
from penstock.services.iam.managed import Managed
from penstock.services.iam.records import Entity, Group, InstanceProfile, Policy, Role, User
from penstock.services.iam.state import State, reading

_MEMBERS = {
    "User": "UserDetailList", "Group": "GroupDetailList", "Role": "RoleDetailList", "LocalManagedPolicy": "Policies",
    "AWSManagedPolicy": "Policies",
}  # fmt: skip


@operation("iam:GetAccountAuthorizationDetails")
@reading
def get_account_authorization_details(state: State, call: Call, params: Params) -> Result:
    wanted = params.get("Filter") or list(_MEMBERS)
    after = listing.marker(params, "AuthorizationDetails")
    limit = params.get("MaxItems", listing.DEFAULT_ITEMS)
    result: Result = {"UserDetailList": [], "GroupDetailList": [], "RoleDetailList": [], "Policies": []}
    shown, last = 0, ""
    for kind, name, detail in _details(state):
        position = f"{list(_MEMBERS).index(kind)}{name.lower()}"
        if kind not in wanted or position <= after:
            continue
        if shown == limit:
            return result | {"IsTruncated": True, "Marker": encode("AuthorizationDetails", last)}
        result[_MEMBERS[kind]].append(detail())
        shown, last = shown + 1, position
    return result | {"IsTruncated": False}


def _details(state: State) -> Iterator[tuple[str, str, Any]]:
    """(kind, name, how to show it), in the order of `_MEMBERS` and of names."""
    for user in state.all(User):
        yield "User", user.name, lambda user=user: _user(state, user)
    for group in state.all(Group):
        yield "Group", group.name, lambda group=group: groups.view(state.account, group) | _policies(group, "Group")
    for role in state.all(Role):
        yield "Role", role.name, lambda role=role: _role(state, role)
    for policy in state.all(Policy):
        yield "LocalManagedPolicy", policy.name, lambda policy=policy: _managed(state, policy)
    for own in sorted(managed.all_policies().values(), key=lambda p: p.name.lower()):
        if state.names(keys.uses(state.account, "attached", own.arn)):
            yield "AWSManagedPolicy", own.name, lambda own=own: _managed(state, own)


def _policies(entity: Entity, noun: str) -> dict[str, Any]:
    return {
        f"{noun}PolicyList": [
            {"PolicyName": name, "PolicyDocument": documents.shown(text)} for name, text in entity.inline.items()
        ],
        "AttachedManagedPolicies": [attached_view(arn) for arn in entity.attached],
    }


def _user(state: State, user: User) -> dict[str, Any]:
    return users.view(state.account, user) | _policies(user, "User") | {"GroupList": list(user.groups)}


def _role(state: State, role: Role) -> dict[str, Any]:
    shown = roles.view(state.account, role) | _policies(role, "Role")
    del shown["MaxSessionDuration"]
    shown.pop("Description", None)
    names = [key[4] for key in state.names(keys.holders(state.account, role.name))]
    held = (profile for profile in (state.taken(InstanceProfile, name) for name in names) if profile is not None)
    shown["InstanceProfileList"] = [instance_profiles.view(state, profile) for profile in held]
    shown["RoleLastUsed"] = {}
    return shown


def _managed(state: State, policy: Policy | Managed) -> dict[str, Any]:
    shown = policies.view(state, policy)
    shown.pop("Tags")
    if isinstance(policy, Managed):
        version = policies.managed_version(policy) | {"Document": documents.shown(policy.text)}
        return shown | {"PolicyVersionList": [version]}
    versions = [policies.version_view(policy, version, document=True) for version in reversed(policy.versions)]
    return shown | {"Arn": arns.arn(state.account, policy), "PolicyVersionList": versions}
