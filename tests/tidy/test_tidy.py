"""The code base itself: sizes, names, clocks, the registry. A rule that only people keep is not kept."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Container, Iterator
from pathlib import Path

import msgspec
import pytest

import penstock.services
from penstock import cli
from penstock.config import Settings
from penstock.core.operation import REGISTRY
from penstock.wire import models

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sorted(p for d in ("src", "tests", "bench", "examples") for p in (ROOT / d).rglob("*.py"))
SOURCE = sorted((ROOT / "src").rglob("*.py"))

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
ATTICS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "models", "lib", "shared"}
ATTICS_THAT_ARE_ROOMS = {"src/penstock/wire/models.py"}  # botocore's service models
UNFINISHED = ("TODO", "FIXME", "XXX", "HACK")
WALL_CLOCK_FREE = {"src/penstock/clock.py"}
WALL_CLOCK = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today")}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_and_functions_are_small() -> None:
    long: list[str] = []
    for path in PYTHON:
        text = path.read_text()
        if text.count("\n") > FILE_LINES_MAX:
            long.append(f"{_name(path)}: {text.count(chr(10))} lines")
        for function in _functions(ast.parse(text)):
            lines = (function.end_lineno or 0) - function.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                long.append(f"{_name(path)}:{function.lineno} {function.name}: {lines} lines")
    assert not long, "\n".join(long)


def test_no_attics() -> None:
    found = [_name(p) for p in SOURCE if p.stem.strip("_") in ATTICS and _name(p) not in ATTICS_THAT_ARE_ROOMS]
    found += [_name(p) for p in (ROOT / "src").rglob("*") if p.is_dir() and p.name in ATTICS]
    assert not found, f"name these after what lives in them: {found}"


def test_nothing_is_marked_unfinished() -> None:
    found = [
        f"{_name(path)}:{i}"
        for path in PYTHON
        if path != Path(__file__)
        for i, line in enumerate(path.read_text().splitlines(), 1)
        if any(re.search(rf"\b{word}\b", line) for word in UNFINISHED)
    ]
    assert not found, found


def test_only_the_clock_reads_the_wall_clock() -> None:
    found: list[str] = []
    for path in SOURCE:
        if _name(path) in WALL_CLOCK_FREE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                owner_name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
                if (owner_name, node.func.attr) in WALL_CLOCK:
                    found.append(f"{_name(path)}:{node.lineno}")
    assert not found, f"ask penstock.clock: {found}"


def test_every_folder_has_a_charter() -> None:
    missing = [
        _name(p)
        for p in SOURCE
        if p.name == "__init__.py" and len(ast.get_docstring(ast.parse(p.read_text())) or "") < 40
    ]
    assert not missing, missing


def test_every_public_function_of_the_seams_is_documented() -> None:
    missing: list[str] = []
    for path in SOURCE:
        if path.stem != "api":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                missing += [
                    f"{_name(path)}: {node.name}.{f.name}"
                    for f in node.body
                    if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not f.name.startswith("_")
                    and not ast.get_docstring(f)
                ]
    assert not missing, missing


NOT_IMPORTED = {
    "penstock.runtime.python.runtime_client": "stands in for a module of awslambdaric inside environments",
    "penstock.runtime.python.bootstrap": "started by its path, inside an environment",
    "penstock.runtime.zygote": "started by its path, in a process of its own",
    "penstock.store.faulty": "what tests put around an engine to see it fail",
    "penstock.store.log": "a primitive that streams will stand on",
}


def test_no_module_is_dead() -> None:
    """Each module is imported by another one, or is an entry point."""
    entry = {"penstock", "penstock.__main__", "penstock.cli"}
    modules = {".".join(p.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__"): p for p in SOURCE}
    imported: set[str] = set(entry)
    for path in modules.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module)
                imported.update(f"{node.module}.{alias.name}" for alias in node.names)
    services = {name for name in modules if name.startswith("penstock.services.") and name.count(".") == 2}
    inside = {name for name in modules if ".demo.functions" in name}
    text = "\n".join(p.read_text() for p in SOURCE)
    dead = [
        name
        for name in modules
        if name not in imported | services | inside | NOT_IMPORTED.keys()
        and not any(other.startswith(name + ".") for other in imported)
        and f'"{name}"' not in text
    ]
    assert not dead, dead


def test_every_operation_declares_who_may_do_it() -> None:
    penstock.services.load()
    open_to_all = {("sts", "GetCallerIdentity"), ("sts", "GetAccessKeyInfo"), ("sts", "GetSessionToken"),
                   ("sts", "DecodeAuthorizationMessage")}  # fmt: skip
    each_item_by_itself = {
        ("s3", "DeleteObjects"),
        ("dynamodb", "TransactWriteItems"),
        ("dynamodb", "TransactGetItems"),
        ("dynamodb", "ExecuteStatement"),
        ("dynamodb", "BatchExecuteStatement"),
        ("dynamodb", "ExecuteTransaction"),
    }
    exempt = open_to_all | each_item_by_itself
    missing = [key for key, found in REGISTRY.items() if not found.action and key not in exempt]
    assert not missing, missing


def test_every_operation_is_in_its_model() -> None:
    penstock.services.load()
    unknown = [f"{s}:{o}" for s, o in REGISTRY if o not in models.service(s).operations]
    assert not unknown, unknown


def _literals(folder: Path) -> set[str]:
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
    return found


REFUSED_WHOLE = {
    "StepScalingPolicyConfiguration", "CustomizedMetricSpecification", "PredictiveScalingPolicyConfiguration",
    "DisassociateReplicationGroupMemberAction", "RestoreRequest", "TopicConfiguration", "QueueConfiguration",
    "VectorIndex", "CreateVectorIndexAction", "SSESpecification",
}  # fmt: skip
"""Structures that no operation takes: each is refused by code, so what is in them is named nowhere."""
SAID_OTHERWISE = {
    "EmailAddress": "S3 refuses grants to addresses, as AWS does since October 2025",
    "SimplePrefix": "the form of access logs' names that holds when no other is given",
    "ProvisionedReadCapacityAutoScalingSettingsUpdate": "by an f-string",
    "ProvisionedWriteCapacityAutoScalingSettingsUpdate": "by an f-string",
}


def _input_members(service: str, operation: str, unsupported: Container[str]) -> Iterator[str]:
    """Names of the input's members, and of theirs, without those of what is refused."""
    model = models.service(service)
    shape = model.input_shape(operation)
    seen: set[str] = set()
    waiting = [shape] if shape else []
    while waiting:
        found = waiting.pop()
        if found.name in seen or found.name in REFUSED_WHOLE:
            continue
        seen.add(found.name)
        for name, member in found.members.items():
            if found is shape and name in unsupported:
                continue
            yield name
            inner = model.shapes[member.shape]
            while held := inner.member or inner.value:
                inner = model.shapes[held.shape]
            if inner.members and not inner.opaque:
                waiting.append(inner)


penstock.services.load()


@pytest.mark.parametrize("service", sorted({service for service, _ in REGISTRY}))
def test_no_parameter_is_accepted_and_ignored(service: str) -> None:
    """Each member of each operation's input, however deep, is named in the service: carried out, or refused."""
    folders = {Path(found.handler.__code__.co_filename).parent for (s, _), found in REGISTRY.items() if s == service}
    named = _literals(ROOT / "src/penstock/core").union(*(_literals(folder) for folder in folders))
    named |= SAID_OTHERWISE.keys()
    ignored = {
        f"{operation}: {member}"
        for (s, operation), found in REGISTRY.items()
        if s == service
        for member in _input_members(service, operation, found.unsupported)
        if member not in named
    }
    assert not ignored, "\n".join(sorted(ignored))


def test_every_setting_says_what_it_is_for() -> None:
    fields = {field.name for field in msgspec.structs.fields(Settings)}
    assert fields == cli._HELP.keys()


def test_nothing_committed_is_large_or_binary_by_accident() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    large = [f for f in tracked.split("\0") if f and (ROOT / f).is_file() and (ROOT / f).stat().st_size > 1_000_000]
    assert not large, large
