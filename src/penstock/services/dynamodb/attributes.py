"""Attribute values in wire form: {"S": "x"}, {"N": "1"}, {"B": base64}, {"SS": [...]}, {"L": [...]}, {"M": {...}} ...

`check_item` and `check_value` validate in one pass, measure by AWS's formula, and make values canonical *in place*
(numbers in plain form, sets in order), so that from there on two equal values are equal Python objects. Nothing here
knows tables or expressions. Source: "Data types" and "Item sizes and formats" of the DynamoDB developer guide.
"""

from __future__ import annotations

import binascii
from decimal import Decimal
from typing import Any, TypeAlias

from penstock.services.dynamodb import numbers
from penstock.services.dynamodb.errors import INVALID, counted, invalid, serialization
from penstock.wire.errors import AwsError

Value: TypeAlias = dict[str, Any]
Item: TypeAlias = dict[str, Value]

MAX_ITEM_BYTES = 400 * 1024
MAX_DEPTH = 32
TYPES = frozenset(("S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"))

_EMPTY = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
_SEVERAL = (
    "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"
)
_TOO_DEEP = (
    "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"
)


def check_item(item: Item) -> int:
    """Validate all values of an item or key, make them canonical in place, and return its size in bytes.

    Raises ValidationException, or SerializationException for JSON of the wrong type.
    """
    size = 0
    for name, value in item.items():
        if type(value) is dict and len(value) == 1:
            inner = value.get("S")
            if type(inner) is str and inner.isascii() and name.isascii():  # what most are
                size += len(name) + len(inner)
                continue
        size += (len(name) if name.isascii() else utf8_size(name)) + check_value(value)
    return size


def check_value(value: Any, depth: int = 0) -> int:
    """Validate one value, make it canonical in place, and return its size in bytes. Raises as `check_item`."""
    if type(value) is not dict:
        raise _wrong_json(value, "structure")
    if len(value) != 1:
        _one_type_of(value)
    for kind, inner in value.items():
        measure = _MEASURES.get(kind)
        if measure is None or inner is None:
            _one_type_of(value)
            return check_value(value, depth)
        return measure(value, inner, depth)
    raise AssertionError("unreachable: a value has one member here")


def _one_type_of(value: Value) -> None:
    """Drop members that AWS does not know or that are null, as it does; exactly one must remain."""
    for name in [name for name, inner in value.items() if name not in TYPES or inner is None]:
        del value[name]
    if not value:
        raise invalid(_EMPTY)
    if len(value) > 1:
        for kind, inner in list(value.items()):
            check_value({kind: inner})
        raise invalid(_SEVERAL)


def utf8_size(text: str) -> int:
    """Bytes of the text in UTF-8. Raises SerializationException for a lone surrogate."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise serialization("Invalid UTF-8 in a string") from None


def _string(value: Value, inner: Any, depth: int) -> int:
    if type(inner) is not str:
        raise _wrong_json(inner, "String")
    return len(inner) if inner.isascii() else utf8_size(inner)


def _number(value: Value, inner: Any, depth: int) -> int:
    if type(inner) is not str:
        raise _wrong_json(inner, "String")
    try:
        text = numbers.canonical(inner)
    except numbers.NumberError as error:
        raise invalid(str(error)) from None
    if text is not inner:
        value["N"] = text
    return numbers.size(text)


def decode_binary(text: Any) -> bytes:
    """The bytes of a B value. Raises SerializationException for anything but canonical base64."""
    if type(text) is not str:
        if isinstance(text, (list, dict)):
            raise _wrong_json(text, "java.nio.ByteBuffer")
        raise serialization("only base-64-encoded strings are convertible to bytes")
    if len(text) % 4:
        raise serialization(f"Base64 encoded length is expected a multiple of 4 bytes but found: {len(text)}")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise serialization("Invalid Base64 character in a binary value") from None


def _binary(value: Value, inner: Any, depth: int) -> int:
    return len(decode_binary(inner))


def _boolean(value: Value, inner: Any, depth: int) -> int:
    if type(inner) is not bool:
        raise _wrong_json(inner, "Boolean")
    return 1


def _null(value: Value, inner: Any, depth: int) -> int:
    if type(inner) is not bool:
        raise _wrong_json(inner, "Boolean")
    if not inner:
        raise invalid(INVALID + "Null attribute value types must have the value of true")
    return 1


def _string_set(value: Value, inner: Any, depth: int) -> int:
    if not _strings(inner):
        raise counted(INVALID + "An string set  may not be empty")
    size = sum(map(utf8_size, inner))
    if len(set(inner)) != len(inner):
        raise invalid(f"{INVALID}Input collection [{', '.join(inner)}] contains duplicates.")
    inner.sort()
    return size


def _number_set(value: Value, inner: Any, depth: int) -> int:
    if not _strings(inner):
        raise counted(INVALID + "An number set  may not be empty")
    try:
        members = [numbers.canonical(text) for text in inner]
    except numbers.NumberError as error:
        raise invalid(str(error)) from None
    if len(set(members)) != len(members):
        raise invalid("Input collection contains duplicates")
    members.sort(key=Decimal)
    value["NS"] = members
    return sum(map(numbers.size, members))


def _binary_set(value: Value, inner: Any, depth: int) -> int:
    if type(inner) is not list:
        raise _wrong_json(inner, "List")
    if not inner:
        raise counted(INVALID + "Binary sets should not be empty")
    decoded = [decode_binary(text) for text in inner]
    if len(set(decoded)) != len(decoded):
        raise invalid(f"{INVALID}Input collection [{', '.join(inner)}]of type BS contains duplicates.")
    inner.sort(key=binascii.a2b_base64)
    return sum(map(len, decoded))


def _strings(inner: Any) -> list[str]:
    if type(inner) is not list:
        raise _wrong_json(inner, "List")
    for text in inner:
        if type(text) is not str:
            raise _wrong_json(text, "String")
    return inner


def _list(value: Value, inner: Any, depth: int) -> int:
    if type(inner) is not list:
        raise _wrong_json(inner, "List")
    if depth == MAX_DEPTH:
        raise invalid(INVALID + _TOO_DEEP)
    size = 3 + len(inner)
    for member in inner:
        size += check_value(member, depth + 1)
    return size


def _map(value: Value, inner: Any, depth: int) -> int:
    if type(inner) is not dict:
        raise _wrong_json(inner, "Map")
    if depth == MAX_DEPTH:
        raise invalid(INVALID + _TOO_DEEP)
    size = 3 + len(inner)
    for name, member in inner.items():
        size += len(name) if name.isascii() else utf8_size(name)
        size += check_value(member, depth + 1)
    return size


_MEASURES = {
    "S": _string,
    "N": _number,
    "B": _binary,
    "SS": _string_set,
    "NS": _number_set,
    "BS": _binary_set,
    "M": _map,
    "L": _list,
    "NULL": _null,
    "BOOL": _boolean,
}


def _wrong_json(found: Any, wanted: str) -> AwsError:
    """AWS's words for JSON that is not what the model says."""
    if isinstance(found, dict):
        return serialization("Start of structure or map found where not expected")
    if isinstance(found, list):
        return serialization(f"Unrecognized collection type class java.lang.{wanted}")
    if wanted == "structure":
        return serialization("Unexpected value type in payload")
    if wanted in ("List", "Map"):
        return serialization("Unexpected field type")
    if found is None:
        return invalid(_EMPTY)
    if isinstance(found, bool):
        return serialization(f"{'TRUE_VALUE' if found else 'FALSE_VALUE'} cannot be converted to {wanted}")
    if isinstance(found, str):
        return serialization(f"STRING_VALUE cannot be converted to {wanted}")
    kind = "NUMBER_VALUE" if isinstance(found, int) else "DECIMAL_VALUE"
    return serialization(f"{kind} cannot be converted to {wanted}")


def type_of(value: Value) -> str:
    """The one member's name of a checked value."""
    for kind in value:
        return kind
    raise AssertionError("unreachable: a checked value has one member")
