"""Table keys: what the items of an encrypted table are sealed under, and who may have them opened.

A table key is made with the table and never changes; the store holds it encrypted under the table's KMS key (or, once
that is switched off, sealed under the master key). Whoever reads or writes needs kms:Decrypt through DynamoDB; an answer of
KMS counts for five minutes, so that a key that is disabled is noticed. What runs by itself has DynamoDB's own grant.
Keys of items, sort order and sizes are not hidden: they lie in the store's keys.
Source: "DynamoDB encryption at rest: How it works" of the developer guide.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from penstock.core.call import Call, forwarded
from penstock.core.identity import Kind, Principal, service
from penstock.core.master_key import MasterKeyError
from penstock.core.node import Node
from penstock.core.operation import NotReady
from penstock.core.sealed_bodies import BodyDamaged, BodySealer
from penstock.services.dynamodb import keys
from penstock.services.dynamodb.table_records import Encryption, TableRecord
from penstock.store.api import StoreError, Transaction
from penstock.wire.errors import AwsError

T = TypeVar("T")
SERVICE = "dynamodb.amazonaws.com"
KEPT_S = 300.0
"""How long an answer of KMS counts."""
_MOST_CALLERS = 1000
"""Whom a lock remembers; others ask again."""
_GRACE_S = 60.0
"""An open key is kept open for this much longer, for requests that are under way."""
_DENIED = "KMS key access denied error: "
BROKEN = frozenset({"DisabledException", "KMSInvalidStateException", "NotFoundException", "KeyUnavailableException"})
"""What KMS says of a key that nobody can use."""


class Locked(NotReady):
    """A table key is not open, or not for this caller."""

    def __init__(self, lock: TableLock) -> None:
        super().__init__(f"the key of table {lock.name} is not open")
        self.lock = lock

    async def prepare(self, call: Call) -> None:
        """See `NotReady`: open it with the caller's permissions. Raises AccessDeniedException."""
        try:
            await unlock(call.node, self.lock, call.principal, call.principal.account or call.account)
        except KmsRefused as refused:
            if refused.reason in BROKEN:
                key = keys.table(self.lock.account, self.lock.region, self.lock.name)
                await call.store.transact(lambda txn: mark(txn, key, call.now))
            raise


class TableLock:
    """A table key, closed or open. Shared by all that know it by the same encrypted bytes."""

    __slots__ = ("_allowed", "_sealer", "account", "encryption", "name", "open_until", "region")

    def __init__(self, account: str, region: str, name: str, encryption: Encryption) -> None:
        self.account, self.region, self.name = account, region, name
        self.encryption = encryption
        self.open_until = 0.0
        self._sealer: BodySealer | None = None
        self._allowed: dict[str, float] = {}

    @property
    def context(self) -> dict[str, str]:
        """The encryption context of KMS."""
        return {"aws:dynamodb:tableName": self.name, "aws:dynamodb:subscriberId": self.account}

    def require(self, call: Call) -> None:
        """Raises Locked unless the key is open, and for this caller."""
        if self._sealer is None:
            raise Locked(self)
        if self.encryption.key_arn and self._allowed.get(call.principal.arn, 0.0) <= call.now:
            raise Locked(self)

    def seal(self, plain: bytes, bound_to: bytes) -> bytes:
        """Encrypted. Raises Locked."""
        if self._sealer is None:
            raise Locked(self)
        return self._sealer.seal(plain, bound_to)

    def open(self, box: bytes, bound_to: bytes) -> bytes:
        """What was sealed. Raises Locked, StoreError."""
        if self._sealer is None:
            raise Locked(self)
        try:
            return self._sealer.open(box, bound_to)
        except BodyDamaged as error:
            raise StoreError(f"an item of table {self.name} does not open: {error}") from None

    def opened(self, key: bytes, who: str, now: float) -> None:
        """KMS has given the key to somebody."""
        if self._sealer is None:
            self._sealer = BodySealer(key, b"penstock dynamodb item ")
        if len(self._allowed) >= _MOST_CALLERS:
            self._allowed.clear()  # sessions have names of their own, and come and go
        self._allowed[who] = now + KEPT_S
        self.open_until = max(self.open_until, now + KEPT_S)

    def close(self) -> None:
        """Forget the key."""
        self._sealer = None
        self._allowed.clear()


@lru_cache(maxsize=1024)
def _lock(account: str, region: str, name: str, key_arn: str, wrapped: bytes) -> TableLock:
    return TableLock(account, region, name, Encryption(key_arn, wrapped))


def lock_of(table_arn: str, encryption: Encryption | None) -> TableLock | None:
    """The lock of a table that has one."""
    if encryption is None:
        return None
    _, _, _, region, account, resource = table_arn.split(":", 5)
    return _lock(account, region, resource.removeprefix("table/"), encryption.key_arn, encryption.wrapped)


class OpenLocks:
    """The locks that this process has open."""

    def __init__(self, _: Node) -> None:
        self.all: set[TableLock] = set()

    def close_old(self, now: float) -> None:
        """Close what nobody has asked KMS for lately."""
        for lock in [each for each in self.all if each.open_until + _GRACE_S <= now]:
            lock.close()
            self.all.discard(lock)


async def unlock(node: Node, lock: TableLock, principal: Principal, account: str) -> None:
    """Open a lock, as somebody who may. Raises AccessDeniedException where KMS says no."""
    lock.opened(await open_key(node, lock, principal, account), principal.arn, node.clock.now())
    node.own(OpenLocks).all.add(lock)


async def open_key(node: Node, lock: TableLock, principal: Principal, account: str) -> bytes:
    """The table key itself, for somebody who may have it. Raises AccessDeniedException."""
    if lock.encryption.key_arn:
        answer = await ask_kms(
            node, lock.region, "Decrypt", principal, account,
            KeyId=lock.encryption.key_arn, CiphertextBlob=lock.encryption.wrapped, EncryptionContext=lock.context,
        )  # fmt: skip
        plain: bytes = answer["Plaintext"]
        return plain
    try:
        return (await node.master_keys.get()).unseal(lock.encryption.wrapped, bound(lock.context))
    except MasterKeyError as error:
        raise AwsError("InternalServerError", f"The table's key cannot be opened: {error}", 500) from None


_decode = msgspec.json.Decoder(TableRecord).decode


def mark(txn: Transaction, record_key: bytes, since: float) -> None:
    """Note since when KMS refuses a table's key to everybody; 0: it does not any more."""
    stored = txn.get(record_key)
    record = None if stored is None else _decode(stored)
    if record is not None and record.encryption is not None and bool(record.inaccessible_since) != bool(since):
        record.inaccessible_since = since
        txn.set(record_key, msgspec.json.encode(record))


def bound(context: dict[str, str]) -> bytes:
    """What a table key is bound to under the master key."""
    return " ".join(("dynamodb table key", *context.values())).encode()


async def ask_kms(
    node: Node, region: str, operation: str, principal: Principal, account: str, **params: Any
) -> dict[str, Any]:
    """KMS's answer to somebody who asks through DynamoDB. Raises AccessDeniedException for all that it refuses."""
    via = {} if principal.kind is Kind.SERVICE else forwarded("dynamodb")
    try:
        return await node.call(
            "kms", operation, params, principal=principal, account=account, region=region,
            context=via | {"kms:ViaService": f"dynamodb.{region}.amazonaws.com"},
        )  # fmt: skip
    except AwsError as error:
        if error.status is not None and error.status >= 500:
            raise
        raise KmsRefused(error) from None


class KmsRefused(AwsError):
    """An AccessDeniedException for what KMS has answered. reason: KMS's own code."""

    def __init__(self, error: AwsError) -> None:
        super().__init__("AccessDeniedException", _DENIED + error.message, 400)
        self.reason = error.code
        self.kms_message = error.message


async def unlock_as_service(node: Node, lock: TableLock) -> None:
    """Open a lock with DynamoDB's own grant, for what runs by itself. Raises KmsRefused."""
    await unlock(node, lock, service(SERVICE, lock.account), lock.account)


async def transact(node: Node, body: Callable[[Transaction], T], *, read_only: bool = False) -> T:
    """`store.transact` for what runs by itself: opens the keys that it meets. Raises KmsRefused."""
    while True:
        try:
            return await node.store.transact(body, read_only=read_only)
        except Locked as locked:
            await unlock_as_service(node, locked.lock)


async def sealed(node: Node, lock: TableLock, plain: bytes, bound_to: bytes) -> bytes:
    """Encrypted under a table's key, for what runs by itself. Raises KmsRefused."""
    return await _with(node, lock, lambda: lock.seal(plain, bound_to))


async def unsealed(node: Node, lock: TableLock, box: bytes, bound_to: bytes) -> bytes:
    """What was sealed. Raises KmsRefused, StoreError."""
    return await _with(node, lock, lambda: lock.open(box, bound_to))


async def _with(node: Node, lock: TableLock, use: Callable[[], bytes]) -> bytes:
    while True:
        try:
            return use()
        except Locked:
            await unlock_as_service(node, lock)
