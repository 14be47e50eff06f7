"""Who sent this request: its claim, the key it names, and the principal that key stands for."""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from penstock.core.identity import ANONYMOUS, Credential, Principal, root
from penstock.edge import post_policy, refusals, sigv2, sigv4
from penstock.edge.origin import trusted
from penstock.edge.refusals import Family
from penstock.edge.route import read_host
from penstock.edge.sigv4 import Proof
from penstock.wire import models
from penstock.wire.message import Request

if TYPE_CHECKING:
    from penstock.config import Settings
    from penstock.core.node import Node

log = logging.getLogger(__name__)

_S3 = Family.S3  # asking an enum for a member takes Python 3.11 a fifth of a microsecond
DEFAULT_ACCOUNT = "000000000000"
_ACCOUNT = re.compile(r"[0-9]{12}").fullmatch
_LOOPBACK = ("127.", "::1", "::ffff:127.")


Found: TypeAlias = tuple[Principal, Proof | None, str]
"""(principal, proof for a streamed payload, region)"""
INSIDE = "169.254.76.1"
"""The peer's address of what a function's execution environment sends: link-local, as inside AWS's own."""


def is_loopback(peer: str) -> bool:
    """Whether the client is on this machine, by its address."""
    return peer.startswith(_LOOPBACK)


class Authenticator:
    """Checks signatures against the well-known keys (on loopback, where allowed) and the directory's."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._roots: dict[str, Principal] = {}
        self._explained: set[str] = set()
        settings: Settings = node.settings
        self._defaults = settings.default_credentials
        self._inside_too = settings.function_default_credentials
        self._key_id = settings.access_key_id
        self._secret = settings.secret_access_key

    async def __call__(self, request: Request, kind: Family, service: str, region: str) -> Found:
        """Who sent the request.

        service: the signing name that the scope must hold, "" for any. region: the one that the host names, "" for
        none; the request's region is the scope's. Raises AwsError in the family's own words.
        """
        found = self.begin(request, kind, service, region, None)
        return found if isinstance(found, tuple) else await found

    def begin(
        self, request: Request, kind: Family, service: str, region: str, signed: sigv4.Header | None
    ) -> Found | Coroutine[Any, Any, Found]:
        """As a call, for the path of every request: at once, but for keys of the directory, which are to be awaited.

        signed: the Authorization header, where it was read before.
        """
        if kind is _S3 and request.query and (old := sigv2.read(request)) is not None:
            return self._presigned_before(request, old, kind, region)
        claim = sigv4.read(request, kind, signed)
        if claim is None:
            return ANONYMOUS, None, region
        scope = claim.scope
        if service and scope.service != service and (service, scope.service) != ("s3", models.S3_EXPRESS):
            raise refusals.wrong_service(kind, scope.service, service)
        if region and scope.region != region:
            raise refusals.wrong_region(kind, scope.region, region)
        principal = self._well_known(request, kind, scope.access_key_id)
        if principal is None:
            return self._by_directory(request, kind, claim)
        sigv4.check_time(claim, self._node.clock.host_now(), kind)
        return principal, sigv4.verify(claim, request, self._secret, kind), scope.region

    async def _by_directory(self, request: Request, kind: Family, claim: sigv4.Claim) -> Found:
        scope = claim.scope
        principal, secret, credential = await self._of_directory(kind, scope.access_key_id, claim.token)
        sigv4.check_time(claim, self._node.clock.host_now(), kind)
        proof = sigv4.verify(claim, request, secret, kind)
        self._check_session(credential, claim.token, kind)
        return principal, proof, scope.region

    async def _presigned_before(self, request: Request, old: sigv2.Claim, kind: Family, region: str) -> Found:
        """By a URL of signature version 2."""
        principal, secret, owner = await self._key(request, kind, old.access_key_id, old.token)
        bucket = read_host(request.headers.get("host", "")).bucket
        sigv2.verify(old, request, secret, bucket, self._node.clock.host_now())
        self._check_session(owner, old.token, kind)
        return principal, None, region

    async def form(self, request: Request, fields: dict[str, str], region: str) -> tuple[Principal, str]:
        """(principal, region) of whoever signed the policy of an upload by form. Raises AwsError in S3's words."""
        claim = post_policy.read(fields)
        if claim is None:
            return ANONYMOUS, region
        principal, secret, credential = await self._key(request, Family.S3, claim.access_key_id, claim.token)
        post_policy.verify(claim, secret)
        self._check_session(credential, claim.token, Family.S3)
        return principal, claim.region or region

    async def _key(
        self, request: Request, kind: Family, access_key_id: str, token: str
    ) -> tuple[Principal, str, Credential | None]:
        """(principal, secret, the directory's credential where it is from there). Raises AwsError: an unknown key."""
        principal = self._well_known(request, kind, access_key_id)
        if principal is not None:
            return principal, self._secret, None
        return await self._of_directory(kind, access_key_id, token)

    def _well_known(self, request: Request, kind: Family, access_key_id: str) -> Principal | None:
        """The root that a well-known key stands for, where this request may use one."""
        # (A session token beside such a key says nothing: people set one because some tool wanted it.)
        if not self._defaults or (principal := self._roots.get(access_key_id) or self._default(access_key_id)) is None:
            return None
        if not (request.peer.startswith(_LOOPBACK) or (request.peer == INSIDE and self._inside_too)):
            self._explain(request.peer, f"{request.peer} is not this machine")
        elif not trusted(request, reading=kind is _S3 and request.method in ("GET", "HEAD")):
            host, page = request.headers.get("host", ""), request.headers.get("origin", "of another site")
            self._explain(host + page, f"the request is for host {host!r}, by a web page ({page}) or through a name")
        else:
            return principal
        return None

    async def _of_directory(self, kind: Family, access_key_id: str, token: str) -> tuple[Principal, str, Credential]:
        """(principal, secret, credential) of a key that the directory holds. Raises AwsError: an unknown key."""
        credential = await self._node.directory.credential(access_key_id, token)
        if credential is None or not credential.active:
            raise refusals.bad_token(kind) if token else refusals.unknown_key(kind, access_key_id)
        return credential.principal, credential.secret, credential

    def _explain(self, about: str, why: str) -> None:
        """Say in the log, once for each cause, why a well-known key was not let in: the client cannot be told."""
        if about not in self._explained and len(self._explained) < 1000:
            self._explained.add(about)
            log.warning("the well-known keys are for this machine alone: %s; give others keys of IAM users", why)

    def _check_session(self, credential: Credential | None, token: str, kind: Family) -> None:
        if credential is None:
            return
        if not hmac.compare_digest(credential.session_token.encode(), token.encode("utf-8", "replace")):
            raise refusals.bad_token(kind)
        if credential.expires_at and credential.expires_at <= self._node.clock.now():
            raise refusals.expired_token(kind)

    def _default(self, access_key_id: str) -> Principal | None:
        """The root that a well-known key stands for: an account by its id, else the default account."""
        if _ACCOUNT(access_key_id):
            account = access_key_id
        elif access_key_id == self._key_id:
            account = DEFAULT_ACCOUNT
        else:
            return None
        if len(self._roots) > 10_000:
            self._roots.clear()
        found = self._roots[access_key_id] = root(account, access_key_id)
        return found
