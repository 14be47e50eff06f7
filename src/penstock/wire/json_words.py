"""How AWS words a JSON value of the wrong type. Two generations of its framework say it differently; both are data here.

Sources: the answers of DynamoDB and of Kinesis to wrong types, which differ in words and not in when they come.
"""

from __future__ import annotations

import re
from typing import Any

from penstock.wire.errors import AwsError
from penstock.wire.models import Shape

_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]|=(?=[^=])").search
_JAVA = {
    "string": "java.lang.String", "integer": "java.lang.Integer", "long": "java.lang.Long",
    "boolean": "java.lang.Boolean", "double": "java.lang.Double", "float": "java.lang.Float",
    "blob": "java.nio.ByteBuffer", "timestamp": "java.util.Date",
}  # fmt: skip


def refusal(message: str) -> AwsError:
    """The error for a document that does not have the model's types; an empty message for one that is no JSON."""
    return AwsError("SerializationException", message, 400)


class Words:
    """Coral's usual wording, e.g. of Kinesis."""

    def scalar(self, value: Any, wanted: str) -> AwsError:
        """`value` is no `wanted` ("String", "Integer", "Boolean"...)."""
        if isinstance(value, list):
            return refusal("Start of list found where not expected")
        if isinstance(value, dict):
            return refusal("Start of structure or map found where not expected.")
        if wanted == "Boolean" and isinstance(value, str):
            return refusal(f"'{value.upper()[:100]}' can not be converted to an Boolean")
        article = "a" if wanted == "Blob" else "an"
        target = "milliseconds since epoch" if wanted == "Date" else f"{article} {wanted}"
        return refusal(f"{self._class(value)} can not be converted to {target}")

    def _class(self, value: Any) -> str:
        if isinstance(value, bool):
            return "class java.lang.Boolean"
        if isinstance(value, str):
            return "class java.lang.String"
        return "class com.amazon.coral.value.json.numbers.TruncatingBigNumber"

    def base64(self, text: str) -> AwsError:
        """`text` is not base64."""
        return refusal(f"'{text[:1000]}' can not be converted to a Blob: {self._base64_problem(text)}")

    def _base64_problem(self, text: str) -> str:
        if len(text) % 4:
            return f"Base64 encoded length is expected a multiple of 4 bytes but found: {len(text)}"
        if match := _NOT_BASE64(text):
            return f"Invalid Base64 character: '{match.group()}'"
        return "Invalid last non-pad Base64 character dectected"

    def structure(self, value: Any, shape: Shape) -> AwsError:
        """`value` is no object where the structure `shape` belongs."""
        return refusal("Start of list found where not expected" if isinstance(value, list) else "Expected null")

    def map(self, value: Any, element: Shape) -> AwsError:
        """`value` is no object where a map of `element` belongs."""
        return refusal("Start of list found where not expected" if isinstance(value, list) else "Expected map or null")

    def list(self, value: Any) -> AwsError:
        """`value` is no list."""
        if isinstance(value, dict):
            return refusal("Start of structure or map found where not expected.")
        return refusal("Expected list or null")


class DynamoWords(Words):
    """DynamoDB's wording. `package`: the Java package of its shapes, with a dot behind."""

    def __init__(self, package: str) -> None:
        self._package = package

    def scalar(self, value: Any, wanted: str) -> AwsError:
        if isinstance(value, list):
            java = "java.nio.ByteBuffer" if wanted == "Blob" else f"java.lang.{wanted}"
            return refusal(f"Unrecognized collection type class {java}")
        if isinstance(value, dict):
            return refusal("Start of structure or map found where not expected")
        if wanted == "Blob":
            return refusal("only base-64-encoded strings are convertible to bytes")
        if wanted == "Boolean" and isinstance(value, str):
            return refusal("Unexpected token received from parser")
        return refusal(f"{self._token(value)} cannot be converted to {wanted}")

    def _token(self, value: Any) -> str:
        if isinstance(value, bool):
            return "TRUE_VALUE" if value else "FALSE_VALUE"
        if isinstance(value, str):
            return "STRING_VALUE"
        return "DECIMAL_VALUE" if isinstance(value, float) else "NUMBER_VALUE"

    def base64(self, text: str) -> AwsError:
        return refusal(self._base64_problem(text))

    def structure(self, value: Any, shape: Shape) -> AwsError:
        if isinstance(value, list):
            return refusal(f"Unrecognized collection type class {self._java(shape)}")
        return refusal("Unexpected value type in payload" if shape.opaque else "Unexpected field type")

    def map(self, value: Any, element: Shape) -> AwsError:
        if isinstance(value, list):
            return refusal(f"Unrecognized collection type java.util.Map<java.lang.String, {self._java(element)}>")
        return refusal("Unexpected field type")

    def list(self, value: Any) -> AwsError:
        if isinstance(value, dict):
            return refusal("Start of structure or map found where not expected")
        return refusal("Unexpected field type")

    def _java(self, shape: Shape) -> str:
        return _JAVA.get(shape.type, self._package + shape.name)
