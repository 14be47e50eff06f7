"""Users' SSH public keys (for CodeCommit), as records that are checked, shown in both encodings and switched off.

Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_UploadSSHPublicKey.html
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_public_key,
)

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, ids, listing, quotas, statuses
from penstock.services.iam.records import SshPublicKey, User
from penstock.services.iam.state import State, changing, reading
from penstock.services.iam.users import name_of_caller

USER = arns.existing(User)
_LEAST_BITS = 2048


def _parsed(body: str) -> rsa.RSAPublicKey:
    """The key of an upload. Raises AwsError UnrecognizedPublicKeyEncoding or InvalidPublicKey."""
    text = body.strip()
    if text.startswith("ssh-rsa "):
        load: Any = load_ssh_public_key
    elif text.startswith("-----BEGIN "):
        load = load_pem_public_key
    else:
        raise errors.fault("UnrecognizedPublicKeyEncoding", "The public key must be in ssh-rsa or PEM format.")
    try:
        key = load(text.encode("utf-8"))
    except (UnsupportedAlgorithm, ValueError):
        raise errors.fault("InvalidPublicKey", "The public key is malformed.") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise errors.fault("InvalidPublicKey", "The public key must be an RSA key.")
    if key.key_size < _LEAST_BITS:
        raise errors.fault("InvalidPublicKey", f"The length of the public key must be at least {_LEAST_BITS} bits.")
    return key


def _in_ssh(key: rsa.RSAPublicKey) -> str:
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _fingerprint(ssh: str) -> str:
    """The MD5 of the key's bytes in SSH's encoding, as `ssh-keygen -l -E md5` shows it (RFC 4716)."""
    digest = hashlib.md5(base64.b64decode(ssh.split()[1]), usedforsecurity=False).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, 32, 2))


def _listed(user: User, key: SshPublicKey) -> dict[str, Any]:
    return {
        "UserName": user.name,
        "SSHPublicKeyId": key.id,
        "Status": statuses.shown(key.active),
        "UploadDate": key.created,
    }


def _view(user: User, key: SshPublicKey, body: str) -> dict[str, Any]:
    return _listed(user, key) | {"Fingerprint": key.fingerprint, "SSHPublicKeyBody": body}


def _of(state: State, params: Params) -> tuple[User, SshPublicKey]:
    user = state.get(User, params["UserName"])
    for key in user.ssh_keys:
        if key.id == params["SSHPublicKeyId"]:
            return user, key
    raise errors.no_such_entity(f"The Public Key with id {params['SSHPublicKeyId']} cannot be found.")


@operation("iam:UploadSSHPublicKey", resource=USER)
@changing
def upload_ssh_public_key(state: State, call: Call, params: Params) -> Result:
    user, body = state.get(User, params["UserName"]), params["SSHPublicKeyBody"]
    fingerprint = _fingerprint(_in_ssh(_parsed(body)))
    if any(key.fingerprint == fingerprint for key in user.ssh_keys):
        raise errors.fault(
            "DuplicateSSHPublicKey", f"The SSH public key is already associated with the user {user.name}."
        )
    if len(user.ssh_keys) >= quotas.SSH_KEYS_PER_USER:
        raise errors.limit(f"Cannot exceed quota for SSHPublicKeysPerUser: {quotas.SSH_KEYS_PER_USER}")
    key = SshPublicKey(id=ids.unique(ids.SSH_KEY), body=body, fingerprint=fingerprint, created=int(call.now))
    user.ssh_keys.append(key)
    state.save(user)
    return {"SSHPublicKey": _view(user, key, body)}


@operation("iam:GetSSHPublicKey", resource=USER)
@reading
def get_ssh_public_key(state: State, call: Call, params: Params) -> Result:
    user, key = _of(state, params)
    if params["Encoding"] == "PEM":
        pem = _parsed(key.body).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return {"SSHPublicKey": _view(user, key, pem.decode())}
    body = key.body.strip()
    return {"SSHPublicKey": _view(user, key, body if body.startswith("ssh-rsa ") else _in_ssh(_parsed(body)))}


@operation("iam:ListSSHPublicKeys", resource=USER)
@reading
def list_ssh_public_keys(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, name_of_caller(call, params))
    return listing.page_of_list(
        user.ssh_keys, params, f"SSHPublicKeys:{user.name}", "SSHPublicKeys", lambda key: key.id,
        lambda key: _listed(user, key),
    )  # fmt: skip


@operation("iam:UpdateSSHPublicKey", resource=USER)
@changing
def update_ssh_public_key(state: State, call: Call, params: Params) -> Result:
    user, key = _of(state, params)
    key.active = statuses.wanted(params)
    state.save(user)
    return {}


@operation("iam:DeleteSSHPublicKey", resource=USER)
@changing
def delete_ssh_public_key(state: State, call: Call, params: Params) -> Result:
    user, key = _of(state, params)
    user.ssh_keys.remove(key)
    state.save(user)
    return {}
