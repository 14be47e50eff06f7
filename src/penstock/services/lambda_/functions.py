"""Functions: made, read, listed, given other code, deleted."""

from __future__ import annotations

import uuid

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import (
    access,
    concurrency,
    downloads,
    images,
    keys,
    packages,
    records,
    rules,
    settings,
    states,
    storage,
    variables,
    versions,
)
from penstock.services.lambda_.invocations import Ready
from penstock.services.lambda_.records import LATEST, Function
from penstock.store import Transaction
from penstock.wire.errors import not_implemented

PAGE = 50
NAME_CHARS_MAX = 64
TAGS_MAX = 50


def _check_architectures(params: Params) -> None:
    wanted = params.get("Architectures", [rules.ARCHITECTURE])
    rules.check_architectures(wanted, "architectures")
    if len(wanted) != 1:
        raise rules.invalid("Exactly one architecture must be given.")
    if wanted != [rules.ARCHITECTURE]:
        raise not_implemented(f"functions for {wanted[0]} on a host of {rules.ARCHITECTURE}")


@operation(
    "lambda:CreateFunction",
    resource=rules.resource,
    policy=access.load_policy,
    conditions=settings.conditions,
    unsupported=settings.UNSUPPORTED,
)
async def create_function(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html"""
    account, region, name = rules.unqualified(call, params["FunctionName"])
    is_image = params.get("PackageType") == "Image"
    for required in () if is_image else ("Runtime", "Handler"):
        if not params.get(required):
            raise rules.invalid(f"{required} is mandatory for functions created with deployment packages.")
    images.check(params, params["Code"])
    _check_architectures(params)
    if len(name) > NAME_CHARS_MAX:
        raise rules.invalid(
            f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: Member must "
            f"have length less than or equal to {NAME_CHARS_MAX}"
        )
    if len(params.get("Tags", {})) > TAGS_MAX:
        raise rules.invalid("Number of tags exceeds resource tag limit.")
    fields = await settings.asked(call, params, (account, region, name), None)
    if "SourceKMSKeyArn" in params["Code"]:
        raise not_implemented("encrypted packages as function code")
    if is_image:
        call.node.runtime.supports(images.RUNS_AS)  # warms up what will run it
        package = await images.stored(call, params["Code"]["ImageUri"])
        fields |= {"runtime": "", "handler": ""}
    else:
        package = await packages.of_code(call, params["Code"])
    function = Function(
        name=name, account=account, region=region, package=package, revision=records.new_revision(),
        modified_at=call.now, made_at=call.now, incarnation=uuid.uuid4().hex, tags=params.get("Tags", {}), **fields,
    )  # fmt: skip
    rules.check_unzipped(package, function.layers)

    def body(txn: Transaction) -> Function:
        if txn.get(keys.function(account, region, name)) is not None:
            raise rules.conflict(f"Function already exist: {name}")
        storage.hold_function(call, txn, function)
        records.write(txn, function)
        return versions.publish(call, txn, function, made_at=call.now)[0] if params.get("Publish") else function

    made = await call.store.transact(body)
    call.node.own(Ready).prepare(made)
    return await variables.shown(call, made, states.pending(made))


@operation("lambda:GetFunction", resource=rules.resource, policy=access.load_policy)
async def get_function(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))

    def body(txn: Transaction) -> tuple[Function, Function]:
        return records.read(txn, *where), records.read(txn, *where[:3])

    function, latest = await call.store.transact(body, read_only=True)
    result: Result = {
        "Configuration": await variables.shown(call, function, states.document(call, function, rules.arn_of(*where))),
        "Code": await downloads.code(call, function.package),
    }
    if latest.reserved is not None:
        result["Concurrency"] = {"ReservedConcurrentExecutions": latest.reserved}
    if latest.tags:
        result["Tags"] = latest.tags
    return result


@operation("lambda:GetFunctionConfiguration", resource=rules.resource, policy=access.load_policy)
async def get_function_configuration(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConfiguration.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    function = await call.store.transact(lambda txn: records.read(txn, *where), read_only=True)
    return await variables.shown(call, function, states.document(call, function, rules.arn_of(*where)))


@operation("lambda:ListFunctions", unsupported={"MasterRegion": ("ALL",)})
async def list_functions(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctions.html

    With FunctionVersion=ALL each function's versions follow it; a page then ends with a whole function.
    """
    begin, end = keys.functions(call.account, call.region)
    scope = f"lambda:functions:{call.account}:{call.region}"
    if after := rules.position(scope, params.get("Marker")):
        begin = keys.function(call.account, call.region, after) + b"\0"
    # AWS answers 50 functions at most, whatever MaxItems asks for.
    limit = min(params.get("MaxItems", PAGE), PAGE)
    every = params.get("FunctionVersion") == "ALL"

    def body(txn: Transaction) -> tuple[list[tuple[Function, str]], str]:
        listed: list[tuple[Function, str]] = []
        last = ""
        for _, raw in txn.scan(begin, end, limit + 1):
            if len(listed) >= limit:
                return listed, last
            function = records.decode(raw)
            last = function.name
            listed.append((function, function.qualified_arn if every else ""))
            if every:
                found = records.versions(txn, function.account, function.region, function.name)
                listed += [(version, version.qualified_arn) for version in found]
        return listed, ""

    listed, last = await call.store.transact(body, read_only=True)
    result: Result = {"Functions": [await variables.shown(call, one, records.listed(one, arn)) for one, arn in listed]}
    if last:
        result["NextMarker"] = paging.encode(scope, last)
    return result


@operation("lambda:DeleteFunction", resource=rules.resource, policy=access.load_policy)
async def delete_function(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunction.html: a version that is not there, is deleted."""
    account, region, name, qualifier = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    if qualifier == LATEST:
        raise rules.invalid("$LATEST version cannot be deleted without deleting the function.")
    if qualifier and not qualifier.isdecimal():
        raise rules.invalid("Deletion of aliases is not currently supported.")

    def body(txn: Transaction) -> str:
        function = records.read(txn, account, region, name)
        if qualifier:
            version = versions.delete(call, txn, account, region, name, qualifier)
            return version.key if version else ""
        for version in records.versions(txn, account, region, name):
            storage.drop_function(call, txn, version)
        storage.drop_function(call, txn, function)
        concurrency.release(txn, function)
        records.clear_all(txn, account, region, name)
        return f"{function.incarnation}/"

    if gone := await call.store.transact(body):
        await call.node.runtime.retire(gone)
    return {"StatusCode": 204}


@operation(
    "lambda:UpdateFunctionCode",
    resource=rules.resource,
    policy=access.load_policy,
    unsupported={"PublishTo": (), "SourceKMSKeyArn": ("",), "S3ObjectStorageMode": ("COPY",)},
)
async def update_function_code(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html"""
    where = rules.unqualified(call, params["FunctionName"])
    _check_architectures(params)
    before = await call.store.transact(lambda txn: records.read(txn, *where), read_only=True)
    if (before.package.image is None) != ("ImageUri" not in params):
        if before.package.image is None:
            raise rules.invalid("Please don't provide ImageUri when updating a function with packageType Zip.")
        raise rules.invalid("Please provide ImageUri when updating a function with packageType Image.")
    if "ImageUri" in params:
        package = await images.stored(call, params["ImageUri"])
    else:
        package = await packages.of_code(call, params)
    dry_run = params.get("DryRun", False)

    def body(txn: Transaction) -> tuple[Function, Function | None]:
        old = records.read(txn, *where)
        states.check_changeable(call.node, old)
        records.check_revision(old.revision, params)
        new = records.changed(old, call.now, package=package)
        rules.check_unzipped(package, new.layers)
        if dry_run:
            return new, None
        storage.hold(call, txn, *where[:2], package)
        storage.drop(call, txn, *where[:2], old.package)
        records.write(txn, new)
        return new, versions.publish(call, txn, new, made_at=call.now)[0] if params.get("Publish") else None

    new, version = await call.store.transact(body)
    if not dry_run:
        call.node.own(Ready).prepare(version or new)
    if version is not None:
        return await variables.shown(call, version, states.pending(version, version.qualified_arn))
    return await variables.shown(call, new, states.updating(new))
