"""Client request tokens: a transaction sent again within ten minutes has happened already."""

from __future__ import annotations

from penstock.services.dynamodb import keys
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

KEPT_S = 600.0
_FORGOTTEN_AT_ONCE = 1000


def is_repeated(txn: Transaction, account: str, region: str, token: str, digest: bytes, now: float) -> bool:
    """Whether this very request was carried out under this token in the last ten minutes.

    Raises IdempotentParameterMismatchException if it was another request.
    """
    stored = txn.get(keys.token(account, region, token))
    if stored is None or keys.token_time(stored) + KEPT_S <= now:
        return False
    if stored[keys.TIME_BYTES :] != digest:
        raise AwsError(
            "IdempotentParameterMismatchException",
            "The request uses the same client token as a previous, but non-identical request. "
            "Do not reuse a client token with different requests, unless the requests are identical",
        )
    return True


def remember(txn: Transaction, account: str, region: str, token: str, digest: bytes, now: float) -> None:
    """Keep the token for ten minutes."""
    key = keys.token(account, region, token)
    txn.set(key, keys.time_bytes(now) + digest)
    txn.set(keys.token_due(now, key), b"")


def forget_expired(txn: Transaction, now: float) -> int:
    """Remove tokens older than ten minutes, at most a thousand. Returns how many."""
    begin, end = keys.tokens_due_before(now - KEPT_S)
    expired = [key for key, _ in txn.scan(begin, end, _FORGOTTEN_AT_ONCE)]
    for due_key in expired:
        token_key = keys.token_of_due(due_key)
        stored = txn.get(token_key)
        if stored is not None and keys.token_time(stored) + KEPT_S <= now:
            txn.clear(token_key)
        txn.clear(due_key)
    return len(expired)
