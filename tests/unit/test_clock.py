"""The clock that can be moved, and who it wakes."""

from __future__ import annotations

import asyncio
import time

import pytest

from penstock.clock import Clock


async def test_advancing_wakes_whose_time_has_come() -> None:
    clock = Clock()
    woken: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    tasks = [asyncio.create_task(sleeper(n, s)) for n, s in (("hour", 3600), ("day", 86400), ("year", 3e7))]
    await asyncio.sleep(0)
    clock.advance(3601)
    await asyncio.sleep(0.01)
    assert woken == ["hour"]
    clock.advance(86400)
    await asyncio.sleep(0.01)
    assert woken == ["hour", "day"]
    tasks[-1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not clock._waiters


async def test_a_short_sleep_ends_by_itself() -> None:
    clock = Clock()
    began = time.monotonic()
    await clock.sleep(0.02)
    assert 0.02 <= time.monotonic() - began < 5


def test_the_host_s_time_is_never_moved() -> None:
    clock = Clock()
    clock.advance(1000)
    assert clock.now() - clock.host_now() == pytest.approx(1000, abs=1)


def test_time_never_goes_back() -> None:
    with pytest.raises(ValueError, match="forward"):
        Clock().advance(-1)
