"""docs/compatibility.md, made from the registry: every operation of every service here, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import penstock.services
from penstock.core.operation import REGISTRY, Operation
from penstock.wire import models

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
PAGES = {"sts": "iam", "dynamodbstreams": "dynamodb"}

HEAD = """# Compatibility

Made by `script/compatibility` from the registry of operations: do not edit. An operation listed as *done* carries out
every parameter but those named as refused, which answer `NotImplemented` (HTTP 501) unless they hold a value that asks
for nothing. An operation under *not there* answers `NotImplemented` too. Known differences from AWS are on each
service's page.
"""


def render() -> str:
    """The page's text."""
    penstock.services.load()
    parts = [HEAD]
    services = sorted({service for service, _ in REGISTRY})
    parts.append("| service | done | not there | known differences |\n|---|---|---|---|")
    tables: list[str] = []
    for service in services:
        every = sorted(models.service(service).operations)
        done = [name for name in every if (service, name) in REGISTRY]
        missing = [name for name in every if (service, name) not in REGISTRY]
        page = PAGES.get(service, service)
        parts.append(f"| [{service}](#{service}) | {len(done)} | {len(missing)} | [page](services/{page}.md) |")
        rows = "\n".join(f"| {name} | {_refused(REGISTRY[service, name])} |" for name in done)
        tables.append(f"\n## {service}\n\n| done | refuses |\n|---|---|\n{rows}\n")
        if missing:
            tables.append(f"\nNot there: {', '.join(missing)}.\n")
    return "\n".join(parts) + "\n" + "".join(tables)


def _refused(operation: Operation) -> str:
    return ", ".join(sorted(operation.unsupported))


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"{PAGE.name}: {len(REGISTRY)} operations")
