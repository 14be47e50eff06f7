"""A bucket as a website: its configuration, checked.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/WebsiteHosting.html. `pages` serves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import keys, settings
from penstock.services.s3.access import BUCKET_ARN, load_policy
from penstock.wire.errors import AwsError
from penstock.wire.s3_quirks import malformed_xml

MOST_RULES = 50
MISSING = ("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration")


@operation("s3:PutBucketWebsite", resource=BUCKET_ARN, policy=load_policy)
async def put_bucket_website(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketWebsite.html"""
    configuration = params["WebsiteConfiguration"]
    _check(configuration)
    await settings.put(call, params, keys.WEBSITE, configuration)
    return {}


@operation("s3:GetBucketWebsite", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_website(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketWebsite.html"""
    return dict(await settings.get(call, params, keys.WEBSITE, MISSING))


@operation("s3:DeleteBucketWebsite", resource=BUCKET_ARN, policy=load_policy)
async def delete_bucket_website(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketWebsite.html"""
    await settings.delete(call, params, keys.WEBSITE)
    return {}


def _check(configuration: Mapping[str, Any]) -> None:
    """Raises AwsError InvalidArgument, InvalidRequest, MalformedXML."""
    everything = configuration.get("RedirectAllRequestsTo")
    if everything is not None:
        if len(configuration) > 1:
            raise _argument(
                "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.",
                "RedirectAllRequestsTo",
                "not null",
            )
        if "HostName" not in everything:
            raise malformed_xml()
        _check_protocol(everything)
        return
    index = configuration.get("IndexDocument")
    if index is None:
        raise _argument(
            "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
            "IndexDocument",
            "null",
        )
    suffix = index.get("Suffix", "")
    if not suffix or "/" in suffix:
        raise _argument("The IndexDocument Suffix is not well formed", "IndexDocument", suffix)
    if "ErrorDocument" in configuration and not configuration["ErrorDocument"].get("Key"):
        raise _argument("The ErrorDocument Key is not well formed", "ErrorDocument", "")
    rules = configuration.get("RoutingRules")
    if rules is None:
        return
    if not rules or len(rules) > MOST_RULES:
        raise malformed_xml()
    for rule in rules:
        _check_rule(rule)


def _check_rule(rule: Mapping[str, Any]) -> None:
    redirect = rule.get("Redirect")
    if redirect is None:
        raise malformed_xml()
    _check_protocol(redirect)
    if "ReplaceKeyPrefixWith" in redirect and "ReplaceKeyWith" in redirect:
        raise _request("You can only define ReplaceKeyPrefix or ReplaceKey but not both.")
    if "Condition" in rule and not rule["Condition"]:
        raise _request(
            "Condition cannot be empty. To redirect all requests without a condition, the condition element shouldn't be "
            "present."
        )
    code = redirect.get("HttpRedirectCode", "301")
    if not (code.isdigit() and 301 <= int(code) <= 308):
        raise _request(f"The provided HTTP redirect code ({code}) is not valid. Valid codes are 3XX except 300.")
    returned = (rule.get("Condition") or {}).get("HttpErrorCodeReturnedEquals", "404")
    if not (returned.isdigit() and 400 <= int(returned) <= 599):
        raise _request(f"The provided HTTP error code ({returned}) is not valid. Valid codes are 4XX or 5XX.")


def _check_protocol(redirect: Mapping[str, Any]) -> None:
    if redirect.get("Protocol", "http") not in ("http", "https"):
        raise _request(
            "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically."
        )


def _request(message: str) -> AwsError:
    return AwsError("InvalidRequest", message, 400)


def _argument(message: str, name: str, value: str) -> AwsError:
    return AwsError("InvalidArgument", message, 400, members={"ArgumentName": name, "ArgumentValue": value})
