"""The public keys of OpenID Connect providers, fetched as OpenID Connect Discovery says and kept for a while.

Source: https://openid.net/specs/openid-connect-discovery-1_0.html
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from penstock.core.node import Node

KEPT_S = 300.0
AGAIN_AFTER_S = 10.0
"""How soon keys are fetched anew for a token that none of the kept ones verifies."""
TIMEOUT_S = 5.0
BYTES_MAX = 1_000_000


class Unreachable(Exception):
    """The provider cannot be asked, or does not answer as it should."""


class Providers:
    """One node's memory of providers' keys."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, list[Mapping[str, Any]]]] = {}

    async def keys(self, issuer: str, *, fresh: bool = False) -> list[Mapping[str, Any]]:
        """The JWK set of an issuer; `fresh` fetches it again unless that was just done. Raises Unreachable."""
        kept = self._kept.get(issuer)
        age_s = time.monotonic() - kept[0] if kept else 0.0
        if kept is not None and age_s < (AGAIN_AFTER_S if fresh else KEPT_S):
            return kept[1]
        found = await asyncio.to_thread(_fetch_keys, issuer)
        if len(self._kept) >= 1000:
            self._kept.clear()
        self._kept[issuer] = (time.monotonic(), found)
        return found


_OF_NODES: weakref.WeakKeyDictionary[Node, Providers] = weakref.WeakKeyDictionary()


def of_node(node: Node) -> Providers:
    """The node's own."""
    found = _OF_NODES.get(node)
    if found is None:
        found = _OF_NODES[node] = Providers()
    return found


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A provider's answers come from where its URL says, or not at all."""

    def redirect_request(self, *args: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def _fetch_keys(issuer: str) -> list[Mapping[str, Any]]:
    configuration = _fetch(issuer.rstrip("/") + "/.well-known/openid-configuration")
    uri = configuration.get("jwks_uri")
    if not isinstance(uri, str) or not uri.startswith(issuer.partition("://")[0] + "://"):
        raise Unreachable("the provider names no keys")
    keys = _fetch(uri).get("keys")
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise Unreachable("the provider's keys cannot be read")
    return keys


def _fetch(url: str) -> dict[str, Any]:
    try:
        with _OPENER.open(url, timeout=TIMEOUT_S) as answer:
            found = msgspec.json.decode(answer.read(BYTES_MAX))
    except (OSError, ValueError, RecursionError) as error:
        raise Unreachable(f"{url}: {error}") from None
    if not isinstance(found, dict):
        raise Unreachable(f"{url} is no object")
    return found
