"""X.509 signing certificates of users and of root, as records: no service here takes requests signed by them.

Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_UploadSigningCertificate.html
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, keys, listing, quotas, statuses, x509
from penstock.services.iam.records import AccountSettings, SigningCertificate, User
from penstock.services.iam.state import State, changing, encode, reading
from penstock.services.iam.users import name_of_caller
from penstock.store.chunked import clear_large, get_large, set_large

USER = arns.existing(User)


class _Holder:
    """Whose certificates a request is about: a user's, or root's where root asks and names nobody."""

    def __init__(self, state: State, call: Call, params: Params) -> None:
        self._state = state
        if "UserName" not in params and call.principal.kind is Kind.ROOT:
            self._of: User | AccountSettings = state.settings()
            self.name, self.ids = "", self._of.root_certificates
        else:
            self._of = user = state.get(User, name_of_caller(call, params))
            self.name, self.ids = user.name, user.certificates

    def certificate(self, params: Params) -> SigningCertificate:
        """The one of theirs that the request names. Raises AwsError NoSuchEntity."""
        found = find(self._state, params["CertificateId"]) if params["CertificateId"] in self.ids else None
        if found is None:
            raise errors.no_such_entity(f"The Certificate with id {params['CertificateId']} cannot be found.")
        return found

    def save(self) -> None:
        if isinstance(self._of, User):
            self._state.save(self._of)
        else:
            self._state.save_settings(self._of)


def find(state: State, certificate_id: str) -> SigningCertificate | None:
    """The certificate of that id, whoever has it, or None."""
    raw = get_large(state.txn, keys.signing_certificate(state.account, certificate_id))
    return None if raw is None else msgspec.msgpack.decode(raw, type=SigningCertificate)


def save(state: State, certificate: SigningCertificate) -> None:
    """Write a certificate."""
    set_large(state.txn, keys.signing_certificate(state.account, certificate.id), encode(certificate))


def _view(holder: str, certificate: SigningCertificate) -> dict[str, Any]:
    return {
        "UserName": holder or "root",
        "CertificateId": certificate.id,
        "CertificateBody": certificate.body,
        "Status": statuses.shown(certificate.active),
        "UploadDate": certificate.created,
    }


@operation("iam:UploadSigningCertificate", resource=USER)
@changing
def upload_signing_certificate(state: State, call: Call, params: Params) -> Result:
    """A certificate's id is its SHA-1, so the same one is found wherever it is."""
    holder, body = _Holder(state, call, params), params["CertificateBody"]
    der = x509.parse(body, call.now).public_bytes(Encoding.DER)
    certificate_id = base64.b32encode(hashlib.sha1(der, usedforsecurity=False).digest()).decode()
    if find(state, certificate_id) is not None:
        raise errors.fault("DuplicateCertificate", "The certificate is already associated with a user.", 409)
    if len(holder.ids) >= quotas.SIGNING_CERTIFICATES_PER_USER:
        raise errors.limit(
            f"Cannot exceed quota for SigningCertificatesPerUser: {quotas.SIGNING_CERTIFICATES_PER_USER}"
        )
    certificate = SigningCertificate(id=certificate_id, body=body, created=int(call.now))
    save(state, certificate)
    holder.ids.append(certificate_id)
    holder.save()
    return {"Certificate": _view(holder.name, certificate)}


@operation("iam:ListSigningCertificates", resource=USER)
@reading
def list_signing_certificates(state: State, call: Call, params: Params) -> Result:
    holder = _Holder(state, call, params)
    found = [one for one in (find(state, certificate_id) for certificate_id in holder.ids) if one is not None]
    return listing.page_of_list(
        found, params, f"SigningCertificates:{holder.name}", "Certificates", lambda one: one.id,
        lambda one: _view(holder.name, one),
    )  # fmt: skip


@operation("iam:UpdateSigningCertificate", resource=USER)
@changing
def update_signing_certificate(state: State, call: Call, params: Params) -> Result:
    certificate = _Holder(state, call, params).certificate(params)
    certificate.active = statuses.wanted(params)
    save(state, certificate)
    return {}


@operation("iam:DeleteSigningCertificate", resource=USER)
@changing
def delete_signing_certificate(state: State, call: Call, params: Params) -> Result:
    holder = _Holder(state, call, params)
    certificate = holder.certificate(params)
    clear_large(state.txn, keys.signing_certificate(state.account, certificate.id))
    holder.ids.remove(certificate.id)
    holder.save()
    return {}
