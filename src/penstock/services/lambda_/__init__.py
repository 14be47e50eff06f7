"""Lambda: functions, who may invoke them, and their invocations.

Lives here: function records and packages, resource policies, synchronous and asynchronous invocation, and the worker
that keeps what functions print. This folder knows nothing of processes and sandboxes (`penstock.runtime` does), and of
other services only their operations.
"""

from pathlib import Path

from penstock.services.lambda_ import (
    account,
    aliases,
    concurrency,
    configurations,
    downloads,
    event_invoke_configs,
    event_source_mappings,
    functions,
    invocations,
    layer_permissions,
    layers,
    output,
    permissions,
    provisioned_concurrency,
    recursion,
    runtime_management,
    saved_events,
    stream_polling,
    streaming,
    tags,
    url_requests,
    urls,
    versions,
    workers,
)
from penstock.wire import models

models.patch("lambda", Path(__file__).with_name("model-patch.json"))

__all__ = [
    "account", "aliases", "concurrency", "configurations", "downloads", "event_invoke_configs", "event_source_mappings",
    "functions", "invocations", "layer_permissions", "layers", "output", "permissions", "provisioned_concurrency",
    "recursion", "runtime_management", "saved_events", "stream_polling", "streaming", "tags", "url_requests", "urls",
    "versions", "workers",
]  # fmt: skip
