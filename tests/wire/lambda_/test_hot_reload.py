"""Code that is a folder of this host: saved, and run at the next invocation."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from served import Served
from wire.lambda_.test_functions import code_of, create


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Served, Path]]:
    folder = tmp_path / "code"
    folder.mkdir()
    server = Served(tmp_path / "data", "--function-folders", str(folder)).start()
    yield server, folder
    server.stop()


def test_what_is_saved_runs_at_once(live: tuple[Served, Path]) -> None:
    server, folder = live
    (folder / "app.py").write_text("def handler(event, context):\n    return 1\n")
    name = create(server, Code={"S3Bucket": "hot-reload", "S3Key": str(folder)})["FunctionName"]
    client = server.client("lambda")
    assert json.load(client.invoke(FunctionName=name)["Payload"]) == 1
    (folder / "app.py").write_text("def handler(event, context):\n    return 22\n")
    time.sleep(0.05)
    assert json.load(client.invoke(FunctionName=name)["Payload"]) == 22
    assert client.get_function(FunctionName=name)["Code"]["Location"] == f"file://{folder}"
    server.restart()
    assert json.load(server.client("lambda").invoke(FunctionName=name)["Payload"]) == 22
    server.client("lambda").delete_function(FunctionName=name)
    assert (folder / "app.py").exists()


def test_no_other_folder_can_be_run(live: tuple[Served, Path]) -> None:
    server, folder = live
    (folder / "out").symlink_to(folder.parent)
    for key in (str(folder.parent), f"{folder}/..", f"{folder}/out", "/etc", "code", ""):
        with pytest.raises(ClientError) as error:
            create(server, Code={"S3Bucket": "hot-reload", "S3Key": key or "none"})
        assert code_of(error) == ("InvalidParameterValueException", 400)
