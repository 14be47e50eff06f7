"""Imported key material: wrapped by its owner under a key of ours, and theirs to take away again.

https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys.html. An import token carries its wrapping key,
sealed under the master key: nothing is stored for an import that never comes.
"""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

from penstock.core.call import Call
from penstock.core.master_key import MasterKeyError
from penstock.core.operation import Params, Result
from penstock.services.kms import access, errors, finding, material, rules
from penstock.services.kms.encryption import oaep
from penstock.services.kms.records import (
    CURRENT,
    DOES_NOT_EXPIRE,
    EXPIRES,
    PENDING,
    PENDING_REPLICAS,
    PENDING_ROTATION,
    Key,
    Material,
)
from penstock.services.kms.specs import SPECS, SYMMETRIC
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented

TOKEN_LIFE_S = 86_400.0
NEW, EXISTING = "NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"
_WRAPPED = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256")
VALID_DAYS_MAX = 365
_BOUND_TO = b"kms import token"


class Token(msgspec.Struct, array_like=True):
    """What an import token says. private: the wrapping key."""

    arn: str
    algorithm: str
    expires_at: float
    private: bytes


def _check_external(key: Key) -> None:
    if key.origin != "EXTERNAL":
        raise errors.unsupported(f"{key.arn} origin is {key.origin} which is not valid for this operation.")


@access.key_operation("GetParametersForImport")
async def get_parameters_for_import(call: Call, params: Params) -> Result:
    key = access.seen(call)
    _check_external(key)
    rules.check_state(key, call.now, disabled=True, pending_import=True)
    algorithm, spec = params["WrappingAlgorithm"], params["WrappingKeySpec"]
    if algorithm not in _WRAPPED:
        raise not_implemented(f"kms:GetParametersForImport with WrappingAlgorithm={algorithm!r}")
    if spec not in SPECS:
        raise not_implemented(f"kms:GetParametersForImport with WrappingKeySpec={spec!r}")
    private = await material.pair(SPECS[spec])
    expires_at = call.now + TOKEN_LIFE_S
    token = Token(key.arn, algorithm, expires_at, material.private_der(private))
    master = await material.master_key(call.node)
    return {
        "KeyId": key.arn, "ImportToken": master.seal(msgspec.msgpack.encode(token), _BOUND_TO),
        "PublicKey": material.public_der(private), "ParametersValidTo": expires_at,
    }  # fmt: skip


async def _unwrapped(call: Call, params: Params, key: Key) -> bytes:
    """The material in a request. Raises AwsError for a token or a wrapping that does not fit."""
    master = await material.master_key(call.node)
    try:
        token = msgspec.msgpack.decode(master.unseal(params["ImportToken"], _BOUND_TO), type=Token)
    except MasterKeyError:
        raise AwsError("InvalidImportTokenException", "The import token is not valid.") from None
    if token.arn != key.arn:
        raise AwsError("InvalidImportTokenException", "The import token is for another KMS key.")
    if token.expires_at <= call.now:
        raise AwsError("ExpiredImportTokenException", "The import token has expired.")
    private = serialization.load_der_private_key(token.private, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(private, rsa.RSAPrivateKey)
    wrapped = params["EncryptedKeyMaterial"]
    try:
        if not token.algorithm.startswith("RSA_AES_KEY_WRAP"):
            return private.decrypt(wrapped, oaep(token.algorithm))
        head = private.key_size // 8
        return aes_key_unwrap_with_padding(private.decrypt(wrapped[:head], oaep(token.algorithm)), wrapped[head:])
    except (ValueError, InvalidUnwrap):
        raise errors.bad_ciphertext() from None


def _valid_to(params: Params, now: float) -> float:
    """When the material is to expire; 0: never. Raises AwsError ValidationException."""
    model, valid_to = params.get("ExpirationModel", EXPIRES), params.get("ValidTo")
    if model == DOES_NOT_EXPIRE:
        if valid_to is not None:
            raise errors.invalid(f"A validTo date must not be set if the ExpirationModel is {DOES_NOT_EXPIRE}")
        return 0.0
    if valid_to is None:
        raise errors.invalid(f"A validTo date must be set if the ExpirationModel is {EXPIRES}")
    if not now < valid_to <= now + VALID_DAYS_MAX * rules.DAY_S:
        raise errors.invalid(f"ValidTo must be in the future, at most {VALID_DAYS_MAX} days from now")
    return float(valid_to)


@access.key_operation("ImportKeyMaterial")
async def import_key_material(call: Call, params: Params) -> Result:
    seen = access.seen(call)
    _check_external(seen)
    rules.check_state(seen, call.now, disabled=True, pending_import=True)
    valid_to = _valid_to(params, call.now)
    plain, public = await material.imported(SPECS[seen.spec], await _unwrapped(call, params, seen))
    fresh = await material.sealed(call.node, seen.account, seen.id, plain, public)
    fresh.valid_to = valid_to
    fresh.description = params.get("KeyMaterialDescription", "")
    wanted = params.get("KeyMaterialId")
    if wanted is not None and wanted != fresh.id:
        raise errors.wrong_material()

    def body(txn: Transaction, key: Key) -> Result:
        rules.check_state(key, call.now, disabled=True, pending_import=True)
        kind = params.get("ImportType", EXISTING if key.materials else NEW)
        family = finding.family(txn, key, call.now)
        if kind == EXISTING or key.material(fresh.id) is not None:
            _import_again(key, fresh)
        else:
            _import_new(key, fresh, family)
        _settle_pending(key, family, fresh.id)
        for other in family:
            # The pending state and the place of a new material, neither of which changes when something is due.
            finding.save(txn, other, other.due_at())
        answer: Result = {"KeyId": key.arn}
        return answer | {"KeyMaterialId": fresh.id} if key.spec == SYMMETRIC else answer

    return await finding.change(call, seen, body)


def _import_again(key: Key, fresh: Material) -> None:
    """The very material that the key had before, perhaps with another expiry."""
    old = key.material(fresh.id)
    if old is None:
        raise errors.wrong_material()
    old.sealed, old.valid_to = fresh.sealed, fresh.valid_to
    old.description = fresh.description or old.description


def _import_new(key: Key, fresh: Material, family: list[Key]) -> None:
    """Material that the key never had: its first one, or one to rotate to. Replicas then await it too."""
    if key.materials and key.spec != SYMMETRIC:
        raise errors.wrong_material()
    if key.primary and key.primary != key.region:
        raise errors.unsupported(f"{key.arn} is a multi-region replica key: import new material into its primary key.")
    for old in key.materials:
        if old.state in PENDING:
            raise errors.bad_state(
                f"New key material (id: {fresh.id}) cannot be imported into KMS key {key.arn}, because another key "
                f"material (id: {old.id}) is pending rotation."
            )
    fresh.state = PENDING_ROTATION if key.materials else CURRENT
    key.materials.append(fresh)
    for other in family:
        other.materials.append(msgspec.structs.replace(fresh, sealed=b"", valid_to=0.0))


def _settle_pending(key: Key, family: list[Key], material_id: str) -> None:
    """A pending material is ready to rotate to once every key of the family has it."""
    each = [found for one in (key, *family) if (found := one.material(material_id)) is not None]
    if all(found.state in PENDING for found in each):
        ready = all(found.sealed for found in each)
        for found in each:
            found.state = PENDING_ROTATION if ready else PENDING_REPLICAS


@access.key_operation("DeleteImportedKeyMaterial")
async def delete_imported_key_material(call: Call, params: Params) -> Result:
    def body(txn: Transaction, key: Key) -> Result:
        _check_external(key)
        rules.check_state(key, call.now, disabled=True, pending_import=True)
        wanted = params.get("KeyMaterialId")
        found = key.current
        if wanted is not None:
            found = key.material(wanted)
            if found is None:
                raise errors.not_found(f"Key material {wanted} is not found for key {key.arn}.")
        answer: Result = {"KeyId": key.arn}
        if found is None:
            return answer
        if found.state in PENDING and key.primary in ("", key.region):
            for each in (key, *finding.family(txn, key, call.now)):
                due = each.due_at()
                each.materials = [m for m in each.materials if m.id != found.id]
                if each is not key:
                    finding.save(txn, each, due)
        else:
            found.sealed, found.valid_to = b"", 0.0
            family = finding.family(txn, key, call.now)
            _settle_pending(key, family, found.id)
            for other in family:
                finding.save(txn, other, other.due_at())
        return answer | {"KeyMaterialId": found.id} if key.spec == SYMMETRIC else answer

    return await finding.change(call, access.seen(call), body)
