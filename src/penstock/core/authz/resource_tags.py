"""aws:ResourceTag: the tags of what a call is about, looked up when a policy asks for one and not before.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/access_tags.html#access_tags_control-resources
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from penstock.core.arn import Arn, is_arn, parse

if TYPE_CHECKING:
    from penstock.store.api import Store

Lookup: TypeAlias = Callable[["Store", Arn], Awaitable[Mapping[str, str]]]

LOOKUPS: dict[str, Lookup] = {}
"""By the service that an ARN names."""


def resource_tags(service: str) -> Callable[[Lookup], Lookup]:
    """Register how a service's tags are found: a function of (store, ARN); what is not there has none."""

    def register(lookup: Lookup) -> Lookup:
        LOOKUPS[service] = lookup
        return lookup

    return register


async def tags_of(store: Store, resource: str) -> Mapping[str, str]:
    """The tags of a resource by its ARN; empty for what has none and for a pattern."""
    if not is_arn(resource):
        return {}
    arn = parse(resource)
    lookup = LOOKUPS.get(arn.service)
    return {} if lookup is None else await lookup(store, arn)
