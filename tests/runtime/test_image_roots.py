"""Environments whose root is a container image's; no engine is needed once it is unpacked."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

import container_images
from environments import Bench
from penstock.runtime.api import ImageRun
from penstock.runtime.images import unpack

pytestmark = pytest.mark.asyncio(loop_scope="module")


def image(bench: Bench, *arguments: str, directory: str = "/work", **spec: Any) -> Any:
    found = bench.runtime.protections()
    for name in ("files", "processes"):
        if not found[name].startswith("on"):
            pytest.skip(f"{name}: {found[name]}")
    if not shutil.which("curl"):
        pytest.skip("no curl to build an image with")
    archive, root = bench.folder / "image.tar", bench.folder / "image"
    if not root.exists():
        archive.write_bytes(container_images.files())
        unpack(archive, root)
    run = ImageRun(arguments or ("sh", "/bootstrap", "argument"), directory, (("OF_IMAGE", "a"),))
    return bench.function(None, code=root, image=run, runtime="provided.al2023", handler="", **spec)


async def said(bench: Bench, spec: Any, command: str) -> str:
    outcome = await bench.invoke(spec, command)
    assert not outcome.error, outcome
    return outcome.payload.decode()


async def test_it_runs_with_the_images_files_and_nothing_of_the_host(bench: Bench) -> None:
    f = image(bench, timeout_s=20.0)
    lines = (await said(bench, f, "pwd; cat own.txt; echo; id -u; echo $OF_IMAGE; ls -a /; touch /work/x")).splitlines()
    assert lines[:2] == ["/work", "from the image"] and lines[2] != "0" and lines[3] == "a"
    assert {"bin", "bootstrap", "dev", "etc", "proc", "tmp", "work"} <= set(lines[4:])
    assert not {".host", ".image", "usr", "root", "home"} & set(lines[4:])
    assert "touch: cannot touch '/work/x'" in lines[-1]
    for _ in range(100):
        if any("began with argument" in line for _, _, line in bench.lines):
            break
        await asyncio.sleep(0.02)
    assert any("began with argument" in line for _, _, line in bench.lines)
    seen = await said(bench, f, "ls /proc; cat /proc/mounts; ls /sys /dev")
    assert str(bench.folder / "state") not in seen and "sda" not in seen
    assert len([line for line in seen.splitlines() if line.isdecimal()]) <= 5


@pytest.mark.parametrize(("arguments", "directory", "kind"), [
    (("nowhere",), "/", "Runtime.InvalidEntrypoint"), (("sh",), "/nowhere", "Runtime.InvalidWorkingDir"),
])  # fmt: skip
async def test_what_cannot_begin_is_said(bench: Bench, arguments: tuple[str, ...], directory: str, kind: str) -> None:
    assert (await bench.error(image(bench, *arguments, directory=directory)))["errorType"] == kind
