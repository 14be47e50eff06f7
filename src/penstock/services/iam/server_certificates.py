"""Server certificates: kept, listed and told apart by name and path. The private key is checked and not kept: AWS never
gives it back, and no service here serves under it.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_server-certs.html
"""

from __future__ import annotations

from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, ids, listing, quotas, tagging, x509
from penstock.services.iam.records import ServerCertificate
from penstock.services.iam.state import State, changing, reading

CERTIFICATE = arns.existing(ServerCertificate)


def _view(account: str, certificate: ServerCertificate) -> dict[str, Any]:
    return {
        "Path": certificate.path,
        "ServerCertificateName": certificate.name,
        "ServerCertificateId": certificate.id,
        "Arn": arns.arn(account, certificate),
        "UploadDate": certificate.created,
        "Expiration": certificate.expires,
    }


@operation("iam:UploadServerCertificate", resource=arns.new(ServerCertificate))
@changing
def upload_server_certificate(state: State, call: Call, params: Params) -> Result:
    parsed = x509.parse(params["CertificateBody"], call.now)
    x509.check_key(parsed, params["PrivateKey"])
    if "CertificateChain" in params:
        x509.check_chain(parsed, params["CertificateChain"])
    state.check_count(ServerCertificate, quotas.SERVER_CERTIFICATES, "ServerCertificatesPerAccount", call)
    certificate = ServerCertificate(
        name=params["ServerCertificateName"], path=params.get("Path", "/"), id=ids.unique(ids.SERVER_CERTIFICATE),
        created=int(call.now), expires=parsed.not_valid_after_utc.timestamp(), body=params["CertificateBody"],
        chain=params.get("CertificateChain", ""), tags=tagging.given(params.get("Tags")),
    )  # fmt: skip
    state.add(certificate)
    result: Result = {"ServerCertificateMetadata": _view(call.account, certificate)}
    if certificate.tags:
        result["Tags"] = sorted(tagging.to_list(certificate.tags), key=lambda tag: tag["Key"])
    return result


@operation("iam:GetServerCertificate", resource=CERTIFICATE)
@reading
def get_server_certificate(state: State, call: Call, params: Params) -> Result:
    certificate = state.get(ServerCertificate, params["ServerCertificateName"])
    shown = {
        "ServerCertificateMetadata": _view(call.account, certificate),
        "CertificateBody": certificate.body,
        "Tags": tagging.to_list(certificate.tags),
    }
    if certificate.chain:
        shown["CertificateChain"] = certificate.chain
    return {"ServerCertificate": shown}


@operation("iam:ListServerCertificates", resource=arns.all_of(ServerCertificate))
@reading
def list_server_certificates(state: State, call: Call, params: Params) -> Result:
    prefix, after = params.get("PathPrefix", "/"), listing.marker(params, "ServerCertificates")
    found = (one for one in state.all(ServerCertificate, after) if one.path.startswith(prefix))
    return listing.page(
        found, params, "ServerCertificates", "ServerCertificateMetadataList", lambda one: one.name,
        lambda one: _view(call.account, one),
    )  # fmt: skip


@operation("iam:UpdateServerCertificate", resource=CERTIFICATE)
@changing
def update_server_certificate(state: State, call: Call, params: Params) -> Result:
    certificate = state.get(ServerCertificate, params["ServerCertificateName"])
    new_name = params.get("NewServerCertificateName", certificate.name)
    if new_name.lower() != certificate.name.lower() and state.taken(ServerCertificate, new_name) is not None:
        raise errors.exists("certificate", new_name)
    state.remove(certificate)
    certificate.name, certificate.path = new_name, params.get("NewPath", certificate.path)
    state.save(certificate)
    return {}


@operation("iam:DeleteServerCertificate", resource=CERTIFICATE)
@changing
def delete_server_certificate(state: State, call: Call, params: Params) -> Result:
    state.remove(state.get(ServerCertificate, params["ServerCertificateName"]))
    return {}


@operation("iam:TagServerCertificate", resource=CERTIFICATE)
@changing
def tag_server_certificate(state: State, call: Call, params: Params) -> Result:
    certificate = state.get(ServerCertificate, params["ServerCertificateName"])
    certificate.tags = tagging.merged(certificate.tags, tagging.given(params["Tags"]))
    state.save(certificate)
    return {}


@operation("iam:UntagServerCertificate", resource=CERTIFICATE)
@changing
def untag_server_certificate(state: State, call: Call, params: Params) -> Result:
    certificate = state.get(ServerCertificate, params["ServerCertificateName"])
    certificate.tags = tagging.removed(certificate.tags, params["TagKeys"])
    state.save(certificate)
    return {}


@operation("iam:ListServerCertificateTags", resource=CERTIFICATE)
@reading
def list_server_certificate_tags(state: State, call: Call, params: Params) -> Result:
    certificate = state.get(ServerCertificate, params["ServerCertificateName"])
    return tagging.list_tags(certificate.tags, params, "server-certificate")
