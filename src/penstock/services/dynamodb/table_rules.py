"""What CreateTable and UpdateTable refuse, in AWS's words and order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.services.dynamodb import names
from penstock.services.dynamodb.errors import INVALID, invalid

MAX_LOCAL_INDEXES = 5
MAX_GLOBAL_INDEXES = 20
MAX_KEY_ATTRIBUTES = 4
"""Of a global index's partition key, and of its sort key."""
MAX_PROJECTED = 100
"""Attributes that all indexes of a table may name to be projected, each counted for each index."""
TABLE_MAX_UNITS = 40_000
ACCOUNT_MAX_UNITS = 80_000
"""AWS's default quotas of provisioned read or write units of a table with its indexes, and of all tables in a region."""
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
    schema, definitions = params["KeySchema"], params["AttributeDefinitions"]
    local, global_ = params.get("LocalSecondaryIndexes"), params.get("GlobalSecondaryIndexes")
    _check_schema_lengths(schema, local or ())
    check_throughput(params)
    check_keys(schema, definitions)
    vectors = params.get("VectorIndexes") or ()
    searched = [{"KeySchema": each.get("SearchSchema") or ()} for each in vectors]
    if local is None and global_ is None and not vectors and len(schema) != len(definitions):
        raise invalid(
            INVALID + "Number of attributes in KeySchema does not exactly match number of attributes defined in "
            "AttributeDefinitions"
        )
    names_seen: set[str] = set()
    if local is not None:
        check_local_indexes(local, schema, definitions, names_seen)
    if global_ is not None:
        check_global_indexes(global_, definitions, params.get("BillingMode") == "PAY_PER_REQUEST", names_seen)
    check_all_used(schema, definitions, [*(local or ()), *(global_ or ()), *searched])
    check_projected(
        sum(len(each["Projection"].get("NonKeyAttributes") or ()) for each in (*(local or ()), *(global_ or ())))
    )


def _check_schema_lengths(schema: list[dict[str, str]], local: Iterable[Mapping[str, Any]]) -> None:
    """Raises ValidationException in the words of a constraint, which the model has no more since global indexes may."""
    given = {"keySchema": schema}
    for number, index in enumerate(local, 1):
        given[f"localSecondaryIndexes.{number}.member.keySchema"] = index["KeySchema"]
    broken = []
    for where, elements in given.items():
        if len(elements) > 2:
            listed = ", ".join(
                f"KeySchemaElement(attributeName={each['AttributeName']}, keyType={each['KeyType']})"
                for each in elements
            )
            broken.append(
                f"Value '[{listed}]' at '{where}' failed to satisfy constraint: Member must have length less than or equal to 2"
            )
    if broken:
        raise invalid(f"{len(broken)} validation error{'s' if len(broken) > 1 else ''} detected: {'; '.join(broken)}")


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
    if len(set(defined)) != len(defined):
        raise invalid("Cannot have two attributes with the same name")
    if len(schema) > 2:
        raise invalid(f"{INVALID}A KeySchema has at most two elements")
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


def check_global_keys(schema: list[dict[str, str]], definitions: list[dict[str, str]]) -> None:
    """The key schema of a global index: up to four attributes of each kind. Raises ValidationException."""
    kinds = [element["KeyType"] for element in schema]
    hashes, ranges = kinds.count("HASH"), kinds.count("RANGE")
    if len(schema) <= 2 and hashes < 2:
        check_keys(schema, definitions)
        return
    used, defined = [element["AttributeName"] for element in schema], {each["AttributeName"] for each in definitions}
    if kinds[0] != "HASH":
        raise invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
    if kinds != ["HASH"] * hashes + ["RANGE"] * ranges:
        raise invalid("Invalid KeySchema: All HASH key elements must come before the RANGE key elements")
    if hashes > MAX_KEY_ATTRIBUTES or ranges > MAX_KEY_ATTRIBUTES:
        raise invalid(
            f"{INVALID}A KeySchema has at most {MAX_KEY_ATTRIBUTES} HASH and {MAX_KEY_ATTRIBUTES} RANGE key elements"
        )
    if len(set(used)) != len(used):
        raise invalid("Invalid KeySchema: Two elements have the same name")
    if not set(used) <= defined:
        raise invalid(
            f"{INVALID}Some index key attributes are not defined in AttributeDefinitions. "
            f"Keys: [{', '.join(used)}], AttributeDefinitions: [{', '.join(each['AttributeName'] for each in definitions)}]"
        )


def check_local_indexes(
    indexes: list[dict[str, Any]],
    table_schema: list[dict[str, str]],
    definitions: list[dict[str, str]],
    names_seen: set[str],
) -> None:
    """Raises ValidationException."""
    if not indexes:
        raise invalid(INVALID + "List of LocalSecondaryIndexes is empty")
    if len(table_schema) != 2:
        raise invalid(
            INVALID
            + "Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex"
        )
    for index in indexes:
        name, schema = index["IndexName"], index["KeySchema"]
        check_keys(schema, definitions)
        if len(schema) != 2:
            raise invalid(f"{INVALID}Index KeySchema does not have a range key for index: {name}")
        own, of_table = schema[0]["AttributeName"], table_schema[0]["AttributeName"]
        if own != of_table:
            raise invalid(
                f"{INVALID}Index KeySchema does not have the same leading hash key as table KeySchema for index: {name}. "
                f"index hash key: {own}, table hash key: {of_table}"
            )
        check_projection(index["Projection"])
        _check_new_name(name, names_seen)
    if len(indexes) > MAX_LOCAL_INDEXES:
        raise invalid(f"{INVALID}Number of LocalSecondaryIndexes exceeds per-table limit of {MAX_LOCAL_INDEXES}")


def check_global_indexes(
    indexes: list[dict[str, Any]], definitions: list[dict[str, str]], on_demand: bool, names_seen: set[str]
) -> None:
    """Raises ValidationException."""
    if not indexes:
        raise invalid(INVALID + "List of GlobalSecondaryIndexes is empty")
    for index in indexes:
        check_global_index(index, definitions, on_demand)
        _check_new_name(index["IndexName"], names_seen)
    if len(indexes) > MAX_GLOBAL_INDEXES:
        raise invalid(f"{INVALID}GlobalSecondaryIndex count exceeds the per-table limit of {MAX_GLOBAL_INDEXES}")


def check_global_index(index: dict[str, Any], definitions: list[dict[str, str]], on_demand: bool) -> None:
    """One global index, of CreateTable or UpdateTable. Raises ValidationException."""
    check_global_keys(index["KeySchema"], definitions)
    check_projection(index["Projection"])
    throughput = index.get("ProvisionedThroughput")
    if on_demand and throughput:
        raise invalid(
            f"{INVALID}ProvisionedThroughput should not be specified for index: {index['IndexName']} when BillingMode is "
            "PAY_PER_REQUEST"
        )
    if not on_demand:
        if not throughput:
            raise invalid(f"{INVALID}ProvisionedThroughput must be specified for index: {index['IndexName']}")
        check_units(throughput)


def check_projection(projection: Mapping[str, Any]) -> None:
    """Raises ValidationException."""
    kind, names_too = projection.get("ProjectionType"), projection.get("NonKeyAttributes")
    if kind is None:
        raise invalid(INVALID + "Unknown ProjectionType: null")
    if names_too is not None and kind != "INCLUDE":
        raise invalid(f"{INVALID}ProjectionType is {kind}, but NonKeyAttributes is specified")
    if names_too is None and kind == "INCLUDE":
        raise invalid(f"{INVALID}ProjectionType is {kind}, but NonKeyAttributes is not specified")
    if names_too is not None and len(set(names_too)) != len(names_too):
        twice = next(name for name in names_too if names_too.count(name) > 1)
        raise invalid(f"{INVALID}Duplicate attribute name in NonKeyAttributes: {twice}")


def check_projected(count: int) -> None:
    """count: attributes that indexes name to be projected. Raises ValidationException for too many."""
    if count > MAX_PROJECTED:
        raise invalid(f"{INVALID}NonKeyAttributes count exceeds the per-table limit of {MAX_PROJECTED}")


def check_all_used(
    schema: list[dict[str, str]], definitions: list[dict[str, str]], indexes: list[dict[str, Any]]
) -> None:
    """Raises ValidationException for a defined attribute that is no key."""
    used = list(
        dict.fromkeys(e["AttributeName"] for each in (schema, *(i["KeySchema"] for i in indexes)) for e in each)
    )
    defined = [definition["AttributeName"] for definition in definitions]
    if set(defined) - set(used):
        raise invalid(
            f"{INVALID}Some AttributeDefinitions are not used. AttributeDefinitions: [{', '.join(defined)}], "
            f"keys used: [{', '.join(used)}]"
        )


def _check_new_name(name: str, names_seen: set[str]) -> None:
    if name in names_seen:
        raise invalid(f"{INVALID}Duplicate index name: {name}")
    names_seen.add(name)
