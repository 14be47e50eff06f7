"""Which version of its runtime a function runs on. This host has one version of each, so every choice comes to that one.

Code signing stands here too, as far as there is something to say: no function has a configuration of it.
"""

from __future__ import annotations

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, records, rules
from penstock.services.lambda_.records import Function
from penstock.store import Transaction


def _document(function: Function, arn: str) -> Result:
    result: Result = {"UpdateRuntimeOn": function.runtime_updates, "FunctionArn": arn}
    if function.runtime_updates == "Manual":
        result["RuntimeVersionArn"] = records.runtime_version_arn(function)
    return result


@operation("lambda:PutRuntimeManagementConfig", resource=rules.resource, policy=access.load_policy)
async def put_runtime_management_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_PutRuntimeManagementConfig.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    mode, arn = params["UpdateRuntimeOn"], params.get("RuntimeVersionArn")
    if (mode == "Manual") != (arn is not None):
        raise rules.invalid("RuntimeVersionArn must be given where UpdateRuntimeOn is Manual, and only there.")

    def body(txn: Transaction) -> Function:
        function = records.read(txn, *where)
        if arn is not None and arn != records.runtime_version_arn(function):
            raise rules.invalid(f"The runtime version {arn} is not one of this host's.")
        new = msgspec.structs.replace(function, runtime_updates=mode)
        records.write(txn, new)
        return new

    return _document(await call.store.transact(body), rules.arn_of(*where))


@operation("lambda:GetRuntimeManagementConfig", resource=rules.resource, policy=access.load_policy)
async def get_runtime_management_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetRuntimeManagementConfig.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    function = await call.store.transact(lambda txn: records.read(txn, *where), read_only=True)
    return _document(function, rules.arn_of(*where))


@operation("lambda:GetFunctionCodeSigningConfig", resource=rules.resource, policy=access.load_policy)
async def get_function_code_signing_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionCodeSigningConfig.html: there never is one."""
    where = rules.unqualified(call, params["FunctionName"])
    await call.store.transact(lambda txn: records.read(txn, *where), read_only=True)
    return {"FunctionName": where[2]}
