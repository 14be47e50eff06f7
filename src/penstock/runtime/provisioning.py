"""Environments initialised before anybody asks for them, and kept: provisioned concurrency.

https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from penstock.runtime.api import Credentials, FunctionSpec, Provisioned, RuntimeUnsupported, TooManyEnvironments
from penstock.runtime.environment import Environment

log = logging.getLogger(__name__)

_AT_ONCE = 4
_AGAIN_FIRST_S, _AGAIN_MOST_S = 0.5, 30.0


class Starter(Protocol):
    """Starts an environment without an event. Raises RuntimeUnsupported, TooManyEnvironments, OSError."""

    async def __call__(self, spec: FunctionSpec, credentials: Credentials) -> Environment: ...


class Provision:
    """The provisioned environments of one version: as many as wanted, replaced when they end."""

    def __init__(self, spec: FunctionSpec, credentials: Callable[[], Awaitable[Credentials]], start: Starter) -> None:
        self.spec = spec
        self._credentials = credentials
        self._start = start
        self._wanted = 0
        self._environments: set[Environment] = set()
        self._reason = ""
        self._changed = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._keep())

    def want(self, count: int, credentials: Callable[[], Awaitable[Credentials]]) -> None:
        """From now on keep so many."""
        self._wanted = count
        self._credentials = credentials
        self._reason = ""
        self._changed.set()

    def status(self) -> Provisioned:
        """How many are wanted and ready, and what the last one that failed failed with."""
        ready = sum(not e.starting for e in self._environments)
        return Provisioned(self._wanted, min(ready, self._wanted), self._reason)

    def ended(self, environment: Environment) -> None:
        """An environment is gone; if it was one of these, another takes its place."""
        if environment in self._environments:
            self._environments.discard(environment)
            self._changed.set()

    def close(self) -> None:
        """Keep no more. Those there are become ordinary ones, which idle out."""
        self._task.cancel()
        for environment in self._environments:
            environment.kept = False
        self._environments.clear()

    async def _keep(self) -> None:
        failures = 0
        while True:
            self._changed.clear()
            missing = self._wanted - len(self._environments)
            for environment in list(self._environments)[: max(0, -missing)]:
                self._environments.discard(environment)
                environment.kept = False
            if missing > 0:
                made = await asyncio.gather(*(self._add() for _ in range(min(missing, _AT_ONCE))))
                failures = 0 if any(made) else failures + 1
                if failures:
                    wait_s = min(_AGAIN_MOST_S, _AGAIN_FIRST_S * 2**failures)
                    try:
                        await asyncio.wait_for(self._changed.wait(), wait_s)
                    except TimeoutError:
                        pass
                continue
            await self._changed.wait()

    async def _add(self) -> bool:
        try:
            environment = await self._start(self.spec, await self._credentials())
        except (RuntimeUnsupported, TooManyEnvironments, OSError) as error:
            self._reason = str(error)
            return False
        except Exception as error:  # the role's credentials could not be had
            log.warning("no provisioned environment of %s could be made: %s", self.spec.arn, error)
            self._reason = str(error)
            return False
        environment.kept = True
        self._environments.add(environment)
        reason = await environment.initialised
        if reason:
            self._environments.discard(environment)
            self._reason = reason
        return not reason
