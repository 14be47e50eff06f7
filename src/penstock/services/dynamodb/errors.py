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


def collection_full() -> AwsError:
    """What is said of a write that would make an item collection larger than it may be."""
    return AwsError("ItemCollectionSizeLimitExceededException", "Collection size exceeded.")


COUNT = "1 validation error detected: "


class Counted(AwsError):
    """A ValidationException that the operations which write single items begin with a count (see `detected`)."""


def counted(message: str) -> AwsError:
    """A `Counted` ValidationException; its message is without the count."""
    return Counted("ValidationException", message)


def detected(error: AwsError) -> AwsError:
    """The error as PutItem, UpdateItem and DeleteItem tell it: some mistakes are counted as the model's constraints are.

    AWS does so for unused placeholders, empty sets, empty values and what an update expression means, but not for
    syntax, numbers, sizes or reserved words; the other operations never do.
    """
    return invalid(COUNT + error.message) if isinstance(error, Counted) else error
