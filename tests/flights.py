"""The demo's pipeline as tests drive it: the same deployment, functions, data and check, on as many days as wanted."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from penstock.cli.demo import deploy as demo
from penstock.cli.demo import pipeline

Files = dict[str, list[dict[str, Any]]]


def files(days: int) -> Files:
    """The first `days` days of the demo's data."""
    return dict(list(pipeline.days().items())[:days])


def clients(endpoint: str, attempts: int = 1) -> demo.Clients:
    session = boto3.session.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )  # fmt: skip
    config = Config(
        s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=2, read_timeout=20,
    )  # fmt: skip
    return demo.Clients(session, endpoint, config)


def deploy(endpoint: str) -> None:
    demo.deploy(clients(endpoint, attempts=5), f"python3.{sys.version_info.minor}")


def upload(endpoints: list[str], wanted: Files, give_up_s: float) -> None:
    """Upload each file until some endpoint acknowledges it: what a client does whose server comes and goes."""
    end = time.monotonic() + give_up_s
    for name, rows in wanted.items():
        body = json.dumps(rows, separators=(",", ":")).encode()
        while True:
            assert time.monotonic() < end, f"{name} was not acknowledged in time"
            if any(_tries(endpoint, name, body) for endpoint in endpoints):
                break
            time.sleep(0.1)


def _tries(endpoint: str, name: str, body: bytes) -> bool:
    with contextlib.suppress(BotoCoreError, ClientError):
        clients(endpoint).s3.put_object(Bucket=demo.JSON_BUCKET, Key=name, Body=body)
        return True
    return False


def loaded(endpoint: str) -> dict[str, int]:
    """Rows by CSV file, of the files whose rows are all in the table."""
    items = pipeline._pages(clients(endpoint), "scan", TableName=demo.LOADS)
    return {item["file"]["S"]: int(item["rows"]["N"]) for item in items}


def wait(endpoint: str, wanted: Files, timeout_s: float) -> None:
    """Return when every file's rows have been loaded. Fails when that takes longer than `timeout_s`."""
    end = time.monotonic() + timeout_s
    names = {name.replace(".json", ".csv") for name in wanted}
    while missing := names - loaded(endpoint).keys():
        assert time.monotonic() < end, f"never loaded: {sorted(missing)}"
        time.sleep(0.2)


def wrong_rows(endpoint: str, wanted: Files) -> list[str]:
    """Ids of rows that are not in the table just as they should be; empty when all is well."""
    return pipeline._check(clients(endpoint, attempts=5), wanted)


def csv_keys(endpoint: str) -> set[str]:
    pages = clients(endpoint).s3.get_paginator("list_objects_v2").paginate(Bucket=demo.CSV_BUCKET)
    return {entry["Key"] for page in pages for entry in page.get("Contents", [])}


def names(wanted: Iterable[str]) -> set[str]:
    return {name.replace(".json", ".csv") for name in wanted}
