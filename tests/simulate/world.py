"""The simulated system: nodes on one faulty store, with every service and worker, and a runtime that runs Python.

A life lasts from a start to the loss of power, which takes all nodes and what the store had not made durable. A node may
die within a life: it is cut off from the store, so that it gives nothing back, and its leases must run out.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from penstock import services
from penstock.blobs.files import FileBlobs
from penstock.config import Settings
from penstock.core.identity import root
from penstock.core.node import Node
from penstock.core.shared_clock import catch_up
from penstock.core.worker import run_workers
from penstock.events.outbox import QUEUE as OUTBOX
from penstock.runtime.api import Credentials, FunctionSpec, Invocation, LogSink, Outcome, TooManyEnvironments
from penstock.services.iam.directory import StoreDirectory
from penstock.services.lambda_.events import QUEUE as EVENTS
from penstock.store.api import Conflict, EngineFailed, Limits, Store, Transaction, UnknownCommit
from penstock.store.faulty import Faults, FaultyStore
from penstock.store.memory import MemoryStore
from penstock.telemetry import Telemetry
from simulate.virtual_time import VirtualClock, VirtualLoop

T = TypeVar("T")
ACCOUNT = "111111111111"
REGION = "us-east-1"
MASTER_KEY = "2a" * 32
"""Of all lives of all nodes: what is sealed outlives the process."""
ROOT = root(ACCOUNT)
Function = Callable[[Node, bytes], Awaitable[None]]


class Cord:
    """A node's connection to the store, which can be cut."""

    def __init__(self, store: Store) -> None:
        self.limits: Limits = store.limits
        self.store = store
        self.is_cut = False

    async def transact(self, body: Callable[[Transaction], T], *, read_only: bool = False) -> T:
        self._check()
        result = await self.store.transact(body, read_only=read_only)
        self._check()
        return result

    def known(self, key: bytes) -> bytes | None:
        return None  # another node may write it

    async def watch(self, key: bytes, timeout_s: float) -> None:
        self._check()
        await self.store.watch(key, timeout_s)

    async def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.is_cut:
            raise EngineFailed("this node is dead")


class InProcess:
    """The runtime: an invocation is a call of `function`. By the seed some are throttled, slow, or fail once."""

    def __init__(self, rng: random.Random, function: Function) -> None:
        self.log_sink: LogSink | None = None
        self.serve = None
        self.node: Node | None = None
        self.invoked: list[str] = []
        self._rng = rng
        self._function = function
        self._failed: set[str] = set()
        self.troubled = True

    async def start(self) -> None:
        pass

    def supports(self, runtime: str) -> str:
        return ""

    async def invoke(self, spec: FunctionSpec, invocation: Invocation, credentials: Credentials) -> Outcome:
        assert self.node is not None
        luck = self._rng.random() if self.troubled else 1.0
        if luck < 0.05:
            raise TooManyEnvironments
        if luck < 0.3:
            await asyncio.sleep(self._rng.uniform(0, 20))
        self.invoked.append(invocation.request_id)
        fails = 0.3 <= luck < 0.4 and invocation.request_id not in self._failed
        if fails:
            self._failed.add(invocation.request_id)
        if not fails or luck < 0.35:  # one that fails has done its work, or has not
            await self._function(self.node, invocation.payload)
        error = "Unhandled" if fails else ""
        return Outcome(b"null", error, b"", 1.0, 1, None, 64, False)

    async def retire(self, key_prefix: str) -> None:
        pass

    def protections(self) -> dict[str, str]:
        return {}

    async def close(self) -> None:
        pass


class Running:
    """A node and its workers."""

    def __init__(self, node: Node, cord: Cord) -> None:
        self.node = node
        self.cord = cord
        self.workers = asyncio.create_task(run_workers(node))
        self._calls: set[asyncio.Task[dict[str, Any]]] = set()

    async def call(self, name: str, **params: Any) -> dict[str, Any]:
        """As the account's root. Raises EngineFailed where the node dies meanwhile: nobody knows what came of it."""
        task = asyncio.create_task(ask(self.node, name, **params))
        self._calls.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if not self.cord.is_cut:
                raise
            raise EngineFailed("the node died") from None
        finally:
            self._calls.discard(task)

    async def die(self) -> None:
        """End without giving anything back."""
        self.cord.is_cut = True
        ending = [self.workers, *self._calls]
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)
        await self.node.blobs.close()


class World:
    """`begin` a life with so many nodes; `lose_power` ends it."""

    def __init__(self, seed: int, data: Path, loop: VirtualLoop, function: Function) -> None:
        services.load()
        self.rng = random.Random(seed)
        self.data = data
        self.loop = loop
        self.function = function
        self.memory = MemoryStore()
        self.nodes: list[Running] = []
        self.runtimes: list[InProcess] = []

    async def begin(self, faults: Faults, nodes: int) -> None:
        self.store = FaultyStore(self.memory, self.rng.getrandbits(64), faults)
        self.nodes = [await self._node(troubled=faults != Faults()) for _ in range(nodes)]

    async def _node(self, troubled: bool) -> Running:
        settings = Settings(data=str(self.data), drain_timeout_s=1.0, master_key=MASTER_KEY)
        clock = VirtualClock(self.loop)
        cord = Cord(self.store)
        await persist(lambda: catch_up(cord, clock))
        blobs = FileBlobs(self.data / "blobs", cord, clock, fsync=lambda fd: None)
        runtime = InProcess(self.rng, self.function)
        runtime.troubled = troubled
        directory = StoreDirectory(cord, clock, settings)
        node = Node(settings, clock, cord, blobs, runtime, directory, Telemetry())
        runtime.node = node
        self.runtimes.append(runtime)
        return Running(node, cord)

    async def lose_power(self) -> None:
        """Every node dies at this very moment, and the store keeps what it had promised, and maybe a little more."""
        self.memory = self.store.crash()
        for running in self.nodes:
            if not running.cord.is_cut:
                await running.die()
        self.nodes = []

    def anyone(self) -> Running:
        """A node that lives. Raises EngineFailed where none does."""
        alive = [running for running in self.nodes if not running.cord.is_cut]
        if not alive:
            raise EngineFailed("nobody is there")
        return self.rng.choice(alive)

    async def call(self, name: str, **params: Any) -> dict[str, Any]:
        """As the account's root, at any node."""
        return await self.anyone().call(name, **params)

    async def waiting(self) -> int:
        """Events on their way anywhere, and dead ones."""

        def body(txn: Transaction) -> int:
            counts = [queue.counts(txn) for queue in (OUTBOX, EVENTS)]
            return sum(c.available + c.delayed + c.in_flight + c.dead for c in counts)

        return await self.anyone().node.store.transact(body, read_only=True)


async def ask(node: Node, name: str, **params: Any) -> dict[str, Any]:
    service, _, operation = name.partition(":")
    return await node.call(service, operation, params, principal=ROOT, account=ACCOUNT, region=REGION)


async def persist(attempt: Callable[[], Awaitable[T]], *, tries: int = 200) -> T:
    """As an SDK does: again, whatever the store's mood. EngineFailed passes."""
    for _ in range(tries):
        try:
            return await attempt()
        except (Conflict, UnknownCommit):
            await asyncio.sleep(0.05)
    raise AssertionError("the store never answered")
