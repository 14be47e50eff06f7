"""The account's limits and what it uses of them."""

from __future__ import annotations

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import keys, packages
from penstock.services.lambda_.records import Function
from penstock.store import Transaction

CODE_STORAGE_BYTES_MAX = 80_530_636_800


@operation("lambda:GetAccountSettings")
async def get_account_settings(call: Call, params: Params) -> Result:
    concurrency = call.node.settings.function_concurrency

    def body(txn: Transaction) -> tuple[int, int]:
        sizes = [
            msgspec.msgpack.decode(raw, type=Function).package.size_bytes
            for _, raw in txn.scan(*keys.functions(call.account, call.region))
        ]
        return len(sizes), sum(sizes)

    count, size_bytes = await call.store.transact(body, read_only=True)
    return {
        "AccountLimit": {
            "TotalCodeSize": CODE_STORAGE_BYTES_MAX,
            "CodeSizeUnzipped": packages.UNZIPPED_BYTES_MAX,
            "CodeSizeZipped": packages.ZIPPED_BYTES_MAX,
            "ConcurrentExecutions": concurrency,
            "UnreservedConcurrentExecutions": concurrency,
        },
        "AccountUsage": {"TotalCodeSize": size_bytes, "FunctionCount": count},
    }
