"""How many tables, and how much provisioned throughput, an account may have in a region; off with `--limits off`."""

from __future__ import annotations

from penstock.core.call import Call
from penstock.services.dynamodb import keys, table
from penstock.services.dynamodb.table_records import TableRecord
from penstock.services.dynamodb.table_rules import ACCOUNT_MAX_UNITS, TABLE_MAX_UNITS
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

MAX_TABLES = 2500
"""AWS's default quota of tables in an account and region."""


def check_count(txn: Transaction, call: Call, region: str) -> None:
    """Raises LimitExceededException where the account has as many tables in the region as it may."""
    if not call.node.settings.limits:
        return
    if sum(1 for _ in txn.scan(*keys.tables(call.account, region))) >= MAX_TABLES:
        raise AwsError("LimitExceededException", f"Subscriber limit exceeded: There is a limit of {MAX_TABLES} tables")


def check_provisioned(txn: Transaction, call: Call, record: TableRecord, before: TableRecord | None = None) -> None:
    """Raises LimitExceededException for more provisioned units than a table, or an account in a region, may have.

    before: the table as it is now, if there is one: it may keep, or lower, what it has.
    """
    if record.on_demand or not call.node.settings.limits:
        return
    for kind, units in _provisioned(record).items():
        was = 0 if before is None else _provisioned(before)[kind]
        if units <= was:
            continue
        _, _, _, region, account, _ = record.arn.split(":", 5)
        of_all = units - was + sum(
            _provisioned(table.decode(stored).record)[kind] for _, stored in txn.scan(*keys.tables(account, region))
        )  # fmt: skip
        for what, wanted, most in (("table", units, TABLE_MAX_UNITS), ("account", of_all, ACCOUNT_MAX_UNITS)):
            if wanted > most:
                raise AwsError(
                    "LimitExceededException",
                    f"Subscriber limit exceeded: Provisioned throughput exceeds the {what}-level limit of {most} {kind}. "
                    f"Requested: {wanted}",
                )


def _provisioned(record: TableRecord) -> dict[str, int]:
    """The units of a table and its global indexes."""
    return {
        "ReadCapacityUnits": record.read_units + sum(each.read_units for each in record.indexes),
        "WriteCapacityUnits": record.write_units + sum(each.write_units for each in record.indexes),
    }
