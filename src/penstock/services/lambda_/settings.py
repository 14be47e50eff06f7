"""What CreateFunction and UpdateFunctionConfiguration may say of a function, checked and made a record's fields."""

from __future__ import annotations

import re
from typing import Any

from penstock.core.authz import check_pass_role
from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.lambda_ import destinations, images, layers, rules, variables
from penstock.services.lambda_.records import Function
from penstock.wire.errors import not_implemented

# Parameters whose only accepted values are those that ask for nothing.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "PublishTo": (),
    "VpcConfig": ({}, {"SubnetIds": [], "SecurityGroupIds": []}),
    "FileSystemConfigs": ([],),
    "CodeSigningConfigArn": ("",),
    "TenancyConfig": (),
    "CapacityProviderConfig": (),
    "DurableConfig": (),
    "RuntimeConfig": (),
    "AcceleratorConfig": (),
}
_FIELDS = {
    "Role": "role", "Handler": "handler", "Description": "description", "Timeout": "timeout_s",
    "MemorySize": "memory_mb", "Runtime": "runtime",
}  # fmt: skip


def conditions(_: Call, params: Params) -> dict[str, Any]:
    """Condition keys of what a function may be made of."""
    return {"lambda:Layer": params["Layers"]} if params.get("Layers") else {}


async def asked(call: Call, params: Params, where: rules.Where, old: Function | None) -> dict[str, Any]:
    """The fields that the parameters set. old: the function as it is, None for a new one. Raises AwsError."""
    changes: dict[str, Any] = {field: params[member] for member, field in _FIELDS.items() if member in params}
    if "Runtime" in params:
        check_runtime(call, params["Runtime"])
    if "ImageConfig" in params:
        changes["image_config"] = images.configured(params["ImageConfig"])
    if "EphemeralStorage" in params:
        changes["ephemeral_mb"] = params["EphemeralStorage"]["Size"]
    if "LoggingConfig" in params:
        changes |= _logging(params["LoggingConfig"], old)
    if "SnapStart" in params:
        runtime = params.get("Runtime") or (old.runtime if old is not None else "")
        changes["snap_start"] = _snap_start(params["SnapStart"], runtime)
    if "TracingConfig" in params:
        changes["tracing"] = params["TracingConfig"].get("Mode", "PassThrough")
    if "DeadLetterConfig" in params:
        changes["dead_letter"] = params["DeadLetterConfig"].get("TargetArn", "")
        await destinations.check_dead_letter(call, changes["dead_letter"])
    if "Role" in params:
        await check_pass_role(call, params["Role"], "lambda.amazonaws.com")
    if "Layers" in params:
        changes["layers"] = await layers.used(call, params["Layers"])
    if "Environment" in params or "KMSKeyArn" in params:
        changes["environment"] = await _environment(call, params, where, old)
    sealed = changes.get("environment", None if old is None else old.environment)
    if sealed is not None and sealed.key_arn and sealed.box and ("environment" in changes or "Role" in params):
        role = params["Role"] if old is None or "Role" in params else old.role
        await variables.grant(call, rules.arn_of(*where), role, sealed.key_arn)
    return changes


async def _environment(call: Call, params: Params, where: rules.Where, old: Function | None) -> Any:
    sealed = None if old is None else old.environment
    if "Environment" in params:
        plain = params["Environment"].get("Variables", {})
        rules.check_environment(plain)
    elif old is None or sealed is None:
        plain = {}
    else:
        plain = await variables.opened(call.node, old, call.principal)
    key_arn = params.get("KMSKeyArn", sealed.key_arn if sealed is not None else "")
    if "Environment" not in params and sealed is None and not key_arn:
        return None
    return await variables.seal(call, rules.arn_of(*where), plain, key_arn)


def _logging(config: dict[str, Any], old: Function | None) -> dict[str, Any]:
    """https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html"""
    form = config.get("LogFormat", old.log_format if old is not None else "Text")
    changes: dict[str, Any] = {"log_format": form}
    if form == "Text":
        if "ApplicationLogLevel" in config or "SystemLogLevel" in config:
            raise rules.invalid(
                'LogLevel is not supported when LogFormat is set to "Text". Remove LogLevel from your request or change the '
                'LogFormat to "JSON" and try again.'
            )
        changes |= {"application_level": "", "system_level": ""}
    else:
        known = old is not None and old.log_format == "JSON"
        changes["application_level"] = config.get(
            "ApplicationLogLevel", old.application_level if old is not None and known else "INFO"
        )
        changes["system_level"] = config.get(
            "SystemLogLevel", old.system_level if old is not None and known else "INFO"
        )
    if "LogGroup" in config:
        changes["log_group"] = config["LogGroup"]
    return changes


def _snap_start(config: dict[str, Any], runtime: str) -> bool:
    """https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html: Java 11, Python 3.12, .NET 8 and later."""
    if config.get("ApplyOn", "None") == "None":
        return False
    match = re.match(r"([a-z]+)(?:3\.)?(\d+)", runtime)
    language, version = (match[1], int(match[2])) if match else ("", 0)
    if version < {"java": 11, "python": 12, "dotnet": 8}.get(language, 10_000):
        raise rules.invalid(f"{runtime} is not supported for SnapStart enabled functions.")
    if language != "python":
        raise not_implemented(f"SnapStart for {runtime}")
    return True


def check_runtime(call: Call, runtime: str) -> None:
    """Raises InvalidParameterValueException for no runtime of AWS's, and for one that this host cannot run."""
    if runtime not in rules.RUNTIMES and not runtime.startswith("arn:"):
        raise rules.invalid(
            f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
            f"[{', '.join(rules.RUNTIMES_NOW)}] or be a valid ARN"
        )
    reason = call.node.runtime.supports(runtime)
    if reason:
        raise rules.invalid(f"The runtime parameter of {runtime} is not supported on this host: {reason}")
