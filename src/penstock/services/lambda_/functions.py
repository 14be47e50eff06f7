"""Functions: made, read, listed, given other code, deleted."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import msgspec

from penstock.core.authz import check_pass_role
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, keys, packages, rules
from penstock.services.lambda_.packages import Package
from penstock.store import Transaction
from penstock.wire.errors import AwsError, not_implemented

# Parameters whose only accepted values are those that ask for nothing.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "Publish": (False,),
    "PublishTo": (),
    "VpcConfig": ({}, {"SubnetIds": [], "SecurityGroupIds": []}),
    "DeadLetterConfig": ({}, {"TargetArn": ""}),
    "KMSKeyArn": ("",),
    "TracingConfig": ({}, {"Mode": "PassThrough"}),
    "Layers": ([],),
    "FileSystemConfigs": ([],),
    "CodeSigningConfigArn": ("",),
    "ImageConfig": ({},),
    "SnapStart": ({}, {"ApplyOn": "None"}),
    "TenancyConfig": (),
    "CapacityProviderConfig": (),
    "DurableConfig": (),
    "RuntimeConfig": (),
    "AcceleratorConfig": (),
    "PackageType": ("Zip",),
}


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function's record. Times in seconds since the epoch, sizes as AWS counts them."""

    name: str
    account: str
    region: str
    runtime: str
    role: str
    handler: str
    package: Package
    revision: str
    modified_at: float
    incarnation: str
    """Differs between a function and a later one of the same name: environments of one never serve the other."""
    description: str = ""
    timeout_s: int = 3
    memory_mb: int = 128
    ephemeral_mb: int = 512
    environment: dict[str, str] = {}
    tags: dict[str, str] = {}
    log_group: str = ""
    update_status: str = "Successful"

    @property
    def arn(self) -> str:
        return rules.arn_of(self.account, self.region, self.name)


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Function).decode
_decoded: dict[bytes, Function] = {}


def read(txn: Transaction, account: str, region: str, name: str) -> Function:
    """The function. Raises ResourceNotFoundException."""
    raw = txn.get(keys.function(account, region, name))
    if raw is None:
        raise rules.not_found(rules.arn_of(account, region, name))
    # Cached by content: the same bytes are the same function on every node.
    known = _decoded.get(raw)
    if known is None:
        if len(_decoded) > 4096:
            _decoded.clear()
        known = _decoded[raw] = decode(raw)
    return known


def write(txn: Transaction, function: Function) -> None:
    """Write the record."""
    txn.set(keys.function(function.account, function.region, function.name), _encode(function))


def configuration(function: Function, **differing: Any) -> Result:
    """The FunctionConfiguration document."""
    modified = datetime.datetime.fromtimestamp(function.modified_at, datetime.UTC)
    result: Result = {
        "FunctionName": function.name,
        "FunctionArn": function.arn,
        "Runtime": function.runtime,
        "Role": function.role,
        "Handler": function.handler,
        "CodeSize": function.package.size_bytes,
        "Description": function.description,
        "Timeout": function.timeout_s,
        "MemorySize": function.memory_mb,
        "LastModified": modified.strftime("%Y-%m-%dT%H:%M:%S.") + f"{modified.microsecond // 1000:03}+0000",
        "CodeSha256": function.package.sha256,
        "Version": "$LATEST",
        "TracingConfig": {"Mode": "PassThrough"},
        "RevisionId": function.revision,
        "State": "Active",
        "LastUpdateStatus": function.update_status,
        "PackageType": "Zip",
        "Architectures": [rules.ARCHITECTURE],
        "EphemeralStorage": {"Size": function.ephemeral_mb},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": log_group(function)},
    }
    if function.environment:
        result["Environment"] = {"Variables": function.environment}
    result.update(differing)
    return result


def log_group(function: Function) -> str:
    """The group that the function's output goes to."""
    return function.log_group or f"/aws/lambda/{function.name}"


def check_revision(function: Function, params: Params) -> None:
    """Raises PreconditionFailedException where RevisionId is given and is not the current one."""
    if params.get("RevisionId", function.revision) != function.revision:
        raise AwsError(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to "
            "retrieve the latest Revision Id",
            412,
            members={"Type": "User"},
        )


def check_runtime(call: Call, runtime: str) -> None:
    """Raises InvalidParameterValueException where this host cannot run functions of that runtime."""
    reason = call.node.runtime.supports(runtime)
    if reason:
        raise rules.invalid(f"The runtime parameter of {runtime} is not supported on this host: {reason}")


def _check_architectures(params: Params) -> None:
    wanted = params.get("Architectures", [rules.ARCHITECTURE])
    if len(wanted) != 1:
        raise rules.invalid("Exactly one architecture must be given.")
    if wanted != [rules.ARCHITECTURE]:
        raise not_implemented(f"functions for {wanted[0]} on a host of {rules.ARCHITECTURE}")


@operation("lambda:CreateFunction", resource=rules.resource, policy=access.load_policy, unsupported=UNSUPPORTED)
async def create_function(call: Call, params: Params) -> Result:
    account, region, name = rules.local_reference(call, params["FunctionName"])
    for required in ("Runtime", "Handler"):
        if not params.get(required):
            raise rules.invalid(f"{required} is mandatory for functions created with deployment packages.")
    _check_architectures(params)
    check_runtime(call, params["Runtime"])
    variables = params.get("Environment", {}).get("Variables", {})
    rules.check_environment(variables)
    await check_pass_role(call, params["Role"], "lambda.amazonaws.com")
    if "ImageUri" in params["Code"] or "SourceKMSKeyArn" in params["Code"]:
        raise not_implemented("container images and encrypted packages as function code")
    package = await packages.store(call, await packages.body_of(call, params["Code"]))
    function = Function(
        name=name, account=account, region=region, runtime=params["Runtime"], role=params["Role"],
        handler=params["Handler"], package=package, revision=str(uuid.uuid4()), modified_at=call.now,
        incarnation=uuid.uuid4().hex, description=params.get("Description", ""), timeout_s=params.get("Timeout", 3),
        memory_mb=params.get("MemorySize", 128), ephemeral_mb=params.get("EphemeralStorage", {}).get("Size", 512),
        environment=variables, tags=params.get("Tags", {}),
        log_group=rules.check_logging(params.get("LoggingConfig", {})),
    )  # fmt: skip

    def body(txn: Transaction) -> None:
        if txn.get(keys.function(account, region, name)) is not None:
            raise AwsError(
                "ResourceConflictException", f"Function already exist: {name}", 409, members={"Type": "User"}
            )
        call.blobs.adopt(txn, package.blob)
        write(txn, function)

    await call.store.transact(body)
    return configuration(
        function, State="Pending", StateReason="The function is being created.", StateReasonCode="Creating",
        LastUpdateStatus="InProgress", LastUpdateStatusReason="The function is being created.",
        LastUpdateStatusReasonCode="Creating",
    )  # fmt: skip


@operation("lambda:GetFunction", resource=rules.resource, policy=access.load_policy)
async def get_function(call: Call, params: Params) -> Result:
    account, region, name = rules.local_reference(call, params["FunctionName"], params.get("Qualifier"))
    function = await call.store.transact(lambda txn: read(txn, account, region, name), read_only=True)
    result: Result = {"Configuration": configuration(function), "Code": {"RepositoryType": "S3"}}
    if function.tags:
        result["Tags"] = function.tags
    return result


@operation("lambda:GetFunctionConfiguration", resource=rules.resource, policy=access.load_policy)
async def get_function_configuration(call: Call, params: Params) -> Result:
    account, region, name = rules.local_reference(call, params["FunctionName"], params.get("Qualifier"))
    return configuration(await call.store.transact(lambda txn: read(txn, account, region, name), read_only=True))


@operation("lambda:ListFunctions", unsupported={"MasterRegion": ("ALL",), "FunctionVersion": ("ALL",)})
async def list_functions(call: Call, params: Params) -> Result:
    begin, end = keys.functions(call.account, call.region)
    if marker := params.get("Marker"):
        begin = keys.function(call.account, call.region, marker) + b"\0"
    # AWS answers 50 functions at most, whatever MaxItems asks for.
    limit = min(params.get("MaxItems", 50), 50)

    def body(txn: Transaction) -> list[Function]:
        return [decode(raw) for _, raw in txn.scan(begin, end, limit + 1)]

    found = await call.store.transact(body, read_only=True)
    result: Result = {"Functions": [configuration(function) for function in found[:limit]]}
    if len(found) > limit:
        result["NextMarker"] = found[limit - 1].name
    return result


@operation("lambda:DeleteFunction", resource=rules.resource, policy=access.load_policy)
async def delete_function(call: Call, params: Params) -> Result:
    account, region, name, qualifier = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    if qualifier == "$LATEST":
        raise rules.invalid("$LATEST version cannot be deleted without deleting the function.")
    rules.local_reference(call, params["FunctionName"], params.get("Qualifier"))

    def body(txn: Transaction) -> Function:
        function = read(txn, account, region, name)
        txn.clear(keys.function(account, region, name))
        txn.clear(keys.policy(account, region, name))
        call.blobs.release(txn, function.package.blob)
        return function

    function = await call.store.transact(body)
    await call.node.runtime.retire(function.incarnation)
    return {"StatusCode": 204}


@operation(
    "lambda:UpdateFunctionCode",
    resource=rules.resource,
    policy=access.load_policy,
    unsupported={
        "Publish": (False,), "PublishTo": (), "ImageUri": (), "SourceKMSKeyArn": ("",),
        "S3ObjectStorageMode": ("COPY",),
    },
)  # fmt: skip
async def update_function_code(call: Call, params: Params) -> Result:
    account, region, name = rules.local_reference(call, params["FunctionName"])
    _check_architectures(params)
    await call.store.transact(lambda txn: read(txn, account, region, name), read_only=True)
    package = await packages.store(call, await packages.body_of(call, params))
    dry_run = params.get("DryRun", False)

    def body(txn: Transaction) -> Function:
        old = read(txn, account, region, name)
        check_revision(old, params)
        new = msgspec.structs.replace(old, package=package, revision=str(uuid.uuid4()), modified_at=call.now)
        if not dry_run:
            call.blobs.adopt(txn, package.blob)
            call.blobs.release(txn, old.package.blob)
            write(txn, new)
        return new

    return updating(await call.store.transact(body))


def updating(function: Function) -> Result:
    """The configuration as an update answers it."""
    return configuration(
        function, LastUpdateStatus="InProgress", LastUpdateStatusReason="The function is being created.",
        LastUpdateStatusReasonCode="Creating",
    )  # fmt: skip
