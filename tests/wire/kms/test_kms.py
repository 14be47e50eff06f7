"""KMS as boto3 sees it."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from penstock.services.kms.specs import SPECS
from served import Served

ARN = "arn:aws:kms:us-east-1:000000000000:"


@pytest.fixture
def kms(server: Served) -> Any:
    return server.client("kms")


def made(kms: Any, **params: Any) -> str:
    return str(kms.create_key(**params)["KeyMetadata"]["KeyId"])


def refused(call: Callable[..., Any], **params: Any) -> tuple[str, str]:
    """The code and message with which a call fails."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_keys_life(kms: Any) -> None:
    key = kms.create_key(Description="mine", Tags=[{"TagKey": "a", "TagValue": "1"}])["KeyMetadata"]
    key_id = key["KeyId"]
    for name in (key_id, key["Arn"]):
        described = kms.describe_key(KeyId=name)["KeyMetadata"]
        assert described == key
    key.pop("CreationDate")
    assert len(key.pop("CurrentKeyMaterialId")) == 64
    assert key == {
        "AWSAccountId": "000000000000", "KeyId": key_id, "Arn": f"{ARN}key/{key_id}", "Enabled": True,
        "Description": "mine", "KeyUsage": "ENCRYPT_DECRYPT", "KeyState": "Enabled", "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"], "MultiRegion": False,
    }  # fmt: skip
    kms.update_key_description(KeyId=key_id, Description="yours")
    kms.disable_key(KeyId=key_id)
    described = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (described["KeyState"], described["Enabled"], described["Description"]) == ("Disabled", False, "yours")
    assert refused(kms.encrypt, KeyId=key_id, Plaintext=b"x") == (
        "DisabledException",
        f"{ARN}key/{key_id} is disabled.",
    )
    kms.enable_key(KeyId=key_id)
    kms.tag_resource(KeyId=key_id, Tags=[{"TagKey": "b", "TagValue": "2"}])
    kms.untag_resource(KeyId=key_id, TagKeys=["a"])
    assert kms.list_resource_tags(KeyId=key_id)["Tags"] == [{"TagKey": "b", "TagValue": "2"}]
    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    described = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (described["KeyState"], described["Enabled"]) == ("PendingDeletion", False)
    assert refused(kms.schedule_key_deletion, KeyId=key_id)[0] == "KMSInvalidStateException"
    kms.cancel_key_deletion(KeyId=key_id)
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Disabled"


def test_names_that_lead_nowhere(kms: Any) -> None:
    absent = str(uuid.uuid4())
    for name in (absent, f"{ARN}key/{absent}"):
        assert refused(kms.describe_key, KeyId=name) == ("NotFoundException", f"Key '{ARN}key/{absent}' does not exist")
    assert refused(kms.describe_key, KeyId="x") == ("NotFoundException", "Invalid keyId 'x'")
    assert refused(kms.describe_key, KeyId="alias/none") == (
        "NotFoundException",
        f"Alias {ARN}alias/none is not found.",
    )
    elsewhere = f"arn:aws:kms:eu-west-1:000000000000:key/{absent}"
    assert refused(kms.describe_key, KeyId=elsewhere) == ("NotFoundException", "Invalid arn eu-west-1")


def test_lists_have_pages(kms: Any) -> None:
    wanted = {made(kms) for _ in range(5)}
    pages = list(kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}))
    assert all(len(page["Keys"]) <= 2 for page in pages)
    assert wanted <= {key["KeyId"] for page in pages for key in page["Keys"]}
    key_id = wanted.pop()
    names = sorted(f"alias/{uuid.uuid4().hex}" for _ in range(3))
    for name in names:
        kms.create_alias(AliasName=name, TargetKeyId=key_id)
    pages = list(kms.get_paginator("list_aliases").paginate(KeyId=key_id, PaginationConfig={"PageSize": 2}))
    assert [alias["AliasName"] for page in pages for alias in page["Aliases"]] == names
    assert refused(kms.list_keys, Marker="x")[0] == "InvalidMarkerException"


def test_aliases_move(kms: Any) -> None:
    one, two = made(kms), made(kms)
    name = f"alias/{uuid.uuid4().hex}"
    kms.create_alias(AliasName=name, TargetKeyId=one)
    assert refused(kms.create_alias, AliasName=name, TargetKeyId=two)[0] == "AlreadyExistsException"
    sealed = kms.encrypt(KeyId=name, Plaintext=b"x")["CiphertextBlob"]
    kms.update_alias(AliasName=name, TargetKeyId=two)
    assert kms.describe_key(KeyId=f"{ARN}{name}")["KeyMetadata"]["KeyId"] == two
    assert kms.decrypt(CiphertextBlob=sealed)["KeyId"] == f"{ARN}key/{one}"
    assert refused(kms.decrypt, CiphertextBlob=sealed, KeyId=name)[0] == "IncorrectKeyException"
    kms.delete_alias(AliasName=name)
    assert refused(kms.delete_alias, AliasName=name)[0] == "NotFoundException"
    assert refused(kms.create_alias, AliasName="alias/aws/x", TargetKeyId=one)[0] == "NotAuthorizedException"
    assert refused(kms.create_alias, AliasName="x", TargetKeyId=one)[0] == "ValidationException"


def test_data_keys(kms: Any) -> None:
    key_id = made(kms)
    context = {"a": "b"}
    for asked, size in (({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 1024}, 1024)):
        answer = kms.generate_data_key(KeyId=key_id, EncryptionContext=context, **asked)
        assert len(answer["Plaintext"]) == size
        opened = kms.decrypt(CiphertextBlob=answer["CiphertextBlob"], EncryptionContext=context)
        assert opened["Plaintext"] == answer["Plaintext"]
        assert "Plaintext" not in kms.generate_data_key_without_plaintext(KeyId=key_id, **asked)
    assert refused(kms.generate_data_key, KeyId=key_id)[0] == "ValidationException"
    pair = kms.generate_data_key_pair(KeyId=key_id, KeyPairSpec="ECC_NIST_P384")
    private = serialization.load_der_private_key(pair["PrivateKeyPlaintext"], None)
    assert kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"])["Plaintext"] == pair["PrivateKeyPlaintext"]
    assert pair["PublicKey"] == private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    hidden = kms.generate_data_key_pair_without_plaintext(KeyId=key_id, KeyPairSpec="ECC_SECG_P256K1")
    assert "PrivateKeyPlaintext" not in hidden
    assert len(kms.generate_random(NumberOfBytes=91)["Plaintext"]) == 91
    dry = refused(kms.generate_data_key, KeyId=key_id, KeySpec="AES_256", DryRun=True)
    assert dry == ("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")


def test_what_is_secret_is_not_told_back(kms: Any) -> None:
    assert refused(kms.encrypt, KeyId=made(kms), Plaintext=b"x" * 4097) == (
        "ValidationException",
        "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: "
        "Member must have length less than or equal to 4096",
    )


def test_re_encrypt(kms: Any) -> None:
    one, two = made(kms), made(kms, KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
    sealed = kms.encrypt(KeyId=one, Plaintext=b"x", EncryptionContext={"a": "b"})["CiphertextBlob"]
    moved = kms.re_encrypt(
        CiphertextBlob=sealed, SourceEncryptionContext={"a": "b"}, DestinationKeyId=two,
        DestinationEncryptionAlgorithm="RSAES_OAEP_SHA_256",
    )  # fmt: skip
    assert (moved["SourceKeyId"], moved["KeyId"]) == (f"{ARN}key/{one}", f"{ARN}key/{two}")
    back = kms.re_encrypt(
        CiphertextBlob=moved["CiphertextBlob"], SourceKeyId=two, SourceEncryptionAlgorithm="RSAES_OAEP_SHA_256",
        DestinationKeyId=one, DestinationEncryptionContext={"c": "d"},
    )  # fmt: skip
    assert kms.decrypt(CiphertextBlob=back["CiphertextBlob"], EncryptionContext={"c": "d"})["Plaintext"] == b"x"


SIGNING = [
    ("RSA_2048", "RSASSA_PSS_SHA_256"), ("RSA_2048", "RSASSA_PSS_SHA_512"), ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_384"),
    ("ECC_NIST_P256", "ECDSA_SHA_256"), ("ECC_NIST_P384", "ECDSA_SHA_384"), ("ECC_NIST_P521", "ECDSA_SHA_512"),
    ("ECC_SECG_P256K1", "ECDSA_SHA_256"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
def test_signatures_are_real(kms: Any, spec: str, algorithm: str) -> None:
    key_id = made(kms, KeySpec=spec, KeyUsage="SIGN_VERIFY")
    given = {"KeyId": key_id, "SigningAlgorithm": algorithm}
    name = "sha" + algorithm[-3:]
    digest = hashlib.new(name, b"message").digest()
    raw = kms.sign(Message=b"message", **given)["Signature"]
    hashed = kms.sign(Message=digest, MessageType="DIGEST", **given)["Signature"]
    assert kms.verify(Message=b"message", Signature=hashed, **given)["SignatureValid"]
    assert kms.verify(Message=digest, MessageType="DIGEST", Signature=raw, **given)["SignatureValid"]
    assert refused(kms.verify, Message=b"other", Signature=raw, **given)[0] == "KMSInvalidSignatureException"
    assert refused(kms.sign, Message=b"short", MessageType="DIGEST", **given) == (
        "ValidationException", f"Digest is invalid length for algorithm {algorithm}.",
    )  # fmt: skip
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=key_id)["PublicKey"])
    hashing = getattr(hashes, name.upper())()
    if isinstance(public, rsa.RSAPublicKey):
        pss = padding.PSS(padding.MGF1(hashing), hashing.digest_size)
        public.verify(raw, b"message", pss if "PSS" in algorithm else padding.PKCS1v15(), hashing)
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(raw, b"message", ec.ECDSA(hashing))


def test_ed25519(kms: Any) -> None:
    key_id = made(kms, KeySpec="ECC_NIST_EDWARDS25519", KeyUsage="SIGN_VERIFY")
    given = {"KeyId": key_id, "SigningAlgorithm": "ED25519_SHA_512", "Message": b"m"}
    signature = kms.sign(**given)["Signature"]
    assert kms.verify(Signature=signature, **given)["SignatureValid"]
    assert refused(kms.verify, Signature=b"x" * 64, **given)[0] == "KMSInvalidSignatureException"


@pytest.mark.parametrize("size", [44, 65, 87])
def test_ml_dsa(kms: Any, size: int) -> None:
    if f"ML_DSA_{size}" not in SPECS:
        assert refused(kms.create_key, KeySpec=f"ML_DSA_{size}", KeyUsage="SIGN_VERIFY")[0] == "NotImplemented"
        return
    key_id = made(kms, KeySpec=f"ML_DSA_{size}", KeyUsage="SIGN_VERIFY")
    given = {"KeyId": key_id, "SigningAlgorithm": "ML_DSA_SHAKE_256"}
    for message in ({"Message": b"m"}, {"Message": b"\1" * 64, "MessageType": "EXTERNAL_MU"}):
        signature = kms.sign(**given, **message)["Signature"]
        assert kms.verify(Signature=signature, **given, **message)["SignatureValid"]
        spoilt = signature[:-1] + bytes((signature[-1] ^ 1,))
        assert refused(kms.verify, Signature=spoilt, **given, **message)[0] == "KMSInvalidSignatureException"
        assert refused(kms.verify, Signature=b"x", **given, **message)[0] == "KMSInvalidSignatureException"
    assert refused(kms.sign, Message=b"m" * 64, MessageType="DIGEST", **given)[0] == "ValidationException"
    assert refused(kms.sign, Message=b"m", MessageType="EXTERNAL_MU", **given)[0] == "ValidationException"
    public: Any = serialization.load_der_public_key(kms.get_public_key(KeyId=key_id)["PublicKey"])
    public.verify(kms.sign(Message=b"m", **given)["Signature"], b"m")


def test_what_was_encrypted_with_the_public_key(kms: Any) -> None:
    key_id = made(kms, KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=key_id)["PublicKey"])
    assert isinstance(public, rsa.RSAPublicKey)
    for algorithm, hashing in (("RSAES_OAEP_SHA_1", hashes.SHA1()), ("RSAES_OAEP_SHA_256", hashes.SHA256())):
        sealed = public.encrypt(b"outside", padding.OAEP(padding.MGF1(hashing), hashing, None))
        opened = kms.decrypt(KeyId=key_id, CiphertextBlob=sealed, EncryptionAlgorithm=algorithm)
        assert opened["Plaintext"] == b"outside"
    assert refused(kms.encrypt, KeyId=key_id, Plaintext=b"x" * 300, EncryptionAlgorithm="RSAES_OAEP_SHA_1") == (
        "ValidationException", "Algorithm RSAES_OAEP_SHA_1 and key spec RSA_2048 cannot encrypt data larger than 214 bytes.",
    )  # fmt: skip


@pytest.mark.parametrize("bits", [224, 256, 384, 512])
def test_macs(kms: Any, bits: int) -> None:
    key_id = made(kms, KeySpec=f"HMAC_{bits}", KeyUsage="GENERATE_VERIFY_MAC")
    given = {"KeyId": key_id, "MacAlgorithm": f"HMAC_SHA_{bits}"}
    mac = kms.generate_mac(Message=b"m", **given)["Mac"]
    assert len(mac) == bits // 8
    assert kms.verify_mac(Message=b"m", Mac=mac, **given)["MacValid"]
    assert refused(kms.verify_mac, Message=b"n", Mac=mac, **given)[0] == "KMSInvalidMacException"


def test_a_shared_secret_is_the_other_sides(kms: Any) -> None:
    key_id = made(kms, KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=key_id)["PublicKey"])
    mine = ec.generate_private_key(ec.SECP256R1())
    der = mine.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    answer = kms.derive_shared_secret(KeyId=key_id, KeyAgreementAlgorithm="ECDH", PublicKey=der)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert answer["SharedSecret"] == mine.exchange(ec.ECDH(), public)


def test_keys_do_what_they_are_for(kms: Any) -> None:
    symmetric, mac = made(kms), made(kms, KeySpec="HMAC_224", KeyUsage="GENERATE_VERIFY_MAC")
    assert refused(kms.generate_mac, KeyId=symmetric, Message=b"m", MacAlgorithm="HMAC_SHA_224") == (
        "InvalidKeyUsageException",
        f"{ARN}key/{symmetric} key usage is ENCRYPT_DECRYPT which is not valid for GenerateMac.",
    )
    assert refused(kms.generate_mac, KeyId=mac, Message=b"m", MacAlgorithm="HMAC_SHA_256") == (
        "InvalidKeyUsageException", "Algorithm HMAC_SHA_256 is incompatible with key spec HMAC_224.",
    )  # fmt: skip
    assert refused(kms.encrypt, KeyId=mac, Plaintext=b"x")[0] == "InvalidKeyUsageException"
    assert refused(kms.create_key, KeySpec="HMAC_224")[0] == "ValidationException"
    assert refused(kms.create_key, KeySpec="RSA_2048", KeyUsage="KEY_AGREEMENT")[0] == "ValidationException"
    assert refused(kms.create_key, KeySpec="SM2", KeyUsage="SIGN_VERIFY")[0] == "NotImplemented"
    assert refused(kms.create_key, Origin="AWS_CLOUDHSM")[0] == "NotImplemented"


def wrapped(params: dict[str, Any], plain: bytes) -> bytes:
    public = serialization.load_der_public_key(params["PublicKey"])
    assert isinstance(public, rsa.RSAPublicKey)
    return public.encrypt(plain, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))


def test_imported_material_comes_and_goes(kms: Any) -> None:
    key_id = made(kms, Origin="EXTERNAL")
    assert refused(kms.encrypt, KeyId=key_id, Plaintext=b"x") == (
        "KMSInvalidStateException", f"{ARN}key/{key_id} is pending import.",
    )  # fmt: skip
    params = kms.get_parameters_for_import(
        KeyId=key_id, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )
    given = {"KeyId": key_id, "ImportToken": params["ImportToken"], "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    plain = os.urandom(32)
    assert refused(kms.import_key_material, EncryptedKeyMaterial=wrapped(params, b"short"), **given)[0] == (
        "IncorrectKeyMaterialException"
    )
    assert refused(kms.import_key_material, EncryptedKeyMaterial=b"x" * 256, **given)[0] == "InvalidCiphertextException"
    kms.import_key_material(EncryptedKeyMaterial=wrapped(params, plain), **given)
    sealed = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    kms.delete_imported_key_material(KeyId=key_id)
    assert refused(kms.decrypt, CiphertextBlob=sealed)[0] == "KMSInvalidStateException"
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingImport"
    other = wrapped(params, os.urandom(32))
    assert refused(kms.import_key_material, EncryptedKeyMaterial=other, **given)[0] == "IncorrectKeyMaterialException"
    kms.import_key_material(EncryptedKeyMaterial=wrapped(params, plain), **given)
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    kms.import_key_material(EncryptedKeyMaterial=other, ImportType="NEW_KEY_MATERIAL", **given)
    kms.rotate_key_on_demand(KeyId=key_id)
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    states = kms.list_key_rotations(KeyId=key_id, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [s["KeyMaterialState"] for s in states] == ["NON_CURRENT", "CURRENT"]


def test_an_imported_private_key(kms: Any) -> None:
    key_id = made(kms, Origin="EXTERNAL", KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
    params = kms.get_parameters_for_import(
        KeyId=key_id, WrappingAlgorithm="RSA_AES_KEY_WRAP_SHA_256", WrappingKeySpec="RSA_2048"
    )
    private = rsa.generate_private_key(65537, 2048)
    der = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    aes = os.urandom(32)
    kms.import_key_material(
        KeyId=key_id, ImportToken=params["ImportToken"], ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
        EncryptedKeyMaterial=wrapped(params, aes) + aes_key_wrap_with_padding(aes, der),
    )  # fmt: skip
    signature = kms.sign(KeyId=key_id, Message=b"m", SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256")["Signature"]
    private.public_key().verify(signature, b"m", padding.PKCS1v15(), hashes.SHA256())


def test_keys_and_ciphertexts_survive_a_kill(own_server: Served) -> None:
    kms = own_server.client("kms")
    key_id, signing = made(kms), made(kms, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    sealed = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    public = kms.get_public_key(KeyId=signing)["PublicKey"]
    own_server.restart()
    kms = own_server.client("kms")
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    assert kms.get_public_key(KeyId=signing)["PublicKey"] == public
    master = own_server.data / "master.key"
    assert master.stat().st_mode & 0o777 == 0o600
    own_server.stop()
    master.unlink()
    with pytest.raises(RuntimeError, match="another master key"):
        Served(own_server.data).start()


def test_a_role_needs_the_keys_permission(server: Served) -> None:
    """Over the wire with real signatures: a user without a policy, then with a grant."""
    kms, iam = server.client("kms"), server.client("iam")
    name = f"u-{uuid.uuid4().hex[:8]}"
    user = iam.create_user(UserName=name)["User"]["Arn"]
    pair = iam.create_access_key(UserName=name)["AccessKey"]
    theirs = server.client("kms", pair["AccessKeyId"], pair["SecretAccessKey"])
    key_id = made(kms)
    assert refused(theirs.encrypt, KeyId=key_id, Plaintext=b"x") == (
        "AccessDeniedException",
        f"User: {user} is not authorized to perform: kms:Encrypt on resource: {ARN}key/{key_id} because no "
        "identity-based policy allows the kms:Encrypt action",
    )
    grant = kms.create_grant(KeyId=key_id, GranteePrincipal=user, Operations=["Encrypt", "Decrypt"])
    sealed = theirs.encrypt(KeyId=key_id, Plaintext=b"x", GrantTokens=[grant["GrantToken"]])["CiphertextBlob"]
    assert theirs.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    kms.revoke_grant(KeyId=key_id, GrantId=grant["GrantId"])
    assert refused(theirs.decrypt, CiphertextBlob=sealed)[0] == "AccessDeniedException"
    policy = kms.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"]
    kms.put_key_policy(KeyId=key_id, PolicyName="default", Policy=policy.replace('"kms:*"', '["kms:*"]'))
    assert kms.list_key_policies(KeyId=key_id)["PolicyNames"] == ["default"]
