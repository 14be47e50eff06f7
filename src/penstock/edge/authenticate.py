"""Who sent this request: its claim, the key it names, and the principal that key stands for."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from penstock.core.identity import ANONYMOUS, Credential, Principal, root
from penstock.edge import refusals, sigv4
from penstock.edge.origin import trusted
from penstock.edge.refusals import Family
from penstock.edge.sigv4 import Proof
from penstock.wire.message import Request

if TYPE_CHECKING:
    from penstock.config import Settings
    from penstock.core.node import Node

DEFAULT_ACCOUNT = "000000000000"
_ACCOUNT = re.compile(r"[0-9]{12}").fullmatch
_LOOPBACK = ("127.", "::1", "::ffff:127.")


def is_loopback(peer: str) -> bool:
    """Whether the client is on this machine, by its address."""
    return peer.startswith(_LOOPBACK)


class Authenticator:
    """Checks signatures against the well-known keys (on loopback, where allowed) and the directory's."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._roots: dict[str, Principal] = {}
        settings: Settings = node.settings
        self._defaults = settings.default_credentials
        self._key_id = settings.access_key_id
        self._secret = settings.secret_access_key

    async def __call__(
        self, request: Request, kind: Family, service: str, region: str
    ) -> tuple[Principal, Proof | None, str]:
        """(principal, proof for a streamed payload, region).

        service: the signing name that the scope must hold, "" for any. region: the one that the host names, "" for
        none; the request's region is the scope's. Raises AwsError in the family's own words.
        """
        claim = sigv4.read(request, kind)
        if claim is None:
            return ANONYMOUS, None, region
        scope = claim.scope
        if service and scope.service != service:
            raise refusals.wrong_service(kind, scope.service, service)
        if region and scope.region != region:
            raise refusals.wrong_region(kind, scope.region, region)
        principal = None
        secret = self._secret
        if self._defaults and not claim.token and is_loopback(request.peer) and trusted(request):
            principal = self._default(scope.access_key_id)
        credential: Credential | None = None
        if principal is None:
            credential = await self._node.directory.credential(scope.access_key_id, claim.token)
            if credential is None or not credential.active:
                raise refusals.bad_token(kind) if claim.token else refusals.unknown_key(kind, scope.access_key_id)
            principal, secret = credential.principal, credential.secret
        sigv4.check_time(claim, self._node.clock.host_now(), kind)
        proof = sigv4.verify(claim, request, secret, kind)
        if credential is not None:
            if not hmac.compare_digest(credential.session_token.encode(), claim.token.encode()):
                raise refusals.bad_token(kind)
            if credential.expires_at and credential.expires_at <= self._node.clock.now():
                raise refusals.expired_token(kind)
        return principal, proof, scope.region

    def _default(self, access_key_id: str) -> Principal | None:
        """The root that a well-known key stands for: an account by its id, else the default account."""
        found = self._roots.get(access_key_id)
        if found is None:
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
