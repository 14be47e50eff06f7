"""What the store holds of functions, versions and aliases, and how a reference to one of them is followed."""

from __future__ import annotations

import datetime
import hashlib
import random
import uuid
from typing import Any

import msgspec

from penstock.core.operation import Params, Result
from penstock.services.lambda_ import keys, rules
from penstock.services.lambda_.packages import Package
from penstock.store import Transaction
from penstock.store.chunked import clear_large_range
from penstock.wire.errors import AwsError

LATEST = "$LATEST"
_DECODED_MAX = 4096


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """Environment variables as they are kept, see `variables`. key_arn: of the KMS key, "" for the master key."""

    key_arn: str
    box: bytes


class LayerUse(msgspec.Struct, frozen=True, array_like=True):
    """A layer version that a function uses, with its package: the layer itself may be gone by now."""

    arn: str
    package: Package


class ImageConfig(msgspec.Struct, frozen=True, array_like=True):
    """What a function has another of than its container image says; empty: the image's."""

    entry_point: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_directory: str = ""


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function's record, or a published version's. Times in seconds since the epoch, sizes as AWS counts them."""

    name: str
    account: str
    region: str
    runtime: str
    role: str
    handler: str
    package: Package
    revision: str
    modified_at: float
    made_at: float = 0.0
    """When it was created, or published by the call that changed its code; 0 for other versions: see `states`."""
    incarnation: str
    """Differs between a function and a later one of the same name: environments of one never serve the other."""
    build: str = ""
    """Changes with code and configuration, unlike `revision` with nothing else: environments are of one build."""
    version: str = LATEST
    fingerprint: str = ""
    """Of a version: what $LATEST was like when it was published."""
    description: str = ""
    timeout_s: int = 3
    memory_mb: int = 128
    ephemeral_mb: int = 512
    environment: Sealed | None = None
    tags: dict[str, str] = {}
    log_group: str = ""
    log_format: str = "Text"
    application_level: str = ""
    system_level: str = ""
    runtime_updates: str = "Auto"
    update_status: str = "Successful"
    tracing: str = "PassThrough"
    dead_letter: str = ""
    layers: tuple[LayerUse, ...] = ()
    reserved: int | None = None
    """Of $LATEST only, for all versions together: concurrency that is the function's alone."""
    recursion: str = "Terminate"
    image_config: ImageConfig | None = None
    snap_start: bool = False
    """Whether versions' environments are forks of an initialised one."""

    @property
    def key(self) -> str:
        """Of its environments: another version's, or another build's, never serve it."""
        return f"{self.incarnation}/{self.version}/{self.build}"

    @property
    def snaps(self) -> bool:
        """Whether this is a version with SnapStart: $LATEST never is one."""
        return self.snap_start and self.version != LATEST

    @property
    def arn(self) -> str:
        """Without a qualifier."""
        return rules.arn_of(self.account, self.region, self.name)

    @property
    def qualified_arn(self) -> str:
        """With the version."""
        return rules.arn_of(self.account, self.region, self.name, self.version)


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """An alias: a name for a version. weights: of the further version, the share of invocations it takes (0 to 1)."""

    name: str
    version: str
    revision: str
    description: str = ""
    weights: dict[str, float] = {}

    def pick(self) -> str:
        """The version that the next invocation is for."""
        for version, weight in self.weights.items():
            if random.random() < weight:
                return version
        return self.version


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Function).decode
decode_alias = msgspec.msgpack.Decoder(Alias).decode
_decoded: dict[bytes, Function] = {}


def read(
    txn: Transaction, account: str, region: str, name: str, qualifier: str = "", *, to_run: bool = False
) -> Function:
    """The function, or the version or alias of it that `qualifier` names. Raises ResourceNotFoundException.

    to_run: an alias stands for the version that the next invocation is for, else always for its first one.
    """
    raw = txn.get(keys.function(account, region, name))
    if raw is None:
        raise rules.not_found(rules.arn_of(account, region, name, qualifier))
    if qualifier in ("", LATEST):
        return _known(raw)
    version = qualifier
    if not qualifier.isdecimal():
        found = txn.get(keys.of(account, region, name, "alias", qualifier))
        if found is None:
            raise rules.not_found(rules.arn_of(account, region, name, qualifier))
        alias = decode_alias(found)
        version = alias.pick() if to_run else alias.version
        if version == LATEST:
            return _known(raw)
    raw = txn.get(keys.version(account, region, name, int(version)))
    if raw is None:
        raise rules.not_found(rules.arn_of(account, region, name, qualifier))
    return _known(raw)


def _known(raw: bytes) -> Function:
    # Cached by content: the same bytes are the same function on every node.
    known = _decoded.get(raw)
    if known is None:
        if len(_decoded) > _DECODED_MAX:
            _decoded.clear()
        known = _decoded[raw] = decode(raw)
    return known


def read_alias(txn: Transaction, account: str, region: str, name: str, alias: str) -> Alias | None:
    """The alias, None where there is none."""
    raw = txn.get(keys.of(account, region, name, "alias", alias))
    return None if raw is None else decode_alias(raw)


def aliases(txn: Transaction, account: str, region: str, name: str) -> list[Alias]:
    """All aliases of a function, by name."""
    return [decode_alias(raw) for _, raw in txn.scan(*keys.every_of(account, region, name, "alias"))]


def write_alias(txn: Transaction, account: str, region: str, name: str, alias: Alias) -> None:
    """Write the record."""
    txn.set(keys.of(account, region, name, "alias", alias.name), _encode(alias))


def versions(txn: Transaction, account: str, region: str, name: str, after: int = 0) -> list[Function]:
    """The published versions of a function, oldest first; those after a number."""
    begin, end = keys.every_of(account, region, name, "version")
    if after:
        begin = keys.version(account, region, name, after) + b"\0"
    return [decode(raw) for _, raw in txn.scan(begin, end)]


def write(txn: Transaction, function: Function) -> None:
    """Write the record of $LATEST or of a version."""
    where = function.account, function.region, function.name
    if function.version == LATEST:
        txn.set(keys.function(*where), _encode(function))
    else:
        txn.set(keys.version(*where, int(function.version)), _encode(function))


def clear_qualifier(txn: Transaction, account: str, region: str, name: str, qualifier: str) -> None:
    """Remove what a version or alias that goes had of its own."""
    _clear_url(txn, keys.of(account, region, name, "url", qualifier))
    txn.clear(keys.provisioned(account, region, name, qualifier))
    txn.add(keys.PROVISIONED_WAKE, 1)
    for kind in keys.QUALIFIED:
        txn.clear(keys.of(account, region, name, kind, qualifier))


def clear_all(txn: Transaction, account: str, region: str, name: str) -> None:
    """Remove everything that goes with a function, itself included; packages are the caller's to release."""
    for key, _ in txn.scan(*keys.every_of(account, region, name, "url")):
        _clear_url(txn, key)
    txn.clear(keys.function(account, region, name))
    txn.clear(keys.policy(account, region, name))
    txn.clear(*keys.all_of(account, region, name))
    txn.clear(*keys.provisioned_of(account, region, name))
    clear_large_range(txn, *keys.test_events_of(account, region, name))
    txn.add(keys.PROVISIONED_WAKE, 1)


def _clear_url(txn: Transaction, key: bytes) -> None:
    raw = txn.get(key)
    if raw is not None:
        txn.clear(keys.url(msgspec.msgpack.decode(raw)["id"]))


def changed(function: Function, now: float, **changes: Any) -> Function:
    """$LATEST as an update at `now` leaves it."""
    return msgspec.structs.replace(
        function, **changes, revision=new_revision(), build=uuid.uuid4().hex, modified_at=now
    )


def timestamp(at: float) -> str:
    """A time as Lambda writes it."""
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}+0000"


def new_revision() -> str:
    """A RevisionId."""
    return str(uuid.uuid4())


def fingerprint(function: Function) -> str:
    """The same for two states of $LATEST that would make the same version."""
    content = msgspec.structs.replace(
        function,
        revision="",
        build="",
        modified_at=0.0,
        made_at=0.0,
        version="",
        fingerprint="",
        tags={},
        update_status="",
        reserved=None,
        recursion="",
    )
    return hashlib.sha256(_encode(content)).hexdigest()[:32]


def check_revision(revision: str, params: Params) -> None:
    """Raises PreconditionFailedException where RevisionId is given and is not the current one."""
    if params.get("RevisionId", revision) != revision:
        raise AwsError(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to "
            "retrieve the latest Revision Id",
            412,
            members={"Type": "User"},
        )


def listed(function: Function, arn: str = "") -> Result:
    """The FunctionConfiguration document as lists have it: without states. arn: as the caller named the function."""
    result: Result = {
        "FunctionName": function.name,
        "FunctionArn": arn or function.arn,
        "Role": function.role,
        "CodeSize": function.package.shown_bytes,
        "Description": function.description,
        "Timeout": function.timeout_s,
        "MemorySize": function.memory_mb,
        "LastModified": timestamp(function.modified_at),
        "CodeSha256": function.package.sha256,
        "Version": function.version,
        "TracingConfig": {"Mode": function.tracing},
        "RevisionId": function.revision,
        "PackageType": "Zip" if function.package.image is None else "Image",
        "Architectures": [rules.ARCHITECTURE],
        "EphemeralStorage": {"Size": function.ephemeral_mb},
        "SnapStart": {
            "ApplyOn": "PublishedVersions" if function.snap_start else "None",
            "OptimizationStatus": "On" if function.snaps else "Off",
        },
        "LoggingConfig": logging(function),
    }
    if function.package.image is None:
        result |= {"Runtime": function.runtime, "Handler": function.handler}
    elif function.image_config is not None:
        result["ImageConfigResponse"] = {"ImageConfig": _image_config(function.image_config)}
    if function.layers:
        result["Layers"] = [{"Arn": layer.arn, "CodeSize": layer.package.size_bytes} for layer in function.layers]
    if function.dead_letter:
        result["DeadLetterConfig"] = {"TargetArn": function.dead_letter}
    return result


def _image_config(config: ImageConfig) -> Result:
    members = {
        "EntryPoint": list(config.entry_point), "Command": list(config.command),
        "WorkingDirectory": config.working_directory,
    }  # fmt: skip
    return {name: value for name, value in members.items() if value}


def configuration(function: Function, arn: str = "") -> Result:
    """The FunctionConfiguration document of a function that is ready."""
    result = listed(function, arn)
    result["State"] = "Active"
    result["LastUpdateStatus"] = function.update_status
    if function.package.image is None:
        result["RuntimeVersionConfig"] = {"RuntimeVersionArn": runtime_version_arn(function)}
    return result


def runtime_version_arn(function: Function) -> str:
    """Names the runtime's version: here there is one of each runtime, the host's."""
    digest = hashlib.sha256(function.runtime.encode()).hexdigest()
    return f"arn:aws:lambda:{function.region}::runtime:{digest}"


def logging(function: Function) -> Result:
    """The LoggingConfig document."""
    result: Result = {"LogFormat": function.log_format, "LogGroup": log_group(function)}
    if function.log_format == "JSON":
        result |= {"ApplicationLogLevel": function.application_level, "SystemLogLevel": function.system_level}
    return result


def log_group(function: Function) -> str:
    """The group that the function's output goes to."""
    return function.log_group or f"/aws/lambda/{function.name}"
