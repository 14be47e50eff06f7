"""Functions, versions, aliases and layers against a model of them, with SIGKILL and restart as one of the steps."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tempfile
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from served import Served
from wire.lambda_.test_functions import ROLE, RUNTIME, package

NAMES = st.sampled_from(["f", "g-2"])
TEXTS = st.sampled_from(["", "one", "two"])
ALIASES = st.sampled_from(["live", "next"])
LAYERS = st.sampled_from(["l", "m"])
NUMBERS = st.integers(1, 4)
SOURCE = "import os\ndef handler(event, context):\n    return [{code}, os.environ.get('SAID', '')]\n"
_shared: list[Served] = []


def served() -> Served:
    if not _shared:
        _shared.append(Served(Path(tempfile.mkdtemp(prefix="penstock-model-"))).start())
    return _shared[0]


def zipped(code: int) -> bytes:
    """The same bytes at any time."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr(zipfile.ZipInfo("app.py"), SOURCE.format(code=code))
    return body.getvalue()


@dataclass(frozen=True)
class State:
    """What a version is like, and $LATEST."""

    code: int
    description: str = ""
    said: str = ""
    memory: int = 128
    layers: tuple[tuple[str, int], ...] = ()


@dataclass
class Function:
    """The model of a function. copied: the state that the newest version was made of."""

    latest: State
    versions: dict[int, State] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    copied: State | None = None
    newest: int = 0


class LambdaModel(RuleBasedStateMachine):
    """The model: functions by name, layers' versions by name. Names get a prefix that no other run has."""

    made = 0

    @initialize()
    def begin(self) -> None:
        LambdaModel.made += 1
        self.prefix = f"m{LambdaModel.made}-"
        self.functions: dict[str, Function] = {}
        self.numbers: dict[str, int] = {}
        self.layers: dict[str, set[int]] = {}
        self.layer_numbers: dict[str, int] = {}
        self.client = served().client("lambda")
        self.create("f", 1, "")

    def refused(self, code: str, operation: str, **parameters: Any) -> None:
        with pytest.raises(ClientError) as refusal:
            getattr(self.client, operation)(**parameters)
        assert refusal.value.response["Error"]["Code"] == code, refusal.value

    def arn(self, layer: str, version: int) -> str:
        return f"arn:aws:lambda:us-east-1:000000000000:layer:{self.prefix}{layer}:{version}"

    @rule(name=NAMES, code=NUMBERS, description=TEXTS)
    def create(self, name: str, code: int, description: str) -> None:
        parameters = {
            "FunctionName": self.prefix + name, "Runtime": RUNTIME, "Role": ROLE, "Handler": "app.handler",
            "Code": {"ZipFile": zipped(code)}, "Description": description,
        }  # fmt: skip
        if name in self.functions:
            self.refused("ResourceConflictException", "create_function", **parameters)
            return
        self.client.create_function(**parameters)
        self.functions[name] = Function(State(code, description))

    @rule(name=NAMES, code=NUMBERS)
    def new_code(self, name: str, code: int) -> None:
        parameters = {"FunctionName": self.prefix + name, "ZipFile": zipped(code)}
        function = self.functions.get(name)
        if function is None:
            self.refused("ResourceNotFoundException", "update_function_code", **parameters)
            return
        self.client.update_function_code(**parameters)
        function.latest = replace(function.latest, code=code)

    @precondition(lambda self: self.functions)
    @rule(data=st.data(), said=TEXTS, memory=st.sampled_from([128, 256]), description=TEXTS)
    def configure(self, data: st.DataObject, said: str, memory: int, description: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.functions)))
        layers = [(layer, max(kept)) for layer, kept in sorted(self.layers.items()) if kept]
        self.client.update_function_configuration(
            FunctionName=self.prefix + name, MemorySize=memory, Description=description,
            Environment={"Variables": {"SAID": said}}, Layers=[self.arn(*layer) for layer in layers],
        )  # fmt: skip
        function = self.functions[name]
        function.latest = replace(
            function.latest, said=said, memory=memory, description=description, layers=tuple(layers)
        )

    @rule(name=NAMES)
    def publish(self, name: str) -> None:
        function = self.functions.get(name)
        if function is None:
            self.refused("ResourceNotFoundException", "publish_version", FunctionName=self.prefix + name)
            return
        made = int(self.client.publish_version(FunctionName=self.prefix + name)["Version"])
        if function.copied == function.latest and function.newest in function.versions:
            assert made == function.newest, "nothing changed since the last version"
            return
        number = self.numbers[name] = self.numbers.get(name, 0) + 1
        assert made == number, "numbers are not used again, even after the function was deleted"
        function.versions[number] = function.copied = function.latest
        function.newest = number

    @rule(name=NAMES, alias=ALIASES, version=NUMBERS)
    def point(self, name: str, alias: str, version: int) -> None:
        parameters = {"FunctionName": self.prefix + name, "Name": alias, "FunctionVersion": str(version)}
        function = self.functions.get(name)
        if function is None or version not in function.versions:
            self.refused("ResourceNotFoundException", "create_alias", **parameters)
        elif alias in function.aliases:
            self.refused("ResourceConflictException", "create_alias", **parameters)
            self.client.update_alias(**parameters)
            function.aliases[alias] = version
        else:
            self.client.create_alias(**parameters)
            function.aliases[alias] = version

    @rule(name=NAMES, alias=ALIASES)
    def forget_alias(self, name: str, alias: str) -> None:
        if name in self.functions:
            self.client.delete_alias(FunctionName=self.prefix + name, Name=alias)
            self.functions[name].aliases.pop(alias, None)

    @rule(name=NAMES, version=NUMBERS)
    def delete_version(self, name: str, version: int) -> None:
        function = self.functions.get(name)
        parameters = {"FunctionName": self.prefix + name, "Qualifier": str(version)}
        if function is None:
            self.refused("ResourceNotFoundException", "delete_function", **parameters)
        elif version in function.aliases.values():
            self.refused("ResourceConflictException", "delete_function", **parameters)
        else:
            self.client.delete_function(**parameters)
            function.versions.pop(version, None)

    @rule(name=NAMES, sure=st.integers(0, 3))
    def delete(self, name: str, sure: int) -> None:
        if name in self.functions and not sure:
            self.client.delete_function(FunctionName=self.prefix + name)
            del self.functions[name]

    @rule(layer=LAYERS)
    def publish_layer(self, layer: str) -> None:
        body = package("said = 1\n", "python/shared.py")
        made = self.client.publish_layer_version(LayerName=self.prefix + layer, Content={"ZipFile": body})
        number = self.layer_numbers[layer] = self.layer_numbers.get(layer, 0) + 1
        assert made["Version"] == number
        self.layers.setdefault(layer, set()).add(number)

    @rule(layer=LAYERS, version=NUMBERS)
    def delete_layer(self, layer: str, version: int) -> None:
        self.client.delete_layer_version(LayerName=self.prefix + layer, VersionNumber=version)
        self.layers.get(layer, set()).discard(version)

    @precondition(lambda self: self.functions)
    @rule(data=st.data())
    def invoke(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.functions)))
        function = self.functions[name]
        ways = {"$LATEST": function.latest} | {str(n): state for n, state in function.versions.items()}
        ways |= {alias: function.versions[n] for alias, n in function.aliases.items()}
        qualifier = data.draw(st.sampled_from(sorted(ways)))
        answer = self.client.invoke(FunctionName=self.prefix + name, Qualifier=qualifier)
        state = ways[qualifier]
        assert json.load(answer["Payload"]) == [state.code, state.said], "whatever became of its layers"

    @rule(luck=st.integers(0, 3))
    def crash(self, luck: int) -> None:
        if luck == 0:
            served().restart()
            self.client = served().client("lambda")

    def check(self, shown: dict[str, Any], state: State) -> None:
        digest = base64.b64encode(hashlib.sha256(zipped(state.code)).digest()).decode()
        assert (shown["CodeSha256"], shown["Description"], shown["MemorySize"]) == (
            digest,
            state.description,
            state.memory,
        )
        assert shown.get("Environment", {}).get("Variables", {}).get("SAID", "") == state.said
        assert [each["Arn"] for each in shown.get("Layers", [])] == [self.arn(*layer) for layer in state.layers]

    @invariant()
    def reads_back(self) -> None:
        if not hasattr(self, "functions"):
            return
        pages = self.client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 1})
        names = [one["FunctionName"] for page in pages for one in page["Functions"]]
        assert [n for n in names if n.startswith(self.prefix)] == sorted(self.prefix + n for n in self.functions)
        for name, function in self.functions.items():
            whole = {"FunctionName": self.prefix + name}
            pages = self.client.get_paginator("list_versions_by_function").paginate(
                **whole, PaginationConfig={"PageSize": 2}
            )
            versions = [one for page in pages for one in page["Versions"]]
            assert [one["Version"] for one in versions] == ["$LATEST", *map(str, sorted(function.versions))]
            self.check(versions[0], function.latest)
            for one in versions[1:]:
                self.check(one, function.versions[int(one["Version"])])
            aliases = self.client.list_aliases(**whole)["Aliases"]
            assert {a["Name"]: int(a["FunctionVersion"]) for a in aliases} == function.aliases
        for layer, kept in self.layers.items():
            found = self.client.list_layer_versions(LayerName=self.prefix + layer)["LayerVersions"]
            assert [one["Version"] for one in found] == sorted(kept, reverse=True)

    def teardown(self) -> None:
        for name in getattr(self, "functions", ()):
            self.client.delete_function(FunctionName=self.prefix + name)
        for layer, kept in getattr(self, "layers", {}).items():
            for number in kept:
                self.client.delete_layer_version(LayerName=self.prefix + layer, VersionNumber=number)
        if hasattr(self, "client"):
            assert self.client.get_account_settings()["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}


@pytest.fixture(autouse=True, scope="module")
def _end() -> Any:
    yield
    while _shared:
        _shared.pop().stop()


TestLambdaModel = LambdaModel.TestCase
TestLambdaModel.settings = settings(
    max_examples=2, stateful_step_count=18, deadline=None, database=None,
    phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip
