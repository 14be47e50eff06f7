"""Layers: packages that functions share. A function keeps what it uses, whatever becomes of the layer.

https://docs.aws.amazon.com/lambda/latest/dg/chapter-layers.html. Who may use a version is in `layer_permissions`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from penstock.core import paging
from penstock.core.authz import require
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import downloads, keys, packages, records, rules, storage
from penstock.services.lambda_.packages import Package
from penstock.services.lambda_.records import LayerUse
from penstock.services.lambda_.rules import Where
from penstock.store import Transaction

PAGE = 50
USED_MAX = 5
ARN = re.compile(
    r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)"
    r"|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)"
)
_NAME = re.compile(
    r"(?:arn:aws[a-zA-Z-]*:lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):layer:)?(?P<name>[a-zA-Z0-9-_]+)"
    r"(?::(?P<version>[0-9]+))?"
)


class LayerVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a layer. None: the publisher did not say."""

    account: str
    region: str
    name: str
    version: int
    package: Package
    created_at: float
    description: str = ""
    license: str = ""
    runtimes: list[str] | None = None
    architectures: list[str] | None = None

    @property
    def layer_arn(self) -> str:
        return arn_of(self.account, self.region, self.name)

    @property
    def arn(self) -> str:
        return f"{self.layer_arn}:{self.version}"


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(LayerVersion).decode


def arn_of(account: str, region: str, name: str) -> str:
    return f"arn:aws:lambda:{region}:{account}:layer:{name}"


def reference(call: Call, text: str) -> Where:
    """Account, region and name of a layer's name or ARN. Raises InvalidParameterValueException for another region's."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise rules.invalid(f"{text} is not a valid layer name or ARN")
    if (match["region"] or call.region) != call.region:
        raise rules.invalid(f"Layers are not in the same region as the request. Expected region {call.region}.")
    return match["account"] or call.account, call.region, match["name"]


def resource(call: Call, params: Params) -> str:
    """The ARN for policy evaluation, with the version where the call is about one."""
    text = params.get("Arn") or params["LayerName"]
    match = _NAME.fullmatch(text)
    if match is None:
        return str(text)
    version = match["version"] or params.get("VersionNumber")
    arn = arn_of(match["account"] or call.account, match["region"] or call.region, match["name"])
    return f"{arn}:{version}" if version is not None else arn


def read(txn: Transaction, where: Where, version: int) -> LayerVersion | None:
    """The version, None where there is none."""
    raw = txn.get(keys.layer_version(*where, version))
    return None if raw is None else decode(raw)


def check_number(version: int) -> None:
    if version < 1:
        raise rules.invalid("Layer Version Cannot be less than 1")


def _item(layer: LayerVersion) -> Result:
    result: Result = {
        "LayerVersionArn": layer.arn,
        "Version": layer.version,
        "Description": layer.description,
        "CreatedDate": records.timestamp(layer.created_at),
    }
    if layer.license:
        result["LicenseInfo"] = layer.license
    if layer.runtimes is not None:
        result["CompatibleRuntimes"] = layer.runtimes
    if layer.architectures is not None:
        result["CompatibleArchitectures"] = layer.architectures
    return result


async def document(call: Call, layer: LayerVersion) -> Result:
    """What is said of one version, with a link to it."""
    return _item(layer) | {
        "LayerArn": layer.layer_arn,
        "Content": {
            "Location": await downloads.location(call, layer.package),
            "CodeSha256": layer.package.sha256,
            "CodeSize": layer.package.size_bytes,
        },
    }


@operation("lambda:PublishLayerVersion", resource=resource)
async def publish_layer_version(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_PublishLayerVersion.html"""
    where = reference(call, params["LayerName"])
    if where[0] != call.account:
        raise rules.invalid("A layer can only be published in the caller's own account.")
    wrong = []
    runtimes = params.get("CompatibleRuntimes", ())
    if not rules.RUNTIMES.issuperset(runtimes):
        wrong.append(_no_runtime(f"[{', '.join(runtimes)}]", "compatibleRuntimes", rules.RUNTIMES_NOW))
    if bad := rules.unknown_architecture(params.get("CompatibleArchitectures", ()), "compatibleArchitectures"):
        wrong.append(bad)
    if wrong:
        raise rules.broken(*wrong)
    package = await packages.store(call, await packages.body_of(call, params["Content"], "layer"))

    def body(txn: Transaction) -> LayerVersion:
        counter = keys.layer_versions_made(*where)
        version = int.from_bytes(txn.get(counter) or b"", "little") + 1
        layer = LayerVersion(
            account=where[0], region=where[1], name=where[2], version=version, package=package, created_at=call.now,
            description=params.get("Description", ""), license=params.get("LicenseInfo", ""),
            runtimes=params.get("CompatibleRuntimes"), architectures=params.get("CompatibleArchitectures"),
        )  # fmt: skip
        storage.hold(call, txn, where[0], where[1], package)
        txn.add(counter, 1)
        txn.set(keys.layer_version(*where, version), _encode(layer))
        return layer

    return await document(call, await call.store.transact(body))


def _no_runtime(value: str, where: str, known: tuple[str, ...]) -> str:
    return (
        f"Value '{value}' at '{where}' failed to satisfy constraint: Member must satisfy enum value set: "
        f"[{', '.join(known)}]"
    )


def _matches(layer: LayerVersion, params: Params) -> bool:
    runtime, architecture = params.get("CompatibleRuntime"), params.get("CompatibleArchitecture")
    if architecture is not None and architecture not in rules.ARCHITECTURES:
        raise rules.broken(
            f"Value '{architecture}' at 'compatibleArchitecture' failed to satisfy constraint: Member must satisfy enum "
            "value set: [x86_64, arm64]"
        )
    if runtime is not None and runtime not in rules.RUNTIMES:
        raise rules.broken(_no_runtime(runtime, "compatibleRuntime", rules.RUNTIMES_EVER))
    return (runtime is None or runtime in (layer.runtimes or ())) and (
        architecture is None or architecture in (layer.architectures or ())
    )


@operation("lambda:ListLayerVersions")
async def list_layer_versions(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_ListLayerVersions.html: the newest first."""
    where = reference(call, params["LayerName"])
    limit = min(params.get("MaxItems", PAGE), PAGE)
    scope = f"lambda:layer:{':'.join(where)}"
    before = int(rules.position(scope, params.get("Marker")) or 0)

    def body(txn: Transaction) -> list[LayerVersion]:
        found = [decode(raw) for _, raw in txn.scan(*keys.layer_versions(*where), reverse=True)]
        return [one for one in found if (not before or one.version < before) and _matches(one, params)]

    if where[0] != call.account:
        raise rules.denied_to_others("lambda:ListLayerVersions")
    found = await call.store.transact(body, read_only=True)
    result: Result = {"LayerVersions": [_item(layer) for layer in found[:limit]]}
    if len(found) > limit:
        result["NextMarker"] = paging.encode(scope, str(found[limit - 1].version))
    return result


@operation("lambda:ListLayers")
async def list_layers(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_ListLayers.html: each with the newest version that matches."""
    limit = min(params.get("MaxItems", PAGE), PAGE)
    scope = f"lambda:layers:{call.account}:{call.region}"
    after = rules.position(scope, params.get("Marker"))

    def body(txn: Transaction) -> dict[str, LayerVersion]:
        newest: dict[str, LayerVersion] = {}
        for _, raw in txn.scan(*keys.layers(call.account, call.region)):
            layer = decode(raw)
            if layer.name > after and _matches(layer, params):
                newest[layer.name] = layer
        return newest

    found = list((await call.store.transact(body, read_only=True)).values())
    result: Result = {
        "Layers": [
            {"LayerName": one.name, "LayerArn": one.layer_arn, "LatestMatchingVersion": _item(one)}
            for one in found[:limit]
        ]
    }
    if len(found) > limit:
        result["NextMarker"] = paging.encode(scope, found[limit - 1].name)
    return result


@operation("lambda:DeleteLayerVersion", resource=resource)
async def delete_layer_version(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_DeleteLayerVersion.html: functions keep what they use."""
    where = reference(call, params["LayerName"])
    check_number(params["VersionNumber"])
    if where[0] != call.account:
        raise rules.denied_to_others("lambda:DeleteLayerVersion")

    def body(txn: Transaction) -> None:
        layer = read(txn, where, params["VersionNumber"])
        if layer is not None:
            storage.drop(call, txn, where[0], where[1], layer.package)
            txn.clear(keys.layer_version(*where, layer.version))
            txn.clear(keys.layer_policy(*where, layer.version))

    await call.store.transact(body)
    return {}


async def used(call: Call, arns: list[str]) -> tuple[LayerUse, ...]:
    """The layers that a function asks for, in order; the caller may get each.

    Raises InvalidParameterValueException, AccessDeniedException.
    """
    if not all(ARN.fullmatch(arn) for arn in arns):
        raise rules.broken(
            f"Value '[{', '.join(arns)}]' at 'layers' failed to satisfy constraint: Member must satisfy constraint: [Member "
            "must have length less than or equal to 2048, Member must have length greater than or equal to 1, Member must "
            f"satisfy regular expression pattern: {ARN.pattern}, Member must not be null]"
        )
    if len(arns) > USED_MAX:
        raise rules.invalid(f"Cannot reference more than {USED_MAX} layers.")
    seen: dict[str, str] = {}
    for arn in arns:
        layer = arn.rpartition(":")[0]
        if layer in seen:
            raise rules.invalid(
                "Two different versions of the same layer are not allowed to be referenced in the same function. "
                f"{seen[layer]} and {arn} are versions of the same layer."
            )
        seen[layer] = arn
    return tuple([await _use(call, arn) for arn in arns])


async def _use(call: Call, arn: str) -> LayerUse:
    match = _NAME.fullmatch(arn)
    if match is None or match["version"] is None or match["account"] is None:
        raise rules.invalid(f"{arn} is not the ARN of a layer version")
    if match["region"] != call.region:
        raise rules.invalid(
            f"Layers are not in the same region as the function. Layers are expected to be in region {call.region}."
        )
    where = match["account"], call.region, match["name"]
    version = int(match["version"])

    def body(txn: Transaction) -> tuple[LayerVersion | None, Any]:
        raw = txn.get(keys.layer_policy(*where, version))
        return read(txn, where, version), None if raw is None else msgspec.json.decode(raw)["policy"]

    layer, policy = await call.store.transact(body, read_only=True)
    if layer is not None or where[0] != call.account:
        await require(call, {}, "lambda:GetLayerVersion", arn, owner=where[0], policy=policy)
    if layer is None:
        raise rules.invalid(f"Layer version {arn} does not exist.")
    return LayerUse(arn, layer.package)
