"""Rules between fields: what a function reference means, and what a configuration may say."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from penstock.core import paging
from penstock.core.call import Call
from penstock.wire.errors import AwsError

if TYPE_CHECKING:
    from penstock.services.lambda_.packages import Package
    from penstock.services.lambda_.records import LayerUse

Where: TypeAlias = tuple[str, str, str]
"""Account, region and name."""

_REFERENCE = re.compile(
    r"(?:arn:aws[a-zA-Z-]*:lambda:)?(?:(?P<region>[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d):)?(?:(?P<account>\d{12}):)?"
    r"(?:function:)?(?P<name>[a-zA-Z0-9-_]+)(?::(?P<qualifier>\$LATEST|[a-zA-Z0-9-_]+))?"
)

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
RESERVED_VARIABLES = frozenset(
    """_HANDLER _X_AMZN_TRACE_ID AWS_DEFAULT_REGION AWS_REGION AWS_EXECUTION_ENV AWS_LAMBDA_FUNCTION_NAME
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE AWS_LAMBDA_FUNCTION_VERSION AWS_LAMBDA_INITIALIZATION_TYPE
    AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_STREAM_NAME AWS_ACCESS_KEY AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    AWS_SESSION_TOKEN AWS_LAMBDA_RUNTIME_API LAMBDA_TASK_ROOT LAMBDA_RUNTIME_DIR""".split()
)
ENVIRONMENT_BYTES_MAX = 4096
UNZIPPED_BYTES_MAX = 262_144_000
POLICY_BYTES_MAX = 20 * 1024
RUNTIMES_NOW = (
    "nodejs20.x", "python3.14", "provided.al2023", "python3.12", "python3.13", "nodejs24.x", "nodejs22.x", "java25",
    "python3.10", "python3.11", "java21", "ruby3.3", "ruby3.4", "ruby3.2", "python3.8", "python3.9", "java17", "nodejs16.x",
    "dotnet10", "dotnet8", "java11", "dotnet6", "nodejs18.x", "provided.al2", "java8.al2",
)  # fmt: skip
"""As AWS names them where it refuses another one."""
RUNTIMES_EVER = (
    "ruby3.5", "ruby2.6", "dotnetcore1.0", "python3.7", "nodejs8.10", "nasa", "ruby2.7", "python2.7-greengrass",
    "dotnetcore2.0", "python3.8", "java21", "dotnet6", "dotnetcore2.1", "python3.9", "java11", "nodejs6.10", "provided",
    "dotnetcore3.1", "dotnet8", "java25", "java17", "nodejs", "nodejs4.3", "java8.al2", "go1.x", "dotnet10", "nodejs20.x",
    "go1.9", "byol", "nodejs10.x", "provided.al2023", "nodejs22.x", "python3.10", "java8", "nodejs12.x", "python3.11",
    "nodejs24.x", "nodejs8.x", "python3.12", "nodejs14.x", "nodejs8.9", "nodejs26.x", "python3.13", "python3.14",
    "nodejs16.x", "python3.15", "provided.al2", "nodejs4.3-edge", "nodejs18.x", "ruby3.2", "python3.4", "ruby3.3",
    "ruby3.4", "ruby2.5", "python3.6", "python2.7",
)  # fmt: skip
"""Those of the past and the future too, as AWS names them where layers are looked for by another one."""
RUNTIMES = frozenset(RUNTIMES_EVER) | {"ruby4.0"}
"""What a layer may be for."""
ARCHITECTURES = frozenset({"x86_64", "arm64"})
ARCHITECTURE = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}.get(
    platform.machine(), platform.machine()
)


def invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterValueException", message, 400, members={"Type": "User"})


def untyped(message: str) -> AwsError:
    """As `invalid`, where AWS leaves the error's Type out."""
    return AwsError("InvalidParameterValueException", message, 400)


def not_found(arn: str) -> AwsError:
    return AwsError("ResourceNotFoundException", f"Function not found: {arn}", 404, members={"Type": "User"})


def arn_of(account: str, region: str, name: str, qualifier: str = "") -> str:
    return f"arn:aws:lambda:{region}:{account}:function:{name}" + (f":{qualifier}" if qualifier else "")


def broken(*what: str) -> AwsError:
    """Broken constraints of the model's, in the words of AWS's framework."""
    found = "1 validation error" if len(what) == 1 else f"{len(what)} validation errors"
    return AwsError("ValidationException", f"{found} detected: {'; '.join(what)}", 400)


def unknown_architecture(wanted: Iterable[str], where: str) -> str:
    """What is wrong with architectures, "" for nothing."""
    if ARCHITECTURES.issuperset(wanted):
        return ""
    return (
        f"Value '[{', '.join(wanted)}]' at '{where}' failed to satisfy constraint: Member must satisfy constraint: [Member "
        "must satisfy enum value set: [x86_64, arm64], Member must not be null]"
    )


def check_architectures(wanted: Iterable[str], where: str) -> None:
    """Raises ValidationException."""
    if wrong := unknown_architecture(wanted, where):
        raise broken(wrong)


def conflict(message: str) -> AwsError:
    return AwsError("ResourceConflictException", message, 409, members={"Type": "User"})


def missing(message: str) -> AwsError:
    return AwsError("ResourceNotFoundException", message, 404, members={"Type": "User"})


def reference(call: Call, text: str, qualifier: str | None = None) -> tuple[str, str, str, str]:
    """Account, region, name and qualifier ("" for none) of a name, partial ARN or ARN, in the call's region.

    Raises InvalidParameterValueException where it is none of these, or where ARN and Qualifier disagree, and
    ResourceNotFoundException for another region's.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise invalid(f"{text} is not a valid function name or ARN")
    inside = match["qualifier"] or ""
    if qualifier and inside and qualifier != inside:
        raise invalid("The derived qualifier from the function name does not match the specified qualifier.")
    region = match["region"] or call.region
    if region != call.region:
        raise missing(f"Functions from '{region}' are not reachable in this region ('{call.region}')")
    return match["account"] or call.account, region, match["name"], qualifier or inside


def denied_to_others(action: str) -> AwsError:
    """For what only the owner may do, whatever a policy says."""
    return AwsError("AccessDeniedException", f"{action} is for the layer's own account.", 403, members={"Type": "User"})


def check_policy_length(length_bytes: int) -> None:
    """Raises PolicyLengthExceededException."""
    if length_bytes > POLICY_BYTES_MAX:
        raise AwsError(
            "PolicyLengthExceededException", f"The final policy size ({length_bytes}) is bigger than the limit "
            f"({POLICY_BYTES_MAX}).", 400, members={"Type": "User"},
        )  # fmt: skip


def unqualified(call: Call, text: str) -> tuple[str, str, str]:
    """As `reference`, for an operation on the function itself. Returns account, region and name."""
    account, region, name, qualifier = reference(call, text)
    if qualifier:
        raise invalid(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
            "Please specify either a function name or an unqualified function ARN."
        )
    return account, region, name


def position(scope: str, marker: str | None) -> str:
    """Where a list goes on, "" for its start. Raises InvalidParameterValueException for a marker of another list."""
    if not marker:
        return ""
    try:
        return paging.decode(scope, marker).decode()
    except (paging.BadToken, UnicodeDecodeError):
        raise invalid("The provided marker is not valid.") from None


def resource(call: Call, params: dict[str, Any]) -> str:
    """The function's ARN for policy evaluation; lenient, because authorization comes before validation of meaning."""
    match = _REFERENCE.fullmatch(params.get("FunctionName", ""))
    if match is None:
        return arn_of(call.account, call.region, "*")
    qualifier = params.get("Qualifier") or match["qualifier"] or ""
    return arn_of(match["account"] or call.account, match["region"] or call.region, match["name"], qualifier)


def check_environment(variables: dict[str, str]) -> None:
    """Raises InvalidParameterValueException. https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""
    reserved = sorted(RESERVED_VARIABLES & variables.keys())
    if reserved:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            "provided contains reserved keys that are currently not supported for modification. Reserved keys used in "
            f"this request: {', '.join(reserved)}"
        )
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > ENVIRONMENT_BYTES_MAX:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            f"provided exceeded the {ENVIRONMENT_BYTES_MAX // 1024}KB limit. String measured: {measured}"
        )


def check_unzipped(package: Package, layers: Iterable[LayerUse]) -> None:
    """Raises InvalidParameterValueException where code and layers together are too large.

    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """
    size_bytes = package.unzipped_bytes + sum(layer.package.unzipped_bytes for layer in layers)
    if size_bytes > UNZIPPED_BYTES_MAX:
        raise invalid(
            f"Function code combined with layers exceeds the maximum allowed size of {UNZIPPED_BYTES_MAX} bytes. The "
            f"actual size is {size_bytes} bytes."
        )
