"""What CreateTable and UpdateTable refuse, in AWS's words and order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.services.dynamodb import names
from penstock.services.dynamodb.errors import INVALID, invalid

_MAX_UNITS = 1_000_000_000_000


def check_create(params: Mapping[str, Any]) -> None:
    """Raises ValidationException."""
    if "TableName" not in params:
        raise invalid("The parameter 'TableName' is required but was not present in the request")
    names.check(params["TableName"], 3)
    missing = [name for name in ("attributeDefinitions", "keySchema") if name[0].upper() + name[1:] not in params]
    if missing:
        found = "; ".join(
            f"Value null at '{name}' failed to satisfy constraint: Member must not be null" for name in missing
        )
        raise invalid(f"{len(missing)} validation error{'s' if len(missing) > 1 else ''} detected: {found}")
    check_throughput(params)
    check_keys(params["KeySchema"], params["AttributeDefinitions"])


def check_throughput(params: Mapping[str, Any]) -> None:
    """The billing mode and the throughput that goes with it. Raises ValidationException."""
    throughput = params.get("ProvisionedThroughput")
    if params.get("BillingMode") == "PAY_PER_REQUEST":
        if throughput:
            raise invalid(
                INVALID + "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is "
                "PAY_PER_REQUEST"
            )
        return
    if not throughput:
        raise invalid(
            INVALID + "ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED"
        )
    check_units(throughput)


def check_units(throughput: Mapping[str, int]) -> None:
    """Raises ValidationException for more units than can be."""
    for name in ("ReadCapacityUnits", "WriteCapacityUnits"):
        if throughput[name] > _MAX_UNITS:
            raise invalid(f"Given value {throughput[name]} for {name} is out of bounds")


def check_keys(schema: list[dict[str, str]], definitions: list[dict[str, str]]) -> None:
    """The key schema and the attribute definitions. Raises ValidationException."""
    defined = [definition["AttributeName"] for definition in definitions]
    used = [element["AttributeName"] for element in schema]
    if len(schema) > 2:
        shown = ", ".join(
            f"KeySchemaElement(attributeName={e['AttributeName']}, keyType={e['KeyType']})" for e in schema
        )
        raise invalid(
            f"1 validation error detected: Value '[{shown}]' at 'keySchema' failed to satisfy constraint: "
            "Member must have length less than or equal to 2"
        )
    if len(used) > len(defined):
        raise invalid("Invalid KeySchema: Some index key attribute have no definition")
    if not set(used) <= set(defined):
        raise invalid(
            f"{INVALID}Some index key attributes are not defined in AttributeDefinitions. "
            f"Keys: [{', '.join(used)}], AttributeDefinitions: [{', '.join(defined)}]"
        )
    if len(used) == 2 and used[0] == used[1]:
        raise invalid("Both the Hash Key and the Range Key element in the KeySchema have the same name")
    if schema[0]["KeyType"] != "HASH":
        raise invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
    if len(schema) == 2 and schema[1]["KeyType"] != "RANGE":
        raise invalid("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
    if len(used) != len(defined):
        raise invalid(
            INVALID + "Number of attributes in KeySchema does not exactly match number of attributes defined in "
            "AttributeDefinitions"
        )
