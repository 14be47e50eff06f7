"""The models facade: what services may change, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.wire import catalog, codec, models
from penstock.wire.message import Request

ENTRY = catalog.Entry("made-up", "1", "made-up", ("json",))


def changed(tmp_path: Path, changes: object) -> models.ServiceModel:
    path = tmp_path / "model-patch.json"
    path.write_text(json.dumps(changes))
    before = models._patches.get("kinesis")
    models.patch("kinesis", path)
    try:
        return models.service("kinesis")
    finally:
        models.service.cache_clear()
        models._patches.pop("kinesis")
        if before is not None:
            models._patches["kinesis"] = before


def parse(model: models.ServiceModel, operation: str, body: object) -> object:
    request = Request("POST", "/", "", {}, json.dumps(body).encode())
    return codec.make(model, operation, "json").parse(request, {})


def test_opaque_shapes_are_left_in_wire_form(tmp_path: Path) -> None:
    model = changed(tmp_path, {"opaque_shapes": {"PutRecordsRequestEntry": "to see it"}})
    body = {"StreamName": "s", "Records": [{"Data": "AAE=", "Strange": [None, {}]}]}
    assert parse(model, "PutRecords", body) == body


def test_constraints_members_and_errors_can_differ(tmp_path: Path) -> None:
    model = changed(
        tmp_path,
        {
            "shapes": {
                "StreamName": {"reason": "AWS takes any", "set": {"pattern": None, "max": 3}},
                "CreateStreamInput": {"reason": "x", "members": {"Extra": {"shape": "StreamName"}, "ShardCount": None}},
                "LimitExceededException": {"reason": "x", "set": {"error": {"httpStatusCode": 418}}},
            },
            "operations": {"CreateStream": {"reason": "x", "set": {"deprecated": True}}},
        },
    )
    assert parse(model, "CreateStream", {"StreamName": "a;", "Extra": "b", "ShardCount": 1}) == {
        "StreamName": "a;",
        "Extra": "b",
    }
    shape = model.error_shape("LimitExceededException")
    assert shape is not None and shape.error["httpStatusCode"] == 418
    assert model.operations["CreateStream"].deprecated


@pytest.mark.parametrize(
    "changes",
    [
        {"opaque_shapes": {"StreamName": ""}},
        {"opaque_shapes": {"Nothing": "because"}},
        {"shapes": {"StreamName": {"set": {"max": 3}}}},
        {"operations": {"CreateStream": {"set": {}}}},
    ],
)
def test_a_change_without_a_reason_is_refused(tmp_path: Path, changes: object) -> None:
    with pytest.raises(ValueError, match="reason"):
        changed(tmp_path, changes)


def test_services_by_what_the_wire_says() -> None:
    assert models.by_target("DynamoDB_20120810.GetItem") == ("dynamodb", "GetItem")
    assert models.by_target("DynamoDBStreams_20120810.GetRecords") == ("dynamodbstreams", "GetRecords")
    assert models.by_target("Nothing.Here") is None
    assert models.by_target("") is None
    assert models.by_signing_name("dynamodb") == "dynamodb"
    assert models.by_signing_name("monitoring") == "cloudwatch"
    assert models.by_signing_name("s3express") == "s3"
    assert models.by_endpoint_prefix("streams.dynamodb") == "dynamodbstreams"
    assert models.by_endpoint_prefix("nothing") is None


def test_importing_it_loads_no_model_and_little_of_botocore() -> None:
    script = (
        "import sys, penstock.wire.codec, penstock.wire.uris, penstock.wire.models as m;"
        "loaded = [n for n in sys.modules if n.startswith('botocore')];"
        "assert 'botocore.model' not in loaded and 'urllib3' not in sys.modules, loaded;"
        "assert m.service.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
