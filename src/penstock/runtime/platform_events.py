"""What the environment itself says of its invocations in the function's log: plain lines, or events where logs are JSON.

https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html; which level has which event:
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.runtime import outcomes
from penstock.runtime.api import FunctionSpec

_LEVELS = {"DEBUG": 0, "INFO": 1, "WARN": 2}


def init_record(spec: FunctionSpec, kind: str = "on-demand") -> dict[str, Any]:
    """What platform.initStart says. kind: AWS's initialization type."""
    place = ":".join(spec.arn.split(":")[:4])
    return {
        "initializationType": kind, "phase": "init",
        "runtimeVersion": spec.runtime.replace("python", "python:") + ".penstock",
        "runtimeVersionArn": f"{place}::runtime:{spec.runtime}",
        "functionName": spec.name, "functionVersion": spec.version,
    }  # fmt: skip


def init_start(spec: FunctionSpec, now: float) -> str:
    """The first line of an environment."""
    record = init_record(spec)
    if spec.log_format != "JSON":
        version, arn = record["runtimeVersion"], record["runtimeVersionArn"]
        return f"INIT_START Runtime Version: {version}\tRuntime Version ARN: {arn}\n"
    return _event(spec, "INFO", "platform.initStart", record, now)


def start(spec: FunctionSpec, request_id: str, now: float) -> str:
    """The first line of an invocation."""
    if spec.log_format != "JSON":
        return f"START RequestId: {request_id} Version: {spec.version}\n"
    return _event(spec, "INFO", "platform.start", {"requestId": request_id, "version": spec.version}, now)


def end(
    spec: FunctionSpec,
    request_id: str,
    duration_ms: float,
    billed_ms: int,
    used_mb: int,
    init_ms: float | None,
    status: str,
    now: float,
) -> list[str]:
    """The last lines of an invocation. status: as `outcomes.report_line` takes it."""
    if spec.log_format != "JSON":
        report = outcomes.report_line(request_id, duration_ms, billed_ms, spec.memory_mb, used_mb, init_ms, status)
        return [f"END RequestId: {request_id}\n", report]
    word, _, kind = status.removeprefix("Status: ").partition("\tError Type: ")
    record: dict[str, Any] = {"requestId": request_id, "status": word or "success"}
    if kind:
        record["errorType"] = kind
    metrics: dict[str, Any] = {"durationMs": round(duration_ms, 3)}
    done = _event(spec, "DEBUG", "platform.runtimeDone", {**record, "metrics": {**metrics}}, now)
    metrics |= {"billedDurationMs": billed_ms, "memorySizeMB": spec.memory_mb, "maxMemoryUsedMB": used_mb}
    if init_ms is not None:
        metrics["initDurationMs"] = round(init_ms, 3)
    level = "WARN" if word in ("timeout", "error") else "INFO"
    return [done, _event(spec, level, "platform.report", {**record, "metrics": metrics}, now)]


def _event(spec: FunctionSpec, level: str, kind: str, record: dict[str, Any], now: float) -> str:
    """The event as a line, "" where the function's system log level leaves it out."""
    if _LEVELS[level] < _LEVELS.get(spec.system_level, 1):
        return ""
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    return msgspec.json.encode({"time": at, "type": kind, "record": record}).decode() + "\n"
