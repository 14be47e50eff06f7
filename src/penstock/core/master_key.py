"""The master key: what secrets at rest are sealed under. It lies outside the store, so the store's bytes alone tell nothing.

It is 32 bytes: given by the user (the setting `master_key`, i.e. PENSTOCK_MASTER_KEY, or `master_key_file`), else made
at first use and kept in the data directory's file `master.key`. The store holds a check value of it, so that a node
with another key, which could neither read nor be read, is refused at start.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from penstock.store.datadir import make_directory, sync_directory
from penstock.store.tuples import pack

if TYPE_CHECKING:
    from penstock.config import Settings
    from penstock.store.api import Store, Transaction

log = logging.getLogger(__name__)

KEY_BYTES = 32
FILE = "master.key"
CHECK = pack(("master key", "check"))
"""Where the store keeps the check value of the key that its secrets are sealed under."""
_NONCE_BYTES = 12


class MasterKeyError(Exception):
    """There is no usable master key, or it is not the one that the store's secrets are sealed under."""


class MasterKey:
    """Seals and unseals. `check` tells whether two keys are the same, and nothing else about them."""

    __slots__ = ("_aead", "check")

    def __init__(self, raw: bytes) -> None:
        """raw: 32 bytes. Raises MasterKeyError for another number of them."""
        if len(raw) != KEY_BYTES:
            raise MasterKeyError(f"a master key has {KEY_BYTES} bytes, as 64 hexadecimal digits or in base64")
        self._aead = AESGCM(_derived(raw, b"penstock seal"))
        self.check = _derived(raw, b"penstock check")[:16]

    def seal(self, plain: bytes, bound_to: bytes) -> bytes:
        """`plain` encrypted, such that it opens only with the same `bound_to` (a name, say)."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, bound_to)

    def unseal(self, box: bytes, bound_to: bytes) -> bytes:
        """What was sealed. Raises MasterKeyError where it was not sealed by this key, for that, or was altered."""
        try:
            return self._aead.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError):
            raise MasterKeyError("a secret was not sealed under this master key, or its record was altered") from None


class MasterKeys:
    """This server's way to its master key: found or made at the first use, checked against the store."""

    def __init__(self, settings: Settings, store: Store, directory: Path | None) -> None:
        """directory: where a key of our own is kept; None: nowhere, it lives as long as the process does."""
        self._settings = settings
        self._store = store
        self._directory = directory
        self._key: MasterKey | None = None
        self._settled = False

    async def get(self) -> MasterKey:
        """The key. Raises MasterKeyError where there is none, or where the store's secrets are under another."""
        if not self._settled:
            key = self._found() or self._made()
            await self._settle(key)
        assert self._key is not None
        return self._key

    async def verify(self, *, shared: bool) -> None:
        """At start: raises MasterKeyError where `get` would. Makes a key only where other nodes share the store."""
        if shared:
            await self.get()
            return
        key = self._found()
        check = await self._store.transact(lambda txn: txn.get(CHECK), read_only=True)
        if check is not None and (key is None or key.check != check):
            raise MasterKeyError(self._mismatch())

    def forget(self) -> None:
        """The store was emptied: its check value has to be written anew."""
        self._settled = False

    async def _settle(self, key: MasterKey) -> None:
        def body(txn: Transaction) -> bytes:
            check = txn.get(CHECK)
            if check is None:
                txn.set(CHECK, key.check)
                return key.check
            return check

        if await self._store.transact(body) != key.check:
            raise MasterKeyError(self._mismatch())
        self._key, self._settled = key, True

    def _found(self) -> MasterKey | None:
        """The key that the user gave, that this process knows, or that lies in our file."""
        if self._key is not None:
            return self._key
        if self._settings.master_key:
            return parse(self._settings.master_key.encode())
        if self._settings.master_key_file:
            return _read(Path(self._settings.master_key_file))
        own = self._directory and self._directory / FILE
        return _read(own) if own and own.exists() else None

    def _made(self) -> MasterKey:
        raw = secrets.token_bytes(KEY_BYTES)
        if self._directory is None:
            self._key = MasterKey(raw)
            return self._key
        _write(self._directory / FILE, raw.hex().encode() + b"\n")
        log.info("made a master key: %s", self._directory / FILE)
        return _read(self._directory / FILE)

    def _mismatch(self) -> str:
        if self._settings.master_key:
            ours = "the one given as PENSTOCK_MASTER_KEY"
        elif self._settings.master_key_file:
            ours = f"the one in {self._settings.master_key_file}"
        else:
            ours = f"the one in {self._directory / FILE}" if self._directory else "this process's own"
        return (
            f"the secrets in this store are sealed under another master key than {ours}. Give the one that they were "
            "sealed under (--master-key-file FILE, or PENSTOCK_MASTER_KEY); nodes that share a store share its key"
        )


def parse(text: bytes) -> MasterKey:
    """The key written as 64 hexadecimal digits, in base64, or as its 32 bytes. Raises MasterKeyError."""
    if len(text) == KEY_BYTES:
        return MasterKey(text)
    text = text.strip()
    try:
        raw = binascii.unhexlify(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    return MasterKey(raw)


def _read(path: Path) -> MasterKey:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MasterKeyError(f"the master key in {path} cannot be read: {error.strerror}") from error
    try:
        return parse(content)
    except MasterKeyError as error:
        raise MasterKeyError(f"{path}: {error}") from None


def _write(path: Path, content: bytes) -> None:
    """Write the file whole and durably, unless there is one by now."""
    make_directory(path.parent)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        pass
    finally:
        beside.unlink()
    sync_directory(path.parent)


def _derived(raw: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, None, purpose).derive(raw)
