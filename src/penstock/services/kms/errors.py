"""KMS's errors in its own words."""

from __future__ import annotations

from penstock.wire.errors import AwsError


def not_found(message: str) -> AwsError:
    return AwsError("NotFoundException", message)


def no_key(arn: str) -> AwsError:
    return not_found(f"Key '{arn}' does not exist")


def no_alias(arn: str) -> AwsError:
    return not_found(f"Alias {arn} is not found.")


def invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


def disabled(arn: str) -> AwsError:
    return AwsError("DisabledException", f"{arn} is disabled.")


def bad_state(message: str) -> AwsError:
    return AwsError("KMSInvalidStateException", message)


def unsupported(message: str = "") -> AwsError:
    return AwsError("UnsupportedOperationException", message)


def wrong_usage(message: str) -> AwsError:
    return AwsError("InvalidKeyUsageException", message)


def bad_ciphertext() -> AwsError:
    return AwsError("InvalidCiphertextException")


def incorrect_key() -> AwsError:
    return AwsError(
        "IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation."
    )


def no_such_ciphertext_key() -> AwsError:
    """For a ciphertext whose key is not here: AWS does not tell why."""
    return AwsError(
        "AccessDeniedException",
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are "
        "not allowed to access.",
    )


def limit(message: str) -> AwsError:
    return AwsError("LimitExceededException", message)


def dry_run() -> AwsError:
    return AwsError(
        "DryRunOperationException", "The request would have succeeded, but the DryRun option is set."
    )  # fmt: skip


def bad_marker() -> AwsError:
    return AwsError("InvalidMarkerException", "Could not deserialize marker")


def wrong_material() -> AwsError:
    return AwsError("IncorrectKeyMaterialException", "The key material in the request is not valid for this KMS key.")


def malformed_policy(message: str) -> AwsError:
    return AwsError("MalformedPolicyDocumentException", message)


def unavailable() -> AwsError:
    """For material that cannot be sealed or opened here. What is wrong is for the operator, and in the log."""
    return AwsError("KMSInternalException", "The key material of this KMS key is not available.", 500)


def denied(principal: str, action: str, arn: str) -> AwsError:
    return AwsError(
        "AccessDeniedException",
        f"User: {principal} is not authorized to perform: {action} on resource: {arn} because no resource-based policy "
        f"allows the {action} action",
    )
