"""Events saved to try a function with: private ones, ten for each principal and function, and shared ones.

AWS has no public API for the private ones (its console keeps them), and keeps the shared ones in EventBridge's schema
registry lambda-testevent-schemas; until that is here they are kept here, behind its permissions. They go with their function.
https://docs.aws.amazon.com/lambda/latest/dg/testing-functions.html

    GET    /_lambda/test-events/FUNCTION               {"private": [names], "shared": [names]}
    GET    /_lambda/test-events/FUNCTION/NAME          the event: the private one, else the shared one
    PUT    /_lambda/test-events/FUNCTION/NAME[?share]  save it (the body, JSON)
    DELETE /_lambda/test-events/FUNCTION/NAME[?share]

Signed for "lambda".
"""

from __future__ import annotations

import urllib.parse

import msgspec

from penstock.core.authz import require
from penstock.core.call import Call
from penstock.core.identity import ANONYMOUS
from penstock.core.operation import find
from penstock.core.web import Visit, site
from penstock.services.lambda_ import invocations, keys, rules
from penstock.services.lambda_.rules import Where
from penstock.store import Transaction
from penstock.store.chunked import clear_large, get_large, set_large
from penstock.store.tuples import unpack
from penstock.wire.errors import AwsError
from penstock.wire.message import Response

PRIVATE_MAX = 10
SHARED_MAX = 100
EVENT_BYTES_MAX = invocations.ASYNC_PAYLOAD_BYTES_MAX
SHARED = ""
"""Whose the shared ones are."""
_REGISTRY = "lambda-testevent-schemas"


@site(
    "lambda:TestEvents",
    path=r"/_lambda/test-events/(?P<function>[a-zA-Z0-9_%:-]{1,200})(/(?P<event>[A-Za-z0-9._-]{1,25}))?",
)
async def answer(visit: Visit) -> Response:
    """List, read, save or delete."""
    try:
        await visit.collect(EVENT_BYTES_MAX)
        principal, region = await visit.authenticate("lambda")
        if principal is ANONYMOUS:
            raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
        call = Call(visit.node, find("lambda", "Invoke"), principal, principal.account, region, visit.request_id)
        where = rules.unqualified(call, urllib.parse.unquote(visit.labels["function"]))
        shared = "share" in dict(urllib.parse.parse_qsl(visit.request.query, keep_blank_values=True))
        return await _Events(call, where, principal.role_arn or principal.arn).do(
            visit.request.method, visit.labels.get("event") or "", visit.request.body, shared
        )
    except AwsError as error:
        return _json(error.status or 400, {"__type": error.code, "message": error.message})


class _Events:
    """The events of one function, as one principal sees them."""

    def __init__(self, call: Call, where: Where, owner: str) -> None:
        self._call = call
        self._where = where
        self._owner = owner

    async def do(self, method: str, name: str, body: bytes, shared: bool) -> Response:
        """Raises AwsError."""
        if method == "GET" and not name:
            return _json(200, await self._list())
        if method == "GET":
            return Response(200, [("Content-Type", "application/json")], await self._get(name))
        if not name or method not in ("PUT", "DELETE"):
            raise AwsError("MethodNotAllowed", f"{method} is not for this address.", 405)
        await self._permit(shared, "UpdateSchema" if method == "PUT" else "DeleteSchema")
        key = keys.test_event(*self._where, SHARED if shared else self._owner, name)
        if method == "PUT":
            await invocations.checked_payload(body, EVENT_BYTES_MAX)
            await self._call.store.transact(lambda txn: self._save(txn, key, body, shared))
        else:
            await self._call.store.transact(lambda txn: _delete(txn, key, name))
        return _json(200, {"name": name, "shared": shared})

    async def _permit(self, shared: bool, action: str) -> None:
        account, region, function = self._where
        if shared:
            schema = f"arn:aws:schemas:{region}:{account}:schema/{_REGISTRY}/_{function}-schema"
            await require(self._call, {}, f"schemas:{action}", schema)
        else:
            await require(self._call, {}, "lambda:InvokeFunction", rules.arn_of(*self._where))

    async def _may(self, shared: bool) -> bool:
        try:
            await self._permit(shared, "DescribeSchema")
        except AwsError:
            return False
        return True

    async def _list(self) -> dict[str, list[str]]:
        await self._permit(False, "")
        shared = await self._may(True)

        def body(txn: Transaction) -> dict[str, list[str]]:
            self._check_function(txn)
            return {
                "private": _names(txn, self._where, self._owner),
                "shared": _names(txn, self._where, SHARED) if shared else [],
            }

        return await self._call.store.transact(body, read_only=True)

    async def _get(self, name: str) -> bytes:
        owners = [owner for owner in (self._owner, SHARED) if await self._may(owner == SHARED)]
        if not owners:
            await self._permit(False, "")

        def body(txn: Transaction) -> bytes | None:
            self._check_function(txn)
            found = (get_large(txn, keys.test_event(*self._where, owner, name)) for owner in owners)
            return next((event for event in found if event is not None), None)

        event = await self._call.store.transact(body, read_only=True)
        if event is None:
            raise _missing(name)
        return event

    def _save(self, txn: Transaction, key: bytes, body: bytes, shared: bool) -> None:
        self._check_function(txn)
        most = SHARED_MAX if shared else PRIVATE_MAX
        kept = len(_names(txn, self._where, SHARED if shared else self._owner))
        if kept >= most and get_large(txn, key) is None:
            raise rules.invalid(f"A function has at most {most} {'shared' if shared else 'private'} test events.")
        set_large(txn, key, body)

    def _check_function(self, txn: Transaction) -> None:
        if txn.get(keys.function(*self._where)) is None:
            raise rules.not_found(rules.arn_of(*self._where))


def _names(txn: Transaction, where: Where, owner: str) -> list[str]:
    return [str(unpack(key)[-1]) for key, _ in txn.scan(*keys.test_events_of(*where, owner))]


def _delete(txn: Transaction, key: bytes, name: str) -> None:
    if get_large(txn, key) is None:
        raise _missing(name)
    clear_large(txn, key)


def _missing(name: str) -> AwsError:
    return rules.missing(f"There is no test event {name}.")


def _json(status: int, body: object) -> Response:
    return Response(status, [("Content-Type", "application/json")], msgspec.json.encode(body))
