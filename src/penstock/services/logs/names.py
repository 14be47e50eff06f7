"""Which group and stream a call is about, and their ARNs.

ARNs of groups end in :* in policies and answers, but for the tagging operations and `logGroupArn`:
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogGroup.html
"""

from __future__ import annotations

from penstock.core import arn
from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.logs import errors


def group_arn(call: Call, group: str) -> str:
    """Without the trailing :*."""
    return arn.build("logs", call.region, call.account, f"log-group:{group}")


def stream_arn(call: Call, group: str, stream: str) -> str:
    return f"{group_arn(call, group)}:log-stream:{stream}"


def group_of(call: Call, params: Params) -> str:
    """The group named by logGroupName or logGroupIdentifier. Raises AwsError InvalidParameterException."""
    name, identifier = params.get("logGroupName"), params.get("logGroupIdentifier")
    if name is not None and identifier is not None:
        raise errors.invalid("LogGroup name and LogGroup ARN are mutually exclusive parameters.")
    if name is not None:
        return str(name)
    if identifier is None:
        raise errors.invalid("Either logGroupName or logGroupIdentifier must be specified.")
    return group_of_identifier(call, identifier)


def group_of_identifier(call: Call, identifier: str) -> str:
    """A name, or the name in an ARN of this account and region. Raises AwsError ResourceNotFoundException."""
    if not identifier.startswith("arn:"):
        return identifier
    name = group_of_arn(call, identifier.removesuffix(":*"))
    if name is None:
        raise errors.no_group()
    return name


def group_of_arn(call: Call, text: str) -> str | None:
    """The name in a group's ARN, without :*; None where it is no group's of this account and region."""
    try:
        parsed = arn.parse(text)
    except ValueError:
        return None
    kind, _, name = parsed.resource.partition(":")
    here = (parsed.service, parsed.region, parsed.account) == ("logs", call.region, call.account)
    return name if here and kind == "log-group" and name and ":" not in name else None


def group_resource(call: Call, params: Params) -> str:
    """What an action on a group is authorized against: matched by a policy's log-group:NAME:*."""
    return stream_arn(call, group_of(call, params), "")


def stream_resource(call: Call, params: Params) -> str:
    """What an action on a stream is authorized against."""
    return stream_arn(call, group_of(call, params), str(params["logStreamName"]))


def tagged_resource(call: Call, params: Params) -> str:
    """The tagging operations are authorized against the very ARN they name."""
    return str(params["resourceArn"])
