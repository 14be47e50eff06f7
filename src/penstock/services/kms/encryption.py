"""Encrypt, Decrypt, ReEncrypt: https://docs.aws.amazon.com/kms/latest/developerguide/kms-cryptography.html"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.services.kms import access, ciphertexts, errors, grant_tokens, rules
from penstock.services.kms.material import OpenMaterial
from penstock.services.kms.records import PENDING, Key, Material
from penstock.services.kms.specs import ENCRYPT, SYMMETRIC, hash_of

CONTEXT_BYTES_MAX = 8192


async def encrypt_with(
    call: Call, key: Key, plain: bytes, context: Mapping[str, str], algorithm: str = SYMMETRIC
) -> bytes:
    """Encrypt under a key that was checked. Raises AwsError ValidationException for too much plaintext."""
    material = key.current
    assert material is not None
    opened = await call.node.own(OpenMaterial).of(key, material)
    if isinstance(opened, AESGCM):
        return ciphertexts.seal(opened, key, material, plain, context)
    assert isinstance(opened, rsa.RSAPrivateKey)
    most = opened.key_size // 8 - 2 * hash_of(algorithm).digest_size - 2
    if len(plain) > most:
        raise errors.invalid(
            f"Algorithm {algorithm} and key spec {key.spec} cannot encrypt data larger than {most} bytes."
        )
    return opened.public_key().encrypt(plain, oaep(algorithm))


async def _decrypt_with(
    call: Call, key: Key, blob: bytes, context: Mapping[str, str], algorithm: str
) -> tuple[bytes, Material]:
    """The plaintext, and the material that opened it. Raises AwsError InvalidCiphertextException."""
    if key.spec != SYMMETRIC:
        material = key.current
        assert material is not None
        private = await call.node.own(OpenMaterial).of(key, material)
        assert isinstance(private, rsa.RSAPrivateKey)
        try:
            return private.decrypt(blob, oaep(algorithm)), material
        except ValueError:
            raise errors.bad_ciphertext() from None
    digits = ciphertexts.head_of(blob).material
    for material in key.materials:
        if material.id.startswith(digits) and material.sealed and material.state not in PENDING:
            opened = await call.node.own(OpenMaterial).of(key, material)
            assert isinstance(opened, AESGCM)
            return ciphertexts.unseal(opened, blob, context), material
    raise errors.bad_ciphertext()


def oaep(algorithm: str) -> padding.OAEP:
    """RSAES_OAEP_SHA_n as AWS does it: the same hash for both, no label."""
    return padding.OAEP(padding.MGF1(hash_of(algorithm)), hash_of(algorithm), None)


def context_of(params: Params, name: str = "EncryptionContext", algorithm: str = SYMMETRIC) -> dict[str, str]:
    """The encryption context of a request. Raises AwsError ValidationException where it cannot have one."""
    context: dict[str, str] = params.get(name) or {}
    if context:
        if algorithm != SYMMETRIC:
            raise errors.invalid(f"{name} is not supported for {algorithm}.")
        if sum(len(k.encode()) + len(v.encode()) for k, v in context.items()) > CONTEXT_BYTES_MAX:
            raise errors.invalid(f"{name} cannot be larger than {CONTEXT_BYTES_MAX} bytes.")
    return context


def _decrypting_key(name: str, algorithm_name: str) -> access.Named:
    """The key that a ciphertext is to be opened with: the one the request names, else the one the blob names."""

    def named(call: Call, params: Params) -> str:
        text = params.get(name)
        if params.get(algorithm_name, SYMMETRIC) != SYMMETRIC:
            if text is None:
                raise errors.invalid(f"{name} is required for {params[algorithm_name]}.")
            return str(text)
        head = ciphertexts.head_of(_blob(params)) if text is None else None
        return str(text) if head is None else f"arn:aws:kms:{call.region}:{head.account}:key/{head.key_id}"

    return named


def _blob(params: Params) -> bytes:
    """The ciphertext, which the model does not require because a dry run may do without."""
    if "CiphertextBlob" not in params:
        raise errors.invalid(
            "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must not be null"
        )
    blob: bytes = params["CiphertextBlob"]
    return blob


def _only_permission(params: Params) -> bool:
    """Whether a dry run asks for permissions alone, whatever the ciphertext."""
    return bool(params.get("DryRun")) and "IGNORE_CIPHERTEXT" in params.get("DryRunModifiers", ())


def _opened_key(call: Call, params: Params, name: str, algorithm: str) -> Key:
    """The key that authorization has found for a ciphertext. Raises AwsError where it is not the ciphertext's."""
    if not isinstance(call.seen, Key) and name not in params and call.seen.code == "NotFoundException":
        raise errors.no_such_ciphertext_key()
    key = access.seen(call)
    if algorithm == SYMMETRIC and not _only_permission(params):
        head = ciphertexts.head_of(_blob(params))
        if (head.account, head.key_id) != (key.account, key.id):
            raise errors.incorrect_key()
    return key


@access.key_operation("Encrypt", across=True)
async def encrypt(call: Call, params: Params) -> Result:
    grant_tokens.check(params)
    key = access.seen(call)
    algorithm = params.get("EncryptionAlgorithm", SYMMETRIC)
    rules.check_use(key, call.now, ENCRYPT, "Encrypt", algorithm)
    context = context_of(params, algorithm=algorithm)
    rules.check_dry_run(params)
    blob = await encrypt_with(call, key, params["Plaintext"], context, algorithm)
    return {"CiphertextBlob": blob, "KeyId": key.arn, "EncryptionAlgorithm": algorithm}


@access.key_operation(
    "Decrypt", named=_decrypting_key("KeyId", "EncryptionAlgorithm"), across=True,
    unsupported={"Recipient": ()},
)  # fmt: skip
async def decrypt(call: Call, params: Params) -> Result:
    grant_tokens.check(params)
    algorithm = params.get("EncryptionAlgorithm", SYMMETRIC)
    key = _opened_key(call, params, "KeyId", algorithm)
    rules.check_use(key, call.now, ENCRYPT, "Decrypt", algorithm)
    context = context_of(params, algorithm=algorithm)
    if _only_permission(params):
        raise errors.dry_run()
    plain, material = await _decrypt_with(call, key, _blob(params), context, algorithm)
    rules.check_dry_run(params)
    answer: Result = {"KeyId": key.arn, "Plaintext": plain, "EncryptionAlgorithm": algorithm}
    if algorithm == SYMMETRIC:
        answer["KeyMaterialId"] = material.id
    return answer


@access.key_operation(
    "ReEncrypt", named=_decrypting_key("SourceKeyId", "SourceEncryptionAlgorithm"), across=True,
    action="kms:ReEncryptFrom",
)  # fmt: skip
async def re_encrypt(call: Call, params: Params) -> Result:
    grant_tokens.check(params)
    old = params.get("SourceEncryptionAlgorithm", SYMMETRIC)
    new = params.get("DestinationEncryptionAlgorithm", SYMMETRIC)
    source = _opened_key(call, params, "SourceKeyId", old)
    home = call.principal.account
    destination, policy = await access.look(call, params, params["DestinationKeyId"], "ReEncryptTo", home)
    await access.require(call, params, destination, policy, "kms:ReEncryptTo")
    rules.check_use(source, call.now, ENCRYPT, "ReEncryptFrom", old)
    rules.check_use(destination, call.now, ENCRYPT, "ReEncryptTo", new)
    context = context_of(params, "SourceEncryptionContext", old)
    new_context = context_of(params, "DestinationEncryptionContext", new)
    if _only_permission(params):
        raise errors.dry_run()
    plain, material = await _decrypt_with(call, source, _blob(params), context, old)
    rules.check_dry_run(params)
    answer: Result = {
        "CiphertextBlob": await encrypt_with(call, destination, plain, new_context, new),
        "SourceKeyId": source.arn, "KeyId": destination.arn, "SourceEncryptionAlgorithm": old,
        "DestinationEncryptionAlgorithm": new,
    }  # fmt: skip
    if old == SYMMETRIC:
        answer["SourceKeyMaterialId"] = material.id
    if new == SYMMETRIC and destination.current:
        answer["DestinationKeyMaterialId"] = destination.current.id
    return answer
