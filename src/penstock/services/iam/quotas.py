"""IAM's default quotas: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""

from __future__ import annotations

USERS = 5000
GROUPS = 300
ROLES = 1000
POLICIES = 1500
INSTANCE_PROFILES = 1000
GROUPS_PER_USER = 10
ACCESS_KEYS_PER_USER = 2
POLICY_VERSIONS = 5
ATTACHED = {"user": 10, "group": 10, "role": 10}
INLINE_CHARS = {"user": 2048, "group": 5120, "role": 10240}
MANAGED_CHARS = 6144
TRUST_CHARS = 2048
ROLES_PER_PROFILE = 1
TAGS = 50
SAML_PROVIDERS = 100
OIDC_PROVIDERS = 100
SERVER_CERTIFICATES = 20
"""What GetAccountSummary tells of kinds that are not kept here."""
