"""What IAM keeps, one struct a noun. Times are seconds since the epoch; policy documents stay the text they came as."""

from __future__ import annotations

import msgspec


class Entity(msgspec.Struct, kw_only=True):
    """What a user, a group and a role have in common."""

    name: str
    path: str
    id: str
    created: float
    inline: dict[str, str] = {}
    attached: list[str] = []


class User(Entity, kw_only=True):
    tags: dict[str, str] = {}
    boundary: str = ""
    groups: list[str] = []
    keys: list[str] = []
    login: LoginProfile | None = None
    service_credentials: list[ServiceCredential] = []
    ssh_keys: list[SshPublicKey] = []
    certificates: list[str] = []
    """Ids of signing certificates, which are records of their own."""
    mfa: list[MfaDevice] = []


class LoginProfile(msgspec.Struct, kw_only=True):
    """A console password, kept only as its salted hash; nothing here asks for it."""

    created: float
    changed: float = 0.0
    """When the password was last set; 0 in records older than this field."""
    salt: bytes
    hashed: bytes
    used: list[bytes] = []
    reset_required: bool = False


class ServiceCredential(msgspec.Struct, kw_only=True):
    """A user name and password for one service (CodeCommit, Keyspaces)."""

    id: str
    service: str
    user_name: str
    created: float
    active: bool = True


class SshPublicKey(msgspec.Struct, kw_only=True):
    """body: as uploaded, in SSH's encoding or in PEM."""

    id: str
    body: str
    fingerprint: str
    created: float
    active: bool = True


class SigningCertificate(msgspec.Struct, kw_only=True):
    """Its holder, a user or the account's root, knows it by its id."""

    id: str
    body: str
    created: float
    active: bool = True


class MfaDevice(msgspec.Struct, kw_only=True):
    serial: str
    enabled: float


class VirtualMfa(msgspec.Struct, kw_only=True):
    """A virtual MFA device. seed: its secret; user: who has it, "" for nobody yet; used: the last code's time step."""

    name: str
    path: str
    seed: bytes
    created: float
    enabled: float = 0.0
    user: str = ""
    used: int = 0
    tags: dict[str, str] = {}


class Group(Entity, kw_only=True):
    pass


class Role(Entity, kw_only=True):
    trust: str
    description: str | None = None
    max_session_s: int = 3600
    tags: dict[str, str] = {}
    boundary: str = ""
    linked_service: str = ""
    """The service of a service-linked role, e.g. "kafka.amazonaws.com"."""


class PolicyVersion(msgspec.Struct, kw_only=True):
    number: int
    text: str
    created: float


class Policy(msgspec.Struct, kw_only=True):
    """A customer managed policy."""

    name: str
    path: str
    id: str
    created: float
    updated: float
    description: str = ""
    default: int = 1
    next_version: int = 2
    versions: list[PolicyVersion]
    tags: dict[str, str] = {}

    def default_text(self) -> str:
        """The document of the default version."""
        return next(version.text for version in self.versions if version.number == self.default)


class InstanceProfile(msgspec.Struct, kw_only=True):
    name: str
    path: str
    id: str
    created: float
    roles: list[str] = []
    tags: dict[str, str] = {}


class OidcProvider(msgspec.Struct, kw_only=True):
    """An OpenID Connect provider. name: its URL without the scheme."""

    name: str
    scheme: str
    created: float
    clients: list[str] = []
    thumbprints: list[str] = []
    tags: dict[str, str] = {}


class SamlProvider(msgspec.Struct, kw_only=True):
    name: str
    id: str
    created: float
    metadata: str
    tags: dict[str, str] = {}


class ServerCertificate(msgspec.Struct, kw_only=True):
    """body and chain: PEM, as uploaded; chain is "" for none."""

    name: str
    path: str
    id: str
    created: float
    expires: float
    body: str
    chain: str = ""
    tags: dict[str, str] = {}


class AccessKey(msgspec.Struct, kw_only=True):
    """user: whose it is, "" for the account's root."""

    account: str
    user: str
    secret: str
    created: float
    active: bool = True


class TokenKey(msgspec.Struct, kw_only=True):
    """A key that identity tokens are signed with. public: as a JWK; sealed: the private one, under the master key."""

    algorithm: str
    id: str
    public: dict[str, str]
    sealed: bytes


class OutboundIssuer(msgspec.Struct, kw_only=True):
    """The account as an issuer of identity tokens."""

    url: str
    keys: list[TokenKey]
    enabled: bool = False


class LastUsed(msgspec.Struct, kw_only=True):
    at: float
    action: str
    region: str


class Reached(msgspec.Struct, kw_only=True):
    """A `reach.Reach` as it is kept."""

    literals: list[str]
    heads: list[str]


class AccessJob(msgspec.Struct, kw_only=True):
    """A report of what an entity has accessed. granularity: SERVICE_LEVEL or ACTION_LEVEL."""

    arn: str
    granularity: str
    created: float


class AccountSettings(msgspec.Struct, kw_only=True):
    alias: str = ""
    root_keys: list[str] = []
    root_certificates: list[str] = []
    report_at: float = 0.0
    """When a credential report was last asked for."""
    password_policy: dict[str, int | bool] | None = None
    global_token_version: int = 1
    """Of the tokens of STS's global endpoint."""
