"""Event source mappings: a stream's records, read for a function. What reads them is in `stream_polling`.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html. The sources are DynamoDB's streams.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from penstock.core import arn as arns
from penstock.core import paging
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import destinations, keys, records, rules
from penstock.services.lambda_.event_filters import BadPattern, compile_filter
from penstock.services.lambda_.invocations import Ready
from penstock.services.lambda_.records import Function
from penstock.store import Transaction
from penstock.wire.errors import AwsError

PAGE = 100
FILTERS_MAX = 10
_SOURCES = ("kinesis", "sqs", "kafka", "mq", "rds")
"""Services that AWS reads for functions, and that are not here."""
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "ParallelizationFactor": (1,),
    "TumblingWindowInSeconds": (0,),
    "KMSKeyArn": ("",),
    "MetricsConfig": ({}, {"Metrics": []}),
    "LoggingConfig": ({},),
    "ScalingConfig": ({},),
    "Topics": ([],),
    "Queues": ([],),
    "SourceAccessConfigurations": ([],),
    "SelfManagedEventSource": ({},),
    "AmazonManagedKafkaEventSourceConfig": ({},),
    "SelfManagedKafkaEventSourceConfig": ({},),
    "DocumentDBEventSourceConfig": ({},),
    "ProvisionedPollerConfig": ({},),
}


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping's record. -1 of retries and age: without end."""

    id: str
    account: str
    region: str
    name: str
    qualifier: str
    source: str
    start: str
    created_at: float
    modified_at: float
    enabled: bool = True
    batch_size: int = 100
    window_s: int = 0
    retries_max: int = -1
    age_max_s: int = -1
    bisect: bool = False
    on_failure: str = ""
    filters: list[str] = []
    reports_items: bool = False
    tags: dict[str, str] = {}

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{self.region}:{self.account}:event-source-mapping:{self.id}"

    @property
    def function_arn(self) -> str:
        return rules.arn_of(self.account, self.region, self.name, self.qualifier)


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Mapping).decode


def _read(txn: Transaction, account: str, region: str, id: str) -> Mapping:
    raw = txn.get(keys.mapping(account, region, id))
    if raw is None:
        raise rules.missing("The resource you requested does not exist.")
    return decode(raw)


def find(txn: Transaction, arn: str) -> Mapping | None:
    """The mapping with that ARN."""
    _, _, _, region, account, _, id = arn.split(":")
    raw = txn.get(keys.mapping(account, region, id))
    return None if raw is None else decode(raw)


def write(txn: Transaction, mapping: Mapping) -> None:
    """Write the record, and have the readers look at it."""
    txn.set(keys.mapping(mapping.account, mapping.region, mapping.id), _encode(mapping))
    txn.add(keys.MAPPINGS_WAKE, 1)


def _document(mapping: Mapping, state: str = "", result: bytes | None = None) -> Result:
    document: Result = {
        "UUID": mapping.id,
        "EventSourceMappingArn": mapping.arn,
        "EventSourceArn": mapping.source,
        "FunctionArn": mapping.function_arn,
        "StartingPosition": mapping.start,
        "BatchSize": mapping.batch_size,
        "MaximumBatchingWindowInSeconds": mapping.window_s,
        "ParallelizationFactor": 1,
        "MaximumRecordAgeInSeconds": mapping.age_max_s,
        "MaximumRetryAttempts": mapping.retries_max,
        "BisectBatchOnFunctionError": mapping.bisect,
        "TumblingWindowInSeconds": 0,
        "DestinationConfig": {"OnFailure": {"Destination": mapping.on_failure} if mapping.on_failure else {}},
        "FunctionResponseTypes": ["ReportBatchItemFailures"] if mapping.reports_items else [],
        "LastModified": mapping.modified_at,
        "LastProcessingResult": result.decode() if result else "No records processed",
        "State": state or ("Enabled" if mapping.enabled else "Disabled"),
        "StateTransitionReason": "User action",
    }
    if mapping.filters:
        document["FilterCriteria"] = {"Filters": [{"Pattern": text} for text in mapping.filters]}
    return document


def _resource(call: Call, params: Params) -> str:
    return f"arn:aws:lambda:{call.region}:{call.account}:event-source-mapping:{params.get('UUID', '*')}"


async def _load_function(call: Call, params: Params) -> None:
    """A mapping has no policy. Leaves the ARN of the function that it is for in `call.seen`."""
    raw = await call.store.transact(
        lambda txn: txn.get(keys.mapping(call.account, call.region, params["UUID"])), read_only=True
    )
    call.seen = None if raw is None else decode(raw).function_arn


def _conditions(call: Call, params: Params) -> dict[str, Any]:
    if "FunctionName" not in params:
        return {"lambda:FunctionArn": call.seen}
    return {"lambda:FunctionArn": rules.resource(call, {"FunctionName": params["FunctionName"]})}


def _settings(params: Params) -> dict[str, Any]:
    """The fields that the parameters set. Raises InvalidParameterValueException."""
    fields: dict[str, Any] = {}
    for member, field in (
        ("Enabled", "enabled"), ("BatchSize", "batch_size"), ("MaximumBatchingWindowInSeconds", "window_s"),
        ("MaximumRetryAttempts", "retries_max"), ("MaximumRecordAgeInSeconds", "age_max_s"),
        ("BisectBatchOnFunctionError", "bisect"),
    ):  # fmt: skip
        if member in params:
            fields[field] = params[member]
    if "FunctionResponseTypes" in params:
        fields["reports_items"] = "ReportBatchItemFailures" in params["FunctionResponseTypes"]
    if "FilterCriteria" in params:
        texts = [one.get("Pattern", "") for one in params["FilterCriteria"].get("Filters", [])]
        if len(texts) > FILTERS_MAX:
            raise rules.invalid(f"Filter criteria cannot have more than {FILTERS_MAX} filters.")
        try:
            for text in texts:
                compile_filter(text)
        except BadPattern:
            raise rules.invalid("Invalid filter pattern definition.") from None
        fields["filters"] = texts
    if fields.get("age_max_s", -1) not in (-1,) and fields["age_max_s"] < 60:
        raise rules.invalid("MaximumRecordAgeInSeconds must be -1 or at least 60.")
    return fields


def _check_sides(params: Params) -> None:
    if params.get("DestinationConfig", {}).get("OnSuccess", {}).get("Destination"):
        raise rules.invalid("Unsupported DestinationConfig parameter for given event source mapping type.")


async def _destination(call: Call, params: Params, function: Function) -> dict[str, Any]:
    config = params.get("DestinationConfig")
    if config is None:
        return {}
    _check_sides(params)
    target = config.get("OnFailure", {}).get("Destination", "")
    if target and arns.is_arn(target) and arns.parse(target).service in ("lambda", "events"):
        raise rules.invalid("Unsupported DestinationConfig parameter for given event source mapping type.")
    await destinations.check(call, function, {"OnFailure": config.get("OnFailure", {})})
    return {"on_failure": target}


async def _check_source(call: Call, source: str, function: Function, params: Params) -> None:
    """Raises InvalidParameterValueException where the source is no stream, is not there, or is out of the role's reach."""
    arn = arns.parse(source)
    if arn.service != "dynamodb" or "/stream/" not in source:
        if "DestinationConfig" in params and arn.service == "sqs":
            raise rules.invalid("Unsupported DestinationConfig parameter for given event source mapping type.")
        if arn.service not in _SOURCES:
            raise rules.invalid("Unrecognized event source.")
        raise rules.invalid(
            f"Error occurred while reading the event source {source}: Penstock reads DynamoDB's streams for functions, and "
            f"has no {arn.service} yet."
        )
    start = params.get("StartingPosition")
    if start is None:
        raise rules.invalid(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be "
            "null."
        )
    if start == "AT_TIMESTAMP" or "StartingPositionTimestamp" in params:
        raise rules.invalid(f"Unsupported starting position for arn type: {source}")
    principal = await call.node.own(Ready).principal(function)
    try:
        await call.node.call(
            "dynamodbstreams", "DescribeStream", {"StreamArn": source}, principal=principal, account=arn.account,
            region=arn.region,
        )  # fmt: skip
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            raise rules.invalid(f"Stream not found: {source}") from None
        raise rules.invalid(
            f"Cannot access stream {source}. Please ensure the role can perform the GetRecords, GetShardIterator, "
            "DescribeStream, and ListStreams Actions on your stream in IAM."
        ) from error


@operation("lambda:CreateEventSourceMapping", resource=_resource, conditions=_conditions, unsupported=UNSUPPORTED)
async def create_event_source_mapping(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html"""
    source = params.get("EventSourceArn", "")
    if not source or not arns.is_arn(source):
        raise rules.invalid("Unrecognized event source.")
    where = rules.reference(call, params["FunctionName"])
    _check_sides(params)
    function = await _function(call, where)
    fields = _settings(params)
    await _check_source(call, source, function, params)
    fields |= await _destination(call, params, function)
    mapping = Mapping(
        id=str(uuid.uuid4()), account=where[0], region=where[1], name=where[2], qualifier=where[3], source=source,
        start=params["StartingPosition"], created_at=call.now, modified_at=call.now, tags=params.get("Tags", {}), **fields,
    )  # fmt: skip

    def body(txn: Transaction) -> None:
        for _, raw in txn.scan(*keys.mappings(where[0], where[1])):
            other = decode(raw)
            if (other.source, other.name) == (source, mapping.name):
                raise rules.conflict(
                    f'The event source arn (" {source} ") and function (" {mapping.name} ") provided mapping already '
                    f"exists. Please update or delete the existing mapping with UUID {other.id}"
                )
        write(txn, mapping)

    await call.store.transact(body)
    return _document(mapping, "Creating")


async def _function(call: Call, where: tuple[str, str, str, str]) -> Function:
    """The function of a mapping, which must be of the mapping's own account. Raises InvalidParameterValueException."""
    try:
        if where[0] != call.account:
            raise rules.not_found(rules.arn_of(*where))
        return await call.store.transact(lambda txn: records.read(txn, *where), read_only=True)
    except AwsError:
        raise rules.invalid("Function does not exist") from None


@operation("lambda:GetEventSourceMapping", resource=_resource, policy=_load_function, conditions=_conditions)
async def get_event_source_mapping(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetEventSourceMapping.html"""

    def body(txn: Transaction) -> tuple[Mapping, bytes | None]:
        mapping = _read(txn, call.account, call.region, params["UUID"])
        return mapping, txn.get(keys.mapping_result(mapping.id))

    mapping, result = await call.store.transact(body, read_only=True)
    return _document(mapping, result=result)


@operation("lambda:ListEventSourceMappings")
async def list_event_source_mappings(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_ListEventSourceMappings.html"""
    limit = min(params.get("MaxItems", PAGE), PAGE)
    scope = f"lambda:mappings:{call.account}:{call.region}"
    after = rules.position(scope, params.get("Marker"))
    name = rules.reference(call, params["FunctionName"])[2] if "FunctionName" in params else None

    def body(txn: Transaction) -> list[tuple[Mapping, bytes | None]]:
        found = []
        for _, raw in txn.scan(*keys.mappings(call.account, call.region)):
            mapping = decode(raw)
            wanted = params.get("EventSourceArn") in (None, mapping.source) and name in (None, mapping.name)
            if mapping.id > after and wanted:
                found.append((mapping, txn.get(keys.mapping_result(mapping.id))))
        return found

    found = await call.store.transact(body, read_only=True)
    result: Result = {"EventSourceMappings": [_document(one, result=told) for one, told in found[:limit]]}
    if len(found) > limit:
        result["NextMarker"] = paging.encode(scope, found[limit - 1][0].id)
    return result


@operation(
    "lambda:UpdateEventSourceMapping",
    resource=_resource,
    policy=_load_function,
    conditions=_conditions,
    unsupported=UNSUPPORTED,
)
async def update_event_source_mapping(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_UpdateEventSourceMapping.html"""
    old = await call.store.transact(lambda txn: _read(txn, call.account, call.region, params["UUID"]), read_only=True)
    fields = _settings(params)
    where = old.account, old.region, old.name, old.qualifier
    if "FunctionName" in params:
        where = rules.reference(call, params["FunctionName"])
        fields |= {"name": where[2], "qualifier": where[3]}
    function = await _function(call, where)
    fields |= await _destination(call, params, function)

    def body(txn: Transaction) -> tuple[Mapping, bytes | None]:
        now = _read(txn, call.account, call.region, params["UUID"])
        new = msgspec.structs.replace(now, modified_at=call.now, **fields)
        write(txn, new)
        return new, txn.get(keys.mapping_result(new.id))

    new, result = await call.store.transact(body)
    state = "Updating" if new.enabled == old.enabled else "Enabling" if new.enabled else "Disabling"
    return _document(new, state, result)


@operation("lambda:DeleteEventSourceMapping", resource=_resource, policy=_load_function, conditions=_conditions)
async def delete_event_source_mapping(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_DeleteEventSourceMapping.html"""

    def body(txn: Transaction) -> tuple[Mapping, bytes | None]:
        mapping = _read(txn, call.account, call.region, params["UUID"])
        result = txn.get(keys.mapping_result(mapping.id))
        txn.clear(keys.mapping(mapping.account, mapping.region, mapping.id))
        txn.clear(keys.mapping_result(mapping.id))
        txn.clear(*keys.checkpoints(mapping.id))
        txn.add(keys.MAPPINGS_WAKE, 1)
        return mapping, result

    mapping, result = await call.store.transact(body)
    return _document(mapping, "Deleting", result)
