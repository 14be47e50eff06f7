"""A function's environment variables: never plain at rest, shown to whoever may see them, given to environments.

Sealed under the server's master key, or encrypted by KMS under the key that the function names: then whoever reads them
needs kms:Decrypt. The function's role is given a grant in the name of whoever sets the key, who needs kms:CreateGrant
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars-encryption.html).
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.call import Call, forwarded
from penstock.core.identity import Principal
from penstock.core.node import Node
from penstock.core.operation import Result
from penstock.services.lambda_.records import Function, Sealed
from penstock.wire.errors import AwsError

_KMS_ERRORS = {
    "AccessDeniedException": "KMSAccessDeniedException",
    "DisabledException": "KMSDisabledException",
    "NotFoundException": "KMSNotFoundException",
    "KMSInvalidStateException": "KMSInvalidStateException",
}
_OPENED_MAX = 4096


class Opened:
    """Variables under the master key that this process has opened, by the bytes they were sealed as."""

    def __init__(self, node: Node) -> None:
        self.known: dict[bytes, dict[str, str]] = {}


def _bound_to(arn: str) -> bytes:
    return b"lambda environment " + arn.encode()


async def seal(call: Call, arn: str, variables: dict[str, str], key_arn: str) -> Sealed:
    """The variables, to be kept in the function's record. Raises what KMS does where the caller may not use the key."""
    text = msgspec.json.encode(variables)
    if not key_arn:
        master = await call.node.master_keys.get()
        return Sealed("", master.seal(text, _bound_to(arn)))
    if not variables:
        await _ask_kms(call, "DescribeKey", {"KeyId": key_arn})
        return Sealed(key_arn, b"")
    made = await _ask_kms(
        call, "Encrypt", {"KeyId": key_arn, "Plaintext": text, "EncryptionContext": {"aws:lambda:FunctionArn": arn}}
    )
    return Sealed(key_arn, made["CiphertextBlob"])


async def grant(call: Call, arn: str, role: str, key_arn: str) -> None:
    """Let a function's role open its variables. Asking again changes nothing. Raises what KMS does."""
    asked: dict[str, Any] = {
        "KeyId": key_arn, "GranteePrincipal": role, "Operations": ["Decrypt", "RetireGrant"], "Name": arn,
        "Constraints": {"EncryptionContextEquals": {"aws:lambda:FunctionArn": arn}},
    }  # fmt: skip
    await _ask_kms(call, "CreateGrant", asked)


async def _ask_kms(call: Call, operation: str, params: dict[str, Any]) -> dict[str, Any]:
    """KMS's answer to the call's principal, asked through Lambda."""
    return await call.node.call(
        "kms", operation, params, principal=call.principal, account=call.account, region=call.region,
        context={**(call.context or {}), **_through(call.region)},
    )  # fmt: skip


def _through(region: str) -> dict[str, Any]:
    return {**forwarded("lambda"), "kms:ViaService": f"lambda.{region}.amazonaws.com"}


async def opened(node: Node, function: Function, principal: Principal) -> dict[str, str]:
    """The variables, for a principal that may decrypt them. Raises AwsError of KMS."""
    sealed = function.environment
    if sealed is None or (sealed.key_arn and not sealed.box):
        return {}
    if sealed.key_arn:
        answer = await node.call(
            "kms", "Decrypt",
            {"CiphertextBlob": sealed.box, "EncryptionContext": {"aws:lambda:FunctionArn": function.arn}},
            principal=principal, account=principal.account, region=function.region, context=_through(function.region),
        )  # fmt: skip
        return dict(msgspec.json.decode(answer["Plaintext"]))
    known = node.own(Opened).known
    found = known.get(sealed.box)
    if found is None:
        master = await node.master_keys.get()
        found = msgspec.json.decode(master.unseal(sealed.box, _bound_to(function.arn)), type=dict[str, str])
        if len(known) > _OPENED_MAX:
            known.clear()
        known[sealed.box] = found
    return found


async def shown(call: Call, function: Function, document: Result) -> Result:
    """The FunctionConfiguration document with the variables in it, or with why the caller does not see them."""
    sealed = function.environment
    if sealed is None:
        return document
    if sealed.key_arn:
        document["KMSKeyArn"] = sealed.key_arn
    try:
        document["Environment"] = {"Variables": await opened(call.node, function, call.principal)}
    except AwsError as error:
        document["Environment"] = {
            "Error": {
                "ErrorCode": error.code,
                "Message": "Lambda was unable to decrypt your environment variables because the KMS access was denied. "
                f"Please check your KMS permissions. KMS Exception: {error.code} KMS Message: {error.message}",
            }
        }
    return document


def failure(error: AwsError) -> AwsError:
    """What an invocation fails with where the function's role cannot decrypt the variables."""
    code = _KMS_ERRORS.get(error.code, "KMSAccessDeniedException")
    what = "KMS access was denied" if code == "KMSAccessDeniedException" else "of the KMS key"
    members: dict[str, Any] = {"Type": "User"}
    return AwsError(
        code, f"Lambda was unable to decrypt the environment variables because {what}. Please check the function's KMS key "
        f"settings. KMS Exception: {error.code} KMS Message: {error.message}", 502, members=members,
    )  # fmt: skip
