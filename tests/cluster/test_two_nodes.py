"""Two nodes on one PostgreSQL run the demo's pipeline; one is killed in the middle, the other finishes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import flights
from postgres import start_postgres
from served import Served


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    with start_postgres() as url:
        shared = ("--store", url, "--blobs", f"file://{tmp_path / 'blobs'}")
        pair = Served(tmp_path / "a", *shared), Served(tmp_path / "b", *shared)
        started = []
        try:
            for node in pair:
                started.append(node.start())
            yield pair
        finally:
            for node in started:
                if node.process and node.process.poll() is None:
                    node.kill()


@pytest.mark.serial
@pytest.mark.timeout(300)
def test_the_other_node_finishes_the_job(nodes: tuple[Served, Served]) -> None:
    a, b = nodes
    wanted = flights.files(4)
    flights.deploy(a.endpoint)
    uploading = threading.Thread(target=flights.upload, args=([a.endpoint, b.endpoint], wanted, 120), daemon=True)
    uploading.start()
    end = time.monotonic() + 60
    while not flights.csv_keys(b.endpoint):
        assert time.monotonic() < end, "nothing was converted"
        time.sleep(0.05)
    a.kill()
    uploading.join(120)
    assert not uploading.is_alive()
    flights.wait(b.endpoint, wanted, 150)
    assert flights.wrong_rows(b.endpoint, wanted) == []
    assert flights.names(wanted) <= flights.csv_keys(b.endpoint)


@pytest.mark.serial
@pytest.mark.timeout(120)
def test_what_one_node_writes_the_other_reads_at_once(nodes: tuple[Served, Served]) -> None:
    a, b = nodes
    a.client("s3").create_bucket(Bucket="both")
    for n in range(20):
        writer, reader = (a, b) if n % 2 else (b, a)
        writer.client("s3").put_object(Bucket="both", Key="k", Body=b"%d" % n)
        assert reader.client("s3").get_object(Bucket="both", Key="k")["Body"].read() == b"%d" % n
