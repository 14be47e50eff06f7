"""Invocations: an event handed to a function, now or later."""

from __future__ import annotations

import asyncio
import base64
import logging
import zipfile
from functools import partial
from typing import Any

import msgspec

from penstock.blobs.api import BlobMissing
from penstock.core import identity
from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.operation import Params, Result, operation
from penstock.runtime.api import Credentials, FunctionSpec, Invocation, Outcome, RuntimeUnsupported, TooManyEnvironments
from penstock.runtime.streams import ResponseStream
from penstock.services.lambda_ import (
    access,
    events,
    images,
    keys,
    metrics,
    records,
    recursion,
    rules,
    states,
    variables,
)
from penstock.services.lambda_.access import Target
from penstock.services.lambda_.concurrency import Gate
from penstock.services.lambda_.pace import throttled
from penstock.services.lambda_.packages import PackageFolders
from penstock.services.lambda_.records import Function
from penstock.store import Transaction
from penstock.wire.errors import AwsError
from penstock.wire.message import BodyStream

log = logging.getLogger(__name__)

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html#function-configuration-deployment-and-execution
SYNC_PAYLOAD_BYTES_MAX = 6_291_456
ASYNC_PAYLOAD_BYTES_MAX = 1_048_576
LOG_TAIL_BYTES = 4096
CREDENTIAL_DURATION_S = 3600 * 12
CREDENTIAL_MARGIN_S = 3600

_check_json = msgspec.json.Decoder(msgspec.Raw).decode


@operation(
    "lambda:Invoke",
    action="lambda:InvokeFunction",
    resource=rules.resource,
    policy=access.load_target,
    unsupported={"DurableExecutionName": (), "TenantId": ()},
)
async def invoke(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html"""
    kind = params.get("InvocationType", "RequestResponse")
    payload = await checked_payload(
        params.get("Payload", b""), ASYNC_PAYLOAD_BYTES_MAX if kind == "Event" else SYNC_PAYLOAD_BYTES_MAX
    )
    target = call.seen
    if not isinstance(target, Target):
        raise target
    states.check_active(call.node, target.function)
    if kind == "Event":
        context = params.get("ClientContext", "")
        await call.store.transact(
            lambda txn: events.put(txn, target, call.request_id, payload, context, call.now, call.trace)
        )
        _received(call, target)
        return {"StatusCode": 202, "Payload": b""}
    if kind == "DryRun":
        return {"StatusCode": 204, "Payload": b""}
    outcome = await run(call.node, target, call.request_id, payload, params.get("ClientContext", ""), trace=call.trace)
    result: dict[str, Any] = {
        "StatusCode": 200, "ExecutedVersion": target.function.version, "Payload": outcome.payload
    }  # fmt: skip
    if outcome.error:
        result["FunctionError"] = outcome.error
    if params.get("LogType") == "Tail":
        result["LogResult"] = base64.b64encode(outcome.log[-LOG_TAIL_BYTES:]).decode()
    return result


@operation("lambda:InvokeAsync", resource=rules.resource, policy=access.load_target)
async def invoke_async(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_InvokeAsync.html: the old way to say InvocationType=Event."""
    payload = await checked_payload(params["InvokeArgs"], ASYNC_PAYLOAD_BYTES_MAX)
    target = call.seen
    if not isinstance(target, Target):
        raise target
    await call.store.transact(lambda txn: events.put(txn, target, call.request_id, payload, "", call.now, call.trace))
    _received(call, target)
    return {"Status": 202}


def _received(call: Call, target: Target) -> None:
    function = target.function
    metrics.count(call.node, "async_events_received_total", function.account, function.region, function.name)


async def run(
    node: Node, target: Target, request_id: str, payload: bytes, client_context: str = "", *, trace: str = "",
    stream: ResponseStream | None = None,
) -> Outcome:  # fmt: skip
    """Run one event now. trace: the X-Amzn-Trace-Id that came with it. stream: takes a response that is streamed.

    Raises AwsError TooManyRequestsException, RecursiveInvocationException, InvalidRuntimeException.
    """
    function = target.function
    ready = node.own(Ready)
    states.check_active(node, function)
    trace, rounds = recursion.step(trace, function, node.clock.now())
    recursion.check(target.latest, rounds)
    spec = await ready.spec(function)
    where = function.account, function.region, function.name
    try:
        with ready.gate.enter(target) as running:
            outcome = await node.runtime.invoke(
                spec,
                Invocation(request_id, payload, target.arn, client_context, trace_id=trace, stream=stream),
                await ready.credentials(function, running),
            )
    except TooManyEnvironments:
        metrics.count(node, "throttles_total", *where)
        raise throttled("ConcurrentInvocationLimitExceeded") from None
    except RuntimeUnsupported as error:
        raise AwsError("InvalidRuntimeException", str(error), 502, members={"Type": "User"}) from None
    except AwsError as error:
        if error.code == "TooManyRequestsException":
            metrics.count(node, "throttles_total", *where)
        raise
    metrics.ran(node, function, outcome)
    return outcome


class Ready:
    """What this process has at hand to run functions: their specs (by revision) and their roles' credentials."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.gate = Gate(node)
        self._folders = node.own(PackageFolders)
        self._specs: dict[tuple[str, str], FunctionSpec] = {}
        self._credentials: dict[tuple[str, str, int], Credentials] = {}
        self._prepared: set[asyncio.Future[None]] = set()
        self.principals: dict[str, identity.Principal] = {}
        """Who a function acts as, by the function's ARN."""

    async def spec(self, function: Function) -> FunctionSpec:
        """The function as the runtime wants it. An older revision's environments are retired."""
        key = (function.arn, function.version)
        spec = self._specs.get(key)
        if spec is not None and spec.key == function.key:
            return spec
        image = images.run(function)
        plain = await self._variables(function)
        code = await self._folders.folder(function.package)
        layers = tuple([await self._folders.folder(layer.package) for layer in function.layers])
        if spec is not None:
            await self._node.runtime.retire(spec.key)
        if len(self._specs) > 10_000:
            self._specs.clear()
        spec = self._specs[key] = FunctionSpec(
            key=function.key, arn=function.arn, name=function.name, version=function.version, handler=function.handler,
            runtime=images.RUNS_AS if image else function.runtime, image=image, code=code, layers=layers,
            reload=bool(function.package.folder), snap_start=function.snaps,
            timeout_s=function.timeout_s, memory_mb=function.memory_mb,
            ephemeral_mb=function.ephemeral_mb, log_group=records.log_group(function), log_format=function.log_format,
            system_level=function.system_level or "INFO",
            environment={**plain, "AWS_REGION": function.region, "AWS_DEFAULT_REGION": function.region},
        )  # fmt: skip
        return spec

    async def _variables(self, function: Function) -> dict[str, str]:
        """What the function's environments have for variables. Raises AwsError as AWS does where KMS says no."""
        plain: dict[str, str] = {}
        if function.environment is not None:
            role = await self.principal(function)
            try:
                plain = await variables.opened(self._node, function, role)
            except AwsError as error:
                raise variables.failure(error) from error
        if function.log_format == "JSON":
            plain = {**plain, "AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": function.application_level}
        return plain

    async def principal(self, function: Function) -> identity.Principal:
        """Who a function acts as. Where its role has no record there is nothing to hold it to: its account."""
        await self.credentials(function)
        role = self.principals[function.arn]
        if (await self._node.directory.identity(role)).missing:
            return identity.root(role.account)
        return role

    async def tidy(self) -> int:
        """Forget functions that are gone or have changed, end their environments, and remove folders that nobody uses.

        Returns how many folders were removed.
        """
        deleted: list[FunctionSpec] = []
        for place, spec in list(self._specs.items()):
            is_there, is_current = await self._node.store.transact(partial(_is_current, spec), read_only=True)
            if not is_current:
                if self._specs.get(place) is spec:
                    del self._specs[place]
                await self._node.runtime.retire(spec.key)
            if not is_there:
                deleted.append(spec)
        if deleted:
            metrics.forget(self._node, deleted)
        known = {arn for arn, _ in self._specs}
        self.principals = {arn: who for arn, who in self.principals.items() if arn in known}
        self._credentials = {key: made for key, made in self._credentials.items() if key[1] in known}
        specs = self._specs.values()
        return await self._folders.sweep({path for spec in specs for path in (spec.code, *spec.layers)})

    def prepare(self, function: Function) -> None:
        """Do ahead, behind the call that made it, what the first invocation would wait for.

        A function's code is unpacked; a version with SnapStart is initialised.
        """
        task = asyncio.ensure_future(self._snapshot(function) if function.snaps else self._unpack(function))
        self._prepared.add(task)
        task.add_done_callback(self._prepared.discard)

    async def _unpack(self, function: Function) -> None:
        try:
            for package in (function.package, *(layer.package for layer in function.layers)):
                await self._folders.folder(package)
        except (BlobMissing, OSError, zipfile.BadZipFile) as error:  # deleted meanwhile; else who invokes it is told
            log.info("the code of %s could not be unpacked ahead: %s", function.name, error)

    async def _snapshot(self, function: Function) -> None:
        try:
            reason = await self._node.runtime.snapshot(await self.spec(function), await self.credentials(function))
        except Exception as error:
            reason = str(error)
        if reason:
            log.warning("version %s of %s has no snapshot: %s", function.version, function.name, reason)

    async def credentials(self, function: Function, running: int = 1) -> Credentials:
        """Temporary credentials of the function's role, used again until an hour before they expire.

        running: how many invocations are under way, this one included. Environments that are made side by side so have keys
        of their own, as on AWS.
        """
        key = (function.role, function.arn, running)
        known = self._credentials.get(key)
        if known is not None and known.expires_at - CREDENTIAL_MARGIN_S > self._node.clock.now():
            return known
        made = await self._node.directory.role_credential(
            function.role, _session_name(function), CREDENTIAL_DURATION_S, "lambda.amazonaws.com",
            {"lambda:SourceFunctionArn": function.arn},
        )  # fmt: skip
        if len(self._credentials) > 10_000:
            self._credentials.clear()
        self.principals[function.arn] = made.principal
        known = self._credentials[key] = Credentials(
            made.access_key_id, made.secret, made.session_token, made.expires_at
        )
        return known


def _is_current(spec: FunctionSpec, txn: Transaction) -> tuple[bool, bool]:
    """Whether there is a function of that name, and whether the version is still what the spec says."""
    _, _, _, region, account, *_ = spec.arn.split(":")
    if txn.get(keys.function(account, region, spec.name)) is None:
        return False, False
    try:
        return True, records.read(txn, account, region, spec.name, spec.version).key == spec.key
    except AwsError:
        return True, False


def _session_name(function: Function) -> str:
    """A session's name has two characters at least; AWS makes a single one longer so."""
    return function.name if len(function.name) > 1 else f"{function.name}@lambda_function"


async def checked_payload(body: bytes | BodyStream, bytes_max: int) -> bytes:
    if not isinstance(body, bytes):
        pieces = bytearray()
        async for piece in body:
            pieces += piece
            if len(pieces) > bytes_max:
                break
        body = bytes(pieces)
    if len(body) > bytes_max:
        raise AwsError(
            "RequestTooLargeException",
            f"Request must be smaller than {bytes_max} bytes for the InvokeFunction operation", 413,
            members={"Type": "User"},
        )  # fmt: skip
    if not body:
        return b"{}"
    try:
        _check_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AwsError(
            "InvalidRequestContentException", f"Could not parse request body into json: {error}", 400,
            members={"Type": "User"},
        ) from None  # fmt: skip
    return body
