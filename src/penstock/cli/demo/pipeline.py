"""The demo's pipeline, watched from outside: upload, wait, check every row, ask questions."""

from __future__ import annotations

import json
import lzma
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from penstock.cli.demo.deploy import CSV_BUCKET, FLIGHTS, JSON_BUCKET, LOADS, Clients, deploy
from penstock.config import Settings

DATA = Path(__file__).parent / "data" / "flights-2013-01.json.xz"
PATIENCE_S = 300.0
"""How long nothing may move before the demo gives up."""


def days() -> dict[str, list[dict[str, Any]]]:
    """The flights by file name, one file a day: {"2013-01-01.json": [row, ...]}."""
    columns = json.loads(lzma.decompress(DATA.read_bytes()))
    files: dict[str, list[dict[str, Any]]] = {}
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        files.setdefault(f"{row['year']}-{row['month']:02}-{row['day']:02}.json", []).append(row)
    return files


def run(endpoint: str, settings: Settings) -> int:
    """Deploy, upload, wait, check, ask. Prints as it goes; returns 0 when every row is accounted for, else 1."""
    console = Console()
    session = boto3.session.Session(
        aws_access_key_id=settings.access_key_id, aws_secret_access_key=settings.secret_access_key,
        region_name=settings.region,
    )  # fmt: skip
    config = Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 5})
    aws = Clients(session, endpoint, config)
    files = days()
    rows = sum(len(f) for f in files.values())
    console.print(f"[bold]{rows:,} flights[/] of January 2013, {len(files)} JSON files, to {endpoint}\n")
    began = time.monotonic()
    deploy(aws, f"python3.{sys.version_info.minor}")
    for name in files:
        aws.dynamodb.delete_item(TableName=LOADS, Key={"file": {"S": name.replace(".json", ".csv")}})
        aws.s3.delete_object(Bucket=CSV_BUCKET, Key=name.replace(".json", ".csv"))
    _stages(console, aws, files)
    elapsed_s = time.monotonic() - began
    missing = _check(aws, files)
    if missing:
        console.print(f"[bold red]{len(missing):,} rows are not as they should be[/], e.g. {missing[0]}")
        return 1
    console.print(f"\n[bold green]All {rows:,} rows are in the table, each as it should be[/] ({elapsed_s:.1f} s)\n")
    console.print(_answers(aws))
    return 0


def _stages(console: Console, aws: Clients, files: dict[str, list[dict[str, Any]]]) -> None:
    """Upload, and watch both functions work, a bar each; the row counts come from what they wrote."""
    bars = Progress(
        TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(), console=console,
    )  # fmt: skip
    rows = sum(len(f) for f in files.values())
    with bars:
        upload = bars.add_task("JSON uploaded to S3", total=len(files), unit="files")
        convert = bars.add_task("converted to CSV by a function", total=len(files), unit="files")
        load = bars.add_task("written to DynamoDB by a function", total=rows, unit="rows")

        def put(name: str) -> None:
            body = json.dumps(files[name], separators=(",", ":")).encode()
            aws.s3.put_object(Bucket=JSON_BUCKET, Key=name, Body=body, ContentType="application/json")
            bars.advance(upload)

        with ThreadPoolExecutor(4) as pool:
            uploads = [pool.submit(put, name) for name in files]
            _watch(aws, files, lambda done: bars.update(convert, completed=done),
                   lambda done: bars.update(load, completed=done))  # fmt: skip
            for each in uploads:
                each.result()


def _watch(aws: Clients, files: dict[str, list[dict[str, Any]]], converted: Any, loaded: Any) -> None:
    rows = sum(len(f) for f in files.values())
    last, moved = (-1, -1), time.monotonic()
    while True:
        now = (
            aws.s3.list_objects_v2(Bucket=CSV_BUCKET)["KeyCount"],
            sum(int(item["rows"]["N"]) for item in _pages(aws, "scan", TableName=LOADS)),
        )
        converted(now[0])
        loaded(now[1])
        if now == (len(files), rows):
            return
        if now != last:
            last, moved = now, time.monotonic()
        if time.monotonic() - moved > PATIENCE_S:
            raise SystemExit(f"Nothing has moved for {PATIENCE_S:g} s: {now[0]} files converted, {now[1]} rows loaded.")
        time.sleep(0.1)


def _pages(aws: Clients, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
    for page in aws.dynamodb.get_paginator(operation).paginate(**parameters):
        yield from page["Items"]


def _check(aws: Clients, files: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Compare every row of the source with its item, field by field. Returns the ids of those that differ or lack."""
    stored = {(item["origin"]["S"], item["flight_id"]["S"]): item for item in _pages(aws, "scan", TableName=FLIGHTS)}
    wrong: list[str] = []
    for name, flights in files.items():
        for row in flights:
            flight_id = f"{name.removesuffix('.json')}#{row['carrier']}#{row['flight']}"
            wanted = {k: {"S": v} if isinstance(v, str) else {"N": f"{v:g}"} for k, v in row.items() if v is not None}
            if stored.pop((row["origin"], flight_id), None) != {**wanted, "flight_id": {"S": flight_id}}:
                wrong.append(flight_id)
    return wrong + [f"{key[1]} (not in the source)" for key in stored]


def _answers(aws: Clients) -> Table:
    """One Query for each airport; the table of what it says."""
    table = Table(title="January 2013 by airport (one Query each)")
    for heading in ("airport", "flights", "cancelled", "mean delay (min)", "latest departure"):
        table.add_column(heading, justify="left" if heading == "airport" else "right")
    for origin in ("EWR", "JFK", "LGA"):
        flights = list(
            _pages(
                aws,
                "query",
                TableName=FLIGHTS,
                KeyConditionExpression="origin = :o",
                ExpressionAttributeValues={":o": {"S": origin}},
                ProjectionExpression="flight_id, dep_delay, dest",
            )
        )
        delays = [(float(f["dep_delay"]["N"]), f) for f in flights if "dep_delay" in f]
        worst, flight = max(delays, key=lambda pair: pair[0])
        day, carrier, number = flight["flight_id"]["S"].split("#")
        table.add_row(
            origin, f"{len(flights):,}", f"{len(flights) - len(delays):,}",
            f"{sum(d for d, _ in delays) / len(delays):.1f}",
            f"{carrier} {number} to {flight['dest']['S']} on {day}: {worst / 60:.1f} h late",
        )  # fmt: skip
    return table
