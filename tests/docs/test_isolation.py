"""Each line of what docs/isolation.md promises names a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_line_has_a_test() -> None:
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    text = (ROOT / "docs/isolation.md").read_text()
    table = text[text.index("| a function that ...") : text.index("Packages and layers are")]
    rows = [line for line in table.splitlines()[2:] if line.startswith("|")]
    assert len(rows) >= 24
    assert not [row for row in rows if "`test_" not in row.split("|")[3]]
    for name in re.findall(r"`(test_\w+)(?:\.\.\.)?`", text):
        assert any(found.startswith(name) for found in there), name
    for file in re.findall(r"`(tests/[\w/]+\.py)`", text):
        assert (ROOT / file).is_file(), file
