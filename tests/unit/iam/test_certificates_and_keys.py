"""Server certificates, signing certificates and SSH public keys: what is taken, what is refused, and what holds what."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bare_node import ACCOUNT, ROOT, Ask, signed_in
from certificates import Issued, issue
from penstock.core.node import Node
from penstock.services.iam import quotas
from penstock.wire.errors import AwsError

CA = issue("ca")
MIDDLE = issue("middle", CA)
LEAF = issue("leaf.example", MIDDLE)


def server(leaf: Issued = LEAF, *chain: Issued, **more: Any) -> dict[str, Any]:
    given = {"ServerCertificateName": "c", "CertificateBody": leaf.pem, "PrivateKey": leaf.key_pem()}
    if chain:
        given["CertificateChain"] = "".join(one.pem for one in chain)
    return {**given, **more}


async def refused(ask: Ask, name: str, **params: Any) -> tuple[str, str]:
    with pytest.raises(AwsError) as caught:
        await ask(name, **params)
    return caught.value.code, caught.value.message


async def test_a_server_certificate_and_its_chain(ask: Ask) -> None:
    tags = [{"Key": "b", "Value": "1"}, {"Key": "a", "Value": "2"}]
    made = await ask("iam:UploadServerCertificate", **server(LEAF, MIDDLE, CA, Path="/cloudfront/", Tags=tags))
    meta = made["ServerCertificateMetadata"]
    assert meta["Arn"] == f"arn:aws:iam::{ACCOUNT}:server-certificate/cloudfront/c"
    assert meta["ServerCertificateId"].startswith("ASCA") and len(meta["ServerCertificateId"]) == 21
    assert meta["Expiration"] == LEAF.certificate.not_valid_after_utc.timestamp()
    assert [tag["Key"] for tag in made["Tags"]] == ["a", "b"]
    shown = (await ask("iam:GetServerCertificate", ServerCertificateName="C"))["ServerCertificate"]
    assert shown["ServerCertificateMetadata"] == meta
    assert (shown["CertificateBody"], shown["CertificateChain"]) == (LEAF.pem, MIDDLE.pem + CA.pem)
    assert "PrivateKey" not in shown
    await ask("iam:UntagServerCertificate", ServerCertificateName="c", TagKeys=["A"])
    await ask("iam:TagServerCertificate", ServerCertificateName="c", Tags=[{"Key": "B", "Value": "3"}])
    assert (await ask("iam:ListServerCertificateTags", ServerCertificateName="c"))["Tags"] == [
        {"Key": "B", "Value": "3"}
    ]
    assert (await ask("iam:GetAccountSummary"))["SummaryMap"]["ServerCertificates"] == 1


async def test_a_server_certificate_moves_and_goes(ask: Ask) -> None:
    for name in ("a", "b"):
        await ask("iam:UploadServerCertificate", **server(ServerCertificateName=name, Path=f"/{name}/"))
    assert (await refused(ask, "iam:UploadServerCertificate", **server(ServerCertificateName="A"))) == (
        "EntityAlreadyExists", "The Server Certificate with name A already exists.",
    )  # fmt: skip
    assert (await refused(ask, "iam:UpdateServerCertificate", ServerCertificateName="a", NewServerCertificateName="b"))[
        0
    ] == "EntityAlreadyExists"
    await ask("iam:UpdateServerCertificate", ServerCertificateName="a", NewServerCertificateName="z", NewPath="/b/")
    found = await ask("iam:ListServerCertificates", PathPrefix="/b/", MaxItems=1)
    assert [one["ServerCertificateName"] for one in found["ServerCertificateMetadataList"]] == ["b"]
    found = await ask("iam:ListServerCertificates", PathPrefix="/b/", Marker=found["Marker"])
    assert [one["Arn"].partition(":server-certificate")[2] for one in found["ServerCertificateMetadataList"]] == [
        "/b/z"
    ]
    await ask("iam:DeleteServerCertificate", ServerCertificateName="z")
    assert await refused(ask, "iam:DeleteServerCertificate", ServerCertificateName="z") == (
        "NoSuchEntity", "The Server Certificate with name z cannot be found.",
    )  # fmt: skip


async def test_server_certificates_that_are_refused(node: Node, ask: Ask) -> None:
    async def code(**given: Any) -> str:
        return (await refused(ask, "iam:UploadServerCertificate", **given))[0]

    for body in ("", "x", LEAF.pem[:-60], LEAF.pem + CA.pem, LEAF.key_pem()):
        assert await code(**server(CertificateBody=body)) == "MalformedCertificate"
    for key in ("x", LEAF.key_pem(b"secret"), LEAF.pem, LEAF.key_pem()[:80]):
        assert await code(**server(PrivateKey=key)) == "MalformedCertificate"
    assert await code(**server(PrivateKey=CA.key_pem())) == "KeyPairMismatch"
    assert await code(**server(issue("old", days=(-9, -1)))) == "MalformedCertificate"
    assert await code(**server(issue("new", days=(1, 9)))) == "MalformedCertificate"
    head = (
        "Unable to validate certificate chain. The certificate chain must start with the immediate signing certificate"
    )
    for chain, index in (((CA,), -1), ((MIDDLE, MIDDLE), 0), ((MIDDLE, CA, MIDDLE), 1)):
        found, text = await refused(ask, "iam:UploadServerCertificate", **server(LEAF, *chain))
        assert found == "MalformedCertificate" and text.startswith(head) and text.endswith(f"certificate is: {index}")
    for _ in range(quotas.SERVER_CERTIFICATES):
        await ask("iam:UploadServerCertificate", **server(ServerCertificateName=f"n{_}"))
    assert (await refused(ask, "iam:UploadServerCertificate", **server()))[1] == (
        "Cannot exceed quota for ServerCertificatesPerAccount: 20"
    )
    node.clock.advance(400 * 86400)
    assert await code(**server(LEAF)) == "MalformedCertificate"


async def test_an_rsa_certificate_and_a_key_made_of_parts_that_do_not_fit(ask: Ask) -> None:
    made = issue("rsa.example", rsa_bits=2048)
    assert isinstance(made.key, rsa.RSAPrivateKey)
    right = made.key.private_numbers()
    forged = rsa.RSAPrivateNumbers(
        right.p, right.q, right.d + 2, right.dmp1, right.dmq1, right.iqmp, right.public_numbers
    ).private_key(unsafe_skip_rsa_key_validation=True)
    bad = Issued(made.certificate, forged)
    assert (await refused(ask, "iam:UploadServerCertificate", **server(bad)))[0] == "KeyPairMismatch"
    await ask("iam:UploadServerCertificate", **server(made))


async def test_signing_certificates(node: Node, ask: Ask) -> None:
    for name in ("u", "v"):
        await ask("iam:CreateUser", UserName=name)
    made = (await ask("iam:UploadSigningCertificate", UserName="u", CertificateBody=LEAF.pem))["Certificate"]
    assert (made["UserName"], made["Status"], len(made["CertificateId"])) == ("u", "Active", 32)
    assert (await refused(ask, "iam:UploadSigningCertificate", UserName="v", CertificateBody=LEAF.pem))[0] == (
        "DuplicateCertificate"
    )
    await ask("iam:UploadSigningCertificate", UserName="u", CertificateBody=CA.pem)
    assert (await refused(ask, "iam:UploadSigningCertificate", UserName="u", CertificateBody=MIDDLE.pem))[0] == (
        "LimitExceeded"
    )
    which = {"UserName": "u", "CertificateId": made["CertificateId"]}
    await ask("iam:UpdateSigningCertificate", Status="Inactive", **which)
    assert (await refused(ask, "iam:UpdateSigningCertificate", Status="Expired", **which))[0] == "InvalidInput"
    with pytest.raises(AwsError, match="NoSuchEntity"):
        await ask("iam:UpdateSigningCertificate", **{**which, "UserName": "v"}, Status="Active")
    await ask("iam:UpdateUser", UserName="u", NewUserName="w")
    first = await ask("iam:ListSigningCertificates", UserName="w", MaxItems=1)
    rest = await ask("iam:ListSigningCertificates", UserName="w", Marker=first["Marker"])
    shown = {one["CertificateId"]: one for one in first["Certificates"] + rest["Certificates"]}
    assert shown[made["CertificateId"]] == made | {"Status": "Inactive", "UserName": "w"}
    await ask("iam:GenerateCredentialReport")
    report = (await ask("iam:GetCredentialReport"))["Content"].decode()
    row = {row["user"]: row for row in csv.DictReader(report.splitlines())}["w"]
    assert (row["cert_1_active"], row["cert_2_active"]) == ("false", "true")
    assert (await refused(ask, "iam:DeleteUser", UserName="w"))[0] == "DeleteConflict"
    for certificate_id in shown:
        await ask("iam:DeleteSigningCertificate", UserName="w", CertificateId=certificate_id)
    await ask("iam:UploadSigningCertificate", UserName="v", CertificateBody=LEAF.pem)
    await ask("iam:DeleteUser", UserName="w")


async def test_signing_certificates_of_the_caller_and_of_root(node: Node, ask: Ask) -> None:
    await ask("iam:CreateUser", UserName="u")
    allow = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'
    await ask("iam:PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=allow)
    caller = await signed_in(node, (await ask("iam:CreateAccessKey", UserName="u"))["AccessKey"])
    for who, body in ((caller, LEAF.pem), (ROOT, CA.pem)):
        made = (await ask("iam:UploadSigningCertificate", who, CertificateBody=body))["Certificate"]
        listed = (await ask("iam:ListSigningCertificates", who))["Certificates"]
        assert listed == [made]
    assert (await ask("iam:GetAccountSummary"))["SummaryMap"]["AccountSigningCertificatesPresent"] == 1


def ssh_rsa(bits: int = 2048) -> rsa.RSAPublicKey:
    return rsa.generate_private_key(65537, bits).public_key()


async def test_ssh_public_keys(ask: Ask) -> None:
    await ask("iam:CreateUser", UserName="u")
    key = ssh_rsa()
    ssh = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + " me@example"
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    made = (await ask("iam:UploadSSHPublicKey", UserName="u", SSHPublicKeyBody=ssh))["SSHPublicKey"]
    assert made["SSHPublicKeyId"].startswith("APKA") and len(made["Fingerprint"]) == 47
    assert (made["Status"], made["SSHPublicKeyBody"]) == ("Active", ssh)
    assert (await refused(ask, "iam:UploadSSHPublicKey", UserName="u", SSHPublicKeyBody=pem))[0] == (
        "DuplicateSSHPublicKey"
    )
    which = {"UserName": "u", "SSHPublicKeyId": made["SSHPublicKeyId"]}
    assert (await ask("iam:GetSSHPublicKey", Encoding="SSH", **which))["SSHPublicKey"] == made
    assert (await ask("iam:GetSSHPublicKey", Encoding="PEM", **which))["SSHPublicKey"]["SSHPublicKeyBody"] == pem
    await ask("iam:UpdateSSHPublicKey", Status="Inactive", **which)
    listed = (await ask("iam:ListSSHPublicKeys", UserName="u"))["SSHPublicKeys"]
    assert listed == [{k: made[k] for k in ("UserName", "SSHPublicKeyId", "UploadDate")} | {"Status": "Inactive"}]
    assert (await refused(ask, "iam:DeleteUser", UserName="u"))[0] == "DeleteConflict"
    await ask("iam:DeleteSSHPublicKey", **which)
    assert (await refused(ask, "iam:GetSSHPublicKey", Encoding="SSH", **which))[0] == "NoSuchEntity"
    made = (await ask("iam:UploadSSHPublicKey", UserName="u", SSHPublicKeyBody=pem))["SSHPublicKey"]
    which["SSHPublicKeyId"] = made["SSHPublicKeyId"]
    shown = (await ask("iam:GetSSHPublicKey", Encoding="SSH", **which))["SSHPublicKey"]["SSHPublicKeyBody"]
    assert shown == ssh.removesuffix(" me@example")


async def test_ssh_public_keys_that_are_refused(ask: Ask) -> None:
    await ask("iam:CreateUser", UserName="u")
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    small = ssh_rsa(1024).public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    for body, code in (
        ("hello", "UnrecognizedPublicKeyEncoding"),
        (curve.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(), "UnrecognizedPublicKeyEncoding"),
        ("ssh-rsa AAAA", "InvalidPublicKey"),
        (curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(), "InvalidPublicKey"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "InvalidPublicKey"),
        (small, "InvalidPublicKey"),
    ):
        assert (await refused(ask, "iam:UploadSSHPublicKey", UserName="u", SSHPublicKeyBody=body))[0] == code
    for _ in range(quotas.SSH_KEYS_PER_USER):
        body = ssh_rsa().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        await ask("iam:UploadSSHPublicKey", UserName="u", SSHPublicKeyBody=body)
    body = ssh_rsa().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert (await refused(ask, "iam:UploadSSHPublicKey", UserName="u", SSHPublicKeyBody=body))[0] == "LimitExceeded"


async def test_the_version_of_global_tokens(ask: Ask) -> None:
    assert (await ask("iam:GetAccountSummary"))["SummaryMap"]["GlobalEndpointTokenVersion"] == 1
    await ask("iam:SetSecurityTokenServicePreferences", GlobalEndpointTokenVersion="v2Token")
    assert (await ask("iam:GetAccountSummary"))["SummaryMap"]["GlobalEndpointTokenVersion"] == 2
