"""Events that wait for an asynchronous invocation."""

from __future__ import annotations

import msgspec

from penstock.services.lambda_ import keys
from penstock.services.lambda_.access import Target
from penstock.store import Transaction
from penstock.store.queue import Queue

QUEUE = Queue(keys.ASYNC_QUEUE)


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One event as it waits. `function_errors` and `throttles` count what it has met so far."""

    request_id: str
    account: str
    region: str
    name: str
    incarnation: str
    payload: bytes
    client_context: str
    accepted_at: float
    function_errors: int = 0
    throttles: int = 0
    qualifier: str = ""
    """How the caller named the version. An alias is followed anew at each try."""
    trace: str = ""


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Event).decode


def put(
    txn: Transaction, target: Target, request_id: str, payload: bytes, client_context: str, now: float, trace: str = ""
) -> None:
    """Have the function invoked with the payload, soon. Durable with the transaction."""
    function = target.function
    event = Event(
        request_id, function.account, function.region, function.name, function.incarnation, payload, client_context, now,
        qualifier=target.qualifier, trace=trace,
    )  # fmt: skip
    QUEUE.put(txn, encode(event), due=now)
