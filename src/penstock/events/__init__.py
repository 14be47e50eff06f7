"""How services reach each other by themselves: the transactional outbox and its delivery worker. Knows no service.

Lives here: `outbox` (deliveries and their queue), `delivery` (the worker), `consumer` (what any queue's worker is made
of), `dead_letters` (what was given up on). A service calls `outbox.emit(txn, Delivery(...))` in the transaction that
causes the event; `delivery` carries it out.
Importing this folder registers the worker.
"""

from penstock.events import delivery, outbox

__all__ = ["delivery", "outbox"]
