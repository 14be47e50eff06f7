"""What an image's archive may not do to the host when it is unpacked."""

from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path

import pytest

from penstock.runtime.images import ImageRefused, unpack


def archive(folder: Path, *entries: tuple[str, bytes, str, int]) -> Path:
    """(name, kind of tarfile, content or target, mode) each."""
    path = folder / "image.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind, content, mode in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, mode
            if kind == tarfile.REGTYPE:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content.encode()))
            else:
                entry.linkname = content
                tar.addfile(entry)
    return path


FILE, LINK, HARD, FOLDER = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "entries",
    [
        [("../out", FILE, "x", 0o644)],
        [("a/../../out", FILE, "x", 0o644)],
        [("a", LINK, "{outside}", 0o777), ("a/out", FILE, "x", 0o644)],
        [("a", LINK, "..", 0o777), ("a/out", FILE, "x", 0o644)],
        [("a", LINK, "{outside}", 0o777), ("a", FOLDER, "", 0o755), ("a/out", FILE, "x", 0o644)],
        [("a", LINK, "{outside}/out", 0o777), ("a", FILE, "x", 0o644)],
        [("a", HARD, "../secret", 0o644)],
        [("a", LINK, "{outside}", 0o777), ("b", HARD, "a/secret", 0o644)],
        [("a", LINK, "{outside}/secret", 0o777), ("b", HARD, "a", 0o644)],
    ],
)
def test_nothing_leaves_the_folder(tmp_path: Path, entries: list[tuple[str, bytes, str, int]]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    told = [(name, kind, content.format(outside=outside), mode) for name, kind, content, mode in entries]
    target = tmp_path / "in" / "root"
    with pytest.raises((ImageRefused, OSError)):
        unpack(archive(tmp_path, *told), target)
    assert not target.exists()
    assert sorted(p.name for p in outside.iterdir()) == ["secret"]
    assert not list(tmp_path.glob("**/out"))


def test_absolute_names_devices_and_set_user_id_bits(tmp_path: Path) -> None:
    path = archive(
        tmp_path,
        ("/bin/su", FILE, "x", 0o4755),
        ("dev/sda", tarfile.BLKTYPE, "", 0o666),
        ("pipe", tarfile.FIFOTYPE, "", 0o666),
        ("tmp", LINK, "/var/tmp", 0o777),
        ("etc/hosts", LINK, "/proc/1/environ", 0o777),
        ("bin/ln", HARD, "bin/su", 0o755),
        ("lib", LINK, "/usr/lib", 0o777),
        ("closed", FOLDER, "", 0o000),
    )
    unpack(path, tmp_path / "root")
    root = tmp_path / "root"
    assert stat.S_IMODE((root / "bin/su").stat().st_mode) == 0o755
    assert not (root / "dev/sda").exists() and not (root / "pipe").exists()
    assert (root / "tmp").is_dir() and not (root / "tmp").is_symlink()
    assert (root / "etc/hosts").read_bytes() == b"" and not (root / "etc/hosts").is_symlink()
    assert (root / "lib").readlink() == Path("/usr/lib")
    assert (root / "bin/ln").read_text() == "x"
    unpack(path, root)  # again, over the first
