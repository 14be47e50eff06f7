"""Cross-field validation: which parameters exclude or need each other. AWS's wording, in AWS's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.services.dynamodb.errors import invalid


def check_expression_parameters(params: Mapping[str, Any], expressions: Sequence[str], legacy: Sequence[str]) -> None:
    """Expressions and legacy parameters do not mix, and placeholders need an expression.

    Raises ValidationException. KeyConditions may stand beside a FilterExpression.
    """
    given = [name for name in expressions if name in params]
    if given:
        old = [
            name
            for name in legacy
            if name in params and not (name == "KeyConditions" and "KeyConditionExpression" not in params)
        ]
        if old:
            raise invalid(
                "Can not use both expression and non-expression parameters in the same request: "
                f"Non-expression parameters: {{{', '.join(old)}}} Expression parameters: {{{', '.join(given)}}}"
            )
    elif "ExpressionAttributeNames" in params:
        raise invalid("ExpressionAttributeNames can only be specified when using expressions")
    with_values = [name for name in expressions if name != "ProjectionExpression"]
    if "ExpressionAttributeValues" in params and with_values and not any(name in params for name in with_values):
        verb = "are" if len(with_values) > 1 else "is"
        raise invalid(
            "ExpressionAttributeValues can only be specified when using expressions: "
            f"{' and '.join(with_values)} {verb} null"
        )


def check_return_values(params: Mapping[str, Any], allowed: Sequence[str]) -> None:
    """Raises ValidationException for a ReturnValues that the operation has not."""
    if params.get("ReturnValues", "NONE") not in allowed:
        raise invalid(f"ReturnValues can only be {' or '.join(allowed)}")


def check_segments(params: Mapping[str, Any]) -> None:
    """Scan's Segment and TotalSegments. Raises ValidationException."""
    segment, total = params.get("Segment"), params.get("TotalSegments")
    if segment is not None and total is None:
        raise invalid(
            "The TotalSegments parameter is required but was not present in the request when Segment parameter is "
            "present"
        )
    if total is None:
        return
    if segment is None:
        raise invalid(
            "The Segment parameter is required but was not present in the request when parameter TotalSegments is "
            "present"
        )
    if segment >= total:
        raise invalid(
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: "
            f"Segment: {segment} is not less than TotalSegments: {total}"
        )
