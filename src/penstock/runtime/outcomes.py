"""AWS's words for how an invocation went wrong, and its START, END and REPORT lines.

Source: the Lambda developer guide, "Using the Lambda runtime API", "Lambda execution environment" and "Logs".
"""

from __future__ import annotations

import math
import os
import signal

import msgspec

RESPONSE_LIMIT_BYTES = 6 * 1024 * 1024 + 100
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 6 MB each for request and response; the
service counts 6,291,556."""

_SIGNALS = {
    signal.SIGKILL: "killed", signal.SIGTERM: "terminated", signal.SIGSEGV: "segmentation fault",
    signal.SIGABRT: "aborted", signal.SIGBUS: "bus error", signal.SIGILL: "illegal instruction",
    signal.SIGFPE: "floating point exception", signal.SIGINT: "interrupt", signal.SIGHUP: "hangup",
    signal.SIGPIPE: "broken pipe", signal.SIGQUIT: "quit",
}  # fmt: skip


def error_document(error_type: str, message: str) -> bytes:
    """The payload of an invocation that failed without an answer of the runtime's."""
    return msgspec.json.encode({"errorType": error_type, "errorMessage": message})


def timed_out(request_id: str, timeout_s: float) -> bytes:
    """The payload after a time-out."""
    return error_document(
        "Sandbox.Timedout", f"RequestId: {request_id} Error: Task timed out after {timeout_s:.2f} seconds"
    )


def too_large() -> bytes:
    """The payload in place of a response that is over the limit."""
    return error_document(
        "Function.ResponseSizeTooLarge",
        f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT_BYTES} bytes).",
    )


def exit_reason(wait_status: int) -> str:
    """What became of the runtime's process, in AWS's words."""
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        name = _SIGNALS.get(signal.Signals(number)) if number in signal.valid_signals() and number < 32 else None
        return f"Runtime exited with error: signal: {name or number}"
    code = os.WEXITSTATUS(wait_status)
    return f"Runtime exited with error: exit status {code}" if code else "Runtime exited without providing a reason"


def error_type(document: bytes) -> str:
    """The errorType of an error document that a runtime sent; "Runtime.Unknown" if it has none."""
    try:
        found = msgspec.json.decode(document)
    except msgspec.DecodeError:
        found = None
    kind = found.get("errorType") if isinstance(found, dict) else None
    return " ".join(kind.split())[:200] if isinstance(kind, str) and kind else "Runtime.Unknown"


def exited(request_id: str, wait_status: int) -> bytes:
    """The payload after the runtime's process ended."""
    return error_document("Runtime.ExitError", f"RequestId: {request_id} Error: {exit_reason(wait_status)}")


def report_line(
    request_id: str,
    duration_ms: float,
    billed_ms: int,
    memory_mb: int,
    used_mb: int,
    init_ms: float | None,
    status: str = "",
) -> str:
    """The REPORT line. status: "", "Status: timeout" or "Status: error\\tError Type: …"."""
    line = (
        f"REPORT RequestId: {request_id}\tDuration: {duration_ms:.2f} ms\tBilled Duration: {billed_ms} ms\t"
        f"Memory Size: {memory_mb} MB\tMax Memory Used: {used_mb} MB\t"
    )
    if init_ms is not None:
        line += f"Init Duration: {init_ms:.2f} ms\t"
    if status:
        line += f"{status}\t"
    return line + "\n"


def billed(duration_ms: float, init_ms: float | None) -> int:
    """Milliseconds that AWS bills: the duration and, since August 2025, the init phase, rounded up."""
    return max(1, math.ceil(duration_ms + (init_ms or 0.0)))
