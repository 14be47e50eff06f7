"""The account as a whole: its alias, its password policy, its summary."""

from __future__ import annotations

import re
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import errors, keys, quotas
from penstock.services.iam.records import (
    AccountSettings,
    Group,
    InstanceProfile,
    OidcProvider,
    Policy,
    Role,
    SamlProvider,
    ServerCertificate,
    User,
    VirtualMfa,
)
from penstock.services.iam.state import State, changing, reading

_ALIAS = re.compile(r"[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]")
_PASSWORD_POLICY: dict[str, int | bool] = {
    "MinimumPasswordLength": 6,
    "RequireSymbols": False,
    "RequireNumbers": False,
    "RequireUppercaseCharacters": False,
    "RequireLowercaseCharacters": False,
    "AllowUsersToChangePassword": False,
}
_PASSWORD_LIMITS = ("MaxPasswordAge", "PasswordReusePrevention", "HardExpiry")


@operation("iam:CreateAccountAlias")
@changing
def create_account_alias(state: State, call: Call, params: Params) -> Result:
    """An account has one alias: a new one takes the old one's place."""
    name = params["AccountAlias"]
    if not _ALIAS.fullmatch(name):
        raise errors.invalid(f"1 validation error detected: Value '{name}' at 'accountAlias' failed to satisfy "
                             "constraint: Member must satisfy regular expression pattern: "
                             "^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$")  # fmt: skip
    taken = state.txn.get(keys.alias(name))
    if taken is not None and taken.decode() != call.account:
        raise errors.already(f"The account alias {name} already exists.")
    settings = state.settings()
    if settings.alias:
        state.txn.clear(keys.alias(settings.alias))
    settings.alias = name
    state.txn.set(keys.alias(name), call.account.encode())
    state.save_settings(settings)
    return {}


@operation("iam:DeleteAccountAlias")
@changing
def delete_account_alias(state: State, call: Call, params: Params) -> Result:
    settings = state.settings()
    if settings.alias != params["AccountAlias"]:
        raise errors.no_such_entity(f"The account alias {params['AccountAlias']} cannot be found.")
    state.txn.clear(keys.alias(settings.alias))
    settings.alias = ""
    state.save_settings(settings)
    return {}


@operation("iam:ListAccountAliases")
@reading
def list_account_aliases(state: State, call: Call, params: Params) -> Result:
    alias = state.settings().alias
    return {"AccountAliases": [alias] if alias else [], "IsTruncated": False}


@operation("iam:UpdateAccountPasswordPolicy")
@changing
def update_account_password_policy(state: State, call: Call, params: Params) -> Result:
    """Strength and reuse hold when a password is set; expiry is kept and shown, for nothing here signs in by password."""
    settings = state.settings()
    given = {name: params[name] for name in (*_PASSWORD_POLICY, *_PASSWORD_LIMITS) if name in params}
    settings.password_policy = {**_PASSWORD_POLICY, **given}
    state.save_settings(settings)
    return {}


@operation("iam:GetAccountPasswordPolicy")
@reading
def get_account_password_policy(state: State, call: Call, params: Params) -> Result:
    return {"PasswordPolicy": _password_policy(state.settings(), call)}


def _password_policy(settings: AccountSettings, call: Call) -> dict[str, Any]:
    policy = settings.password_policy
    if policy is None:
        raise errors.no_such_entity(f"The Password Policy with domain name {call.account} cannot be found.")
    return policy | {"ExpirePasswords": bool(policy.get("MaxPasswordAge", 0))}


@operation("iam:DeleteAccountPasswordPolicy")
@changing
def delete_account_password_policy(state: State, call: Call, params: Params) -> Result:
    settings = state.settings()
    if settings.password_policy is None:
        raise errors.no_such_entity("The account policy with name PasswordPolicy cannot be found.")
    settings.password_policy = None
    state.save_settings(settings)
    return {}


@operation("iam:SetSecurityTokenServicePreferences")
@changing
def set_security_token_service_preferences(state: State, call: Call, params: Params) -> Result:
    """Kept and shown by GetAccountSummary. Tokens of either version work in every Region that this server answers for."""
    settings = state.settings()
    settings.global_token_version = {"v1Token": 1, "v2Token": 2}[params["GlobalEndpointTokenVersion"]]
    state.save_settings(settings)
    return {}


@operation("iam:GetAccountSummary")
@reading
def get_account_summary(state: State, call: Call, params: Params) -> Result:
    settings = state.settings()
    users, policies, devices = list(state.all(User)), list(state.all(Policy)), list(state.all(VirtualMfa))
    summary = {
        "Users": len(users),
        "UsersQuota": quotas.USERS,
        "Groups": sum(1 for _ in state.all(Group)),
        "GroupsQuota": quotas.GROUPS,
        "GroupsPerUserQuota": quotas.GROUPS_PER_USER,
        "Roles": sum(1 for _ in state.all(Role)),
        "RolesQuota": quotas.ROLES,
        "Policies": len(policies),
        "PoliciesQuota": quotas.POLICIES,
        "PolicySizeQuota": quotas.MANAGED_CHARS,
        "PolicyVersionsInUse": sum(len(policy.versions) for policy in policies),
        "PolicyVersionsInUseQuota": 10000,
        "VersionsPerPolicyQuota": quotas.POLICY_VERSIONS,
        "InstanceProfiles": sum(1 for _ in state.all(InstanceProfile)),
        "InstanceProfilesQuota": quotas.INSTANCE_PROFILES,
        "AttachedPoliciesPerUserQuota": quotas.ATTACHED["user"],
        "AttachedPoliciesPerGroupQuota": quotas.ATTACHED["group"],
        "AttachedPoliciesPerRoleQuota": quotas.ATTACHED["role"],
        "UserPolicySizeQuota": quotas.INLINE_CHARS["user"],
        "GroupPolicySizeQuota": quotas.INLINE_CHARS["group"],
        "RolePolicySizeQuota": quotas.INLINE_CHARS["role"],
        "AssumeRolePolicySizeQuota": quotas.TRUST_CHARS,
        "AccessKeysPerUserQuota": quotas.ACCESS_KEYS_PER_USER,
        "ServerCertificates": sum(1 for _ in state.all(ServerCertificate)),
        "ServerCertificatesQuota": quotas.SERVER_CERTIFICATES,
        "SigningCertificatesPerUserQuota": quotas.SIGNING_CERTIFICATES_PER_USER,
        "MFADevices": len(devices),
        "MFADevicesInUse": sum(1 for device in devices if device.user),
        "AccountMFAEnabled": 0,
        "AccountAccessKeysPresent": int(bool(settings.root_keys)),
        "AccountPasswordPresent": 1,
        "AccountSigningCertificatesPresent": int(bool(settings.root_certificates)),
        "Providers": sum(1 for _ in state.all(OidcProvider)) + sum(1 for _ in state.all(SamlProvider)),
        "GlobalEndpointTokenVersion": settings.global_token_version,
    }
    return {"SummaryMap": summary}
