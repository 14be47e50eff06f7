"""Lambda: functions, who may invoke them, and their invocations.

Lives here: function records and packages, resource policies, synchronous and asynchronous invocation, and the worker
that keeps what functions print. This folder knows nothing of processes and sandboxes (`penstock.runtime` does), and of
other services only their operations.
"""

from penstock.services.lambda_ import (
    account,
    aliases,
    concurrency,
    configurations,
    downloads,
    event_invoke_configs,
    functions,
    invocations,
    layer_permissions,
    layers,
    output,
    permissions,
    recursion,
    streaming,
    tags,
    url_requests,
    urls,
    versions,
    workers,
)

__all__ = [
    "account", "aliases", "concurrency", "configurations", "downloads", "event_invoke_configs", "functions", "invocations",
    "layer_permissions", "layers", "output", "permissions", "recursion", "streaming", "tags", "url_requests", "urls",
    "versions", "workers",
]  # fmt: skip
