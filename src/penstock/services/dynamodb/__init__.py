"""DynamoDB: tables, items, expressions, queries, batches.

Lives here: the operations by noun (`tables` with `descriptions` and `quotas`, `items`, `queries`, `scans`, `batches`,
`transactions`, `tags`, `account`, `backups`, `restores`, `recovery`, `exports`, `imports`, `stream_reading`,
`resource_policies`), what takes long (`jobs`), what was before (`history`), what streams tell (`streams`, `changes`), when
items expire (`time_to_live`, `expirations`), tables in several regions (`replicas`, `replication`, `versions`,
`replica_scaling`, `scaling`; the older way: `global_tables`, `global_table_settings`), vector indexes (`vectors`,
`vector_index`, `vector_search`), what encrypts items (`encryption`, `table_keys`), what they stand on (`table`, `index`,
`key_space`, `table_records`, `records`, `pages`, `key_ranges`, `capacity`, `names`), attribute values (`attributes`,
`numbers`), the expression language (`expressions/`), what came before it (`legacy`), PartiQL (`partiql/`), whose keys are
asked for most (`insights`, `contributors`), and every key (`keys`). Items stay in wire form from request to disk to reply.
Must not know: HTTP, signatures, policies, other services, which engine the store is.
"""

from pathlib import Path

from penstock.services.dynamodb import (
    account,
    backups,
    batches,
    export_files,
    exports,
    global_table_settings,
    global_tables,
    import_objects,
    imports,
    insights,
    items,
    kinesis_destinations,
    partiql,
    queries,
    recovery,
    replica_scaling,
    resource_policies,
    restores,
    scans,
    stream_reading,
    tables,
    tags,
    time_to_live,
    transactions,
    vector_search,
    workers,
)
from penstock.wire.models import patch

patch("dynamodb", Path(__file__).with_name("model-patch.json"))
patch("dynamodbstreams", Path(__file__).with_name("streams-model-patch.json"))

__all__ = [
    "account", "backups", "batches", "export_files", "exports", "global_table_settings",
    "global_tables", "import_objects", "imports", "insights", "items",
    "kinesis_destinations", "partiql", "queries", "recovery", "replica_scaling", "resource_policies", "restores",
    "scans", "stream_reading", "tables", "tags", "time_to_live", "transactions", "vector_search",
    "workers",
]  # fmt: skip
