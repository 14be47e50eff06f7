"""The account's limits and what it uses of them."""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import keys, packages, records, rules, storage
from penstock.store import Transaction


@operation("lambda:GetAccountSettings")
async def get_account_settings(call: Call, params: Params) -> Result:
    concurrency = call.node.settings.function_concurrency

    def body(txn: Transaction) -> tuple[int, int, int]:
        found = [records.decode(raw) for _, raw in txn.scan(*keys.functions(call.account, call.region))]
        size_bytes = storage.stored_bytes(txn, call.account, call.region)
        return len(found), size_bytes, sum(function.reserved or 0 for function in found)

    count, size_bytes, reserved = await call.store.transact(body, read_only=True)
    return {
        "AccountLimit": {
            "TotalCodeSize": storage.BYTES_MAX,
            "CodeSizeUnzipped": rules.UNZIPPED_BYTES_MAX,
            "CodeSizeZipped": packages.ZIPPED_BYTES_MAX,
            "ConcurrentExecutions": concurrency,
            "UnreservedConcurrentExecutions": concurrency - reserved,
        },
        "AccountUsage": {"TotalCodeSize": size_bytes, "FunctionCount": count},
    }
