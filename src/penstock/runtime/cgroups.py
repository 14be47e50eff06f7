"""Limits on what an environment's processes use together: memory, number of processes, share of the CPU.

One subtree a server, `penstock-<random>-<pid namespace>-<pid>-<start time>`, with one group an environment. Both cgroup
versions; a host where neither can be written gives `NoGroups`, and the environment's own watch and rlimits are what is left.
Subtrees of servers that died are removed when the next one starts in the same namespace of process ids: elsewhere, as
in another container that shares the hierarchy, nobody can tell who lives.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_CONTROLLERS = ("memory", "pids", "cpu")
_PREFIX = "penstock-"
_MAX_V1 = 1 << 62


class Group(Protocol):
    """One environment's group."""

    def limit(self, memory_bytes: int, processes: int, cpu_weight: int) -> None:
        """Set what it may use. cpu_weight: 1024 for one that may use a CPU in full. Raises OSError."""
        ...

    def open_procs(self) -> list[int]:
        """Descriptors to which a process writes 0 to join; the caller closes them."""
        ...

    def used_bytes(self) -> int | None:
        """Memory that only this environment holds, its /tmp included, files it cached aside; None: nobody counts."""
        ...

    def charged_bytes(self) -> int:
        """An upper bound of `used_bytes`, files it cached included, that costs next to nothing; 0 if nobody counts."""
        ...

    def out_of_memory(self) -> bool:
        """True once the kernel has killed a process of the group for want of memory."""
        ...

    def kill(self) -> None:
        """Kill whatever is left in it."""
        ...

    def remove(self) -> bool:
        """Remove the group. False while it still holds processes: try again later."""
        ...


class Groups(Protocol):
    """A server's subtree."""

    how: str

    def create(self, name: str) -> Group:
        """Make an environment's group, without limits yet. Raises OSError."""
        ...

    def close(self) -> bool:
        """Remove the subtree. False while there are environments in it: try again later."""
        ...


def open_groups() -> Groups:
    """The best this host allows; also removes what dead servers left."""
    reasons = []
    for attempt in (_open_v2, _open_v1):
        try:
            return attempt()
        except OSError as error:
            reasons.append(str(error))
    return NoGroups("; ".join(reasons))


def _own_name() -> str:
    return f"{_PREFIX}{secrets.token_hex(4)}-{_pid_namespace()}-{os.getpid()}-{_start_time(os.getpid())}"


def _pid_namespace() -> str:
    """What tells this process's namespace of process ids from others; "0" where there are none."""
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return "0"


def _start_time(pid: int) -> str:
    """When a process began, in clock ticks since boot; "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{_PREFIX}*-{_pid_namespace()}-*-*"):
        _, pid, began = left.name.rsplit("-", 2)
        if pid.isdigit() and _start_time(int(pid)) == began:
            continue
        for child in (*(c for c in left.iterdir() if c.is_dir()), left):
            _kill_all(child)
            with contextlib.suppress(OSError):
                child.rmdir()


def _kill_all(group: Path) -> None:
    with contextlib.suppress(OSError):
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _write(path: Path, value: int) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, b"%d" % value)
    finally:
        os.close(fd)


def _read_int(path: Path) -> int:
    text = path.read_text().strip()
    return _MAX_V1 if text == "max" else int(text)


class _Version1:
    how = "cgroup v1"

    def __init__(self, roots: dict[str, Path]) -> None:
        name = _own_name()
        self._folders = {controller: root / name for controller, root in roots.items()}
        for folder in self._folders.values():
            folder.mkdir(exist_ok=True)
        # The limit that an administrator put on the server holds for all its functions together, too.
        own = _own_paths().get("memory", "/")
        limit_file = roots["memory"] / own.lstrip("/") / "memory.limit_in_bytes"
        if limit_file.exists() and (limit := _read_int(limit_file)) < _MAX_V1:
            (self._folders["memory"] / "memory.limit_in_bytes").write_text(str(limit))

    def create(self, name: str) -> Group:
        folders = {controller: folder / name for controller, folder in self._folders.items()}
        for folder in folders.values():
            folder.mkdir()
        memory = folders["memory"]

        def limit(memory_bytes: int, processes: int, cpu_weight: int) -> None:
            _write(memory / "memory.limit_in_bytes", memory_bytes)
            with contextlib.suppress(OSError):  # no swap accounting on this kernel
                _write(memory / "memory.memsw.limit_in_bytes", memory_bytes)
            _write(folders["pids"] / "pids.max", processes)
            _write(folders["cpu"] / "cpu.shares", max(2, cpu_weight))

        counted = ("total_rss", "total_shmem")
        return _Group(
            list(folders.values()), memory, "memory.usage_in_bytes", counted, memory / "memory.oom_control", limit
        )

    def close(self) -> bool:
        left = [folder for folder in self._folders.values() if not _removed(folder)]
        return not left


class _Version2:
    how = "cgroup v2"

    def __init__(self, parent: Path) -> None:
        self._folder = parent / _own_name()
        self._folder.mkdir(exist_ok=True)
        (self._folder / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in _CONTROLLERS))

    def create(self, name: str) -> Group:
        folder = self._folder / name
        folder.mkdir()

        def limit(memory_bytes: int, processes: int, cpu_weight: int) -> None:
            _write(folder / "memory.max", memory_bytes)
            with contextlib.suppress(OSError):
                _write(folder / "memory.swap.max", 0)
            _write(folder / "pids.max", processes)
            _write(folder / "cpu.weight", max(1, min(10_000, cpu_weight * 100 // 1024)))

        return _Group([folder], folder, "memory.current", ("anon", "shmem"), folder / "memory.events", limit)

    def close(self) -> bool:
        return _removed(self._folder)


class _Group:
    def __init__(
        self, folders: list[Path], memory: Path, charged: str, counted: tuple[str, str], events: Path,
        limit: Callable[[int, int, int], None],
    ) -> None:  # fmt: skip
        self.limit = limit
        self._folders = folders
        self._stat = memory / "memory.stat"
        self._charged_fd = os.open(memory / charged, os.O_RDONLY | os.O_CLOEXEC)
        self._counted = counted
        self._events = events

    def open_procs(self) -> list[int]:
        return [os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in self._folders]

    def used_bytes(self) -> int | None:
        anonymous, shared = self._counted
        total = 0
        try:
            for line in self._stat.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name in (anonymous, shared):
                    total += int(value)
        except OSError:
            return 0
        return total

    def charged_bytes(self) -> int:
        if self._charged_fd < 0:
            return 0
        return int(os.pread(self._charged_fd, 32, 0))

    def out_of_memory(self) -> bool:
        try:
            counts = dict(line.split() for line in self._events.read_text().splitlines())
        except (OSError, ValueError):
            return False
        return int(counts.get("oom_kill", 0)) > 0

    def kill(self) -> None:
        for folder in self._folders:
            _kill_all(folder)

    def remove(self) -> bool:
        if self._charged_fd >= 0:
            os.close(self._charged_fd)
            self._charged_fd = -1
        self._folders = [folder for folder in self._folders if not _removed(folder)]
        return not self._folders


class NoGroups:
    """No cgroups: nothing is counted or limited here."""

    def __init__(self, reason: str) -> None:
        self.how = ""
        self.reason = reason

    def create(self, name: str) -> Group:
        return _NoGroup()

    def close(self) -> bool:
        return True


class _NoGroup:
    def limit(self, memory_bytes: int, processes: int, cpu_weight: int) -> None:
        return

    def open_procs(self) -> list[int]:
        return []

    def used_bytes(self) -> int | None:
        return None

    def charged_bytes(self) -> int:
        return 0

    def out_of_memory(self) -> bool:
        return False

    def kill(self) -> None:
        return

    def remove(self) -> bool:
        return True


def _own_paths() -> dict[str, str]:
    """Controller ("" for version 2) -> this process's group, from /proc/self/cgroup."""
    paths = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _open_v1() -> Groups:
    roots = {controller: Path("/sys/fs/cgroup") / controller for controller in _CONTROLLERS}
    for controller, root in roots.items():
        if not (root / "cgroup.procs").exists():
            raise OSError(f"no cgroup v1 controller {controller} is mounted")
        if not os.access(root, os.W_OK):
            raise OSError(f"{root} cannot be written")
    for root in roots.values():
        _sweep(root)
    return _Version1(roots)


def _open_v2(top: Path = Path("/sys/fs/cgroup")) -> Groups:
    """Beside the server's own group, inside it, or at the top: the first whose controllers may be handed on.

    A group with processes in it cannot hand controllers on (all but the top one), so the server's own serves only
    if a service manager delegated it and put the server into a group below.
    """
    if not (top / "cgroup.controllers").exists():
        raise OSError(f"no cgroup v2 hierarchy is mounted at {top}")
    own = top / _own_paths().get("", "/").lstrip("/")
    reasons = []
    for parent in dict.fromkeys((own.parent if own != top else top, own, top)):
        try:
            handed_on = (parent / "cgroup.subtree_control").read_text().split()
            missing = [c for c in _CONTROLLERS if c not in handed_on]
            if missing:
                (parent / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in missing))
            _sweep(parent)
            return _Version2(parent)
        except OSError as error:
            reasons.append(str(error))
    raise OSError("; ".join(reasons))
