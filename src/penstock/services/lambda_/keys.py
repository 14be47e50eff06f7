"""Lambda's keys in the store. All of them:

| key | value |
|---|---|
| ("lambda", "fn", account, region, name) | `records.Function` ($LATEST), msgpack |
| ("lambda", "of", account, region, name, "version", number) | `records.Function`, a published version |
| ("lambda", "of", account, region, name, "alias", alias) | `aliases.Alias`, msgpack |
| ("lambda", "of", account, region, name, "policy", qualifier) | resource policy of a version or alias, JSON text |
| ("lambda", "policy", account, region, name) | the unqualified function's resource policy, JSON text |
| ("lambda", "versions", account, region, name) | i64 counter: versions ever published; outlives the function |
| ("lambda", "of", account, region, name, "url", alias or "") | `urls.Url`, msgpack |
| ("lambda", "of", account, region, name, "invoke", qualifier) | `event_invoke_configs.EventInvokeConfig`, msgpack |
| ("lambda", "provisioned", account, region, name, qualifier) | `provisioned_concurrency.Provision`, msgpack |
| ("lambda", "provisioned wake") | i64 counter: grows with each change of what is provisioned |
| ("lambda", "mapping", account, region, id) | `event_source_mappings.Mapping`, msgpack |
| ("lambda", "mapping result", id) | how its last batch went, text |
| ("lambda", "checkpoint", id, shard) | `stream_polling.Checkpoint`, msgpack |
| ("lambda", "mapping lease") + a lease's own suffix | which node reads a mapping |
| ("lambda", "mappings wake") | i64 counter: grows with each change of a mapping |
| ("lambda", "layer", account, region, name, version) | `layers.LayerVersion`, msgpack |
| ("lambda", "layer policy", account, region, name, version) | its resource policy, JSON text |
| ("lambda", "layer versions", account, region, name) | i64 counter: versions ever published |
| ("lambda", "code", account, region) | i64 counter: bytes of packages kept |
| ("lambda", "reserved", account, region) | i64 counter: concurrency reserved for functions |
| ("lambda", "url", id) | key of the `urls.Url` with that id |
| ("lambda", "test event", account, region, name, owner, event) | JSON, `store.chunked`; owner: principal's ARN, "" shared |
| ("lambda", "async") + the queue's own suffixes | events waiting for an asynchronous invocation |

What is under "of" goes with its function.
"""

from __future__ import annotations

from penstock.store.tuples import pack, range_of

QUALIFIED = ("policy", "url", "invoke")
"""Kinds of which each version and alias may have its own."""

MAPPINGS_WAKE = pack(("lambda", "mappings wake"))
MAPPING_LEASES = pack(("lambda", "mapping lease"))
PROVISIONED_WAKE = pack(("lambda", "provisioned wake"))
ASYNC_QUEUE = pack(("lambda", "async"))


def function(account: str, region: str, name: str) -> bytes:
    return pack(("lambda", "fn", account, region, name))


def functions(account: str, region: str) -> tuple[bytes, bytes]:
    return range_of(("lambda", "fn", account, region))


def every_function() -> tuple[bytes, bytes]:
    return range_of(("lambda", "fn"))


def all_of(account: str, region: str, name: str) -> tuple[bytes, bytes]:
    """Everything that goes with the function."""
    return range_of(("lambda", "of", account, region, name))


def of(account: str, region: str, name: str, kind: str, qualifier: str = "") -> bytes:
    """What a function, or one of its versions and aliases, has of a kind."""
    return pack(("lambda", "of", account, region, name, kind, qualifier))


def every_of(account: str, region: str, name: str, kind: str) -> tuple[bytes, bytes]:
    return range_of(("lambda", "of", account, region, name, kind))


def version(account: str, region: str, name: str, number: int) -> bytes:
    return pack(("lambda", "of", account, region, name, "version", number))


def versions_made(account: str, region: str, name: str) -> bytes:
    return pack(("lambda", "versions", account, region, name))


def policy(account: str, region: str, name: str, qualifier: str = "") -> bytes:
    if qualifier in ("", "$LATEST"):
        return pack(("lambda", "policy", account, region, name))
    return of(account, region, name, "policy", qualifier)


def url(id: str) -> bytes:
    return pack(("lambda", "url", id))


def reserved(account: str, region: str) -> bytes:
    return pack(("lambda", "reserved", account, region))


def layer_version(account: str, region: str, name: str, version: int) -> bytes:
    return pack(("lambda", "layer", account, region, name, version))


def layer_versions(account: str, region: str, name: str) -> tuple[bytes, bytes]:
    return range_of(("lambda", "layer", account, region, name))


def layers(account: str, region: str) -> tuple[bytes, bytes]:
    return range_of(("lambda", "layer", account, region))


def layer_policy(account: str, region: str, name: str, version: int) -> bytes:
    return pack(("lambda", "layer policy", account, region, name, version))


def layer_versions_made(account: str, region: str, name: str) -> bytes:
    return pack(("lambda", "layer versions", account, region, name))


def code_bytes(account: str, region: str) -> bytes:
    return pack(("lambda", "code", account, region))


def provisioned(account: str, region: str, name: str, qualifier: str) -> bytes:
    return pack(("lambda", "provisioned", account, region, name, qualifier))


def provisioned_of(account: str, region: str, name: str) -> tuple[bytes, bytes]:
    return range_of(("lambda", "provisioned", account, region, name))


def test_event(account: str, region: str, name: str, owner: str, event: str) -> bytes:
    return pack(("lambda", "test event", account, region, name, owner, event))


def test_events_of(account: str, region: str, name: str, *owner: str) -> tuple[bytes, bytes]:
    """All of a function, or those of one owner."""
    return range_of(("lambda", "test event", account, region, name, *owner))


def every_provisioned() -> tuple[bytes, bytes]:
    return range_of(("lambda", "provisioned"))


def mapping(account: str, region: str, id: str) -> bytes:
    return pack(("lambda", "mapping", account, region, id))


def mappings(account: str, region: str) -> tuple[bytes, bytes]:
    return range_of(("lambda", "mapping", account, region))


def every_mapping() -> tuple[bytes, bytes]:
    return range_of(("lambda", "mapping"))


def mapping_result(id: str) -> bytes:
    return pack(("lambda", "mapping result", id))


def checkpoint(id: str, shard: str) -> bytes:
    return pack(("lambda", "checkpoint", id, shard))


def checkpoints(id: str) -> tuple[bytes, bytes]:
    return range_of(("lambda", "checkpoint", id))
