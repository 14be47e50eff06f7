"""Every Python snippet of the README and of docs/services runs as it stands, on an empty server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from served import Served

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "services").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_snippets_run(page: Path, tmp_path: Path, own_server: Served) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M)
    assert snippets, f"{page.name} shows no example"
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    env.update(
        AWS_ENDPOINT_URL=own_server.endpoint, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
        AWS_DEFAULT_REGION="us-east-1",
    )  # fmt: skip
    script = tmp_path / "snippet.py"
    script.write_text("\n".join(snippets))
    run = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not broken, broken
