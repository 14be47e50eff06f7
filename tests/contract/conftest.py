"""A store of every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.store.api import Store
from penstock.store.open import open_store


@pytest.fixture(params=["memory", "rocks"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = {"memory": "memory://", "rocks": ""}[request.param]
    opened = await open_store(url, tmp_path / "data")
    yield opened
    await opened.close()
