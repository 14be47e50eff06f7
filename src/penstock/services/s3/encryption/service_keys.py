"""SSE-S3: the service's own keys, sealed under the master key; a new one every year. Old ones keep opening what they sealed."""

from __future__ import annotations

import logging
import secrets

import msgspec

from penstock.blobs.sealing import KEY_BYTES
from penstock.core.master_key import MasterKeyError
from penstock.core.node import Node
from penstock.services.s3 import keys
from penstock.services.s3.encryption.data_key import AES256, DataKey
from penstock.services.s3.records import Encryption, encode
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

log = logging.getLogger(__name__)

ROTATE_EVERY_S = 365 * 86400.0


class ServiceKey(msgspec.Struct, array_like=True, frozen=True):
    """As stored. made_at: seconds since the epoch. sealed: under the master key, bound to the id."""

    made_at: float
    sealed: bytes


_decode = msgspec.msgpack.Decoder(ServiceKey).decode


class ServiceKeys:
    """The service keys that this process has opened. `current`: what new objects are encrypted under, once known."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.opened: dict[str, DataKey] = {}
        """By id."""
        self.current: DataKey | None = None

    async def for_new(self) -> DataKey:
        """The current key, made where there is none. Raises AwsError InternalError without a usable master key."""
        if self.current is None:
            self.current = await self._current()
        return self.current

    async def of(self, key_id: str) -> DataKey:
        """The key of that id. Raises AwsError InternalError where it cannot be opened."""
        found = self.opened.get(key_id)
        if found is None:
            raw = await self._node.store.transact(lambda txn: txn.get(keys.service_key(key_id)), read_only=True)
            if raw is None:
                raise _unusable(f"the key {key_id} is not there")
            found = await self._open(key_id, _decode(raw))
        return found

    async def rotate(self) -> bool:
        """Put a new key in place of a current one that is a year old; take over what another node has made."""
        now = self._node.clock.now()

        def look(txn: Transaction) -> tuple[str, bytes | None]:
            current = (txn.get(keys.CURRENT_SERVICE_KEY) or b"").decode()
            return current, txn.get(keys.service_key(current))

        current, raw = await self._node.store.transact(look, read_only=True)
        if raw is None:
            return False
        due = _decode(raw).made_at + ROTATE_EVERY_S <= now
        if due:
            await self._make(replacing=current)
        self.current = None
        return due

    async def _current(self) -> DataKey:
        raw = await self._node.store.transact(lambda txn: txn.get(keys.CURRENT_SERVICE_KEY), read_only=True)
        return await self.of(raw.decode() if raw is not None else await self._make(replacing=""))

    async def _make(self, replacing: str) -> str:
        """Make a key unless another node was quicker. Returns the current key's id."""
        key_id = secrets.token_hex(8)
        try:
            master = await self._node.master_keys.get()
        except MasterKeyError as error:
            raise _unusable(str(error)) from None
        sealed = master.seal(secrets.token_bytes(KEY_BYTES), _name(key_id))
        made = encode(ServiceKey(self._node.clock.now(), sealed))

        def body(txn: Transaction) -> str:
            current = (txn.get(keys.CURRENT_SERVICE_KEY) or b"").decode()
            if current != replacing:
                return current
            txn.set(keys.service_key(key_id), made)
            txn.set(keys.CURRENT_SERVICE_KEY, key_id.encode())
            return key_id

        return await self._node.store.transact(body)

    async def _open(self, key_id: str, stored: ServiceKey) -> DataKey:
        try:
            master = await self._node.master_keys.get()
            plain = master.unseal(stored.sealed, _name(key_id))
        except MasterKeyError as error:
            raise _unusable(str(error)) from None
        return self.opened.setdefault(key_id, DataKey(Encryption(AES256, key_id), plain))


def _name(key_id: str) -> bytes:
    return f"s3 service key {key_id}".encode()


def _unusable(why: str) -> AwsError:
    log.error("objects cannot be encrypted or opened: %s", why)
    return AwsError("InternalError", "We encountered an internal error. Please try again.", 500)
