"""CloudWatch Logs' errors in its own words."""

from __future__ import annotations

from penstock.wire.errors import AwsError


def no_group() -> AwsError:
    return AwsError("ResourceNotFoundException", "The specified log group does not exist.")


def no_stream() -> AwsError:
    return AwsError("ResourceNotFoundException", "The specified log stream does not exist.")


def no_resource() -> AwsError:
    return AwsError("ResourceNotFoundException", "The specified resource does not exist.")


def exists(what: str) -> AwsError:
    return AwsError("ResourceAlreadyExistsException", f"The specified {what} already exists")


def invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def bad_token() -> AwsError:
    return invalid("The specified nextToken is invalid.")
