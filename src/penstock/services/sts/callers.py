"""Who is calling, and whose key is that."""

from __future__ import annotations

import logging

from penstock.core import access_key
from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.core.operation import Params, Result, operation
from penstock.wire.errors import AwsError

log = logging.getLogger(__name__)


@operation("sts:GetCallerIdentity", action="")
async def get_caller_identity(call: Call, params: Params) -> Result:
    """No permission is needed: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"""
    principal = call.principal
    if principal.kind is Kind.ANONYMOUS:
        raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
    return {"UserId": principal.id, "Account": principal.account, "Arn": principal.arn}


@operation("sts:GetAccessKeyInfo")
async def get_access_key_info(call: Call, params: Params) -> Result:
    """Reads the account out of the key id, whether or not there is such a key, as AWS does."""
    key = params["AccessKeyId"]
    account = key if key.isdigit() and len(key) == 12 else access_key.account_of(key)
    if not account:
        raise AwsError("ValidationError", f"{key} is not a valid access key id", 400)
    return {"Account": account}


@operation("sts:DecodeAuthorizationMessage")
async def decode_authorization_message(call: Call, params: Params) -> Result:
    """Encoded messages come with EC2's denials and with a few like it; no service here gives any, so none is valid."""
    log.info("an encoded message of %d characters, none of ours", len(params["EncodedMessage"]))
    raise AwsError("InvalidAuthorizationMessageException", "Message is invalid.", 400)
