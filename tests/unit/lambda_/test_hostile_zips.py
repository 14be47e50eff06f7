"""What a package or layer may not do to the host when it is unpacked."""

from __future__ import annotations

import io
import os
import stat
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.services.lambda_.packages import check, unpack
from penstock.wire.errors import AwsError

LINK = stat.S_IFLNK | 0o777


def zipped(*entries: tuple[str, bytes, int]) -> bytes:
    """(name, content, mode) each."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content, mode in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, content)
    return out.getvalue()


@pytest.mark.parametrize(
    "entries",
    [
        [("../x", b"", 0o644)],
        [("/etc/x", b"", 0o644)],
        [("a/../../x", b"", 0o644)],
        [("a\\..\\x", b"", 0o644)],
        [("l", b"/etc", LINK)],
        [("a/l", b"../../etc", LINK)],
        [("d/l", b"../e", LINK), ("d/l/x", b"", 0o644)],
        [("a/b", b"", 0o644), ("a", b"", 0o644)],
        [("l", b"a", LINK), ("l", b"x", 0o644)],
        [("l", b"x", 0o644), ("l", b"a", LINK)],
        [("l", b"a", LINK), ("l/", b"", 0o755)],
        [("n" * 256, b"", 0o644)],
        [("/".join(["n" * 200] * 20), b"", 0o644)],
        [("l", b"x" * 5000, LINK)],
    ],
)
def test_what_no_folder_should_hold_is_refused(entries: list[tuple[str, bytes, int]]) -> None:
    with pytest.raises(AwsError, match="Could not unzip"):
        check(zipped(*entries))


def test_devices_become_files_and_set_user_id_bits_go(tmp_path: Path) -> None:
    body = zipped(
        ("disk", b"d", stat.S_IFBLK | 0o660),
        ("su", b"s", 0o6755),
        ("closed/key", b"k", 0o600),
        ("fifo", b"", stat.S_IFIFO),
    )
    check(body)
    before = os.umask(0o077)
    try:
        unpack(body, tmp_path / "code")
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.lstat().st_mode) for p in (tmp_path / "code").rglob("*")}
    assert modes == {"disk": 0o644, "su": 0o755, "closed": 0o755, "key": 0o644, "fifo": 0o644}
    assert all(stat.S_ISREG(p.lstat().st_mode) or p.is_dir() for p in (tmp_path / "code").rglob("*"))
    assert stat.S_IMODE((tmp_path / "code").stat().st_mode) == 0o755


def test_a_zip_that_lies_about_its_size_is_not_unpacked(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 300_000_000)
    body = bytearray(out.getvalue())
    for at in (22, body.find(b"PK\x01\x02") + 24):
        body[at : at + 4] = (10).to_bytes(4, "little")
    with pytest.raises((zipfile.BadZipFile, AwsError)):
        check(bytes(body))
        unpack(bytes(body), tmp_path / "code")
    assert not (tmp_path / "code").exists()
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) < 270_000_000


NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", "", "c/", "/"]), min_size=1, max_size=4).map("/".join)
ENTRIES = st.tuples(
    NAMES, st.sampled_from([b"", b"a", b"../a", b"..", b"/x", b"a/../../b"]), st.sampled_from([0o644, LINK, 0o4777])
)


@given(st.lists(ENTRIES, min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_what_passes_the_check_unpacks_and_stays_inside(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, bytes, int]]
) -> None:
    body = zipped(*entries)
    try:
        check(body)
    except AwsError:
        return
    folder = tmp_path_factory.mktemp("zip")
    unpack(body, folder / "code")
    assert [p.name for p in folder.iterdir()] == ["code"]


@pytest.mark.parametrize("comment", [b"", b"a comment", bytes(2)])
@pytest.mark.parametrize("long_form", [False, True])
def test_a_zip_of_millions_of_names_is_not_read_to_be_refused(
    comment: bytes, long_form: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its last record says of their number, which `zipfile` does not look at either."""
    entry = b"PK\x01\x02" + bytes(24) + (1).to_bytes(2, "little") + bytes(16) + b"a"
    names = entry * 100_001
    size = len(names).to_bytes(8, "little")
    end = b""
    if long_form:
        end = b"PK\x06\x06" + (44).to_bytes(8, "little") + bytes(28) + size + bytes(8)
        end += b"PK\x06\x07" + bytes(4) + len(names).to_bytes(8, "little") + (1).to_bytes(4, "little")
    short = b"\xff" * 4 if long_form else size[:4]
    end += b"PK\x05\x06" + bytes(8) + short + bytes(4) + len(comment).to_bytes(2, "little") + comment
    body = names + end
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert len(archive.infolist()) == 100_001
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(AwsError, match="Unzipped size must be smaller"):
        check(body)


def test_zips_within_zips_are_one_entry_each() -> None:
    inner = zipped(*((str(i), b"", 0o644) for i in range(60_000)))
    assert check(zipped(("a.zip", inner, 0o644), ("b.zip", inner, 0o644))) == 2 * len(inner)
