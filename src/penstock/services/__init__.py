"""One folder a service; none imports another. Importing one fills the operation and worker registries."""

from __future__ import annotations

import importlib
import pkgutil


def load() -> list[str]:
    """Import every service with its operations and workers. Returns their folder names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    for name in names:
        importlib.import_module(f"{__name__}.{name}")
    return names
