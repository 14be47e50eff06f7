"""Client tokens of exports and imports: the same request sent again within eight hours is the same job."""

from __future__ import annotations

import hashlib

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.dynamodb import keys
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

KEPT_S = 8 * 3600.0


class Token(msgspec.Struct):
    """What was asked for under a token, when, and the id of the job."""

    at: float
    digest: bytes
    id: str


_decode = msgspec.json.Decoder(Token).decode


def digest_of(params: Params) -> bytes:
    """What tells one request from another."""
    return hashlib.sha256(msgspec.json.encode(params, order="sorted")).digest()


def find(txn: Transaction, call: Call, kind: str, token: str, digest: bytes) -> str | None:
    """The id of the job that the very request started under this token. Raises ExportConflictException (or Import…)."""
    stored = txn.get(keys.transfer_token(call.account, call.region, kind, token))
    known = None if stored is None else _decode(stored)
    if known is None or known.at + KEPT_S <= call.now:
        return None
    if known.digest != digest:
        raise AwsError(
            f"{kind.capitalize()}ConflictException",
            f"There was a conflict with a previous {kind} request: it had the same ClientToken and other parameters",
        )
    return known.id


def remember(txn: Transaction, call: Call, kind: str, token: str, digest: bytes, id: str) -> None:
    """Keep the token for eight hours; older ones of the account are forgotten on the way."""
    for key, stored in list(txn.scan(*keys.transfer_tokens(call.account, call.region, kind), 100)):
        if _decode(stored).at + KEPT_S <= call.now:
            txn.clear(key)
    key = keys.transfer_token(call.account, call.region, kind, token)
    txn.set(key, msgspec.json.encode(Token(call.now, digest, id)))
