"""A function's configuration, changed."""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, images, records, rules, settings, states, variables
from penstock.store import Transaction

_UNSUPPORTED = {k: v for k, v in settings.UNSUPPORTED.items() if k != "PublishTo"}


@operation(
    "lambda:UpdateFunctionConfiguration",
    resource=rules.resource,
    policy=access.load_policy,
    conditions=settings.conditions,
    unsupported=_UNSUPPORTED,
)
async def update_function_configuration(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionConfiguration.html"""
    where = rules.unqualified(call, params["FunctionName"])
    before = await call.store.transact(lambda txn: records.read(txn, *where), read_only=True)
    if before.package.image is not None:
        images.check_settings(params)
    elif params.get("ImageConfig"):
        raise rules.invalid("ImageConfig is not supported for functions with packageType Zip.")
    changes = await settings.asked(call, params, where, before)

    def body(txn: Transaction) -> records.Function:
        old = records.read(txn, *where)
        states.check_changeable(call.node, old)
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

    new = await call.store.transact(body)
    return await variables.shown(call, new, states.updating(new))
