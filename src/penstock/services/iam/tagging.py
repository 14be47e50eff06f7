"""Tags of IAM's entities: one set of rules for users, roles, policies and instance profiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.core.arn import Arn
from penstock.core.authz import resource_tags
from penstock.core.operation import Params, Result
from penstock.core.tags import TagProblem, from_list, to_list
from penstock.services.iam import errors, listing
from penstock.services.iam.records import (
    InstanceProfile,
    OidcProvider,
    Policy,
    Role,
    SamlProvider,
    ServerCertificate,
    User,
    VirtualMfa,
)
from penstock.services.iam.state import State
from penstock.store.api import Store, Transaction

__all__ = ["given", "list_tags", "merged", "removed", "to_list"]

_KINDS: dict[str, Any] = {
    "user": User, "role": Role, "policy": Policy, "instance-profile": InstanceProfile, "server-certificate": ServerCertificate,
    "mfa": VirtualMfa, "saml-provider": SamlProvider, "oidc-provider": OidcProvider,
}  # fmt: skip


@resource_tags("iam")
async def tags_of(store: Store, arn: Arn) -> Mapping[str, str]:
    """The tags of what an ARN names: what policies see as aws:ResourceTag and iam:ResourceTag."""
    word, _, path = arn.resource.partition("/")
    kind = _KINDS.get(word)
    if kind is None:
        return {}

    def body(txn: Transaction) -> Mapping[str, str]:
        record = State(txn, arn.account).taken(kind, path if word == "oidc-provider" else path.rpartition("/")[2])
        return record.tags if record is not None else {}

    return await store.transact(body, read_only=True)


def given(tags: list[dict[str, Any]] | None) -> dict[str, str]:
    """The tags of a request, checked. Raises AwsError InvalidInput or LimitExceeded."""
    seen: set[str] = set()
    for tag in tags or ():
        folded = str(tag.get("Key", "")).lower()
        if folded in seen:
            raise errors.invalid_input("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        seen.add(folded)
    try:
        return from_list(tags)
    except TagProblem as problem:
        if problem.kind == "count":
            raise errors.limit("The number of tags has reached the maximum limit.") from None
        raise errors.invalid_input(str(problem)) from None


def merged(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    """Old tags with new ones over them; IAM's tag keys are one whatever their case. Raises AwsError LimitExceeded."""
    folded = {key.lower() for key in new}
    result = {key: value for key, value in old.items() if key.lower() not in folded} | new
    if len(result) > 50:
        raise errors.limit("The number of tags has reached the maximum limit.")
    return result


def removed(old: dict[str, str], keys: list[str]) -> dict[str, str]:
    """Old tags without those keys, in whatever case."""
    folded = {key.lower() for key in keys}
    return {key: value for key, value in old.items() if key.lower() not in folded}


def list_tags(tags: dict[str, str], params: Params, of: str) -> Result:
    """The answer of List...Tags. of: what the tags belong to, so that tokens are not mixed up."""
    return listing.page_of_list(
        to_list(tags), params, f"Tags:{of}", "Tags", lambda tag: tag["Key"], lambda tag: tag
    )  # fmt: skip
