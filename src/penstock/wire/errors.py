"""The error that any layer raises and that the wire turns into AWS's form for the protocol at hand."""

from __future__ import annotations

from typing import Any


class AwsError(Exception):
    """An AWS error answer.

    code: the model's exception name or AWS's common code, without namespace, e.g. "ResourceNotFoundException".
    message: AWS's wording. status: HTTP status; 0 takes it from the model's exception shape, else 400.
    members: further members of the exception shape (wire names), e.g. {"Item": ...} or {"Resource": ...}.
    headers: extra response headers, e.g. {"Retry-After": "1"}.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        status: int = 0,
        *,
        members: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status
        self.members = members or {}
        self.headers = headers or {}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def not_implemented(what: str) -> AwsError:
    """The refusal of promise 2: `what` (an operation, a parameter or a value) is not carried out here."""
    return AwsError("NotImplemented", f"Penstock does not support {what}. See docs/compatibility.md.", 501)
