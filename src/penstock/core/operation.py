"""`@operation` and the registry: the one list of what this server can do.

An operation is an `async def f(call, params) -> result` in a service's noun file. `params` and `result` are dicts by
the model's member names: blobs are bytes, timestamps float seconds since the epoch. A streaming blob comes as bytes
(small) or `wire.message.BodyStream`, and goes as bytes or `wire.message.OutgoingStream`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from penstock.core.call import Call
from penstock.wire.errors import not_implemented

Params: TypeAlias = dict[str, Any]
Result: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Call, Params], Awaitable[Result]]
Resource: TypeAlias = str | Callable[[Call, Params], str | list[str] | Awaitable[str | list[str]]]
PolicyLoader: TypeAlias = Callable[[Call, Params], Awaitable[Mapping[str, Any] | str | None]]
ConditionKeys: TypeAlias = Callable[[Call, Params], dict[str, Any]]
ActionOf: TypeAlias = Callable[[Params], str]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation and what it declares.

    action: the IAM action, e.g. "lambda:InvokeFunction"; "" for one that AWS lets anybody do (GetCallerIdentity).
    resource: the ARN(s) it acts on: a function of (call, params), async where the ARN takes a look at the store, or a
    template over {partition}, {region}, {account} and parameter names. policy: loads the resource's own policy (parsed
    or as JSON text), where the resource can have one; it may set `call.account` to the resource's owner first.
    conditions: service condition keys. action_of: the action by the parameters, where AWS asks for another one for some
    of them (s3:GetObjectVersion where a version is named). unsupported: parameter -> values that are accepted because
    they change nothing here; any other value is refused (promise 2).
    """

    service: str
    name: str
    handler: Handler
    action: str
    resource: Resource
    policy: PolicyLoader | None
    conditions: ConditionKeys | None
    unsupported: Mapping[str, tuple[Any, ...]]
    action_of: ActionOf | None = None

    async def resources(self, call: Call, params: Params) -> list[str]:
        """The ARNs this call is about."""
        if callable(self.resource):
            found = self.resource(call, params)
            if isinstance(found, Awaitable):
                found = await found
            return [found] if isinstance(found, str) else found
        return [_fill(self.resource, call, params)]

    def refuse_unsupported(self, params: Params) -> None:
        """Raises AwsError NotImplemented for a parameter that would be ignored."""
        if self.unsupported.keys().isdisjoint(params):
            return
        for name, harmless in self.unsupported.items():
            if name in params and params[name] not in harmless:
                raise not_implemented(f"{self.service}:{self.name} with {name}={str(params[name])[:80]!r}")

    async def again(self, call: Call, params: Params, missing: NotReady) -> Result:
        """Carry the call out once it has what it was missing. Raises what getting that, or the call, raises."""
        while True:
            await missing.prepare(call)
            try:
                return await self.handler(call, params)
            except NotReady as another:
                missing = another


class NotReady(Exception):
    """Raised by a call that has changed nothing yet, for what it needs first and a transaction cannot wait for.

    Whoever carries the call out has it prepared, and carries it out anew: a call that needs nothing pays nothing for this.
    """

    async def prepare(self, call: Call) -> None:
        """Get what is needed. Raises AwsError."""
        raise NotImplementedError


REGISTRY: dict[tuple[str, str], Operation] = {}


def operation(
    name: str,
    *,
    resource: Resource = "*",
    action: str | None = None,
    policy: PolicyLoader | None = None,
    conditions: ConditionKeys | None = None,
    unsupported: Mapping[str, tuple[Any, ...]] | None = None,
    action_of: ActionOf | None = None,
) -> Callable[[Handler], Handler]:
    """Register a handler as "service:Operation" (botocore's service name). `action` defaults to that very string."""
    service, _, operation_name = name.partition(":")

    def register(handler: Handler) -> Handler:
        if (service, operation_name) in REGISTRY:
            raise RuntimeError(f"{name} is registered twice")
        REGISTRY[service, operation_name] = Operation(
            service, operation_name, handler, name if action is None else action, resource, policy, conditions,
            unsupported or {}, action_of,
        )  # fmt: skip
        return handler

    return register


def find(service: str, name: str) -> Operation:
    """The operation. Raises AwsError NotImplemented where the registry has none."""
    found = REGISTRY.get((service, name))
    if found is None:
        raise not_implemented(f"the operation {service}:{name}")
    return found


def _fill(template: str, call: Call, params: Params) -> str:
    if "{" not in template:
        return template
    fixed = {"partition": "aws", "region": call.region, "account": call.account}

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return fixed.get(name) or str(params.get(name, "*"))

    return re.sub(r"\{(\w+)\}", value, template)
