"""Lambda's keys in the store. All of them:

| key | value |
|---|---|
| ("lambda", "fn", account, region, name) | `functions.Function`, msgpack |
| ("lambda", "policy", account, region, name) | the function's resource policy, JSON text |
| ("lambda", "async") + the queue's own suffixes | events waiting for an asynchronous invocation |
"""

from __future__ import annotations

from penstock.store.tuples import pack, range_of

ASYNC_QUEUE = pack(("lambda", "async"))


def function(account: str, region: str, name: str) -> bytes:
    return pack(("lambda", "fn", account, region, name))


def functions(account: str, region: str) -> tuple[bytes, bytes]:
    return range_of(("lambda", "fn", account, region))


def every_function() -> tuple[bytes, bytes]:
    return range_of(("lambda", "fn"))


def policy(account: str, region: str, name: str) -> bytes:
    return pack(("lambda", "policy", account, region, name))
