"""Opens the engine that runs functions."""

from __future__ import annotations

from pathlib import Path

from penstock.clock import Clock
from penstock.config import Settings
from penstock.runtime.api import Runtime
from penstock.runtime.pool import LocalRuntime


def open_runtime(settings: Settings, clock: Clock, state_dir: Path) -> Runtime:
    """The runtime of this server: environments as processes of this machine.

    state_dir: a folder of this server's own, for mount points; functions never see it.
    """
    return LocalRuntime(settings, clock, state_dir)
