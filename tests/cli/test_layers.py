"""`penstock layer`: built of packages or of a folder, published, and used by name."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path

import pytest

from cli.test_functions import run
from penstock.cli import layers
from served import Served


def wheel(folder: Path) -> Path:
    """A package `said` that pip can install without a network."""
    path = folder / "said-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("said/__init__.py", "WORD = 'carried'\n")
        archive.writestr("said-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: said\nVersion: 1.0\n")
        archive.writestr("said-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("said-1.0.dist-info/RECORD", "")
    return path


def function(folder: Path, source: str, *used: str) -> str:
    name = "l-" + uuid.uuid4().hex[:10]
    (folder / name).mkdir()
    (folder / name / "app.py").write_text(source)
    more = {"Layers": list(used), "Timeout": 60, "MemorySize": 1024}
    (folder / name / "function.json").write_text(json.dumps({"Handler": "app.handler", **more}))
    return name


def test_packages_in_a_layer_used_by_name(server: Served, tmp_path: Path) -> None:
    layer = "said-" + uuid.uuid4().hex[:8]
    name = function(tmp_path, "import said\ndef handler(event, context):\n    return said.WORD\n", layer)
    early = run(server, "deploy", name, cwd=tmp_path)
    assert (early.returncode, f"penstock layer {layer}" in early.stderr) == (2, True)
    made = run(server, "layer", layer, str(wheel(tmp_path)))
    assert made.stdout.strip().endswith(f":layer:{layer}:1"), made.stderr
    assert run(server, "deploy", name, cwd=tmp_path).returncode == 0
    assert json.loads(run(server, "invoke", name).stdout) == "carried"
    described = server.client("lambda").list_layer_versions(LayerName=layer)["LayerVersions"][0]
    assert described["CompatibleRuntimes"] == [f"python3.{sys.version_info.minor}"]


def test_a_folder_and_what_cannot_be_one(server: Served, tmp_path: Path) -> None:
    (tmp_path / "tools" / "bin").mkdir(parents=True)
    (tmp_path / "tools" / "bin" / "x").write_text("x")
    out = tmp_path / "layer.zip"
    assert run(None, "layer", "tools", "--folder", str(tmp_path / "tools"), "--out", str(out)).returncode == 0
    assert zipfile.ZipFile(out).namelist() == ["bin/x"]
    assert run(None, "layer", "tools").returncode == 2
    assert run(None, "layer", "tools", "--folder", str(tmp_path / "nowhere")).returncode == 2
    none = run(None, "layer", "tools", "a-package-that-is-nowhere", "--out", str(out))
    assert (none.returncode, "pip could not install" in none.stderr) == (2, True)


def test_what_is_too_large_goes_without_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "UNZIPPED_BYTES_MAX", 1000)
    monkeypatch.setattr(layers, "_SPARE_BYTES", 0)
    (tmp_path / "python" / "p" / "tests").mkdir(parents=True)
    (tmp_path / "python" / "p" / "a.py").write_text("x" * 600)
    (tmp_path / "python" / "p" / "tests" / "b.py").write_text("x" * 600)
    assert zipfile.ZipFile(io.BytesIO(layers.zipped(tmp_path))).namelist() == ["python/p/a.py"]
    (tmp_path / "python" / "p" / "c.py").write_text("x" * 600)
    with pytest.raises(layers.LayerError, match="unpacks to 1,200 bytes"):
        layers.zipped(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_requests_and_awswrangler_as_layers(own_server: Served, tmp_path: Path) -> None:
    """The packages themselves, from the index: the blueprint with awswrangler, and a function that asks by HTTP."""
    if subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path), "requests"],
                      capture_output=True, check=False).returncode:  # fmt: skip
        pytest.skip("no package index within reach")
    for package in ("requests", "awswrangler"):
        made = run(own_server, "layer", package, package)
        assert made.returncode == 0, made.stderr
    source = (
        "import boto3, requests\ndef handler(event, context):\n"
        "    url = boto3.client('s3').generate_presigned_url('get_object', Params=event)\n"
        "    return requests.get(url, timeout=5).text\n"
    )
    name = function(tmp_path, source, "requests")
    policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}
    (tmp_path / name / "policy.json").write_text(json.dumps(policy))
    s3 = own_server.client("s3")
    s3.create_bucket(Bucket="pages")
    s3.put_object(Bucket="pages", Key="a", Body=b"hello")
    assert run(own_server, "deploy", name, cwd=tmp_path).returncode == 0
    answer = run(own_server, "invoke", name, "--event", '{"Bucket": "pages", "Key": "a"}')
    assert json.loads(answer.stdout) == "hello", answer.stderr
    folder = Path(__file__).parents[2] / "examples" / "s3-json-to-csv"
    assert run(own_server, "deploy", str(folder)).returncode == 0
    answer = run(own_server, "invoke", "s3-json-to-csv", "--event", str(folder / "event.json"))
    assert json.loads(answer.stdout) == {"orders.json": 2}, answer.stderr
    text = s3.get_object(Bucket="converted", Key="orders.csv")["Body"].read().decode()
    assert text.split() == ["id,name", "1,Ann", "2,Bob"]
