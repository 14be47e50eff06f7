"""A store of every engine, empty."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from penstock.store.api import Store
from penstock.store.faulty import Faults, FaultyStore
from penstock.store.measured import MeasuredStore
from penstock.store.open import open_store
from penstock.telemetry import Telemetry
from postgres import Cluster, start_postgres


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of this test process; skips where the machine has none."""
    cluster = start_postgres()
    yield cluster
    cluster.stop()


@pytest.fixture
def postgres_url(postgres_cluster: Cluster) -> str:
    """An empty PostgreSQL database."""
    return postgres_cluster.create_database()


@pytest.fixture(params=["memory", "faulty", "rocks", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    match request.param:
        case "memory" | "faulty":
            url = "memory://"
        case "postgres":
            url = request.getfixturevalue("postgres_url")
        case _:
            url = ""
    opened = await open_store(url, tmp_path / "data")
    if request.param == "faulty":
        opened = MeasuredStore(FaultyStore(opened, 7, Faults(retry=0.2, delay_turns=5)), Telemetry())
    yield opened
    await opened.close()
