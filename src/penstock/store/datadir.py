"""The data directory: who may use it (one process), and in which format its contents are.

`FORMAT` holds one number. A newer one than this program knows is refused, an older one is migrated step by step.
This file knows nothing of what the directory holds.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from penstock.store.api import StoreError

FORMAT = 1
"""What this program writes. Add one, and a step to MIGRATIONS, with every change that an older program cannot read."""

Step: TypeAlias = Callable[[Path], None]
MIGRATIONS: Sequence[Step] = ()
"""Step i turns format i + 1 into i + 2. A crash may cut a step short; it is then run again, and must allow that."""


class DataDirectoryBusy(StoreError):
    """Another process holds the data directory; the message names it."""


class DataDirectoryFormat(StoreError):
    """The data is of a format that this program cannot read; the message says what to do."""


class DataDirectory:
    """A claimed data directory. Closing it, or the end of the process, lets it go."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd

    def close(self) -> None:
        """Let go of the directory. Idempotent."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> DataDirectory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def claim(path: Path, *, current: int = FORMAT, migrations: Sequence[Step] = MIGRATIONS) -> DataDirectory:
    """Create the directory if need be, lock it for this process, and bring its contents to format `current`.

    Raises DataDirectoryBusy, DataDirectoryFormat, OSError.
    """
    make_directory(path)
    directory = DataDirectory(path, _lock(path))
    try:
        _settle_format(path, current, migrations)
    except BaseException:
        directory.close()
        raise
    return directory


def make_directory(path: Path) -> None:
    """Create a directory, and those above it, such that they survive a crash of the machine.

    Others may pass through it and read nothing: functions run as users of their own, and where the host has no mount
    namespaces their code is reached here. What is inside closes itself.
    """
    if path.is_dir():
        return
    make_directory(path.absolute().parent)
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o711)
    sync_directory(path.absolute().parent)


def sync_directory(path: Path) -> None:
    """Make durable which names are in a directory."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a small file: after a crash it holds the old content or the new, whole."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    beside.rename(path)
    sync_directory(path.parent)


def _lock(path: Path) -> int:
    fd = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
        os.close(fd)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise DataDirectoryBusy(
            f"the data directory {path} is in use by process {holder or 'unknown'}; "
            "stop that process, or start this one on another directory"
        ) from None
    return fd


def _settle_format(path: Path, current: int, migrations: Sequence[Step]) -> None:
    file = path / "FORMAT"
    try:
        text = file.read_text().strip()
    except FileNotFoundError:
        if (path / "store" / "CURRENT").exists():
            raise DataDirectoryFormat(
                f"{path} holds a store but no FORMAT file: it was damaged or is not Penstock's"
            ) from None
        write_durably(file, f"{current}\n".encode())
        return
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise DataDirectoryFormat(f"{file} holds {text[:40]!r} where a format number belongs: it was damaged")
    found = int(text)
    if found > current:
        raise DataDirectoryFormat(
            f"{path} has data format {found}, and this version of Penstock knows formats up to {current}; "
            "use the newer Penstock that wrote it"
        )
    for step in range(found, current):
        migrations[step - 1](path)
        write_durably(file, f"{step + 1}\n".encode())
