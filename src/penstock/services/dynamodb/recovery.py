"""Point-in-time recovery: UpdateContinuousBackups, DescribeContinuousBackups, and forgetting what is too old.

See `history` for how it works, `restores` for what it is good for. AWS's LatestRestorableDateTime is about five minutes
behind; here every acknowledged write can be restored at once, so it is the present time.
"""

from __future__ import annotations

from typing import Any

from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import history, keys, names, resource_policies, table
from penstock.services.dynamodb.restores import earliest
from penstock.services.dynamodb.table_records import TableRecord
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

DEFAULT_DAYS = 35
"""Of RecoveryPeriodInDays."""
_MARGIN_S = 60
"""Kept beyond the period: who asks for its first second gets it."""


def _load(txn: Transaction, key: bytes, name: str) -> table.Table:
    stored = txn.get(key)
    if stored is None:
        raise AwsError("TableNotFoundException", f"Table not found: {name}")
    return table.decode(stored)


def _describe(record: TableRecord, now: float) -> Result:
    recovery: dict[str, Any] = {"PointInTimeRecoveryStatus": "DISABLED"}
    if record.recovery_since:
        recovery = {
            "PointInTimeRecoveryStatus": "ENABLED",
            "RecoveryPeriodInDays": record.recovery_days,
            "EarliestRestorableDateTime": earliest(record, now),
            "LatestRestorableDateTime": max(now, record.recovery_since),
        }
    shown = {"ContinuousBackupsStatus": "ENABLED", "PointInTimeRecoveryDescription": recovery}
    return {"ContinuousBackupsDescription": shown}


@operation("dynamodb:DescribeContinuousBackups", resource=names.resource, policy=resource_policies.load)
async def describe_continuous_backups(call: Call, params: Params) -> Result:
    """Whether a table can be recovered, and to which times."""
    name = params["TableName"]
    key = names.record_key(call, name)
    found = await call.store.transact(lambda txn: _load(txn, key, name).record, read_only=True)
    return _describe(found, call.now)


@operation("dynamodb:UpdateContinuousBackups", resource=names.resource, policy=resource_policies.load)
async def update_continuous_backups(call: Call, params: Params) -> Result:
    """Switch recovery on (from this moment on every change is kept), off (all that was kept is forgotten), or change for
    how long changes are kept."""
    name = params["TableName"]
    key = names.record_key(call, name)
    wanted = params["PointInTimeRecoverySpecification"]
    moments = call.node.own(history.Moments)

    def body(txn: Transaction) -> TableRecord:
        found = _load(txn, key, name)
        record = found.record
        if record.filling:
            raise AwsError(
                "ContinuousBackupsUnavailableException",
                f"Backups are being enabled for the table: {record.name}. Please retry later",
            )
        if wanted["PointInTimeRecoveryEnabled"]:
            record = _switched_on(record, wanted.get("RecoveryPeriodInDays"), moments.of(txn))
        elif record.recovery_since:
            record = table.changed(record, recovery_since=0.0, recovery_days=DEFAULT_DAYS)
            if not record.keeps_history:
                history.forget(txn, found.id)
        txn.set(key, table.encode(record))
        if record.recovery_since:
            txn.set(keys.recovered(key), b"")
        else:
            txn.clear(keys.recovered(key))
        return record

    return _describe(await call.store.transact(body), call.now)


def _switched_on(record: TableRecord, days: int | None, now_us: int) -> TableRecord:
    """The record of a table that can be recovered from now on, or that could be already."""
    if record.recovery_since:
        # With a longer period, what the shorter one has let go of does not come back.
        since = earliest(record, now_us / 1e6)
        return table.changed(record, recovery_since=since, recovery_days=days or record.recovery_days)
    after_us = max(record.history_after_us, now_us)
    return table.changed(
        record, recovery_since=now_us / 1e6, recovery_days=days or DEFAULT_DAYS, history_after_us=after_us
    )


async def trim_all(node: Node) -> None:
    """Forget the changes of every table that are older than its recovery period. Doing it twice does no harm."""
    begin, end = keys.all_recovered()
    while pair := await node.store.transact(lambda txn, b=begin: next(txn.scan(b, end, 1), None), read_only=True):  # type: ignore[misc]
        while await node.store.transact(lambda txn, key=pair[0]: _trim(txn, key, node.clock.now())):  # type: ignore[misc]
            pass
        begin = pair[0] + b"\0"


def _trim(txn: Transaction, key: bytes, now: float) -> bool:
    """Forget some old changes of a table. Returns whether there may be more."""
    stored = txn.get(keys.record_of_recovered(key))
    found = None if stored is None else table.decode(stored)
    if found is None or not found.record.recovery_since:
        txn.clear(key)
        return False
    return history.trim(txn, found, round((earliest(found.record, now) - _MARGIN_S) * 1e6))
