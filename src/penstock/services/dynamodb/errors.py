"""DynamoDB's errors, in its own words. The constants are prefixes that many messages share."""

from __future__ import annotations

from penstock.wire.errors import AwsError

INVALID = "One or more parameter values were invalid: "
KEY_MISMATCH = "The provided key element does not match the schema"


def invalid(message: str) -> AwsError:
    """A ValidationException."""
    return AwsError("ValidationException", message)


def serialization(message: str) -> AwsError:
    """A SerializationException: JSON of the wrong type where the model wants another."""
    return AwsError("SerializationException", message)


def table_missing() -> AwsError:
    """What item operations say of a table that is not there."""
    return AwsError("ResourceNotFoundException", "Requested resource not found")


def table_missing_by_name(name: str) -> AwsError:
    """What table operations say of a table that is not there."""
    return AwsError("ResourceNotFoundException", f"Requested resource not found: Table: {name} not found")
