"""Code that is a folder of the host and changes under the functions it is of: `FunctionSpec.reload`.

Asked at every invocation of such a function, so that the next one after a file was saved runs what was saved.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_LEFT_OUT = frozenset({"__pycache__", "node_modules", ".git", ".venv", "venv", ".mypy_cache", ".pytest_cache"})
_ASK_AGAIN_S = 0.02


class Folders:
    """What live folders were like when last looked at."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[float, int]] = {}

    def state(self, folder: Path) -> int:
        """A number that differs once a file below was changed, made, renamed or deleted. Looks at most 50 times a second.

        Folders that tools fill (`__pycache__`, `node_modules`, virtual environments, `.git`) are not looked into.
        """
        now = time.monotonic()
        seen = self._seen.get(folder)
        if seen is not None and now - seen[0] < _ASK_AGAIN_S:
            return seen[1]
        state = _state(str(folder))
        self._seen[folder] = (now, state)
        return state


def _state(folder: str) -> int:
    found = []
    left = [folder]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in _LEFT_OUT:
                            left.append(entry.path)
                        continue
                    try:
                        stat = entry.stat()
                    except FileNotFoundError:  # a link to nowhere
                        stat = entry.stat(follow_symlinks=False)
                    found.append((entry.path, stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            continue  # gone while we looked: the next look sees what came in its place
    return hash(tuple(sorted(found)))
