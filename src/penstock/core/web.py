"""HTTP requests that are no calls of AWS's API: a function's URL, a link to download its code, a bucket's website.

A service registers what answers them, by host name or by path; the edge asks here before it routes a request. Such a
request is not authenticated: who answers it decides whether a signature is wanted, and asks the visit for it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from penstock.wire.message import Request, Response

if TYPE_CHECKING:
    from penstock.core.identity import Principal
    from penstock.core.node import Node

Answer: TypeAlias = "Callable[[Visit], Awaitable[Response]]"


class Visit:
    """One such request. labels: the named groups of the pattern that it matched.

    authenticate(service): the principal that signed it for that signing name (ANONYMOUS where nobody signed) and the
    region; the body must be collected first. collect(size_bytes): makes the body whole. Both raise AwsError.
    """

    __slots__ = ("authenticate", "collect", "labels", "node", "request", "request_id")

    def __init__(
        self,
        node: Node,
        request: Request,
        request_id: str,
        labels: dict[str, str],
        authenticate: Callable[[str], Awaitable[tuple[Principal, str]]],
        collect: Callable[[int], Awaitable[None]],
    ) -> None:
        self.node = node
        self.request = request
        self.request_id = request_id
        self.labels = labels
        self.authenticate = authenticate
        self.collect = collect


class Site:
    """What answers a request. service and name: what its metrics count it as."""

    __slots__ = ("answer", "name", "pattern", "service")

    def __init__(self, service: str, name: str, pattern: re.Pattern[str], answer: Answer) -> None:
        self.service = service
        self.name = name
        self.pattern = pattern
        self.answer = answer


class Place(NamedTuple):
    """The bucket that host and path of a request name, and the key in it, percent-decoded; either may be ""."""

    bucket: str
    key: str


class CrossOrigin(Protocol):
    """What a service's resources themselves say to browsers (CORS)."""

    async def preflight(self, node: Node, request: Request, place: Place, otherwise: Response | None) -> Response:
        """The answer to OPTIONS. otherwise: the one where the resource has no rules, None to refuse. Raises AwsError."""
        ...

    async def allow(self, node: Node, request: Request, place: Place, response: Response) -> bool:
        """Say in `response` whether the page behind `request` may read it. False: nothing was decided, the edge may."""
        ...


CROSS_ORIGIN: dict[str, CrossOrigin] = {}
"""By botocore's service name."""
_HOSTS: list[Site] = []
_PATHS: list[Site] = []


def site(name: str, *, host: str = "", path: str = "") -> Callable[[Answer], Answer]:
    """Register what answers requests to a host (a regular expression of the whole name) or a path (which begins "/_").

    name: "service:Name". It raises AwsError, or answers in its own words.
    """
    service, _, own = name.partition(":")

    def register(answer: Answer) -> Answer:
        (_HOSTS if host else _PATHS).append(Site(service, own, re.compile(host or path), answer))
        by_host.cache_clear()
        return answer

    return register


@functools.lru_cache(maxsize=2048)
def by_host(name: str) -> tuple[Site, dict[str, str]] | None:
    """Who answers for a host name (without a port, in lower case)."""
    return _first(_HOSTS, name)


def by_path(path: str) -> tuple[Site, dict[str, str]] | None:
    """Who answers for a path."""
    return _first(_PATHS, path)


def _first(sites: list[Site], text: str) -> tuple[Site, dict[str, str]] | None:
    for one in sites:
        match = one.pattern.fullmatch(text)
        if match is not None:
            return one, match.groupdict()
    return None
