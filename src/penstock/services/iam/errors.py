"""IAM's errors in AWS's words."""

from __future__ import annotations

from penstock.wire.errors import AwsError

_NOUNS = {
    "user": "The user with name {} cannot be found.",
    "group": "The group with name {} cannot be found.",
    "role": "The role with name {} cannot be found.",
    "policy": "Policy {} was not found.",
    "profile": "Instance Profile {} cannot be found.",
    "oidc": "OpenIDConnect Provider not found for arn {}",
    "saml": "Manifest not found for arn {}",
    "certificate": "The Server Certificate with name {} cannot be found.",
    "mfa": "VirtualMFADevice with serial number {} doesn't exist.",
}
_EXISTS = {
    "user": "User with name {} already exists.",
    "group": "Group with name {} already exists.",
    "role": "Role with name {} already exists.",
    "policy": "A policy called {} already exists. Duplicate names are not allowed.",
    "profile": "Instance Profile {} already exists.",
    "oidc": "Provider with url https://{} already exists.",
    "saml": "SAMLProvider {} already exists.",
    "certificate": "The Server Certificate with name {} already exists.",
    "mfa": "MFADevice entity at the same path and name already exists.",
}


def no_such(kind: str, name: str) -> AwsError:
    """NoSuchEntity for an entity of a kind; a managed policy is named by its ARN."""
    return no_such_entity(_NOUNS[kind].format(name))


def no_such_entity(text: str) -> AwsError:
    return AwsError("NoSuchEntity", text, 404)


def exists(kind: str, name: str) -> AwsError:
    return AwsError("EntityAlreadyExists", _EXISTS[kind].format(name), 409)


def conflict(text: str) -> AwsError:
    return AwsError("DeleteConflict", text, 409)


def limit(text: str) -> AwsError:
    return AwsError("LimitExceeded", text, 409)


def invalid(text: str) -> AwsError:
    return AwsError("ValidationError", text, 400)


def invalid_input(text: str) -> AwsError:
    return AwsError("InvalidInput", text, 400)


def malformed(text: str) -> AwsError:
    return AwsError("MalformedPolicyDocument", text, 400)


def unmodifiable(text: str) -> AwsError:
    return AwsError("UnmodifiableEntity", text, 400)


def not_attachable(text: str) -> AwsError:
    return AwsError("PolicyNotAttachable", text, 400)


def denied(text: str) -> AwsError:
    return AwsError("AccessDenied", text, 403)


def already(text: str) -> AwsError:
    return AwsError("EntityAlreadyExists", text, 409)


def password(text: str) -> AwsError:
    return AwsError("PasswordPolicyViolation", text, 400)


def no_report(code: str, text: str) -> AwsError:
    return AwsError(code, text, 410)


def bad_code(text: str) -> AwsError:
    return AwsError("InvalidAuthenticationCode", text, 403)


def malformed_certificate(text: str) -> AwsError:
    return AwsError("MalformedCertificate", text, 400)


def key_mismatch(text: str) -> AwsError:
    return AwsError("KeyPairMismatch", text, 400)


def fault(code: str, text: str, status: int = 400) -> AwsError:
    """An error that one noun alone has."""
    return AwsError(code, text, status)
