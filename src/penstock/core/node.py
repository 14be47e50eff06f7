"""One server's parts, handed to every call. Made by the command line, known to everyone below it."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.clock import Clock
from penstock.config import Settings
from penstock.core import shared_clock
from penstock.core.authz import Decisions, authorize
from penstock.core.call import Call
from penstock.core.identity import Directory, Principal
from penstock.core.master_key import MasterKeys
from penstock.core.operation import NotReady, find
from penstock.store.tuples import range_of
from penstock.telemetry import Telemetry

if TYPE_CHECKING:
    from penstock.blobs.api import Blobs
    from penstock.runtime.api import Runtime
    from penstock.store.api import Store, Transaction


T = TypeVar("T")

RESET_KEYS = 1000
"""How many keys one transaction of `Node.reset` removes."""


class Node:
    """What a server is made of. Nothing here outlives the process; what must is in `store` and `blobs`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        store: Store,
        blobs: Blobs,
        runtime: Runtime,
        directory: Directory,
        telemetry: Telemetry,
        master_keys: MasterKeys | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.store = store
        self.blobs = blobs
        self.runtime = runtime
        self.directory = directory
        self.telemetry = telemetry
        self.master_keys = master_keys or MasterKeys(settings, store, None)
        """What secrets at rest are sealed under; by default a key that lives as long as the process."""
        self.decisions = Decisions()
        """What authorization decided lately, in this process."""
        self.id = uuid.uuid4().hex
        """This process's name as a holder of leases; a restarted server is another node."""
        self.on_reset: list[Callable[[], None]] = [self.decisions.ring.clear, self.master_keys.forget]
        """What else must forget when the server is emptied: whoever caches what the store holds adds itself here."""
        self._own: dict[Any, Any] = {}

    def own(self, kind: Callable[[Node], T]) -> T:
        """This process's one `kind(node)`, made at first use: a service's caches, which hold nothing of record."""
        found: T | None = self._own.get(kind)
        if found is None:
            found = self._own[kind] = kind(self)
        return found

    async def call(
        self,
        service: str,
        operation: str,
        params: dict[str, Any],
        *,
        principal: Principal,
        account: str,
        region: str,
        context: Mapping[str, Any] | None = None,
        trace: str = "",
    ) -> dict[str, Any]:
        """Carry out an operation for a principal, as if it had come over the wire: authorized and measured alike.

        context: condition keys such as {"aws:SourceArn": ..., "aws:SourceAccount": ...}. trace: the X-Amzn-Trace-Id of
        what caused it. Raises AwsError.
        """
        found = find(service, operation)
        call = Call(
            self, found, principal, account, region, str(uuid.uuid4()), secure=True, context=dict(context or {})
        )
        call.trace = trace
        found.refuse_unsupported(params)
        await authorize(call, params)
        began = self.clock.monotonic()
        try:
            try:
                result = await found.handler(call, params)
            except NotReady as missing:
                result = await found.again(call, params, missing)
        except BaseException as error:
            self.telemetry.operation_ended(service, operation, getattr(error, "code", type(error).__name__), began)
            raise
        self.telemetry.operation_ended(service, operation, "", began)
        return result

    async def reset(self) -> None:
        """Empty this server: every key of the store, every blob, every idle environment, and what services cache.

        Done in bounded transactions, so not at one instant: requests under way at the same time may fail or leave data.
        """
        await self.runtime.retire("")
        # What blobs keep in the store is theirs: uploads under way count on it.
        blobs_begin, blobs_end = range_of(("blobs",))
        after_clock = (
            shared_clock.KEY + b"\0"
        )  # time does not go back: what this process holds of the clock stays known
        for begin, end in ((b"", blobs_begin), (blobs_end, shared_clock.KEY), (after_clock, b"\xff")):
            while await self.store.transact(functools.partial(_clear_some, begin=begin, end=end)):
                pass
        name = ""
        while name := await self.store.transact(
            functools.partial(self.blobs.release_all, after=name, limit=RESET_KEYS)
        ):
            pass
        await self.blobs.sweep()
        self._own.clear()
        self.directory.forget()
        for forget in self.on_reset:
            forget()


def _clear_some(txn: Transaction, begin: bytes, end: bytes) -> bool:
    """Whether there may be more."""
    keys = [key for key, _ in txn.scan(begin, end, limit=RESET_KEYS)]
    if keys:
        txn.clear(keys[0], keys[-1] + b"\0")
    return len(keys) == RESET_KEYS
