"""Named leases with fencing tokens: which node runs a background job. Built of nothing but transactions.

A holder acquires a name for some time, renews it while it works, and fences each of its writes by calling `check` in
the transaction that writes: a holder that was presumed dead and comes back is told so before it can do harm. Nothing
here waits or asks for the time; `now` is always an argument.

    prefix + name   msgpack [holder, until in us, token]; cleared on release
"""

from __future__ import annotations

import msgspec

from penstock.store.api import StoreError, Transaction


class LeaseLost(StoreError):
    """The lease has another holder now, was released, or never was: what it covered must not be touched any more."""


class _Lease(msgspec.Struct, array_like=True):
    holder: str
    until_us: int
    token: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Lease).decode


class Leases:
    """The leases under one prefix. Tokens of a name only grow, as long as nobody's clock goes back past a release."""

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix

    def key(self, name: str) -> bytes:
        """The key that changes whenever the lease does: for `store.watch`, to wait for a release."""
        return self.prefix + name.encode()

    def acquire(self, txn: Transaction, name: str, holder: str, now: float, lease_s: float) -> int | None:
        """Take the lease until `now + lease_s`: the fencing token, or None where somebody else holds it.

        A holder that asks again gets a new token, and its old one is stale: so a commit of unknown outcome can be
        tried again.
        """
        now_us = round(now * 1e6)
        stored = txn.get(self.key(name))
        token = now_us
        if stored is not None:
            held = _decode(stored)
            if held.holder != holder and held.until_us > now_us:
                return None
            token = max(now_us, held.token + 1)
        txn.set(self.key(name), _encode(_Lease(holder, now_us + round(lease_s * 1e6), token)))
        return token

    def renew(self, txn: Transaction, name: str, token: int, now: float, lease_s: float) -> None:
        """Hold it until `now + lease_s`; allowed after it ran out as long as nobody took it. Raises LeaseLost."""
        held = self._held(txn, name, token)
        txn.set(self.key(name), _encode(_Lease(held.holder, round((now + lease_s) * 1e6), token)))

    def release(self, txn: Transaction, name: str, token: int) -> None:
        """Let others have it at once. Raises LeaseLost where it was not ours any more."""
        self._held(txn, name, token)
        txn.clear(self.key(name))

    def check(self, txn: Transaction, name: str, token: int) -> None:
        """Fence: this transaction commits only if the lease is still the one with `token`. Raises LeaseLost."""
        self._held(txn, name, token)

    def holder(self, txn: Transaction, name: str, now: float) -> str | None:
        """Who holds it at `now`, or None."""
        stored = txn.get(self.key(name))
        if stored is None:
            return None
        held = _decode(stored)
        return held.holder if held.until_us > round(now * 1e6) else None

    def _held(self, txn: Transaction, name: str, token: int) -> _Lease:
        stored = txn.get(self.key(name))
        if stored is None:
            raise LeaseLost(f"the lease {name!r} was released")
        held = _decode(stored)
        if held.token != token:
            raise LeaseLost(f"the lease {name!r} went to {held.holder}")
        return held
