"""The fast reader of JSON against the careful one: where it answers, it answers the same."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import peer
from penstock.wire import catalog, constraints, json_in, json_typed, models
from penstock.wire.errors import AwsError

SERVICES = [entry.name for entry in catalog.ENTRIES if "json" in entry.protocols and entry.name != "glue"]
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, 10**30, 2**63, -(2**63) - 1, "", "a", "é" * 300, "x" * 100_000, "=", "YWI=", "YWI",
    [], [None], ["a"], {}, {"a": None}, {"S": "x"}, 1e308, "NaN", "2020-01-01T00:00:00Z",
]  # fmt: skip


def _careful(model: models.ServiceModel, shape: models.Shape, body: bytes) -> Any:
    value = json_in.JsonReader(model).shape(shape)(json_in.decode(body))
    check = constraints.check(model, shape)
    if check is not None and not check(value):
        raise constraints.violations(model, shape, value)
    return value


def _mutated(value: Any, chance: random.Random) -> Any:
    """The document with one thing in it replaced by something strange."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _mutated(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], _mutated(value[at], chance), *value[at + 1 :]]
    return chance.choice(STRANGE)


@pytest.mark.parametrize("service", SERVICES)
def test_same_as_the_careful_reader(service: str) -> None:
    model = peer.ours(service)
    botocore_model = peer.service_model(service)
    answered = 0
    for name in model.operations:
        shape = model.input_shape(name)
        decoder = json_typed.decoder(model, shape) if shape else None
        if shape is None or decoder is None:
            continue
        operation = botocore_model.operation_model(name)
        params = peer.Values(len(name)).of(operation.input_shape)
        document = json.loads(peer.request(operation, "json", params).body)
        chance = random.Random(name)
        for changed in (document, *(_mutated(document, chance) for _ in range(20))):
            body = json.dumps(changed).encode()
            try:
                fast = decoder.decode(body)
            except Exception:
                continue
            answered += 1
            assert fast == _careful(model, shape, body), (name, changed)
    assert answered > 10


@pytest.mark.parametrize("service", SERVICES)
def test_broken_constraints_are_always_worded(service: str) -> None:
    """Where the predicate says no, the wording finds the reason; where it says yes, there is none."""
    model = peer.ours(service)
    botocore_model = peer.service_model(service)
    for name in model.operations:
        shape = model.input_shape(name)
        if shape is None:
            continue
        operation = botocore_model.operation_model(name)
        document = json.loads(peer.request(operation, "json", peer.Values(1).of(operation.input_shape)).body)
        chance = random.Random(name)
        for _ in range(20):
            try:
                value = json_in.JsonReader(model).shape(shape)(_mutated(document, chance))
            except AwsError as refused:
                assert refused.code == "SerializationException"
                continue
            check = constraints.check(model, shape)
            keeps = check is None or check(value)
            said = constraints.violations(model, shape, value).message
            assert keeps == said.startswith("0 validation error "), (name, value, said)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=100)
@given(st.one_of(st.binary(), JSON.map(lambda v: json.dumps(v).encode())))
def test_any_bytes_get_an_answer(body: bytes) -> None:
    model = models.service("kinesis")
    shape = model.shapes["PutRecordsInput"]
    try:
        _careful(model, shape, body)
    except AwsError as refused:
        assert refused.code in ("SerializationException", "ValidationException")
