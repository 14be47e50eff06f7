"""The call at hand: who asked for what, where, and the node that carries it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.identity import Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from penstock.blobs.api import Blobs
    from penstock.core.node import Node
    from penstock.core.operation import Operation
    from penstock.store.api import Store
    from penstock.wire.message import Request, Response


_IN_CHAIN = frozenset({"dynamodb"})
"""Services here that aws:CalledVia names."""


def forwarded(service: str, context: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The condition keys of a call that a service makes in the name of whoever called it.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/access_forward_access_sessions.html
    """
    keys: dict[str, Any] = {**(context or {}), "aws:ViaAWSService": "true"}
    if service in _IN_CHAIN:
        name = f"{service}.amazonaws.com"
        keys |= {"aws:CalledVia": [name], "aws:CalledViaFirst": name, "aws:CalledViaLast": name}
    return keys


class Call(msgspec.Struct, eq=False):
    """One operation under way. Made by the edge for a request, by `Node.call` for a service's own call.

    (A Struct because that is made in C: every request makes one.)
    """

    node: Node
    operation: Operation
    principal: Principal
    account: str
    """Whose resources the call is about: the caller's account, unless a resource's owner says otherwise."""
    region: str
    request_id: str
    source_ip: str = ""
    secure: bool = False
    endpoint: str = ""
    """scheme://host[:port] as the client addressed us; empty for a service's own call."""
    user_agent: str = ""
    context: dict[str, Any] | None = None
    """Further condition keys, e.g. {"aws:SourceArn": ...} of a service's call; None: none."""
    now: float = 0.0
    """When the call began, seconds since the epoch."""
    trace: str = ""
    """The X-Amzn-Trace-Id that came with it, for what is called because of it."""
    instead: tuple[str, str] | None = None
    """(action, resource) that the policy loader found the call to need in place of its operation's own; ("", ""): the
    loader has decided that it is allowed."""
    on_end: Callable[[Call, Request, Response, str], None] | None = None
    """Set by a service that wants to see the request and its answer (and the error's code, or ""), e.g. for a log. Given
    the call, which it must not hold: a call goes with its request, and lets go of what it has seen."""
    request: Request | None = None
    """The request it came by; None for a service's own call."""
    seen: Any = None
    """What the operation's policy loader read on its way, left for the handler: one look at the store serves both."""

    def __post_init__(self) -> None:
        self.now = self.node.clock.now()

    @property
    def store(self) -> Store:
        return self.node.store

    @property
    def blobs(self) -> Blobs:
        return self.node.blobs

    async def invoke(self, service: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """Call another service in the name of this call's principal, account and region. Raises what it raises."""
        return await self.node.call(
            service, operation, params, principal=self.principal, account=self.account, region=self.region,
            context=forwarded(self.operation.service, self.context), trace=self.trace,
        )  # fmt: skip
