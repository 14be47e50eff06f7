"""The transactional outbox: a write and the calls that follow from it are one commit.

A delivery is a call of an operation by a service, carried out at least once by `penstock.events.delivery` on any node.
Key: ("events", "outbox") + a queue.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.store.api import Transaction
from penstock.store.queue import Queue
from penstock.store.tuples import pack

QUEUE = Queue(pack(("events", "outbox")))


class Delivery(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A call to be made. Everything that it needs is in it: the record that caused it may be gone by then.

    principal: the calling service's name, "s3.amazonaws.com". account, region: whose resource is called, and where.
    role: the ARN of a role of the caused resource that the service makes the call with, in place of its own principal.
    trace: the X-Amzn-Trace-Id to go with it. failure_count: a counter to add to, with labels, at each try that fails.
    source_arn, source_account: what caused it, as the condition keys aws:SourceArn and aws:SourceAccount.
    max_attempts: tries that may fail; an attempt that a crash cut short is not one. max_age_s: from `emit` on; a try
    that fails later than that is the last. lane: deliveries of one lane are made one at a time in order of commit, a
    failing one holding up those behind it until it succeeds or is buried; make it say whose lane it is (an ARN).
    """

    service: str
    operation: str
    params: dict[str, Any]
    principal: str
    account: str
    region: str
    source_arn: str = ""
    source_account: str = ""
    max_attempts: int = 20
    max_age_s: float = 86400.0
    lane: str = ""
    role: str = ""
    trace: str = ""
    failure_count: str = ""
    failure_labels: tuple[tuple[str, str], ...] = ()


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Delivery).decode


def emit(txn: Transaction, delivery: Delivery, *, now: float, due: float | None = None) -> bytes:
    """Have the call made once this transaction has committed, at `due` (default `now`) at the soonest.

    params may hold what msgpack does: None, bool, int, float, str, bytes, list, dict. Returns the message's id.
    Raises TypeError for anything else in params.
    """
    return QUEUE.put(txn, _encode(delivery), due=now if due is None else due, lane=delivery.lane.encode(), now=now)
