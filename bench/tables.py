"""What a table's further tasks cost each PutItem: indexes, a stream, recovery, time to live, a replica, encryption.

Each put replaces an item with another value, so that every index entry of kind "moving" moves and every stream records.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import load
import workloads

CONNECTIONS = 16
INDEXES = 5


def _attributes(n: int) -> dict[str, Any]:
    return {f"i{k}": {"S": f"{n * 7919 % 9973}-{k}"} for k in range(INDEXES)}


def _pool(server: load.Server, name: str) -> list[bytes]:
    # Twice the keys: the second half writes other values over the first.
    half = workloads.POOL // 2
    fixed = {"data": {"S": "x" * 900}, "ends": {"N": "9999999999"}}
    items = [{**fixed, **_attributes(n), "pk": {"S": f"k{n % half}"}} for n in range(workloads.POOL)]
    return [workloads.dynamodb(server.port, "PutItem", {"TableName": name, "Item": item}) for item in items]


def _table(client: Any, name: str, indexes: int = 0, projection: str = "ALL", **more: Any) -> None:
    attributes = [f"i{k}" for k in range(indexes)]
    if indexes:
        more["GlobalSecondaryIndexes"] = [
            {
                "IndexName": f"by-{each}",
                "KeySchema": [{"AttributeName": each, "KeyType": "HASH"}],
                "Projection": {"ProjectionType": projection},
            }
            for each in attributes
        ]
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", *attributes)],
        **more,
    )


def run(seconds: float) -> None:
    """Print a line for each kind of table."""
    server = load.Server()
    client = server.client("dynamodb")
    stream = {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}}
    _table(client, "plain")
    _table(client, "streamed", **stream)
    _table(client, "five-indexes", 5)
    _table(client, "five-indexes-streamed", 5, **stream)
    _table(client, "five-keys-only-streamed", 5, "KEYS_ONLY", **stream)
    _table(client, "encrypted", SSESpecification={"Enabled": True})
    _table(client, "recoverable")
    client.update_continuous_backups(
        TableName="recoverable", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    _table(client, "expiring")
    client.update_time_to_live(
        TableName="expiring", TimeToLiveSpecification={"Enabled": True, "AttributeName": "ends"}
    )  # fmt: skip
    _table(client, "global-streamed", **stream)
    client.update_table(TableName="global-streamed", ReplicaUpdates=[{"Create": {"RegionName": "eu-west-1"}}])
    names = client.list_tables()["TableNames"]
    time.sleep(1)
    try:
        pools = {name: _pool(server, name) for name in sorted(names, key=lambda name: name != "plain")}
        for name, pool in pools.items():
            figures = load.load(server, pool, CONNECTIONS, seconds)
            print(f"{name:28} " + "  ".join(f"{unit} {value:g}" for unit, value in figures.items()), flush=True)
    finally:
        server.close()


if __name__ == "__main__":
    run(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
