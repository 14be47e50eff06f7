"""Codes of MFA devices: a session that was begun with one says so to policies.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_mfa_configure-api-require.html
"""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.identity import MFA_AT, Kind
from penstock.core.operation import Params
from penstock.wire.errors import AwsError

PRESENT = "aws:MultiFactorAuthPresent"
_FAILED = "MultiFactorAuthentication failed"


async def given(call: Call, params: Params) -> bool:
    """Whether the request carries a good code of the caller's device. Raises AwsError AccessDenied for a bad one."""
    serial, code = params.get("SerialNumber"), params.get("TokenCode")
    if not serial and not code:
        return False
    if not serial or not code:
        raise _denied("must provide both MFA serial number and one time pass code.")
    if call.principal.kind is not Kind.USER or call.principal.issued_at:
        raise _denied("only a user's own access key can be used with an MFA device.")
    good = await call.node.directory.code_is_good(call.principal, serial, code)
    if good is None:
        raise _denied(
            "unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user."
        )
    if not good:
        raise _denied("with invalid MFA one time pass code. ")
    return True


def session(call: Call, present: bool) -> dict[str, str]:
    """What a new session carries of it."""
    return {PRESENT: "true", MFA_AT: str(int(call.now))} if present else {PRESENT: "false"}


def _denied(why: str) -> AwsError:
    between = "" if why.startswith("with") else ","
    return AwsError("AccessDenied", f"{_FAILED}{between} {why}", 403)
