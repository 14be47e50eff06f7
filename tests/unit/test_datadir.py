"""The data directory: one process, one format."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.store.datadir import FORMAT, DataDirectoryBusy, DataDirectoryFormat, claim


def test_a_new_directory_gets_the_current_format(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with claim(path):
        assert (path / "FORMAT").read_text() == f"{FORMAT}\n"
        assert path.stat().st_mode & 0o777 == 0o711, "others pass through to a function's code, and read nothing"
    with claim(path):
        pass


def test_a_second_claim_names_the_holder(tmp_path: Path) -> None:
    with claim(tmp_path), pytest.raises(DataDirectoryBusy, match=rf"process {os.getpid()}\b.*another directory"):
        claim(tmp_path)
    claim(tmp_path).close()


def test_another_process_is_named_and_its_death_lets_go(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, penstock.store.datadir as d; "
        "x = d.claim(pathlib.Path(sys.argv[1])); print(1, flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout and child.stdout.readline() == b"1\n"
    with pytest.raises(DataDirectoryBusy, match=rf"process {child.pid}\b"):
        claim(tmp_path)
    child.kill()
    child.communicate()
    claim(tmp_path).close()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text(f"{FORMAT + 1}\n")
    with pytest.raises(DataDirectoryFormat, match=f"format {FORMAT + 1}.*up to {FORMAT}.*newer Penstock"):
        claim(tmp_path)
    (tmp_path / "FORMAT").write_text(f"{FORMAT}\n")
    claim(tmp_path).close()


def test_an_older_format_is_migrated_step_by_step(tmp_path: Path) -> None:
    claim(tmp_path, current=1, migrations=()).close()
    steps: list[int] = []

    def crash(_: Path) -> None:
        steps.append(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        claim(tmp_path, current=3, migrations=(lambda _: steps.append(1), crash))
    assert (tmp_path / "FORMAT").read_text() == "2\n", "the first step is done for good"
    claim(tmp_path, current=3, migrations=(lambda _: steps.append(1), lambda _: steps.append(2))).close()
    assert steps == [1, 2, 2]
    assert (tmp_path / "FORMAT").read_text() == "3\n"


@pytest.mark.parametrize("damage", [b"", b"x", b"0", b"-1", b"1.5", "²".encode()])
def test_a_damaged_format_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "FORMAT").write_bytes(damage)
    with pytest.raises(DataDirectoryFormat, match="damaged"):
        claim(tmp_path)


def test_a_store_without_a_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "CURRENT").write_text("MANIFEST-000001\n")
    with pytest.raises(DataDirectoryFormat, match="no FORMAT"):
        claim(tmp_path)
