"""IAM: users, groups, roles, policies and access keys, global within an account. And the directory that the request
path reads them through.

Lives here: `records` (what is kept), `keys` and `state` (where), one file a noun, `directory` and `seal` (credentials),
`managed` (AWS's own policies). Knows no other service; policies are evaluated in `core.authz`.
"""

from penstock.services.iam import (
    access_keys,
    access_reports,
    account,
    attachments,
    authorization_details,
    credential_reports,
    groups,
    inline,
    instance_profiles,
    last_used,
    login_profiles,
    mfa_devices,
    oidc_providers,
    policies,
    roles,
    saml_providers,
    server_certificates,
    service_credentials,
    service_roles,
    signing_certificates,
    simulation,
    ssh_public_keys,
    users,
)

__all__ = [
    "access_keys",
    "access_reports",
    "account",
    "attachments",
    "authorization_details",
    "credential_reports",
    "groups",
    "inline",
    "instance_profiles",
    "last_used",
    "login_profiles",
    "mfa_devices",
    "oidc_providers",
    "policies",
    "roles",
    "saml_providers",
    "server_certificates",
    "service_credentials",
    "service_roles",
    "signing_certificates",
    "simulation",
    "ssh_public_keys",
    "users",
]
