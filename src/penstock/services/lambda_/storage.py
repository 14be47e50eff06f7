"""How much code an account keeps in a region: functions, their versions, and layers."""

from __future__ import annotations

from penstock.core.call import Call
from penstock.services.lambda_ import keys
from penstock.services.lambda_.packages import Package
from penstock.services.lambda_.records import Function
from penstock.store import Transaction
from penstock.wire.errors import AwsError

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
BYTES_MAX = 80_530_636_800


def stored_bytes(txn: Transaction, account: str, region: str) -> int:
    """What is kept now."""
    return max(0, int.from_bytes(txn.get(keys.code_bytes(account, region)) or b"", "little", signed=True))


def hold(call: Call, txn: Transaction, account: str, region: str, package: Package) -> None:
    """Keep a package for one record more. Raises CodeStorageExceededException."""
    if not package.blob:
        return
    if stored_bytes(txn, account, region) + package.shown_bytes > BYTES_MAX:
        raise AwsError("CodeStorageExceededException", "Code storage limit exceeded.", 400, members={"Type": "User"})
    call.blobs.adopt(txn, package.blob)
    txn.add(keys.code_bytes(account, region), package.shown_bytes)


def drop(call: Call, txn: Transaction, account: str, region: str, package: Package) -> None:
    """Keep it for one record less."""
    if not package.blob:
        return
    call.blobs.release(txn, package.blob)
    txn.add(keys.code_bytes(account, region), -package.shown_bytes)


def hold_function(call: Call, txn: Transaction, function: Function) -> None:
    """Keep all that a function's or version's record names. Layers count once, where they are published."""
    hold(call, txn, function.account, function.region, function.package)
    for layer in function.layers:
        call.blobs.adopt(txn, layer.package.blob)


def drop_function(call: Call, txn: Transaction, function: Function) -> None:
    """Keep it no longer."""
    drop(call, txn, function.account, function.region, function.package)
    for layer in function.layers:
        call.blobs.release(txn, layer.package.blob)
