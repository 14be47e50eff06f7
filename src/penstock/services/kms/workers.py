"""What KMS does by itself: it destroys keys whose waiting period is over, forgets material that expired, rotates.

Nobody can use a key past its deletion or its material's expiry, however late this comes by.
"""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING

from penstock.core.worker import worker
from penstock.services.kms import deletion, finding, keys, material, rotations, rules
from penstock.services.kms.records import Key, Material, decode_key
from penstock.store.api import Transaction
from penstock.store.lease import LeaseLost, Leases

if TYPE_CHECKING:
    from penstock.core.node import Node

log = logging.getLogger(__name__)

PERIOD_S = 300.0
LEASE_S = 600.0
_AT_ONCE = 100
_LEASES = Leases(keys.LEASES)


@worker("kms:due")
async def carry_out(node: Node) -> None:
    """Every five minutes of the clock's time, one of the nodes carries out what has come due."""
    while True:
        now = node.clock.now()
        token = await node.store.transact(
            partial(_LEASES.acquire, name="due", holder=node.id, now=now, lease_s=LEASE_S)
        )  # fmt: skip
        if token is not None:
            await carry_out_all(node)
            with contextlib.suppress(LeaseLost):
                await node.store.transact(partial(_LEASES.release, name="due", token=token))
        await node.clock.sleep(PERIOD_S)


async def carry_out_all(node: Node) -> int:
    """Carry out all that is due by now. Returns how many keys it concerned."""
    done = 0
    now = node.clock.now()
    while due := await node.store.transact(partial(_due, now), read_only=True):
        for stored in due:
            _, _, account, region, key_id = keys.parts(stored)
            await _settle(node, str(account), str(region), str(key_id), stored, now)
            done += 1
    return done


def _due(now: float, txn: Transaction) -> list[bytes]:
    return [key for key, _ in txn.scan(keys.DUE, keys.due_by(now), _AT_ONCE)]


async def _settle(node: Node, account: str, region: str, key_id: str, due: bytes, now: float) -> None:
    """One key, whose time `due` has come: look what it is that is due, and do it."""
    where = keys.key(account, region, key_id)
    stored = await node.store.transact(lambda txn: txn.get(where), read_only=True)
    key = None if stored is None else decode_key(stored)
    fresh = None
    if key is not None and _rotates(key, now):
        fresh = await material.made(node, account, key_id, key.spec)

    def body(txn: Transaction) -> None:
        txn.clear(due)
        again = txn.get(where)
        if again is not None:
            _bring_up_to_date(txn, decode_key(again), fresh, now)

    await node.store.transact(body)


def _rotates(key: Key, now: float) -> bool:
    return 0.0 < key.next_rotation_at <= now and key.enabled and not key.window_days


def _bring_up_to_date(txn: Transaction, key: Key, fresh: Material | None, now: float) -> None:
    if key.dead(now):
        deletion.destroy(txn, key, now)
        log.info("destroyed %s: its waiting period is over", key.arn)
        return
    due = key.due_at()
    for old in key.materials:
        if old.sealed and 0.0 < old.valid_to <= now:
            old.sealed = b""
            log.info("the imported material of %s has expired", key.arn)
    if _rotates(key, now) and fresh is not None:
        period_s = key.rotation_days * rules.DAY_S
        # A key that was disabled at its time is rotated when it is enabled, and its schedule begins anew.
        key.next_rotation_at = max(key.next_rotation_at, now - period_s / 2) + period_s
        rotations.turn_all(txn, key, fresh, now, rotations.AUTOMATIC)
        log.info("rotated %s", key.arn)
    finding.save(txn, key, due)
