"""Where the outcome of an asynchronous invocation goes: destinations and dead-letter queues.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html. A delivery is made with the function's
own role, in the outbox's transaction with the event's end.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import msgspec

from penstock.core import arn as arns
from penstock.core import identity
from penstock.core.call import Call
from penstock.core.operation import REGISTRY
from penstock.events.outbox import Delivery
from penstock.runtime.api import Outcome
from penstock.services.lambda_ import metrics, rules
from penstock.services.lambda_.events import Event
from penstock.services.lambda_.records import Function
from penstock.wire.errors import AwsError

_CALLS = {
    "lambda": "Invoke", "s3": "PutObject", "sqs": "SendMessage", "sns": "Publish", "events": "PutEvents",
}  # fmt: skip


async def check(call: Call, function: Function, config: dict[str, Any]) -> None:
    """Raises InvalidParameterValueException for a destination that cannot be one, or is not there."""
    for side in ("OnSuccess", "OnFailure"):
        target = config.get(side, {}).get("Destination", "")
        if not target:
            continue
        try:
            arn = arns.parse(target)
        except ValueError:
            raise _invalid(target) from None
        if arn.service not in _CALLS or (arn.service == "s3" and side == "OnSuccess"):
            sides = ", ".join(f"{_word(s)}={_shown(config, s)}" for s in ("OnSuccess", "OnFailure"))
            raise rules.invalid(f"The provided destination config DestinationConfig({sides}) is invalid.")
        if target.startswith(function.arn) and target.removeprefix(function.arn).partition(":")[0] == "":
            raise rules.invalid("You can't specify the function as a destination for itself.")
        await _check_there(call, arn, target)


def _word(side: str) -> str:
    return side[0].lower() + side[1:]


def _shown(config: dict[str, Any], side: str) -> str:
    target = config.get(side, {}).get("Destination")
    return f"{side}(destination={target})" if target else "null"


def _invalid(target: str) -> AwsError:
    return rules.invalid(f"The destination ARN {target} is invalid.")


async def _check_there(call: Call, arn: arns.Arn, target: str) -> None:
    """Ask the target's service, as the service that owns the function would."""
    if (arn.service, _CALLS[arn.service]) not in REGISTRY:
        raise rules.invalid(f"The destination ARN {target} is invalid: Penstock has no {arn.service} yet.")
    ask = {
        "lambda": ("GetFunctionConfiguration", {"FunctionName": target}),
        "s3": ("HeadBucket", {"Bucket": arn.resource}),
    }.get(arn.service)
    if ask is None:
        return
    account = arn.account or call.account
    try:
        await call.node.call(
            arn.service, ask[0], ask[1], principal=identity.root(account), account=account,
            region=arn.region or call.region,
        )  # fmt: skip
    except AwsError:
        raise _invalid(target) from None


async def check_dead_letter(call: Call, target: str) -> None:
    """Raises InvalidParameterValueException for a dead-letter target that cannot be one, or is not there."""
    if not target:
        return
    try:
        arn = arns.parse(target)
    except ValueError:
        arn = arns.Arn("", "", "", "", "")
    if arn.service not in ("sqs", "sns"):
        raise rules.invalid("The provided dead letter target is no ARN of an SQS queue or SNS topic.")
    if (arn.service, _CALLS[arn.service]) not in REGISTRY:
        raise rules.invalid(f"The dead letter target {target} does not exist: Penstock has no {arn.service} yet.")


def record(
    event: Event, function: Function, condition: str, tries: int, outcome: Outcome | None, now: float
) -> dict[str, Any]:
    """The document that tells a destination of an invocation."""
    at = datetime.datetime.fromtimestamp(now, datetime.UTC)
    document: dict[str, Any] = {
        "version": "1.0",
        "timestamp": at.isoformat(timespec="milliseconds")[:-6] + "Z",
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": rules.arn_of(event.account, event.region, event.name, event.qualifier or "$LATEST"),
            "condition": condition,
            "approximateInvokeCount": tries,
        },
        "requestPayload": msgspec.Raw(event.payload),
    }
    if outcome is not None:
        context: dict[str, Any] = {"statusCode": 200, "executedVersion": function.version}
        if outcome.error:
            context["functionError"] = outcome.error
        document["responseContext"] = context
        document["responsePayload"] = _json(outcome.payload)
    return document


def _json(payload: bytes) -> Any:
    """The payload as it stands in the record: as it is where it is JSON, else as text."""
    try:
        msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return payload.decode("utf-8", "replace")
    return msgspec.Raw(payload)


def new_id() -> str:
    """A request id."""
    return str(uuid.uuid4())


def delivery(
    target: str, function: Function, document: dict[str, Any], trace: str, now: float, *, place: str = ""
) -> Delivery:
    """The call that brings a record to its destination. place: of its object in a bucket, but for the time."""
    arn = arns.parse(target)
    text = msgspec.json.encode(document)
    params: dict[str, Any]
    if arn.service == "lambda":
        params = {"FunctionName": target, "InvocationType": "Event", "Payload": text}
    elif arn.service == "s3":
        at = datetime.datetime.fromtimestamp(now, datetime.UTC)
        place = place or f"aws/lambda/async/{function.name}"
        key = f"{place}/{at:%Y/%m/%d}/{at:%Y-%m-%dT%H.%M.%S}-{uuid.uuid4()}"
        params = {"Bucket": arn.resource, "Key": key, "Body": text, "ContentType": "application/json"}
    elif arn.service == "sqs":
        params = {"QueueUrl": f"https://sqs.{arn.region}.amazonaws.com/{arn.account}/{arn.resource}"}
        params["MessageBody"] = text.decode()
    elif arn.service == "sns":
        params = {"TopicArn": target, "Message": text.decode()}
    else:
        succeeded = document["requestContext"]["condition"] == "Success"
        params = {"Entries": [{
            "EventBusName": target, "Source": "lambda", "Detail": text.decode(),
            "DetailType": f"Lambda Function Invocation Result - {'Success' if succeeded else 'Failure'}",
            "Resources": [target, document["requestContext"]["functionArn"]],
        }]}  # fmt: skip
    return _call(arn, params, function, trace, metrics.DESTINATION_DELIVERY_FAILURES)


def dead_letter(function: Function, event: Event, outcome: Outcome | None, trace: str) -> Delivery:
    """The call that brings an event to its function's dead-letter queue."""
    arn = arns.parse(function.dead_letter)
    message = ""
    if outcome is not None:
        found = msgspec.json.decode(outcome.payload) if outcome.payload[:1] == b"{" else {}
        message = str(found.get("errorMessage", ""))[:1024]
    attributes = {
        "RequestID": {"DataType": "String", "StringValue": event.request_id},
        "ErrorCode": {"DataType": "Number", "StringValue": "200" if outcome else "429"},
    }
    if message:
        attributes["ErrorMessage"] = {"DataType": "String", "StringValue": message}
    text = event.payload.decode()
    params: dict[str, Any] = {"MessageAttributes": attributes}
    if arn.service == "sqs":
        params["QueueUrl"] = f"https://sqs.{arn.region}.amazonaws.com/{arn.account}/{arn.resource}"
        params["MessageBody"] = text
    else:
        params |= {"TopicArn": function.dead_letter, "Message": text}
    return _call(arn, params, function, trace, metrics.DEAD_LETTER_ERRORS)


def _call(arn: arns.Arn, params: dict[str, Any], function: Function, trace: str, failures: str) -> Delivery:
    return Delivery(
        service=arn.service, operation=_CALLS[arn.service], params=params, principal="lambda.amazonaws.com",
        account=arn.account or function.account, region=arn.region or function.region, source_arn=function.arn,
        source_account=function.account, role=function.role, trace=trace,
        failure_count=failures, failure_labels=metrics.labels(function.account, function.region, function.name),
    )  # fmt: skip
