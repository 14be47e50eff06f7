"""Deleting keys: only after a waiting period, and then for good.

https://docs.aws.amazon.com/kms/latest/developerguide/deleting-keys.html
"""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.services.kms import access, errors, finding, keys, rules
from penstock.services.kms.records import Key, decode_grant, decode_key
from penstock.store.api import Transaction

WINDOW_DAYS = 30
WINDOW_DAYS_MIN, WINDOW_DAYS_MAX = 7, 30


@access.key_operation("ScheduleKeyDeletion")
async def schedule_key_deletion(call: Call, params: Params) -> Result:
    days = params.get("PendingWindowInDays", WINDOW_DAYS)
    if not WINDOW_DAYS_MIN <= days <= WINDOW_DAYS_MAX:
        raise errors.invalid(
            f"PendingWindowInDays must be between {WINDOW_DAYS_MIN} and {WINDOW_DAYS_MAX} (both inclusive)"
        )

    def body(txn: Transaction, key: Key) -> Result:
        rules.check_state(key, call.now, disabled=True, pending_import=True)
        key.window_days, key.enabled = days, False
        if not _has_replicas(txn, key, call.now):
            key.deletion_at = call.now + days * rules.DAY_S
        answer: Result = {"KeyId": key.arn, "KeyState": key.state(call.now), "PendingWindowInDays": days}
        return answer | {"DeletionDate": key.deletion_at} if key.deletion_at else answer

    return await finding.change(call, access.seen(call), body)


@access.key_operation("CancelKeyDeletion")
async def cancel_key_deletion(call: Call, _: Params) -> Result:
    def body(_txn: Transaction, key: Key) -> Result:
        if not key.window_days:
            raise errors.bad_state(f"{key.arn} is not pending deletion.")
        key.window_days, key.deletion_at = 0, 0.0
        return {"KeyId": key.arn}

    return await finding.change(call, access.seen(call), body)


def bury(txn: Transaction, account: str, region: str, key_id: str, now: float) -> bool:
    """Destroy a key if its waiting period is over, ahead of the worker that would. Returns whether it was."""
    stored = txn.get(keys.key(account, region, key_id))
    key = None if stored is None else decode_key(stored)
    if key is None or not key.dead(now):
        return False
    destroy(txn, key, now)
    return True


def destroy(txn: Transaction, key: Key, now: float) -> None:
    """Remove a key whose waiting period is over, with its material, aliases and grants.

    A replica leaves its family; with the last one, the waiting period of a primary that waited for it begins.
    """
    account, region = key.account, key.region
    for alias in key.aliases:
        txn.clear(keys.alias(account, region, alias))
    for _, stored in list(txn.scan(*keys.range_under(keys.grants(account, region, key.id)))):
        grant = decode_grant(stored)
        if grant.retiring:
            txn.clear(keys.retiring(account, region, grant.retiring, key.id, grant.id))
    txn.clear(*keys.range_under(keys.grants(account, region, key.id)))
    txn.clear(*keys.range_under(keys.all_grantees(account, region, key.id)))
    txn.clear(keys.key(account, region, key.id))
    txn.clear(keys.due(key.deletion_at, account, region, key.id))
    txn.add(keys.count(account, region), -1)
    for other in finding.family(txn, key, now):
        due = other.due_at()
        other.replicas = [r for r in other.replicas if r != region]
        if other.window_days and not other.deletion_at and not other.replicas:
            other.deletion_at = now + other.window_days * rules.DAY_S
        finding.save(txn, other, due)


def _has_replicas(txn: Transaction, key: Key, now: float) -> bool:
    return key.primary == key.region and bool(finding.family(txn, key, now))
