"""Key policies: https://docs.aws.amazon.com/kms/latest/developerguide/key-policies.html"""

from __future__ import annotations

import json

from penstock.core import authz
from penstock.core.authz.document import PolicyError
from penstock.core.authz.validate import Purpose, validate
from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.services.kms import access, errors, finding
from penstock.services.kms.records import Key
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

POLICY_BYTES_MAX = 32_768
DEFAULT = "default"
"""The name of a key's one policy."""


def default_policy(account: str) -> str:
    """What a key has unless it was created with a policy: its account decides by IAM policies."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Id": "key-default-1",
            "Statement": [
                {
                    "Sid": "Enable IAM User Permissions",
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
                    "Action": "kms:*",
                    "Resource": "*",
                }
            ],
        },
        indent=2,
    )


async def checked(call: Call, params: Params, arn: str) -> str:
    """The Policy of a request, or the default one. Raises AwsError MalformedPolicyDocumentException.

    Unless BypassPolicyLockoutSafetyCheck is given, it must leave the caller able to put another.
    """
    text: str = params.get("Policy") or default_policy(call.account)
    if len(text.encode()) > POLICY_BYTES_MAX:
        raise errors.limit(f"Key policies cannot be larger than {POLICY_BYTES_MAX} bytes.")
    try:
        validate(text, Purpose.RESOURCE)
    except PolicyError as error:
        raise errors.malformed_policy(str(error)) from None
    if params.get("Policy") and not params.get("BypassPolicyLockoutSafetyCheck", False):
        try:
            await authz.require(
                call, params, "kms:PutKeyPolicy", arn, owner=call.account, policy=text, must_be_named=True
            )  # fmt: skip
        except AwsError:
            raise errors.malformed_policy(
                "The new key policy will not allow you to update the key policy in the future."
            ) from None
    return text


def _check_name(params: Params) -> None:
    if params.get("PolicyName", DEFAULT) != DEFAULT:
        raise errors.not_found("No such policy exists")


@access.key_operation("PutKeyPolicy")
async def put_key_policy(call: Call, params: Params) -> Result:
    _check_name(params)
    seen = access.seen(call)
    policy = await checked(call, params, seen.arn)

    def body(_: Transaction, key: Key) -> Result:
        key.policy = policy
        return {}

    return await finding.change(call, seen, body)


@access.key_operation("GetKeyPolicy")
async def get_key_policy(call: Call, params: Params) -> Result:
    _check_name(params)
    return {"Policy": access.seen(call).policy, "PolicyName": DEFAULT}


@access.key_operation("ListKeyPolicies", unsupported={"Marker": ()})
async def list_key_policies(call: Call, params: Params) -> Result:
    """There is never more than one, so any Limit is enough and no Marker was ever given out."""
    access.seen(call)
    return {"PolicyNames": [DEFAULT][: params.get("Limit", 1)], "Truncated": False}
