"""Outbound web identity federation: the account as an issuer of tokens (which STS signs) that others can verify.

The issuer's URL is on the host by which it was enabled, so that who is to trust it can fetch the keys there.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound.html
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from penstock.core.call import Call
from penstock.core.identity import Issuer
from penstock.core.master_key import MasterKey
from penstock.core.operation import Params, Result, operation
from penstock.core.web import Visit, site
from penstock.services.iam import errors, keys
from penstock.services.iam.records import OutboundIssuer, TokenKey
from penstock.services.iam.state import State, encode, reading
from penstock.store.api import Transaction
from penstock.wire.message import Response

_RSA_BITS = 2048
_CLAIMS = ["aud", "exp", "iat", "iss", "jti", "sub"]


def find(txn: Transaction, account: str) -> OutboundIssuer | None:
    """The account's issuer, enabled or not; None where it was never enabled."""
    raw = txn.get(keys.issuer(account))
    return None if raw is None else msgspec.msgpack.decode(raw, type=OutboundIssuer)


def issuer_of(txn: Transaction, account: str) -> Issuer | None:
    """See `core.identity.Directory.issuer`."""
    record = find(txn, account)
    if record is None or not record.enabled:
        return None
    return Issuer(record.url, {key.algorithm: (key.id, key.sealed) for key in record.keys})


@operation("iam:EnableOutboundWebIdentityFederation")
async def enable_outbound_web_identity_federation(call: Call, params: Params) -> Result:
    """The first time makes the issuer and its keys; later ones find them again, so that what trusts it still does."""
    master = await call.node.master_keys.get()
    settings = call.node.settings
    endpoint = call.endpoint or f"http://{settings.host}:{settings.port}"
    issuer_id = str(uuid.uuid4())
    url = f"{endpoint}/_sts/{issuer_id}"
    there = await call.store.transact(lambda txn: find(txn, call.account), read_only=True)
    made = [] if there else await asyncio.to_thread(lambda: [_made(name, url, master) for name in ("RS256", "ES384")])

    def body(txn: Transaction) -> Result:
        record = find(txn, call.account) or OutboundIssuer(url=url, keys=made)
        if record.enabled:
            raise errors.fault("FeatureEnabled", "Outbound identity federation is already enabled.", 409)
        record.enabled = True
        txn.set(keys.issuer(call.account), encode(record))
        txn.set(keys.issuer_account(record.url.rpartition("/")[2]), call.account.encode())
        return {"IssuerIdentifier": record.url}

    return await call.store.transact(body)


def _made(algorithm: str, url: str, master: MasterKey) -> TokenKey:
    private = (
        rsa.generate_private_key(65537, _RSA_BITS) if algorithm == "RS256" else ec.generate_private_key(ec.SECP384R1())
    )
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    public = _jwk(private)
    # RFC 7638: a key's thumbprint, over its required members in order.
    canonical = msgspec.json.encode(dict(sorted(public.items())))
    key_id = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).decode().rstrip("=")
    shown = public | {"kid": key_id, "use": "sig", "alg": algorithm}
    return TokenKey(
        algorithm=algorithm, id=key_id, public=shown, sealed=master.seal(der, Issuer(url, {}).bound_to(key_id))
    )


def _jwk(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """RFC 7517, RFC 7518."""
    if isinstance(private, rsa.RSAPrivateKey):
        numbers = private.public_key().public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n, _RSA_BITS // 8), "e": _number(numbers.e, 3)}
    point = private.public_key().public_numbers()
    return {"kty": "EC", "crv": "P-384", "x": _number(point.x, 48), "y": _number(point.y, 48)}


def _number(number: int, size_bytes: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size_bytes, "big")).decode().rstrip("=")


@operation("iam:DisableOutboundWebIdentityFederation")
async def disable_outbound_web_identity_federation(call: Call, params: Params) -> Result:
    """Tokens that were given out stay what they are: their keys go on being published."""

    def body(txn: Transaction) -> Result:
        record = find(txn, call.account)
        if record is None or not record.enabled:
            raise _disabled()
        record.enabled = False
        txn.set(keys.issuer(call.account), encode(record))
        return {}

    return await call.store.transact(body)


@operation("iam:GetOutboundWebIdentityFederationInfo")
@reading
def get_outbound_web_identity_federation_info(state: State, call: Call, params: Params) -> Result:
    record = find(state.txn, call.account)
    if record is None:
        raise _disabled()
    return {"IssuerIdentifier": record.url, "JwtVendingEnabled": record.enabled}


def _disabled() -> Exception:
    return errors.fault("FeatureDisabled", "Outbound identity federation is not enabled.", 404)


@site("iam:Issuer", path=r"/_sts/(?P<id>[0-9a-f-]{36})/\.well-known/(?P<document>openid-configuration|jwks\.json)")
async def published(visit: Visit) -> Response:
    """What OpenID Connect Discovery asks for: the issuer's description and its public keys."""

    def body(txn: Transaction) -> OutboundIssuer | None:
        account = txn.get(keys.issuer_account(visit.labels["id"]))
        return None if account is None else find(txn, account.decode())

    record = await visit.node.store.transact(body, read_only=True)
    if record is None:
        return _json(404, {"message": "There is no such issuer."})
    if visit.request.method not in ("GET", "HEAD"):
        return _json(405, {"message": "An issuer's documents can be read."})
    if visit.labels["document"] == "jwks.json":
        return _json(200, {"keys": [key.public for key in record.keys]})
    return _json(200, {
        "issuer": record.url, "jwks_uri": f"{record.url}/.well-known/jwks.json", "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "claims_supported": _CLAIMS,
        "id_token_signing_alg_values_supported": [key.algorithm for key in record.keys],
    })  # fmt: skip


def _json(status: int, document: dict[str, Any]) -> Response:
    return Response(status, [("Content-Type", "application/json")], msgspec.json.encode(document))
