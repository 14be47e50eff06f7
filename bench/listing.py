"""Listings of a bucket with very many keys: pages of 1,000 from anywhere, with a delimiter, and the whole bucket.

  script/bench listing                     a million keys
  script/bench listing --keys 5000000

The records are put straight into the store, as copies of one object's: a million PUTs would take minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

from load import SRC, Server, load
from workloads import signed

from penstock.services.s3 import keys
from penstock.services.s3.records import decode_object, encode
from penstock.store.api import Transaction
from penstock.store.open import open_store

AT_ONCE = 2000
FOLDER_KEYS = 10_000


def _name(n: int) -> str:
    return f"folder-{n // FOLDER_KEYS:05}/object-{n:09}.json"


async def _fill(data: Path, count: int) -> None:
    store = await open_store("", data)
    raw = await store.transact(lambda txn: txn.get(keys.record("many", "first")), read_only=True)
    assert raw is not None
    record = decode_object(raw)
    for begin in range(0, count, AT_ONCE):

        def body(txn: Transaction, begin: int = begin) -> None:
            for n in range(begin, min(begin + AT_ONCE, count)):
                record.etag, record.modified_ms = f"{random.getrandbits(128):032x}", 1_700_000_000_000 + 977 * n
                txn.set(keys.record("many", _name(n)), encode(record))

        await store.transact(body)
    await store.close()


def _again(server: Server) -> None:
    command = [sys.executable, "-m", "penstock", "up", "--port", str(server.port), "--data", server.data]
    server.process = subprocess.Popen(
        [*command, "--limits", "off"], env={"PYTHONPATH": str(SRC)}, stdout=subprocess.PIPE, text=True
    )
    assert server.process.stdout
    server.process.stdout.readline()


def _walk(server: Server, count: int) -> dict[str, float]:
    """List the whole bucket as the SDK does, and watch the server's memory."""
    before_mb, most_mb, found, began, cpu = server.rss_mb(), 0.0, 0, time.perf_counter(), server.cpu_s()
    for page in server.client("s3").get_paginator("list_objects_v2").paginate(Bucket="many"):
        found += page["KeyCount"]
        most_mb = max(most_mb, server.rss_mb())
    assert found == count + 1, (found, count)
    cpu_ms = (server.cpu_s() - cpu) / (found / 1000) * 1e3
    return {
        "s": round(time.perf_counter() - began, 1), "cpu_ms_page": round(cpu_ms, 2), "before_mb": round(before_mb),
        "most_mb": round(most_mb),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    server = Server()
    try:
        server.client("s3").create_bucket(Bucket="many")
        server.client("s3").put_object(Bucket="many", Key="first", Body=b"{}")
        server.process.terminate()
        server.process.wait(20)
        asyncio.run(_fill(Path(server.data), arguments.keys))
        _again(server)
        anywhere = [_name(random.randrange(arguments.keys)).replace("/", "%2F") for _ in range(300)]
        pages = [signed(server.port, "s3", "GET", f"/many?list-type=2&start-after={key}", {}, b"") for key in anywhere]
        folders = [signed(server.port, "s3", "GET", "/many?delimiter=%2F&list-type=2", {}, b"")]
        for connections in (1, 4):
            print(f"1,000 keys, {connections} connections:", load(server, pages, connections, arguments.seconds))
        print("folders, 1 connection:", load(server, folders, 1, arguments.seconds))
        print("the whole bucket:", _walk(server, arguments.keys))
    finally:
        server.close()


if __name__ == "__main__":
    main()
