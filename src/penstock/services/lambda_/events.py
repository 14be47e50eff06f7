"""Events that wait for an asynchronous invocation."""

from __future__ import annotations

import msgspec

from penstock.services.lambda_ import keys
from penstock.services.lambda_.functions import Function
from penstock.store import Transaction
from penstock.store.chunked import clear_large, get_large, set_large
from penstock.store.queue import Queue

QUEUE = Queue(keys.ASYNC_QUEUE)
INLINE_BYTES_MAX = 64 * 1024

# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
AGE_MAX_S = 6 * 3600.0
FUNCTION_ERROR_RETRIES = 2
FUNCTION_ERROR_DELAYS_S = (60.0, 120.0)
THROTTLE_DELAY_S_MIN = 1.0
THROTTLE_DELAY_S_MAX = 300.0


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One event as it waits. payload is None where it was too large for the queue and lies beside it."""

    request_id: str
    account: str
    region: str
    name: str
    incarnation: str
    payload: bytes | None
    client_context: str
    accepted_at: float
    function_errors: int = 0
    throttles: int = 0


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Event).decode


def put(txn: Transaction, function: Function, request_id: str, payload: bytes, client_context: str, now: float) -> None:
    """Have the function invoked with the payload, soon. Durable with the transaction."""
    inline = len(payload) <= INLINE_BYTES_MAX
    if not inline:
        set_large(txn, keys.event(request_id), payload)
    event = Event(
        request_id, function.account, function.region, function.name, function.incarnation,
        payload if inline else None, client_context, now,
    )  # fmt: skip
    QUEUE.put(txn, encode(event), due=now)


def payload_of(txn: Transaction, event: Event) -> bytes:
    """The event's document."""
    if event.payload is not None:
        return event.payload
    return get_large(txn, keys.event(event.request_id)) or b"{}"


def forget(txn: Transaction, event: Event) -> None:
    """Remove what lies beside the queue, once the event is done with."""
    if event.payload is None:
        clear_large(txn, keys.event(event.request_id))
