"""What is kept of a key, its material, an alias and a grant. Times are seconds since the epoch, 0: never."""

from __future__ import annotations

import msgspec

CUSTOMER = "CUSTOMER"
AWS = "AWS"

CURRENT = "CURRENT"
NON_CURRENT = "NON_CURRENT"
PENDING_ROTATION = "PENDING_ROTATION"
PENDING_REPLICAS = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"
"""Pending rotation, once it was imported into each replica."""
PENDING = (PENDING_ROTATION, PENDING_REPLICAS)

EXPIRES = "KEY_MATERIAL_EXPIRES"
DOES_NOT_EXPIRE = "KEY_MATERIAL_DOES_NOT_EXPIRE"


class Material(msgspec.Struct, array_like=True):
    """One version of a key's material.

    id: 64 hexadecimal digits, a fingerprint. sealed: under the master key, b"" where it was deleted or has expired.
    public: the public key in DER, for those that have one.
    """

    id: str
    sealed: bytes
    public: bytes = b""
    state: str = CURRENT
    since: float = 0.0
    """When it became current by rotation; 0 for the first."""
    rotation: str = ""
    """AUTOMATIC or ON_DEMAND; "" for the first."""
    valid_to: float = 0.0
    description: str = ""


class Key(msgspec.Struct, array_like=True):
    """A KMS key in its Region."""

    id: str
    account: str
    region: str
    created_at: float
    spec: str
    usage: str
    policy: str
    description: str = ""
    origin: str = "AWS_KMS"
    manager: str = CUSTOMER
    enabled: bool = True
    tags: dict[str, str] = {}
    aliases: list[str] = []
    materials: list[Material] = []
    """In the order in which they came to be current; one that is pending comes last."""
    deletion_at: float = 0.0
    window_days: int = 0
    """The waiting period of a deletion; deletion_at is 0 while it waits for the replicas' deletion."""
    rotation_days: int = 0
    """0: no automatic rotation."""
    next_rotation_at: float = 0.0
    on_demand_rotations: int = 0
    primary: str = ""
    """The Region of a multi-Region key's primary; "": not multi-Region."""
    replicas: list[str] = []
    """The Regions of a multi-Region key's replicas."""
    granted: bool = False
    """Whether it has, or ever had, a grant."""

    @property
    def arn(self) -> str:
        return f"arn:aws:kms:{self.region}:{self.account}:key/{self.id}"

    @property
    def current(self) -> Material | None:
        """The material that encrypts; None for a key whose material was never imported."""
        for material in self.materials:
            if material.state == CURRENT:
                return material
        return None

    def material(self, material_id: str) -> Material | None:
        """The material of that id."""
        return next((m for m in self.materials if m.id == material_id), None)

    def dead(self, now: float) -> bool:
        """Whether its waiting period is over: it counts as deleted even before the worker has come by."""
        return 0.0 < self.deletion_at <= now

    def lacks_material(self, now: float) -> bool:
        """Whether any material that was current once is gone, or none ever came: such a key cannot be used."""
        return self.current is None or any(
            not m.sealed or 0.0 < m.valid_to <= now for m in self.materials if m.state not in PENDING
        )

    def state(self, now: float) -> str:
        """AWS's key state: https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html"""
        if self.window_days:
            return "PendingDeletion" if self.deletion_at else "PendingReplicaDeletion"
        if self.origin == "EXTERNAL" and self.lacks_material(now):
            return "PendingImport"
        return "Enabled" if self.enabled else "Disabled"

    def due_at(self) -> float:
        """The next time at which something happens to it by itself; 0: never."""
        if self.deletion_at:
            return self.deletion_at
        times = [m.valid_to for m in self.materials if m.valid_to and m.sealed]
        if self.next_rotation_at and self.enabled and not self.window_days:
            times.append(self.next_rotation_at)
        return min(times, default=0.0)


class Alias(msgspec.Struct, array_like=True):
    """An alias of a key of its account and Region."""

    target: str
    created_at: float
    updated_at: float


class Grant(msgspec.Struct, array_like=True):
    """A grant. grantee and retiring: ARNs, or names of services."""

    id: str
    created_at: float
    grantee: str
    operations: list[str]
    account: str
    """The account that issued it."""
    retiring: str = ""
    name: str = ""
    context_equals: dict[str, str] | None = None
    context_subset: dict[str, str] | None = None
    source_arn: str = ""
    by_service: bool = False
    """The grantee is a service."""
    retired_by_service: bool = False


encode = msgspec.msgpack.Encoder().encode
decode_key = msgspec.msgpack.Decoder(Key).decode
decode_alias = msgspec.msgpack.Decoder(Alias).decode
decode_grant = msgspec.msgpack.Decoder(Grant).decode
