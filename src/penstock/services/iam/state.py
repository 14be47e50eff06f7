"""One account's IAM inside a transaction: records by kind and name. Every write counts as a change of the account,
which is how `directory` knows that what it remembers is still true.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeAlias, TypeVar

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Handler, Params, Result
from penstock.services.iam import errors, keys, managed
from penstock.services.iam.records import (
    AccessKey,
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
from penstock.store.api import Transaction
from penstock.store.chunked import clear_large, expand, get_large, set_large
from penstock.store.tuples import prefix_end, unpack

T = TypeVar(
    "T",
    bound=User | Group | Role | Policy | InstanceProfile | OidcProvider | SamlProvider | VirtualMfa | ServerCertificate,
)
KINDS: dict[type[Any], str] = {
    User: "user", Group: "group", Role: "role", Policy: "policy", InstanceProfile: "profile", OidcProvider: "oidc",
    SamlProvider: "saml", VirtualMfa: "mfa", ServerCertificate: "certificate",
}  # fmt: skip

encode = msgspec.msgpack.Encoder().encode


class State:
    """The account's records, read and written through one transaction."""

    __slots__ = ("account", "txn")

    def __init__(self, txn: Transaction, account: str) -> None:
        self.txn = txn
        self.account = account

    def find(self, kind: type[T], name: str) -> T | None:
        """The record of just that name, or None. (A request's names are brought into their own case before: `_as_made`.)"""
        record = self.taken(kind, name)
        return record if record is not None and record.name == name else None

    def taken(self, kind: type[T], name: str) -> T | None:
        """The record that has this name in any case."""
        raw = get_large(self.txn, keys.entity(self.account, KINDS[kind], name))
        return None if raw is None else msgspec.msgpack.decode(raw, type=kind)

    def get(self, kind: type[T], name: str) -> T:
        """The record. Raises AwsError NoSuchEntity."""
        record = self.find(kind, name)
        if record is None:
            raise errors.no_such(KINDS[kind], name)
        return record

    def add(self, record: T) -> None:
        """A new record. Raises AwsError EntityAlreadyExists."""
        if self.taken(type(record), record.name) is not None:
            raise errors.exists(KINDS[type(record)], record.name)
        self.save(record)

    def save(self, record: T) -> None:
        """Write a record, as a change of the account."""
        set_large(self.txn, keys.entity(self.account, KINDS[type(record)], record.name), encode(record))
        self.changed()

    def remove(self, record: T) -> None:
        """Remove a record, as a change of the account."""
        clear_large(self.txn, keys.entity(self.account, KINDS[type(record)], record.name))
        self.changed()

    def changed(self) -> None:
        """Count a change: whoever remembers something of this account reads it again.

        The count starts anywhere, so that one begun after a reset is not taken for the one before.
        """
        key = keys.changes(self.account)
        if self.txn.get(key) is None:
            self.txn.set(key, secrets.randbits(62).to_bytes(8, "little"))
        else:
            self.txn.add(key, 1)

    def all(self, kind: type[T], after: str = "") -> Iterator[T]:
        """Every record of a kind by folded name, after that name."""
        prefix = keys.of_kind(self.account, KINDS[kind])
        begin = keys.entity(self.account, KINDS[kind], after) + b"\0" if after else prefix
        for key, head in self.txn.scan(begin, prefix_end(prefix)):
            yield msgspec.msgpack.decode(expand(self.txn, key, head), type=kind)

    def names(self, prefix: bytes) -> list[tuple[Any, ...]]:
        """The key tuples of an index, e.g. `keys.members(...)`."""
        return [unpack(key) for key, _ in self.txn.scan(prefix, prefix_end(prefix))]

    def policy_by_arn(self, arn: str) -> Policy | None:
        """The customer managed policy with that ARN, or None (AWS's own are in `managed`)."""
        head = f"arn:aws:iam::{self.account}:policy/"
        if not arn.startswith(head):
            return None
        policy = self.find(Policy, arn.rpartition("/")[2])
        return (
            policy
            if policy is not None and arn == f"arn:aws:iam::{self.account}:policy{policy.path}{policy.name}"
            else None
        )

    def policy_text(self, arn: str) -> str | None:
        """The default version's document of a managed policy, AWS's or the account's own; None where there is none."""
        own = managed.find(arn)
        if own is not None:
            return own.text
        policy = self.policy_by_arn(arn)
        return None if policy is None else policy.default_text()

    def access_key(self, access_key_id: str) -> AccessKey:
        """The record of a key that a user has."""
        raw = self.txn.get(keys.access_key(access_key_id))
        if raw is None:
            raise errors.no_such_entity(f"The Access Key with id {access_key_id} cannot be found.")
        return msgspec.msgpack.decode(raw, type=AccessKey)

    def check_count(self, kind: type[Any], quota: int, name: str, call: Call) -> None:
        """Raises AwsError LimitExceeded where the account already has as many of a kind as its quota."""
        if not call.node.settings.limits:
            return
        prefix = keys.of_kind(self.account, KINDS[kind])
        if sum(1 for _ in self.txn.scan(prefix, prefix_end(prefix), limit=quota)) >= quota:
            raise errors.limit(f"Cannot exceed quota for {name}: {quota}")

    def settings(self) -> AccountSettings:
        raw = self.txn.get(keys.settings(self.account))
        return AccountSettings() if raw is None else msgspec.msgpack.decode(raw, type=AccountSettings)

    def save_settings(self, settings: AccountSettings) -> None:
        self.txn.set(keys.settings(self.account), encode(settings))
        self.changed()


_NAMES: tuple[tuple[str, type[Any]], ...] = (
    ("UserName", User), ("GroupName", Group), ("RoleName", Role), ("InstanceProfileName", InstanceProfile),
    ("ServerCertificateName", ServerCertificate),
)  # fmt: skip
_MAKING = frozenset(
    {
        "CreateUser", "CreateGroup", "CreateRole", "CreateInstanceProfile", "CreateServiceLinkedRole",
        "UploadServerCertificate",
    }
)  # fmt: skip


def _as_made(state: State, call: Call, params: Params) -> Params:
    """The request with its names in the case in which they were made: IAM does not distinguish names by case.

    Source: "Names are not distinguished by case" of https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
    """
    if call.operation.name in _MAKING:
        return params
    for parameter, kind in _NAMES:
        name = params.get(parameter)
        if name is not None and (found := state.taken(kind, name)) is not None and found.name != name:
            params = {**params, parameter: found.name}
    return params


Body: TypeAlias = Callable[[State, Call, Params], Result]


def changing(body: Body) -> Handler:
    """An operation that is one transaction over the account's state."""

    @wraps(body)
    async def handler(call: Call, params: Params) -> Result:
        def whole(txn: Transaction) -> Result:
            state = State(txn, call.account)
            return body(state, call, _as_made(state, call, params))

        return await call.store.transact(whole)

    return handler


def reading(body: Body) -> Handler:
    """An operation that only reads the account's state."""

    @wraps(body)
    async def handler(call: Call, params: Params) -> Result:
        def whole(txn: Transaction) -> Result:
            state = State(txn, call.account)
            return body(state, call, _as_made(state, call, params))

        return await call.store.transact(whole, read_only=True)

    return handler
