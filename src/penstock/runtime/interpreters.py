"""Which Python runs which AWS runtime identifier on this host, and what of its packages functions may see."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from penstock.runtime.api import RuntimeUnsupported
from penstock.runtime.programs import Program, Programs

PACKAGES = (
    "awslambdaric", "boto3", "botocore", "dateutil", "jmespath", "runtime_client", "s3transfer", "simplejson", "six",
    "snapshot_restore_py", "urllib3",
)  # fmt: skip
"""What AWS's Python runtimes carry, and nothing else of the server's own packages."""
_ASK = """
import json, os, sys
try:
    import awslambdaric, runtime_client
    site = os.path.dirname(awslambdaric.__path__[0])
except ImportError:
    site = ""
print(json.dumps([os.path.realpath(sys.executable), sys.base_prefix, site, list(sys.version_info[:2])]))
"""
_CLIENT = Path(__file__).parent / "python" / "runtime_client.py"
_LENDS_FROM = (3, 10)
"""The oldest Python that AWS's packages beside Penstock run on."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that can be a zygote. site: the folder its awslambdaric was found in.

    borrows: it has none, and runs Penstock's, with a runtime client that is not compiled.
    """

    path: str
    prefix: str
    site: str
    version: tuple[int, int]
    borrows: bool = False

    def packages(self) -> list[str]:
        """Names in `site`, or paths, that functions see in /var/runtime."""
        wanted = set(PACKAGES)
        found = []
        for entry in Path(self.site).iterdir():
            name = re.split(r"[.-]", entry.name, maxsplit=1)[0]
            distribution = entry.name.endswith(".dist-info") and name.replace("python_", "") in wanted
            if distribution or (name in wanted and not entry.name.endswith(".dist-info")):
                found.append(entry.name)
        if self.borrows:
            found = [name for name in found if not name.startswith("runtime_client")] + [str(_CLIENT)]
        return sorted(found)


class Interpreters:
    """Finds the interpreter of a runtime identifier; asks each candidate once."""

    def __init__(self, mapping: str = "") -> None:
        """mapping: settings.function_runtimes, "python3.12=python3.11,python3.9=/usr/bin/python3.9"."""
        self._mapping = dict(pair.split("=", 1) for pair in mapping.replace(" ", "").split(",") if "=" in pair)
        self._programs = Programs(self._mapping)
        self._asked: dict[str, Interpreter | None] = {}
        self._server: Interpreter | None = None

    def find(self, runtime: str) -> Interpreter:
        """The interpreter whose zygote runs `runtime`. Raises RuntimeUnsupported."""
        if sys.platform != "linux":
            raise RuntimeUnsupported(f"functions need Linux: AWS's runtime client is not made for {sys.platform}")
        if not re.fullmatch(r"python3\.\d+", runtime):
            self.program(runtime)
            return self.own()
        wanted = self._mapping.get(runtime) or self._mapping.get("*") or runtime
        if wanted == f"python{sys.version_info[0]}.{sys.version_info[1]}":
            return self.own()
        if wanted not in self._asked:
            self._asked[wanted] = self._look(wanted)
        found = self._asked[wanted]
        if found is None:
            own = f"python{sys.version_info[0]}.{sys.version_info[1]}"
            raise RuntimeUnsupported(
                f"this host has no {wanted} that could run {runtime} functions; {own} can. Install one (older than 3.10, "
                f"with awslambdaric and boto3), or have such functions run on Penstock's own Python with "
                f"PENSTOCK_FUNCTION_RUNTIMES={runtime}={own}"
            )
        return found

    def _look(self, wanted: str) -> Interpreter | None:
        """The first that has AWS's runtime client, or else the first that can run with ours."""
        lent: Interpreter | None = None
        for path in _pythons(wanted):
            found = _ask(path)
            if found is not None and found.site:
                return found
            if found is not None and lent is None and found.version >= _LENDS_FROM:
                lent = replace(found, site=self.own().site, borrows=True)
        return lent

    def program(self, runtime: str) -> Program | None:
        """What an environment of `runtime` becomes; None: it stays a Python. Raises RuntimeUnsupported."""
        return None if re.fullmatch(r"python3\.\d+", runtime) else self._programs.find(runtime)

    def afresh(self, runtime: str, layers: list[str], *, mounted: bool) -> Program:
        """A Python runtime as a program, for a wrapper to run. layers: on the host. Raises RuntimeUnsupported."""
        interpreter = self.find(runtime)
        script = "/var/runtime/bootstrap.py" if mounted else str(Path(__file__).parent / "python" / "bootstrap.py")
        client = "/var/runtime" if mounted else interpreter.site
        shown_layers = "/opt" if mounted else ":".join(reversed(layers))
        needed = (("PENSTOCK_RUNTIME_CLIENT", client), ("PENSTOCK_LAYERS", shown_layers))
        return Program((interpreter.path, script), (), needed, logs=True)

    def own(self) -> Interpreter:
        """The Python that the server runs on. Raises RuntimeUnsupported if it lacks awslambdaric."""
        if self._server is None:
            self._server = _find_own()
        return self._server


def _find_own() -> Interpreter:
    found = importlib.util.find_spec("awslambdaric")
    if found is None or not found.origin or importlib.util.find_spec("runtime_client") is None:
        raise RuntimeUnsupported("awslambdaric is not installed beside Penstock: `pip install awslambdaric`")
    site = str(Path(found.origin).resolve().parent.parent)
    executable = getattr(sys, "_base_executable", "") or sys.executable
    return Interpreter(str(Path(executable).resolve()), sys.base_prefix, site, sys.version_info[:2])


def _pythons(wanted: str) -> Iterator[str]:
    """Where an interpreter may be: on the path, beside others by version, and where version managers put it."""
    if path := shutil.which(wanted):
        yield path
    if "/" in wanted:
        return
    version = wanted.removeprefix("python")
    for folder, pattern in (
        ("/usr/local", "bin"), ("/opt", f"python*{version}*/bin"), ("~/.pyenv/versions", f"{version}.*/bin"),
        ("~/.local/share/uv/python", f"cpython-{version}.*/bin"), ("~/.asdf/installs/python", f"{version}.*/bin"),
    ):  # fmt: skip
        there = Path(folder).expanduser()
        if there.is_dir():
            yield from map(str, sorted(there.glob(f"{pattern}/{wanted}"), reverse=True))


def _ask(path: str) -> Interpreter | None:
    try:
        answer = subprocess.run([path, "-c", _ASK], capture_output=True, timeout=10, check=True, cwd="/").stdout
        executable, prefix, site, version = json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(executable, prefix, site, (version[0], version[1]))
