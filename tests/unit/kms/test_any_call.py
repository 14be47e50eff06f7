"""Every operation on keys of every kind and state, with parameters that fit and that do not: no answer but AWS's."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from penstock.cli.up import node_of
from penstock.config import Settings
from penstock.core.operation import REGISTRY
from penstock.edge.chain import Chain
from penstock.wire import models
from protocol.test_any_operation import Maker, answer

KINDS = [
    {}, {"MultiRegion": True}, {"Origin": "EXTERNAL"}, {"Origin": "EXTERNAL", "KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"},
    {"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"}, {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"},
    {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}, {"KeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT"},
    {"KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": "SIGN_VERIFY"},
    {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
]  # fmt: skip
SLOW = ("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "GetParametersForImport")
"""RSA keys take a while to make: these get a turn now and then."""


class _Maker(Maker):
    """Names and ciphertexts that there are, besides those that there are not."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.keys: list[str] = []
        self.blobs: list[str] = []
        self.texts: dict[str, list[str]] = {}

    def value(self, model: models.ServiceModel, shape: models.Shape, depth: int = 0) -> Any:
        chance, pick = self.random.random(), self.random.choice
        if chance < 0.85:
            if shape.name == "KeyIdType":
                return pick([*self.keys, *self.keys, "alias/mine", "alias/aws/s3"])
            if shape.name == "AliasNameType":
                return pick(["alias/mine", "alias/other"])
            if shape.name in ("CiphertextType", "PlaintextType", "PublicKeyType"):
                return pick(self.blobs)
            if shape.name == "PrincipalIdType":
                return "arn:aws:iam::000000000000:user/u"
            if shape.name in self.texts:
                return pick(self.texts[shape.name])
            if shape.name == "RegionType":
                return pick(["eu-west-1", "us-east-1"])
            if shape.name == "PendingWindowInDaysType":
                return 7
            if shape.name == "BooleanType":
                return False
        return super().value(model, shape, depth)


async def rounds(data: Path, count: int, seed: int) -> Counter[str]:
    """The operations that were answered with success, and how often."""
    make = _Maker(seed)
    failed: list[tuple[str, str, str]] = []
    done: Counter[str] = Counter()
    async with node_of(Settings(data=str(data), store="memory://")) as node:
        chain = Chain(node)

        async def ask(operation: str, body: bytes) -> dict[str, Any]:
            headers = {"X-Amz-Target": f"TrentService.{operation}", "Content-Type": "application/x-amz-json-1.1"}
            response = await answer(chain, "kms", "POST", "/", body, headers)
            if response.status >= 500 and response.status != 501:
                failed.append((operation, body.decode(errors="replace")[:600], str(response.body)[:200]))
            if response.status == 200:
                done[operation] += 1
            return json.loads(response.body or b"{}") if response.status == 200 else {}

        for kind in KINDS:
            make.keys.append((await ask("CreateKey", json.dumps(kind).encode()))["KeyMetadata"]["KeyId"])
        await ask("CreateAlias", json.dumps({"AliasName": "alias/mine", "TargetKeyId": make.keys[0]}).encode())
        make.blobs = [base64.b64encode(b).decode() for b in (b"", b"x" * 32, b"x" * 60, b"\x01" * 80)]
        operations = sorted(name for service, name in REGISTRY if service == "kms")
        for _ in range(count):
            for operation in operations:
                if operation in SLOW and make.random.random() < 0.9:
                    continue
                _, _, body, _ = make.request("kms", operation)
                given = await ask(operation, body)
                make.blobs += [
                    v for k, v in given.items() if k in ("CiphertextBlob", "Signature", "PublicKey", "ImportToken")
                ]
                for name, shape in (("GrantId", "GrantIdType"), ("GrantToken", "GrantTokenType")):
                    make.texts.setdefault(shape, ["x"]).extend([given[name]] if name in given else [])
    assert not failed
    return done


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
async def test_rounds(tmp_path: Path, seed: int) -> None:
    done = await rounds(tmp_path, 15 if seed == 1 else 60, seed)
    assert len(done) > 20, done
