"""Groups of servers that died, on whichever hierarchies this host has; version 2 as far as it has controllers."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

import pytest

from environments import until
from penstock.runtime import cgroups

V1 = Path("/sys/fs/cgroup/memory")
V2 = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]


def hierarchies() -> list[Path]:
    """Where this user may make groups."""
    found = [top for top in V2 if (top / "cgroup.controllers").exists()] + (
        [V1] if (V1 / "cgroup.procs").exists() else []
    )
    return [top for top in found if os.access(top, os.W_OK)]


@pytest.fixture(params=hierarchies() or [None], ids=str)
def hierarchy(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        pytest.skip("no hierarchy of cgroups that this user may write")
    return Path(request.param)


def test_what_a_dead_server_left_is_killed_and_removed(hierarchy: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = hierarchy / f"penstock-{secrets.token_hex(4)}-{cgroups._pid_namespace()}-{gone.pid}-12345"
    child = left / "environment"
    left.mkdir()
    child.mkdir()
    process = subprocess.Popen(["sleep", "100"])
    (child / "cgroup.procs").write_text(str(process.pid))

    def swept() -> bool:
        cgroups._sweep(hierarchy)
        return not left.exists()

    assert until(swept)
    assert process.wait(5) == -9


def test_what_a_server_that_lives_has_is_let_alone(hierarchy: Path) -> None:
    own = hierarchy / cgroups._own_name()
    own.mkdir()
    try:
        cgroups._sweep(hierarchy)
        assert own.exists()
    finally:
        assert cgroups._removed(own)


def test_what_a_server_of_another_container_has_is_let_alone(hierarchy: Path) -> None:
    """Its process ids say nothing here, where the hierarchy is shared."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    other = hierarchy / f"penstock-{secrets.token_hex(4)}-1-{gone.pid}-12345"
    other.mkdir()
    try:
        cgroups._sweep(hierarchy)
        assert other.exists()
    finally:
        assert cgroups._removed(other)


def test_version_2_without_its_controllers_is_refused_and_another_way_is_found() -> None:
    for top in V2:
        if not (top / "cgroup.controllers").exists():
            continue
        if set((top / "cgroup.controllers").read_text().split()) >= {"memory", "pids", "cpu"}:
            continue
        with pytest.raises(OSError):
            cgroups._open_v2(top)
        assert not list(top.glob(f"penstock-*-{os.getpid()}-*")), "nothing is left of the attempt"
    groups = cgroups.open_groups()
    try:
        assert groups.how in ("cgroup v1", "cgroup v2") or isinstance(groups, cgroups.NoGroups)
        if groups.how:
            group = groups.create("environment")
            group.limit(64 << 20, 10, 512)
            process = subprocess.Popen(["sleep", "100"])
            for fd in group.open_procs():
                os.write(fd, str(process.pid).encode())
                os.close(fd)
            assert (group.used_bytes() or 0) >= 0 and group.charged_bytes() >= 0 and not group.out_of_memory()
            group.kill()
            assert process.wait(5) == -9
            assert until(group.remove)
    finally:
        assert until(groups.close)
