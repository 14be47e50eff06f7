"""The Status of what a user signs in with: keys and certificates are Active or Inactive; only AWS makes them Expired."""

from __future__ import annotations

from penstock.core.operation import Params
from penstock.services.iam import errors


def wanted(params: Params) -> bool:
    """Whether a request asks for Active. Raises AwsError InvalidInput for a status that nobody may set."""
    status = params["Status"]
    if status not in ("Active", "Inactive"):
        raise errors.invalid_input(f"The status {status} cannot be set. Use Active or Inactive.")
    return bool(status == "Active")


def shown(active: bool) -> str:
    return "Active" if active else "Inactive"
