"""SIGKILL in the middle of Lambda's control plane: what was acknowledged is there, whole, and numbered without gaps."""

from __future__ import annotations

import base64
import hashlib
import random
import threading
import time
import urllib.request
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from served import Served
from wire.lambda_.test_functions import create, package

ROUNDS = 3
WRITERS = 4


class Writer:
    """Changes one function's code, publishes it, names it, and publishes layers, until it is told to stop."""

    def __init__(self, server: Served, number: int) -> None:
        self.server, self.number = server, number
        self.name = f"f{number}"
        self.versions: dict[int, str] = {}
        self.aliases: dict[str, int] = {}
        self.tags: set[str] = set()
        self.layers: set[int] = set()
        self.turn = 0
        self.stop = False

    def run(self) -> None:
        client = self.server.client("lambda")
        while not self.stop:
            try:
                self._turn(client)
            except (BotoCoreError, ClientError):
                time.sleep(0.05)

    def _turn(self, client: Any) -> None:
        self.turn += 1
        body = package(f"def handler(event, context):\n    return {self.turn}\n")
        made = client.update_function_code(FunctionName=self.name, ZipFile=body, Publish=True)
        version = int(made["Version"])
        self.versions[version] = base64.b64encode(hashlib.sha256(body).digest()).decode()
        alias = f"a{self.turn % 3}"
        try:
            client.create_alias(FunctionName=self.name, Name=alias, FunctionVersion=str(version))
        except client.exceptions.ResourceConflictException:
            client.update_alias(FunctionName=self.name, Name=alias, FunctionVersion=str(version))
        self.aliases[alias] = version
        arn = f"arn:aws:lambda:us-east-1:000000000000:function:{self.name}"
        client.tag_resource(Resource=arn, Tags={f"t{self.turn % 40}": "x"})
        self.tags.add(f"t{self.turn % 40}")
        layer = client.publish_layer_version(LayerName=self.name, Content={"ZipFile": body})
        self.layers.add(layer["Version"])


def test_acknowledged_functions_survive(own_server: Served) -> None:
    writers = [Writer(own_server, number) for number in range(WRITERS)]
    for writer in writers:
        create(own_server, FunctionName=writer.name)
    for _ in range(ROUNDS):
        threads = [threading.Thread(target=writer.run) for writer in writers]
        for writer, thread in zip(writers, threads, strict=True):
            writer.stop = False
            thread.start()
        time.sleep(1 + random.random())
        own_server.kill()
        for writer, thread in zip(writers, threads, strict=True):
            writer.stop = True
            thread.join()
        own_server.restart()
        for writer in writers:
            _check(own_server, writer)
    assert sum(len(writer.versions) for writer in writers) > WRITERS * ROUNDS


def _check(server: Served, writer: Writer) -> None:
    client = server.client("lambda")
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=writer.name)
    kept = {one["Version"]: one["CodeSha256"] for page in pages for one in page["Versions"]}
    latest = kept.pop("$LATEST")
    assert sorted(map(int, kept)) == list(range(1, len(kept) + 1))
    for version, digest in writer.versions.items():
        assert kept[str(version)] == digest
    newest = max(writer.versions)
    for qualifier, digest in ((str(newest), writer.versions[newest]), ("$LATEST", latest)):
        link = client.get_function(FunctionName=writer.name, Qualifier=qualifier)["Code"]["Location"]
        code = urllib.request.urlopen(link, timeout=10).read()
        assert base64.b64encode(hashlib.sha256(code).digest()).decode() == digest, "the code is whole"
    aliases = {a["Name"]: int(a["FunctionVersion"]) for a in client.list_aliases(FunctionName=writer.name)["Aliases"]}
    for alias, version in writer.aliases.items():
        assert aliases[alias] >= version, "it points there, or where the call that was cut short pointed it"
    assert writer.tags <= client.get_function(FunctionName=writer.name)["Tags"].keys()
    found = client.get_paginator("list_layer_versions").paginate(LayerName=writer.name)
    layers = [one["Version"] for page in found for one in page["LayerVersions"]]
    assert writer.layers <= set(layers) and sorted(layers) == list(range(1, len(layers) + 1))
    assert client.invoke(FunctionName=writer.name, Qualifier=str(newest))["StatusCode"] == 200
