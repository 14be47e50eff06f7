"""Responses that reach the caller while the function still makes them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.runtime.api import Outcome
from penstock.runtime.streams import ResponseStream
from penstock.services.lambda_ import access, invocations, rules
from penstock.services.lambda_.access import Target

CHUNK_BYTES = 65536


@operation(
    "lambda:InvokeWithResponseStream",
    action="lambda:InvokeFunction",
    resource=rules.resource,
    policy=access.load_target,
    unsupported={"TenantId": ()},
)
async def invoke_with_response_stream(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html

    The answer begins with the function's first piece, or with its end where it streams nothing.
    """
    target = call.seen
    if not isinstance(target, Target):
        raise target
    payload = await invocations.checked_payload(params.get("Payload", b""), invocations.SYNC_PAYLOAD_BYTES_MAX)
    if params.get("InvocationType") == "DryRun":
        return {"StatusCode": 204}
    stream = ResponseStream()
    task = asyncio.ensure_future(
        invocations.run(
            call.node, target, call.request_id, payload, params.get("ClientContext", ""), trace=call.trace,
            stream=stream,
        )
    )  # fmt: skip
    begun = asyncio.ensure_future(stream.begun())
    try:
        await asyncio.wait((task, begun), return_when=asyncio.FIRST_COMPLETED)
    finally:
        begun.cancel()
    if task.done():
        task.result()  # what refuses an invocation is the call's own error
    return {
        "StatusCode": 200, "ExecutedVersion": target.function.version,
        "EventStream": _events(stream, task, tail=params.get("LogType") == "Tail"),
    }  # fmt: skip


async def _events(
    stream: ResponseStream, task: asyncio.Future[Outcome], *, tail: bool
) -> AsyncIterator[dict[str, dict[str, Any]]]:
    try:
        async for piece in stream:
            for at in range(0, len(piece), CHUNK_BYTES):
                yield {"PayloadChunk": {"Payload": piece[at : at + CHUNK_BYTES]}}
        outcome = await task
    finally:
        stream.abandon()
    end: dict[str, Any] = {}
    if outcome.error:
        end = {"ErrorCode": outcome.error, "ErrorDetails": outcome.payload.decode("utf-8", "replace")}
    else:
        for at in range(0, len(outcome.payload), CHUNK_BYTES):
            yield {"PayloadChunk": {"Payload": outcome.payload[at : at + CHUNK_BYTES]}}
    if tail:
        end["LogResult"] = base64.b64encode(outcome.log[-invocations.LOG_TAIL_BYTES :]).decode()
    yield {"InvokeComplete": end}
