"""From what a request calls a key to the key's record, and back to the store.

A key is named by its id, its ARN, an alias or an alias's ARN:
https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from penstock.core import arn
from penstock.core.call import Call
from penstock.services.kms import errors, keys
from penstock.services.kms.records import Key, decode_alias, decode_key, encode
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

T = TypeVar("T")

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")
ALIAS = "alias/"
AWS_ALIAS = "alias/aws/"


class Reference(NamedTuple):
    """What a KeyId says: the account, and either a key's id or an alias's name."""

    account: str
    key_id: str
    alias: str


def reference(call: Call, text: str, account: str) -> Reference:
    """Take a KeyId apart; `account` is where a plain one is looked for. Raises AwsError NotFoundException."""
    if text.startswith("arn:"):
        try:
            parsed = arn.parse(text)
        except ValueError:
            raise AwsError("InvalidArnException", f"Invalid arn {text}") from None
        kind, _, name = parsed.resource.partition("/")
        if parsed.service != "kms" or kind not in ("key", "alias") or not name or not parsed.account:
            raise AwsError("InvalidArnException", f"Invalid arn {text}")
        if parsed.region != call.region:
            raise errors.not_found(f"Invalid arn {parsed.region}")
        return Reference(parsed.account, name, "") if kind == "key" else Reference(parsed.account, "", parsed.resource)
    if text.startswith(ALIAS):
        return Reference(account, "", text)
    if not _ID.fullmatch(text):
        raise errors.not_found(f"Invalid keyId '{text}'")
    return Reference(account, text, "")


def find(txn: Transaction, account: str, region: str, key_id: str, now: float) -> Key | None:
    """The key, or None where it is not there (any more)."""
    stored = txn.get(keys.key(account, region, key_id))
    if stored is None:
        return None
    key = decode_key(stored)
    return None if key.dead(now) else key


def get(txn: Transaction, account: str, region: str, key_id: str, now: float) -> Key:
    """The key. Raises AwsError NotFoundException."""
    key = find(txn, account, region, key_id, now)
    if key is None:
        raise errors.no_key(arn.build("kms", region, account, f"key/{key_id}"))
    return key


def follow(txn: Transaction, call: Call, named: Reference) -> Key:
    """The key that a reference leads to. Raises AwsError NotFoundException."""
    key_id = named.key_id
    if named.alias:
        stored = txn.get(keys.alias(named.account, call.region, named.alias))
        if stored is None:
            raise errors.no_alias(arn.build("kms", call.region, named.account, named.alias))
        key_id = decode_alias(stored).target
    return get(txn, named.account, call.region, key_id, call.now)


def save(txn: Transaction, key: Key, due_before: float) -> None:
    """Write a key, and when something happens to it next. due_before: `due_at()` of the record it replaces."""
    txn.set(keys.key(key.account, key.region, key.id), encode(key))
    due = key.due_at()
    if due != due_before:
        if due_before:
            txn.clear(keys.due(due_before, key.account, key.region, key.id))
        if due:
            txn.set(keys.due(due, key.account, key.region, key.id), b"")


async def change(call: Call, key: Key, body: Callable[[Transaction, Key], T]) -> T:
    """Read a key anew, let `body` change it, and write it, in one transaction. Raises AwsError NotFoundException."""

    def run(txn: Transaction) -> T:
        fresh = get(txn, key.account, key.region, key.id, call.now)
        due = fresh.due_at()
        result = body(txn, fresh)
        save(txn, fresh, due)
        return result

    return await call.store.transact(run)


def family(txn: Transaction, key: Key, now: float) -> list[Key]:
    """The other records of a multi-Region key: those of its primary and its replicas in other Regions."""
    if not key.primary:
        return []
    regions = [key.primary, *key.replicas]
    others = (find(txn, key.account, region, key.id, now) for region in regions if region != key.region)
    return [other for other in others if other is not None]
