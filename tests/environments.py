"""A real runtime on this machine, and functions written for the occasion."""

from __future__ import annotations

import functools
import itertools
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.clock import Clock
from penstock.config import Settings
from penstock.runtime import protections
from penstock.runtime.api import Credentials, FunctionSpec, Invocation, Outcome
from penstock.runtime.interpreters import Interpreters
from penstock.runtime.pool import LocalRuntime

PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
ARN = "arn:aws:lambda:eu-west-1:123456789012:function:"


@functools.cache
def _protections() -> dict[str, str]:
    found = protections.probe_namespaces(Interpreters().own())
    return protections.describe(found, None, host_network=False)


def isolated(*names: str) -> None:
    """Skip where this host cannot give functions the protection, saying why."""
    for name in names:
        if not _protections()[name].startswith("on"):
            pytest.skip(f"{name}: {_protections()[name]}")


@dataclass
class Bench:
    """A runtime, and short words for making and invoking functions."""

    runtime: LocalRuntime
    folder: Path
    settings: Settings
    clock: Clock
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    """(function, stream, line) as the log sink got them."""
    ids: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.runtime.log_sink = lambda spec, stream, lines: self.lines.extend(
            (spec.name, stream, line) for _, line in lines
        )

    def function(self, source: str | None, name: str = "f", /, files: dict[str, str] | None = None, **spec: Any) -> Any:
        """A function whose main.py is `source`; `spec` overrides FunctionSpec's fields."""
        code = self.folder / f"code-{name}-{next(self.ids)}"
        code.mkdir()
        if source is not None:
            (code / "main.py").write_text(textwrap.dedent(source))
        for path, text in (files or {}).items():
            (code / path).parent.mkdir(parents=True, exist_ok=True)
            (code / path).write_text(text)
        fields: dict[str, Any] = {
            "key": f"{name}@{code.name}", "arn": ARN + name, "name": name, "version": "$LATEST",
            "handler": "main.handler", "runtime": PYTHON, "code": code, "timeout_s": 5.0, "memory_mb": 128,
            "ephemeral_mb": 512, "log_group": f"/aws/lambda/{name}",
        }  # fmt: skip
        return FunctionSpec(**(fields | spec))

    async def invoke(self, spec: FunctionSpec, event: Any = None, **invocation: Any) -> Outcome:
        """One event through `Runtime.invoke`."""
        request_id = invocation.pop("request_id", f"00000000-0000-4000-8000-{next(self.ids):012d}")
        expires_at = invocation.pop("expires_at", self.clock.now() + 3600)
        return await self.runtime.invoke(
            spec,
            Invocation(request_id, msgspec.json.encode(event), spec.arn, **invocation),
            Credentials("ASIAKEY", "secret", "token", expires_at),
        )

    async def answer(self, spec: FunctionSpec, event: Any = None) -> Any:
        """Invoke, and expect success."""
        outcome = await self.invoke(spec, event)
        assert outcome.error == "", outcome.payload + b"\n" + outcome.log
        return msgspec.json.decode(outcome.payload)

    async def error(self, spec: FunctionSpec, event: Any = None) -> Any:
        """Invoke, and expect an error document."""
        outcome = await self.invoke(spec, event)
        assert outcome.error == "Unhandled", outcome
        return msgspec.json.decode(outcome.payload)


def make_bench(folder: Path, **settings: Any) -> Bench:
    """A bench with settings of its own; the caller closes `bench.runtime`."""
    chosen = Settings(**settings)
    clock = Clock()
    (folder / "state").mkdir(parents=True)
    return Bench(LocalRuntime(chosen, clock, folder / "state"), folder, chosen, clock)


def until(condition: Any, timeout_s: float = 5.0) -> bool:
    """Poll a condition that other processes make true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
