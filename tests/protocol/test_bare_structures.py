"""Every structure that a request may hold, once with nothing in it but what the model requires: no failure of ours.

What a model leaves optional, AWS's documentation often calls required, and so does who writes the code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maker import SETTING_UP, Maker
from penstock.cli.up import node_of
from penstock.config import Settings
from penstock.core.operation import REGISTRY
from penstock.edge.chain import Chain
from penstock.wire import models
from protocol.test_any_operation import answer

MOST_DEEP = 7


class Bare(Maker):
    """Requests with what is required and no more, but for the way down that is asked for."""

    def __init__(self) -> None:
        super().__init__(1)
        self.way: tuple[str, ...] = ()

    def value(self, model: models.ServiceModel, shape: models.Shape, depth: int = 0) -> Any:
        return self._bare(model, shape, self.way, "")

    def damaged(self, body: bytes) -> bytes:
        return body

    def _bare(self, model: models.ServiceModel, shape: models.Shape, way: tuple[str, ...], name: str) -> Any:
        match shape.type:
            case "structure":
                return {
                    member: self._bare(model, model.shapes[at.shape], way[1:] if way[:1] == (member,) else (), member)
                    for member, at in shape.members.items()
                    if member in shape.required or way[:1] == (member,)
                }
            case "list":
                assert shape.member
                return [self._bare(model, model.shapes[shape.member.shape], way, name)]
            case "map":
                assert shape.value
                return {"k": self._bare(model, model.shapes[shape.value.shape], way, name)}
            case "string":
                return self.named.get(name, [shape.enum[0] if shape.enum else "a" * max(1, int(shape.min or 1))])[0]
            case "boolean":
                return True
            case "blob":
                return self.named.get(name, ["AAAA"])[0]
            case _:
                return max(1, int(shape.min or 1))


def ways(model: models.ServiceModel, shape: models.Shape, seen: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The way to each structure at or below a shape: names of members."""
    if len(seen) > MOST_DEEP or shape.name in seen:
        return
    match shape.type:
        case "list" if shape.member:
            yield from ways(model, model.shapes[shape.member.shape], seen)
        case "map" if shape.value:
            yield from ways(model, model.shapes[shape.value.shape], seen)
        case "structure":
            yield ()
            for name, member in shape.members.items():
                inner = ways(model, model.shapes[member.shape], (*seen, shape.name))
                yield from ((name, *way) for way in inner)


@pytest.mark.timeout(120)
async def test_bare_structures(tmp_path: Path) -> None:
    maker = Bare()
    failed: Counter[tuple[str, str]] = Counter()
    answered: Counter[int] = Counter()
    async with node_of(Settings(data=str(tmp_path), store="memory://")) as node:
        chain = Chain(node)
        for step in SETTING_UP:
            made = await answer(chain, *step)
            assert made.status < 300
            maker.learn(step[0], bytes(made.body))
        for service, operation in sorted(REGISTRY):
            model = models.service(service)
            shape = model.input_shape(operation)
            for maker.way in ways(model, shape) if shape else [()]:
                sent = maker.request(service, operation)
                status = (await answer(chain, service, *sent)).status
                answered[status] += 1
                if status >= 500 and status != 501:
                    failed[f"{service}:{operation} {'.'.join(maker.way)}", repr(sent)[:500]] += 1
    assert not failed
    assert answered[200] > 100, answered
