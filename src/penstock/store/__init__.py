"""The store: ordered keys, serializable transactions, durable on return. And what is built of nothing but it.

Lives here: the seam (`api`), its engines (`memory`, `rocks`, `postgres`), wrappers over any engine (`chunked`,
`measured`, `faulty`), key encoding (`tuples`), and the `log`, `queue` and `lease` primitives.
This folder knows no service, no AWS noun and no network protocol but PostgreSQL's.
"""

from penstock.store.api import (
    Conflict,
    EngineFailed,
    Limits,
    Store,
    StoreError,
    Transaction,
    TransactionTooLarge,
    UnknownCommit,
    Versionstamp,
)

__all__ = [
    "Conflict",
    "EngineFailed",
    "Limits",
    "Store",
    "StoreError",
    "Transaction",
    "TransactionTooLarge",
    "UnknownCommit",
    "Versionstamp",
]
