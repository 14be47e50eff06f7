"""Who is calling. IAM's records live in the IAM service; the request path reads them through `Directory`."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:
    from penstock.core.authz.reach import Reach


class Kind(enum.Enum):
    """What sort of caller it is."""

    ROOT = "root"
    USER = "user"
    ROLE = "role"
    FEDERATED = "federated"
    WEB = "web identity"
    SERVICE = "service"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller.

    arn: "arn:aws:iam::000000000000:root", ".../user/x", "arn:aws:sts::...:assumed-role/role/session", for a service its
    name ("s3.amazonaws.com"), for a web identity its provider's ARN. id: the unique id that IAM policies see as
    aws:userid. role_arn: of an assumed role. session_policies: inline ones as JSON text, managed ones by ARN. tags: the
    session's own tags (a user's or role's tags come with `Identity`). session: further condition keys that the session
    carries, e.g. {"aws:SourceIdentity": "x"}. issued_at, expires_at: seconds since the epoch, 0 for long-term keys.
    """

    kind: Kind
    account: str
    arn: str
    id: str = ""
    access_key_id: str = ""
    role_arn: str = ""
    session_policies: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    issued_at: float = 0.0
    session: Mapping[str, str] = field(default_factory=dict)
    expires_at: float = 0.0


FEDERATED_BY = "penstock:federated-by"
"""In `Principal.session` of a federated user: the name of the IAM user behind it, "" for root."""

MFA_AT = "penstock:mfa-at"
"""In `Principal.session` of a session begun with a code of an MFA device: when, seconds since the epoch."""

RESTRICTED = "penstock:restricted"
"""In `Principal.session`: what a session is good for, in words of the service that made it. It may do nothing but what a
policy loader of that service has found to be so, and said in `Call.instead`."""

ANONYMOUS = Principal(Kind.ANONYMOUS, "", "*", "ANONYMOUS_PRINCIPAL")


def root(account: str, access_key_id: str = "") -> Principal:
    """The account's root user: may do everything in its own account."""
    return Principal(Kind.ROOT, account, f"arn:aws:iam::{account}:root", account, access_key_id)


def service(name: str, account: str = "") -> Principal:
    """A service acting by itself, e.g. "s3.amazonaws.com": needs the target's resource policy."""
    return Principal(Kind.SERVICE, account, name, name)


@dataclass(frozen=True, slots=True)
class Credential:
    """An access key with its secret and the principal it stands for.

    session_token: what the request must carry ("" for long-term keys). expires_at: seconds since the epoch, 0: never.
    """

    access_key_id: str
    secret: str
    principal: Principal
    session_token: str = ""
    expires_at: float = 0.0
    active: bool = True


@dataclass(frozen=True, slots=True)
class Issuer:
    """An account as an issuer of identity tokens. keys: algorithm -> (key id, private key in DER, sealed)."""

    url: str
    keys: Mapping[str, tuple[str, bytes]]

    def bound_to(self, key_id: str) -> bytes:
        """What a private key's seal is bound to."""
        return f"token key {key_id} of {self.url}".encode()


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy document as stored, and where it is from: "inline policy p of role r", or a managed policy's ARN."""

    source: str
    text: str


class RequiredPolicy(str):
    """A resource's policy that must allow even the account's own principals: a role's trust policy, a key's policy."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """What IAM holds about a principal at this moment.

    policies: inline, attached and (for a user) its groups'. tags: the user's or role's. missing: a sentence saying that
    IAM has no such principal (any more), "" where it has; a missing one has no policies. session: the managed policies
    that a session was narrowed by (in `Principal.session_policies` by ARN).
    """

    policies: tuple[PolicyText, ...] = ()
    boundary: PolicyText | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""
    session: tuple[PolicyText, ...] = ()
    memo: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """For `core.authz`, which keeps the compiled form here."""


Uses: TypeAlias = dict[str, tuple[float, str, str]]
"""Access key id or role ARN -> (time, action, region) of its last use."""
Accesses: TypeAlias = dict[tuple[str, str], tuple[float, str]]
"""(user's or role's ARN, action) -> (time, region) of the last call, whether it was allowed or not."""


class Asked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A decision to explain.

    principal: the ARN of a user, role, group, session or root, or a service's name. resource_policy: the resource's own
    policy, "" for none (a role's trust policy is known). context: condition keys of the imagined request.
    """

    principal: str
    action: str
    resource: str = "*"
    resource_policy: str = ""
    context: dict[str, str | list[str]] = {}


class Directory(Protocol):
    """IAM's side of the request path."""

    async def credential(self, access_key_id: str, session_token: str = "") -> Credential | None:
        """The key, or None where there is none of that id, or where the token is not one of ours for that id.

        Temporary keys are not stored: their token carries the principal, sealed, so it must be passed here. Whether the
        key is active and unexpired is for the caller to check (default keys are known to the edge's authenticator).
        """
        ...

    async def identity(self, principal: Principal) -> Identity:
        """The policies, boundary and tags of a principal that is neither root, a service nor anonymous."""
        ...

    def used(self, principal: Principal, now: float, action: str, region: str) -> None:
        """Note what a user, its key or a role asked for; costs two dict updates."""
        ...

    def last_uses(self) -> tuple[Uses, Accesses]:
        """What was noted and is not written yet."""
        ...

    def reached(self, principal: Principal, action: str, resource: str, *, allowed: bool) -> None:
        """Note what a user's or role's call was about; costs two look-ups where it was about that before."""
        ...

    def reaches(self) -> dict[tuple[str, str, bool], Reach]:
        """What of that is not written yet, by the user's or role's ARN, the action and whether it was allowed."""
        ...

    def forget(self, arn: str = "") -> None:
        """Forget what was noted of a user or role that goes; of all of them where the server is emptied."""
        ...

    async def calls(self, arn: str, most: int = ...) -> list[dict[str, Any]]:
        """What a user or role has called so far: {"action", "allowed", "resources": patterns of a policy} by action.

        most: patterns for one action; what begins alike is taken together to keep to it.
        """
        ...

    async def code_is_good(self, user: Principal, serial_number: str, code: str) -> bool | None:
        """Whether `code` is what the user's MFA device shows now; it is good once. None: the user has no such device."""
        ...

    async def why(self, asked: Asked) -> dict[str, Any]:
        """What would be decided, and why: see `core.authz.why.told`. Raises AwsError for a principal there is not."""
        ...

    async def issue(self, principal: Principal, duration_s: int) -> Credential:
        """Temporary credentials for a principal: STS's side. Its access key id and time of issue are filled in."""
        ...

    async def issuer(self, account: str) -> Issuer | None:
        """What signs the account's identity tokens; None where outbound federation is not enabled."""
        ...

    async def role_credential(
        self, role_arn: str, session_name: str, duration_s: int, service: str, session: Mapping[str, str] | None = None
    ) -> Credential:
        """Temporary credentials for a role that `service` (e.g. "lambda.amazonaws.com") assumes by itself.

        session: condition keys that its requests are to carry.
        A role that does not exist as a record gives credentials that hold no permission at all, and whose denials say
        that the role does not exist. Raises AwsError AccessDenied where the role exists and does not trust the service.
        """
        ...
