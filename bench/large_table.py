"""A large table beside a small one: Get and Query, restart, memory of a whole Scan.

  script/bench large_table                    200,000 items of 1 KB (some 200 MB)
  script/bench large_table --items 5000000    5 GB; takes half an hour and 12 GB of disk

The table is filled by ImportTable from S3, so that is measured too. Values are random: they hardly compress.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from load import Server, load
from workloads import dynamodb

ITEMS_A_PARTITION = 100
_ITEMS_AN_OBJECT = 50_000
_POOL = 3000
SMALL = 5000


def _lines(begin: int, end: int) -> bytes:
    rows = []
    for n in range(begin, end):
        key = b'"pk":{"S":"p%d"},"sk":{"N":"%d"}' % (n // ITEMS_A_PARTITION, n % ITEMS_A_PARTITION)
        rows.append(b'{"Item":{%b,"data":{"S":"%b"}}}\n' % (key, base64.b64encode(os.urandom(690))))
    return b"".join(rows)


def _import(server: Server, name: str, items: int) -> dict[str, float]:
    """Fill a table. Returns what that took."""
    s3, client = server.client("s3"), server.client("dynamodb")
    s3.create_bucket(Bucket=f"source-{name}")
    for begin in range(0, items, _ITEMS_AN_OBJECT):
        body = gzip.compress(_lines(begin, min(begin + _ITEMS_AN_OBJECT, items)), 1)
        s3.put_object(Bucket=f"source-{name}", Key=f"{begin:012d}.gz", Body=body)
    began, cpu, most_mb = time.perf_counter(), server.cpu_s(), 0.0
    arn = client.import_table(
        S3BucketSource={"S3Bucket": f"source-{name}"}, InputFormat="DYNAMODB_JSON", InputCompressionType="GZIP",
        TableCreationParameters={
            "TableName": name, "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            "AttributeDefinitions": [
                {"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "N"},
            ],
        },
    )["ImportTableDescription"]["ImportArn"]  # fmt: skip
    while True:
        time.sleep(0.5)
        most_mb = max(most_mb, server.rss_mb())
        shown = client.describe_import(ImportArn=arn)["ImportTableDescription"]
        if shown["ImportStatus"] != "IN_PROGRESS":
            break
    assert shown["ImportedItemCount"] == items, shown
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=f"source-{name}"):
        for each in page["Contents"]:
            s3.delete_object(Bucket=f"source-{name}", Key=each["Key"])
    return {
        "s": round(time.perf_counter() - began, 1),
        "cpu_us_item": round((server.cpu_s() - cpu) / items * 1e6, 1),
        "most_rss_mb": round(most_mb),
    }


def _gets(server: Server, name: str, items: int) -> list[bytes]:
    chosen = [random.randrange(items) for _ in range(_POOL)]
    keys = [{"pk": {"S": f"p{n // ITEMS_A_PARTITION}"}, "sk": {"N": str(n % ITEMS_A_PARTITION)}} for n in chosen]
    return [dynamodb(server.port, "GetItem", {"TableName": name, "Key": key}) for key in keys]


def _queries(server: Server, name: str, items: int) -> list[bytes]:
    condition = {"KeyConditionExpression": "pk = :p AND sk >= :s", "Limit": 10}
    found = []
    for _ in range(_POOL):
        partition, begin = (
            random.randrange(max(items // ITEMS_A_PARTITION, 1)),
            random.randrange(ITEMS_A_PARTITION - 10),
        )
        values = {":p": {"S": f"p{partition}"}, ":s": {"N": str(begin)}}
        body = {"TableName": name, **condition, "ExpressionAttributeValues": values}
        found.append(dynamodb(server.port, "Query", body))
    return found


def _scan(server: Server, name: str, items: int) -> dict[str, float]:
    """Read the whole table, and watch the server's memory."""
    client, began, more = server.client("dynamodb"), time.perf_counter(), {}
    count, first_mb, most_mb = 0, server.rss_mb(), 0.0
    while True:
        page = client.scan(TableName=name, Select="COUNT", **more)
        count += page["Count"]
        most_mb = max(most_mb, server.rss_mb())
        if "LastEvaluatedKey" not in page:
            break
        more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert count == items, (count, items)
    took_s = time.perf_counter() - began
    return {
        "s": round(took_s, 1),
        "items_s": round(count / took_s),
        "before_mb": round(first_mb),
        "most_mb": round(most_mb),
    }


def _restart(server: Server, name: str) -> float:
    """SIGKILL, start again: seconds until an item of the table is there."""
    data = server.data
    server.process.kill()
    server.process.wait()
    began = time.perf_counter()
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent / "src")}
    command = [sys.executable, "-m", "penstock", "up", "--port", str(server.port), "--data", data, "--limits", "off"]
    server.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert server.process.stdout
    server.process.stdout.readline()
    found = server.client("dynamodb").get_item(TableName=name, Key={"pk": {"S": "p1"}, "sk": {"N": "1"}})
    assert "Item" in found
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    server = Server()
    try:
        _report("import of the small table", _import(server, "small", SMALL))
        _report("import of the large table", _import(server, "large", arguments.items))
        for kind, requests in (("GetItem", _gets), ("Query of 10", _queries)):
            figures: dict[str, Any] = {}
            for name, items in (
                ("small", SMALL),
                ("large", arguments.items),
                ("small", SMALL),
                ("large", arguments.items),
            ):
                found = load(server, requests(server, name, items), 16, arguments.seconds)
                _report(f"{kind}, {name} table", found)
                figures.setdefault(name, []).append(found)
            for unit in ("cpu_us", "p50_ms"):
                small, large = (min(each[unit] for each in figures[name]) for name in ("small", "large"))
                print(f"{kind}: {unit} of the large table is {large / small:.2f} of the small one's", flush=True)
        _report("Scan of the large table", _scan(server, "large", arguments.items))
        _report("restart after SIGKILL", {"s": round(_restart(server, "large"), 2)})
        disk = sum(path.stat().st_size for path in Path(server.data).rglob("*") if path.is_file())
        _report("disk", {"gb": round(disk / 1e9, 2), "load": round(psutil.getloadavg()[0], 1)})
    finally:
        server.close()


def _report(what: str, figures: dict[str, float]) -> None:
    print(f"{what:32} {'  '.join(f'{unit} {value:g}' for unit, value in figures.items())}", flush=True)


if __name__ == "__main__":
    main()
