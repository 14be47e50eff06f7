"""IAM's ARNs: of records at hand, and of what a call is about (which takes a look at the record, for its path)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.iam.records import Group, InstanceProfile, Policy, Role, ServerCertificate, User
from penstock.services.iam.state import State
from penstock.store.api import Transaction

_WORDS: dict[type[Any], str] = {
    User: "user", Group: "group", Role: "role", Policy: "policy", InstanceProfile: "instance-profile",
    ServerCertificate: "server-certificate",
}  # fmt: skip
_PARAMETERS: dict[type[Any], str] = {
    User: "UserName", Group: "GroupName", Role: "RoleName", Policy: "PolicyName",
    InstanceProfile: "InstanceProfileName", ServerCertificate: "ServerCertificateName",
}  # fmt: skip


def arn(account: str, record: User | Group | Role | Policy | InstanceProfile | ServerCertificate) -> str:
    """A record's ARN."""
    return f"arn:aws:iam::{account}:{_WORDS[type(record)]}{record.path}{record.name}"


def new(kind: type[Any]) -> Callable[[Call, Params], str]:
    """The resource of an operation that makes an entity: its path is in the request."""

    def of(call: Call, params: Params) -> str:
        return f"arn:aws:iam::{call.account}:{_WORDS[kind]}{params.get('Path', '/')}{params[_PARAMETERS[kind]]}"

    return of


def existing(kind: type[Any]) -> Callable[[Call, Params], Awaitable[str]]:
    """The resource of an operation on an entity that its request names; without a name, the caller itself."""

    async def of(call: Call, params: Params) -> str:
        name = params.get(_PARAMETERS[kind])
        if name is None:
            return call.principal.arn

        def body(txn: Transaction) -> str:
            record = State(txn, call.account).taken(kind, name)
            return arn(call.account, record) if record else f"arn:aws:iam::{call.account}:{_WORDS[kind]}/{name}"

        return await call.store.transact(body, read_only=True)

    return of


def all_of(kind: type[Any]) -> str:
    """The resource of a list of a kind."""
    return f"arn:aws:iam::{{account}}:{_WORDS[kind]}/*"


def policy_arn(call: Call, params: Params) -> str:
    """The resource of an operation on a managed policy."""
    return str(params["PolicyArn"])
