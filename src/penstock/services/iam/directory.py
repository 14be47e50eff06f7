"""The request path's view of IAM: access keys, session tokens, and the policies of a principal.

What it remembers of an account is good for as long as the account's change counter stands still, and that counter is
read from the store each time: cheap, and never stale, whichever node made the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.clock import Clock
from penstock.config import Settings
from penstock.core.arn import is_arn, parse
from penstock.core.authz import PASS_ROLE
from penstock.core.authz.reach import MOST, Reach
from penstock.core.authz.resource_tags import tags_of
from penstock.core.identity import (
    Accesses,
    Asked,
    Credential,
    Identity,
    Issuer,
    Kind,
    Principal,
    Uses,
    root,
)
from penstock.services.iam import arns, explain, keys, last_used, mfa_devices, outbound_federation, seal
from penstock.services.iam.identities import TAKEN_BY, check_trust, identity_of
from penstock.services.iam.records import AccessKey, Role, User
from penstock.services.iam.state import State
from penstock.store.api import Store, Transaction

_REMEMBERED = 4096


class StoreDirectory:
    """See `penstock.core.identity.Directory`."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._identities: dict[tuple[str, str, tuple[str, ...]], tuple[bytes | None, Identity]] = {}
        self._keys: dict[bytes, tuple[tuple[bytes, bytes | None], Credential]] = {}
        self._tokens: dict[tuple[str, str], tuple[bytes, Credential]] = {}

        self._uses: Uses = {}
        self._accesses: Accesses = {}
        self._reaches: dict[tuple[str, str, bool], Reach] = {}

    def used(self, principal: Principal, now: float, action: str, region: str) -> None:
        who = principal.role_arn or principal.arn
        self._accesses[who, action] = (now, region)
        if not principal.issued_at:
            self._uses[principal.access_key_id] = (now, action, region)
        elif principal.role_arn:
            self._uses[who] = (now, action, region)

    def last_uses(self) -> tuple[Uses, Accesses]:
        return self._uses, self._accesses

    def reached(self, principal: Principal, action: str, resource: str, *, allowed: bool) -> None:
        slot = (principal.role_arn or principal.arn, action, allowed)
        reach = self._reaches.get(slot)
        if reach is None:
            reach = self._reaches[slot] = Reach()
        if resource not in reach.literals:
            reach.add(resource)

    def reaches(self) -> dict[tuple[str, str, bool], Reach]:
        return self._reaches

    def forget(self, arn: str = "") -> None:
        for what in [what for what in self._uses if arn in ("", what)]:
            del self._uses[what]
        for access in [access for access in self._accesses if arn in ("", access[0])]:
            del self._accesses[access]
        for slot in [slot for slot in self._reaches if arn in ("", slot[0])]:
            del self._reaches[slot]

    async def calls(self, arn: str, most: int = MOST) -> list[dict[str, Any]]:
        return await self._store.transact(lambda txn: last_used.calls(txn, self._reaches, arn, most), read_only=True)

    async def code_is_good(self, user: Principal, serial_number: str, code: str) -> bool | None:
        name, now = user.arn.rpartition("/")[2], self._clock.host_now()
        return await self._store.transact(
            lambda txn: mfa_devices.accept(State(txn, user.account), name, serial_number, code, now)
        )

    async def why(self, asked: Asked) -> dict[str, Any]:
        now = self._clock.now()
        tags: dict[str, str] = {}
        if asked.action != PASS_ROLE:
            own = parse(asked.resource).service if is_arn(asked.resource) else ""
            for name, text in (await tags_of(self._store, asked.resource)).items():
                tags |= {f"aws:resourcetag/{name.lower()}": text, f"{own}:resourcetag/{name.lower()}": text}
        return await self._store.transact(lambda txn: explain.why(txn, asked, now, tags), read_only=True)

    async def credential(self, access_key_id: str, session_token: str = "") -> Credential | None:
        if session_token:
            return await self._temporary(access_key_id, session_token)
        if not access_key_id.startswith("AKIA"):
            return None
        return await self._store.transact(lambda txn: self._long_term(txn, access_key_id), read_only=True)

    async def identity(self, principal: Principal) -> Identity:
        account = principal.account
        managed_session = tuple(text for text in principal.session_policies if text.startswith("arn:"))
        slot = (principal.role_arn or principal.arn, principal.id.partition(":")[0], managed_session)

        def body(txn: Transaction) -> Identity:
            version = txn.get(keys.changes(account))
            kept = self._identities.get(slot)
            if kept is not None and kept[0] == version:
                return kept[1]
            found = identity_of(State(txn, account), principal, managed_session)
            _remember(self._identities, slot, (version, found))
            return found

        return await self._store.transact(body, read_only=True)

    async def role_credential(
        self,
        role_arn: str,
        session_name: str,
        duration_s: int,
        service: str,
        session: Mapping[str, str] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Credential:
        """As the Protocol says. context: condition keys of the trust policy's check, e.g. {"aws:SourceArn": ...}."""
        arn = parse(role_arn)
        name = arn.resource.rpartition("/")[2]

        def body(txn: Transaction) -> tuple[Role | None, bytes]:
            return State(txn, arn.account).find(Role, name), self._secret(txn)

        role, secret = await self._store.transact(body)
        if role is not None and role_arn != arns.arn(arn.account, role):
            role = None
        if role is not None:
            check_trust(role, arn.account, service, context or {})
        now = self._clock.now()
        principal = Principal(
            Kind.ROLE, arn.account, f"arn:aws:sts::{arn.account}:assumed-role/{name}/{session_name}",
            f"{role.id if role else ''}:{session_name}", role_arn=role_arn,
            session={**(session or {}), TAKEN_BY: service},
        )  # fmt: skip
        return seal.issue(secret, principal, now, now + duration_s)

    async def issue(self, principal: Principal, duration_s: int) -> Credential:
        now = self._clock.now()
        return seal.issue(await self.secret(), principal, now, now + duration_s)

    async def issuer(self, account: str) -> Issuer | None:
        return await self._store.transact(lambda txn: outbound_federation.issuer_of(txn, account), read_only=True)

    async def secret(self) -> bytes:
        """The secret that tokens are sealed under; made the first time somebody asks."""
        return await self._store.transact(self._secret)

    def _secret(self, txn: Transaction) -> bytes:
        secret = txn.get(keys.SEAL)
        if secret is None:
            secret = seal.new_secret()
            txn.set(keys.SEAL, secret)
        return secret

    async def _temporary(self, access_key_id: str, token: str) -> Credential | None:
        secret = await self._store.transact(lambda txn: txn.get(keys.SEAL), read_only=True)
        if secret is None:
            return None
        kept = self._tokens.get((access_key_id, token))
        if kept is not None and kept[0] == secret:
            return kept[1]
        found = seal.unseal(secret, access_key_id, token)
        if found is not None:
            _remember(self._tokens, (access_key_id, token), (secret, found))
        return found

    def _long_term(self, txn: Transaction, access_key_id: str) -> Credential | None:
        key = keys.access_key(access_key_id)
        raw = txn.get(key)
        if raw is None:
            return None
        record = msgspec.msgpack.decode(raw, type=AccessKey)
        version = txn.get(keys.changes(record.account))
        kept = self._keys.get(key)
        if kept is not None and kept[0] == (raw, version):
            return kept[1]
        principal = root(record.account, access_key_id)
        if record.user:
            user = State(txn, record.account).find(User, record.user)
            if user is None:
                return None
            arn = arns.arn(record.account, user)
            principal = Principal(Kind.USER, record.account, arn, user.id, access_key_id)
        found = Credential(access_key_id, record.secret, principal, active=record.active)
        _remember(self._keys, key, ((raw, version), found))
        return found


def _remember(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep a value, dropping the oldest where there are too many."""
    if len(kept) >= _REMEMBERED:
        kept.pop(next(iter(kept)), None)
    kept[key] = value
