"""What holds across parameters and states: which key may do what at this moment."""

from __future__ import annotations

from penstock.core.operation import Params
from penstock.services.kms import errors
from penstock.services.kms.records import Key
from penstock.services.kms.specs import SPECS, SYMMETRIC
from penstock.wire.errors import not_implemented

DAY_S = 86_400.0
_NOT_NOW = {
    "PendingDeletion": "is pending deletion.",
    "PendingReplicaDeletion": "is pending replica deletion.",
    "PendingImport": "is pending import.",
}
_ENABLED = "Enabled"
_DISABLED = "Disabled"


def check_state(key: Key, now: float, *, disabled: bool = False, pending_import: bool = False) -> None:
    """Raises AwsError DisabledException or KMSInvalidStateException for a key that cannot do it in its state.

    disabled, pending_import: the operation works on a key in that state too. Source:
    https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html#key-state-table
    """
    state = key.state(now)
    if state == _ENABLED or (state == _DISABLED and disabled):
        return
    if state == _DISABLED:
        raise errors.disabled(key.arn)
    if state != "PendingImport" or not pending_import:
        raise errors.bad_state(f"{key.arn} {_NOT_NOW[state]}")


def check_use(key: Key, now: float, usage: str, operation: str, algorithm: str) -> None:
    """Raises AwsError where the key is not for that usage, or not now, or its spec does not know the algorithm."""
    check_state(key, now)
    if key.usage != usage:
        raise errors.wrong_usage(f"{key.arn} key usage is {key.usage} which is not valid for {operation}.")
    if algorithm not in SPECS[key.spec].algorithms[usage]:
        raise errors.wrong_usage(f"Algorithm {algorithm} is incompatible with key spec {key.spec}.")


def check_symmetric(key: Key, now: float, operation: str) -> None:
    """Raises AwsError where the key is not a symmetric encryption key that can be used now."""
    check_state(key, now)
    if key.spec != SYMMETRIC:
        raise errors.wrong_usage(f"{key.arn} key usage is {key.usage} which is not valid for {operation}.")


def check_dry_run(params: Params) -> None:
    """To be called when nothing is left but to do it. Raises AwsError DryRunOperationException if that is all asked."""
    if params.get("DryRun"):
        raise errors.dry_run()


def new_key(params: Params) -> tuple[str, str, str]:
    """(key spec, key usage, origin) of a CreateKey. Raises AwsError ValidationException, or NotImplemented."""
    old, new = params.get("CustomerMasterKeySpec"), params.get("KeySpec")
    if old and new:
        raise errors.invalid("You cannot specify KeySpec and CustomerMasterKeySpec in the same request.")
    spec = new or old or SYMMETRIC
    origin = params.get("Origin", "AWS_KMS")
    if origin not in ("AWS_KMS", "EXTERNAL"):
        raise not_implemented(f"kms:CreateKey with Origin={origin!r}")
    if spec not in SPECS:
        raise not_implemented(f"kms:CreateKey with KeySpec={spec!r}")
    usage = params.get("KeyUsage")
    if usage is None:
        if spec != SYMMETRIC:
            raise errors.invalid(
                "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
            )
        usage = "ENCRYPT_DECRYPT"
    if usage not in SPECS[spec].algorithms:
        raise errors.invalid(f"KeyUsage {usage} is not compatible with KeySpec {spec}")
    return spec, usage, origin
