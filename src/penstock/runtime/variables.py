"""The environment variables of an execution environment.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html: the reserved ones cannot be set by the user,
the others can, except that PATH, PYTHONPATH and LD_LIBRARY_PATH are AWS's unless set.
"""

from __future__ import annotations

from penstock.runtime.api import Credentials, FunctionSpec

_LIBRARIES = "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib"
_FROM_A_SHELL = ("python", "nodejs")
"""Runtimes that AWS starts by a shell script, which leaves its own variables behind."""
_IN_IMAGES = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LD_LIBRARY_PATH": ""}
"""Container images have a PATH of their own, or what engines give them; where their libraries are is their affair."""


def environment(
    spec: FunctionSpec,
    credentials: Credentials,
    stream: str,
    endpoint: str,
    *,
    task_root: str,
    extra: dict[str, str],
    kind: str = "on-demand",
) -> dict[str, str]:
    """All variables but those that only the environment itself knows (AWS_LAMBDA_RUNTIME_API).

    extra: what the runtime's program asks for, unless the user sets it. kind: on-demand, provisioned-concurrency or
    snap-start.
    """
    region = spec.arn.split(":")[3]
    runtime = spec.runtime
    values = {
        "AWS_ENDPOINT_URL": endpoint,
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "LD_LIBRARY_PATH": f"{_LIBRARIES}:{task_root}:{task_root}/lib:/opt/lib",
        **({"PWD": task_root, "SHLVL": "0"} if runtime.startswith(_FROM_A_SHELL) else {}),
        **(_IN_IMAGES if spec.image is not None else {}),
        **extra,
        **spec.environment,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_LAMBDA_FUNCTION_NAME": spec.name,
        "AWS_LAMBDA_FUNCTION_VERSION": spec.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(spec.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": kind,
        "AWS_LAMBDA_LOG_GROUP_NAME": spec.log_group,
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
        "_AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
        "LAMBDA_TASK_ROOT": task_root,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "_HANDLER": spec.handler,
    }
    if spec.image is not None:
        for name in ("LD_LIBRARY_PATH", "_HANDLER"):
            if not values[name]:
                del values[name]
    if runtime.startswith("python"):
        values["AWS_EXECUTION_ENV"] = f"AWS_Lambda_{runtime}"
        values.setdefault("PYTHONPATH", "/var/runtime")
    return values
