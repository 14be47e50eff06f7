"""A function's configuration, changed."""

from __future__ import annotations

from typing import Any

from penstock.core.authz import check_pass_role
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, destinations, functions, layers, records, rules
from penstock.store import Transaction

_FIELDS = {
    "Role": "role", "Handler": "handler", "Description": "description", "Timeout": "timeout_s",
    "MemorySize": "memory_mb", "Runtime": "runtime",
}  # fmt: skip
_UNSUPPORTED = {k: v for k, v in functions.UNSUPPORTED.items() if k not in ("PublishTo", "PackageType")}


@operation(
    "lambda:UpdateFunctionConfiguration", resource=rules.resource, policy=access.load_policy, unsupported=_UNSUPPORTED
)
async def update_function_configuration(call: Call, params: Params) -> Result:
    account, region, name = rules.unqualified(call, params["FunctionName"])
    changes: dict[str, Any] = {field: params[member] for member, field in _FIELDS.items() if member in params}
    if "Runtime" in params:
        functions.check_runtime(call, params["Runtime"])
    if "Environment" in params:
        changes["environment"] = params["Environment"].get("Variables", {})
        rules.check_environment(changes["environment"])
    if "EphemeralStorage" in params:
        changes["ephemeral_mb"] = params["EphemeralStorage"]["Size"]
    if "LoggingConfig" in params:
        changes["log_group"] = rules.check_logging(params["LoggingConfig"])
    if "TracingConfig" in params:
        changes["tracing"] = params["TracingConfig"].get("Mode", "PassThrough")
    if "DeadLetterConfig" in params:
        changes["dead_letter"] = params["DeadLetterConfig"].get("TargetArn", "")
        await destinations.check_dead_letter(call, changes["dead_letter"])
    if "Role" in params:
        await check_pass_role(call, params["Role"], "lambda.amazonaws.com")

    if "Layers" in params:
        changes["layers"] = await layers.used(call, params["Layers"])

    def body(txn: Transaction) -> records.Function:
        old = records.read(txn, account, region, name)
        records.check_revision(old.revision, params)
        new = records.changed(old, call.now, **changes)
        if "layers" in changes:
            rules.check_unzipped(new.package, new.layers)
            for layer in new.layers:
                call.blobs.adopt(txn, layer.package.blob)
            for layer in old.layers:
                call.blobs.release(txn, layer.package.blob)
        records.write(txn, new)
        return new

    return records.updating(await call.store.transact(body))
