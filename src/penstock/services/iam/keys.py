"""IAM's keys. Names are folded to lower case: AWS does not let two names differ in case alone.

("iam", account, "changes")                               counter: grows with each change of the account's IAM
("iam", account, "account")                               records.AccountSettings
("iam", account, "user"|"group"|"role"|"policy"|"profile"|"oidc"|"saml"|"mfa"|"certificate", name)   the record (chunked)
("iam", account, "member", group, user)                   b"": the user is in the group
("iam", account, "attached", policy_arn, kind, name)      b"": the entity carries the managed policy
("iam", account, "bounded", policy_arn, kind, name)       b"": the managed policy is the entity's boundary
("iam", account, "holds", role, profile)                  b"": the instance profile holds the role
("iam", account, "accessed", arn, action)                 records.LastUsed: a user's or role's last call of it
("iam", account, "reached", arn, action, allowed)         records.Reached: what its calls were about (1) or denied on (0)
("iam", account, "signing", certificate_id)               records.SigningCertificate (chunked)
("iam", account, "issuer")                                records.OutboundIssuer
("iam", "issuer", issuer_id)                              the account that has the issuer
("iam", account, "job", id)                               records.AccessJob: a report asked for
("iam", "key", access_key_id)                             records.AccessKey
("iam", "used", access_key_id)                            records.LastUsed
("iam", "alias", alias)                                   the account that has the alias
("iam", "seal")                                           the secret under which session tokens are sealed
"""

from __future__ import annotations

from penstock.store.tuples import pack

SEAL = pack(("iam", "seal"))


def changes(account: str) -> bytes:
    return pack(("iam", account, "changes"))


def settings(account: str) -> bytes:
    return pack(("iam", account, "account"))


def entity(account: str, kind: str, name: str) -> bytes:
    return pack(("iam", account, kind, name.lower()))


def of_kind(account: str, kind: str) -> bytes:
    """The prefix of all entities of a kind."""
    return pack(("iam", account, kind))


def member(account: str, group: str, user: str) -> bytes:
    return pack(("iam", account, "member", group.lower(), user.lower()))


def members(account: str, group: str) -> bytes:
    """The prefix of a group's members."""
    return pack(("iam", account, "member", group.lower()))


def use(account: str, how: str, policy_arn: str, kind: str, name: str) -> bytes:
    """how: "attached" or "bounded"."""
    return pack(("iam", account, how, policy_arn, kind, name.lower()))


def uses(account: str, how: str, policy_arn: str) -> bytes:
    """The prefix of all uses of a managed policy."""
    return pack(("iam", account, how, policy_arn))


def held(account: str, role: str, profile: str) -> bytes:
    return pack(("iam", account, "holds", role.lower(), profile.lower()))


def holders(account: str, role: str) -> bytes:
    """The prefix of the instance profiles that hold a role."""
    return pack(("iam", account, "holds", role.lower()))


def access_key(access_key_id: str) -> bytes:
    return pack(("iam", "key", access_key_id))


def last_used(access_key_id: str) -> bytes:
    return pack(("iam", "used", access_key_id))


def accessed(account: str, arn: str, action: str) -> bytes:
    return pack(("iam", account, "accessed", arn, action))


def accesses(account: str, arn: str) -> bytes:
    """The prefix of all that a user or role has called."""
    return pack(("iam", account, "accessed", arn))


def reached(account: str, arn: str, action: str, *, allowed: bool) -> bytes:
    return pack(("iam", account, "reached", arn, action, int(allowed)))


def all_reached(account: str, arn: str) -> bytes:
    """The prefix of all that a user's or role's calls were about."""
    return pack(("iam", account, "reached", arn))


def signing_certificate(account: str, certificate_id: str) -> bytes:
    return pack(("iam", account, "signing", certificate_id))


def issuer(account: str) -> bytes:
    return pack(("iam", account, "issuer"))


def issuer_account(issuer_id: str) -> bytes:
    return pack(("iam", "issuer", issuer_id))


def job(account: str, job_id: str) -> bytes:
    return pack(("iam", account, "job", job_id))


def alias(name: str) -> bytes:
    return pack(("iam", "alias", name))
