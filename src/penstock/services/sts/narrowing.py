"""What a new session is narrowed by: session policies, and the tags it carries.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html#policies_session and
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.core.authz.document import PolicyError
from penstock.core.authz.validate import Purpose, validate
from penstock.core.call import Call
from penstock.core.identity import root
from penstock.core.operation import Params
from penstock.core.tags import TagProblem, from_list
from penstock.wire.errors import AwsError

PACKED_CHARS = 2048
"""Room for session policies and tags together; AWS packs them in a way it does not publish, we count characters."""
MAX_POLICY_ARNS = 10


@dataclass(frozen=True, slots=True)
class Narrowing:
    """policies: inline text, and ARNs of managed ones. packed_percent: 0 where nothing was passed."""

    policies: tuple[str, ...]
    tags: dict[str, str]
    packed_percent: int


async def narrowed(call: Call, params: Params, account: str) -> Narrowing:
    """The request's Policy, PolicyArns and Tags. Raises AwsError MalformedPolicyDocument, PackedPolicyTooLarge."""
    policies: list[str] = []
    if params.get("Policy"):
        try:
            validate(params["Policy"], Purpose.IDENTITY)
        except PolicyError as error:
            raise AwsError("MalformedPolicyDocument", str(error), 400) from None
        policies.append(params["Policy"])
    arns = [item.get("arn", "") for item in params.get("PolicyArns", ())]
    if len(arns) > MAX_POLICY_ARNS:
        raise AwsError("ValidationError", f"No more than {MAX_POLICY_ARNS} session policies may be passed by ARN.", 400)
    for arn in arns:
        await _check_managed(call, arn, account)
    tags = session_tags(params)
    chars = sum(map(len, policies)) + sum(map(len, arns)) + sum(len(k) + len(v) for k, v in tags.items())
    percent = -(-chars * 100 // PACKED_CHARS)
    if percent > 100:
        text = f"Packed size of session tags consumes {percent}% of allotted space."
        raise AwsError("PackedPolicyTooLarge", text, 400)
    return Narrowing((*policies, *arns), tags, percent)


def session_tags(params: Params) -> dict[str, str]:
    """The request's Tags, checked together with its TransitiveTagKeys. Raises AwsError InvalidParameterValue."""
    given = params.get("Tags", ())
    folded = {str(tag["Key"]).lower() for tag in given}
    if len(folded) != len(given):
        text = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
        raise AwsError("InvalidParameterValue", text, 400)
    if not {key.lower() for key in params.get("TransitiveTagKeys", ())} <= folded:
        text = "The specified transitive tag key must be included in the requested tags."
        raise AwsError("InvalidParameterValue", text, 400)
    try:
        return from_list(given)
    except TagProblem as problem:
        raise AwsError("InvalidParameterValue", str(problem), 400) from None


async def _check_managed(call: Call, arn: str, account: str) -> None:
    try:
        await call.node.call(
            "iam", "GetPolicy", {"PolicyArn": arn}, principal=root(account), account=account, region=call.region
        )
    except AwsError as error:
        if error.code not in ("NoSuchEntity", "ValidationError"):
            raise
        raise AwsError("ValidationError", f"The policy {arn} does not exist or cannot be used here.", 400) from None
