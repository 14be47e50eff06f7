"""Instance profiles: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_switch-role-ec2_instance-profiles.html"""

from __future__ import annotations

from typing import Any

from penstock.core.authz import check_pass_role
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, ids, keys, listing, quotas, roles, tagging
from penstock.services.iam.records import InstanceProfile, Role
from penstock.services.iam.state import State, changing, reading
from penstock.store.api import Transaction

PROFILE = arns.existing(InstanceProfile)


def view(state: State, profile: InstanceProfile) -> dict[str, Any]:
    """An instance profile as answers show it, its role with it."""
    held = (state.find(Role, name) for name in profile.roles)
    shown: dict[str, Any] = {
        "Path": profile.path,
        "InstanceProfileName": profile.name,
        "InstanceProfileId": profile.id,
        "Arn": arns.arn(state.account, profile),
        "CreateDate": profile.created,
        "Roles": [roles.view(state.account, role, full=False) for role in held if role is not None],
    }
    if profile.tags:
        shown["Tags"] = tagging.to_list(profile.tags)
    return shown


@operation("iam:CreateInstanceProfile", resource=arns.new(InstanceProfile))
@changing
def create_instance_profile(state: State, call: Call, params: Params) -> Result:
    state.check_count(InstanceProfile, quotas.INSTANCE_PROFILES, "InstanceProfilesPerAccount", call)
    profile = InstanceProfile(
        name=params["InstanceProfileName"],
        path=params.get("Path", "/"),
        id=ids.unique(ids.PROFILE),
        created=int(call.now),
        tags=tagging.given(params.get("Tags")),
    )
    state.add(profile)
    return {"InstanceProfile": view(state, profile)}


@operation("iam:GetInstanceProfile", resource=PROFILE)
@reading
def get_instance_profile(state: State, call: Call, params: Params) -> Result:
    return {"InstanceProfile": view(state, state.get(InstanceProfile, params["InstanceProfileName"]))}


@operation("iam:ListInstanceProfiles", resource=arns.all_of(InstanceProfile))
@reading
def list_instance_profiles(state: State, call: Call, params: Params) -> Result:
    prefix, after = params.get("PathPrefix", "/"), listing.marker(params, "ListInstanceProfiles")
    found = (profile for profile in state.all(InstanceProfile, after) if profile.path.startswith(prefix))
    return listing.page(
        found, params, "ListInstanceProfiles", "InstanceProfiles", lambda p: p.name, lambda p: view(state, p)
    )  # fmt: skip


@operation("iam:ListInstanceProfilesForRole", resource=arns.existing(Role))
@reading
def list_instance_profiles_for_role(state: State, call: Call, params: Params) -> Result:
    role = state.get(Role, params["RoleName"])
    names = [key[4] for key in state.names(keys.holders(call.account, role.name))]
    found = (profile for profile in (state.taken(InstanceProfile, name) for name in names) if profile is not None)
    return listing.page_of_list(
        found, params, f"ProfilesForRole:{role.name}", "InstanceProfiles", lambda p: p.name, lambda p: view(state, p)
    )  # fmt: skip


@operation("iam:DeleteInstanceProfile", resource=PROFILE)
@changing
def delete_instance_profile(state: State, call: Call, params: Params) -> Result:
    profile = state.get(InstanceProfile, params["InstanceProfileName"])
    if profile.roles:
        raise errors.conflict("Cannot delete entity, must remove roles from instance profile first.")
    state.remove(profile)
    return {}


@operation("iam:AddRoleToInstanceProfile", resource=PROFILE)
async def add_role_to_instance_profile(call: Call, params: Params) -> Result:
    """Whoever puts a role where EC2 takes it up needs iam:PassRole on it."""

    def body(txn: Transaction) -> Result:
        state = State(txn, call.account)
        profile = state.get(InstanceProfile, params["InstanceProfileName"])
        role = state.get(Role, params["RoleName"])
        if profile.roles:
            raise errors.limit(
                f"Cannot exceed quota for InstanceSessionsPerInstanceProfile: {quotas.ROLES_PER_PROFILE}"
            )  # fmt: skip
        profile.roles.append(role.name)
        txn.set(keys.held(call.account, role.name, profile.name), b"")
        state.save(profile)
        return {}

    role_arn = await arns.existing(Role)(call, params)
    await check_pass_role(call, role_arn, "ec2.amazonaws.com")
    return await call.store.transact(body)


@operation("iam:RemoveRoleFromInstanceProfile", resource=PROFILE)
@changing
def remove_role_from_instance_profile(state: State, call: Call, params: Params) -> Result:
    profile = state.get(InstanceProfile, params["InstanceProfileName"])
    role_name = params["RoleName"]
    if role_name not in profile.roles:
        raise errors.no_such("role", role_name)
    profile.roles.remove(role_name)
    state.txn.clear(keys.held(call.account, role_name, profile.name))
    state.save(profile)
    return {}


@operation("iam:TagInstanceProfile", resource=PROFILE)
@changing
def tag_instance_profile(state: State, call: Call, params: Params) -> Result:
    profile = state.get(InstanceProfile, params["InstanceProfileName"])
    profile.tags = tagging.merged(profile.tags, tagging.given(params["Tags"]))
    state.save(profile)
    return {}


@operation("iam:UntagInstanceProfile", resource=PROFILE)
@changing
def untag_instance_profile(state: State, call: Call, params: Params) -> Result:
    profile = state.get(InstanceProfile, params["InstanceProfileName"])
    profile.tags = tagging.removed(profile.tags, params["TagKeys"])
    state.save(profile)
    return {}


@operation("iam:ListInstanceProfileTags", resource=PROFILE)
@reading
def list_instance_profile_tags(state: State, call: Call, params: Params) -> Result:
    return tagging.list_tags(state.get(InstanceProfile, params["InstanceProfileName"]).tags, params, "profile")
