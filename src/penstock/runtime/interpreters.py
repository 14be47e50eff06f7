"""Which Python runs which AWS runtime identifier on this host, and what of its packages functions may see."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from penstock.runtime.api import RuntimeUnsupported
from penstock.runtime.programs import Program, Programs

PACKAGES = (
    "awslambdaric", "boto3", "botocore", "dateutil", "jmespath", "runtime_client", "s3transfer", "simplejson", "six",
    "snapshot_restore_py", "urllib3",
)  # fmt: skip
"""What AWS's Python runtimes carry, and nothing else of the server's own packages."""
_ASK = (
    "import awslambdaric, runtime_client, sys, json, os; print(json.dumps([os.path.realpath(sys.executable),"
    " sys.base_prefix, os.path.dirname(awslambdaric.__path__[0]), list(sys.version_info[:2])]))"
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that can be a zygote. site: the folder its awslambdaric was found in."""

    path: str
    prefix: str
    site: str
    version: tuple[int, int]

    def packages(self) -> list[str]:
        """Names in `site` that functions see in /var/runtime."""
        wanted = set(PACKAGES)
        found = []
        for entry in Path(self.site).iterdir():
            name = re.split(r"[.-]", entry.name, maxsplit=1)[0]
            distribution = entry.name.endswith(".dist-info") and name.replace("python_", "") in wanted
            if distribution or (name in wanted and not entry.name.endswith(".dist-info")):
                found.append(entry.name)
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
            self._asked[wanted] = _ask(wanted)
        found = self._asked[wanted]
        if found is None:
            own = f"python{sys.version_info[0]}.{sys.version_info[1]}"
            raise RuntimeUnsupported(
                f"this host has no {wanted} with awslambdaric installed, so {runtime} cannot run; {own} can. Install "
                f"one (and `pip install awslambdaric boto3` into it), or have such functions run on Penstock's own "
                f"Python with PENSTOCK_FUNCTION_RUNTIMES={runtime}={own}"
            )
        return found

    def program(self, runtime: str) -> Program | None:
        """What an environment of `runtime` becomes; None: it stays a Python. Raises RuntimeUnsupported."""
        return None if re.fullmatch(r"python3\.\d+", runtime) else self._programs.find(runtime)

    def afresh(self, runtime: str, *, mounted: bool) -> Program:
        """A Python runtime as a program, for a wrapper to run. Raises RuntimeUnsupported."""
        interpreter = self.find(runtime)
        script = "/var/runtime/bootstrap.py" if mounted else str(Path(__file__).parent / "python" / "bootstrap.py")
        client = "/var/runtime" if mounted else interpreter.site
        return Program((interpreter.path, script), (), (("PENSTOCK_RUNTIME_CLIENT", client),), logs=True)

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


def _ask(name: str) -> Interpreter | None:
    path = shutil.which(name)
    if path is None:
        return None
    try:
        answer = subprocess.run([path, "-c", _ASK], capture_output=True, timeout=10, check=True, cwd="/").stdout
        executable, prefix, site, version = json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(executable, prefix, site, (version[0], version[1]))
