"""Every registered operation with parameters made from its model: right, wrong and absurd, whole and damaged.

Whatever comes, the answer is AWS's: never an internal failure, never a hang. More rounds with `script/test --all`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from maker import SETTING_UP, Maker
from penstock.cli.up import node_of
from penstock.config import Settings
from penstock.core.operation import REGISTRY
from penstock.edge.chain import Chain
from penstock.wire import models
from penstock.wire.message import Request, Response

HOST = "127.0.0.1:4566"


async def answer(
    chain: Chain, service: str, method: str, target: str, body: bytes, headers: dict[str, str]
) -> Response:
    """The chain's answer to a signed request, its stream taken."""
    request = AWSRequest(method=method, url=f"http://{HOST}{target}", data=body, headers=headers)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(Credentials("test", "test"), models.service(service).signing_name, "us-east-1").add_auth(request)
    given = {name.lower(): v.decode() if isinstance(v, bytes) else str(v) for name, v in request.headers.items()}
    path, _, query = target.partition("?")
    asked = Request(method, path, query, {"host": HOST, **given}, body, peer="127.0.0.1")
    response = await asyncio.wait_for(chain(asked), 10)
    if response.stream is not None:
        async for _ in response.stream:
            pass
    return response


async def rounds(data: Path, count: int, seed: int) -> None:
    make = Maker(seed)
    failed: Counter[tuple[str, str]] = Counter()
    async with node_of(Settings(data=str(data), store="memory://")) as node:
        chain = Chain(node)
        for step in SETTING_UP:
            made = await answer(chain, *step)
            assert made.status < 300
            make.learn(step[0], bytes(made.body))
        for _ in range(count):
            for service, operation in sorted(REGISTRY):
                sent = make.request(service, operation)
                response = await answer(chain, service, *sent)
                if response.status >= 500 and response.status != 501:
                    failed[f"{service}:{operation}", repr(sent)[:500]] += 1
    assert not failed


async def test_a_few_rounds(tmp_path: Path) -> None:
    await rounds(tmp_path, 3, 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
async def test_many_rounds(tmp_path: Path, seed: int) -> None:
    await rounds(tmp_path, 130, seed)
