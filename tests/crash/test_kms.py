"""SIGKILL under load: every key that was acknowledged is there, and opens what it had sealed. And what the disk tells."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives import serialization

from penstock.core.master_key import FILE
from served import Served

KILLS = 3


class _Writer(threading.Thread):
    """Makes keys and seals with them; rotates one of its own. `sealed` is what was acknowledged."""

    def __init__(self, server: Served) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.stop = threading.Event()
        self.seen = threading.Event()
        self.sealed: dict[bytes, bytes] = {}
        self.public: dict[str, bytes] = {}

    def run(self) -> None:
        client = self.server.client("kms")
        mine = ""
        while not self.stop.is_set():
            try:
                key_id = client.create_key()["KeyMetadata"]["KeyId"]
                mine = mine or key_id
                if random.random() < 0.2:
                    client.rotate_key_on_demand(KeyId=mine)
                for name in (key_id, mine):
                    plain = os.urandom(20)
                    self.sealed[client.encrypt(KeyId=name, Plaintext=plain)["CiphertextBlob"]] = plain
                signing = client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
                self.public[signing] = client.get_public_key(KeyId=signing)["PublicKey"]
                self.seen.set()
            except ClientError as error:
                if error.response["Error"]["Code"] == "LimitExceededException":
                    mine = ""
            except BotoCoreError:
                time.sleep(0.05)
                client = self.server.client("kms")


def test_acknowledged_keys_survive(own_server: Served) -> None:
    writers = [_Writer(own_server) for _ in range(3)]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        for writer in writers:
            writer.seen.clear()
            assert writer.seen.wait(30)
        time.sleep(random.uniform(0.0, 0.3))
        own_server.restart()
    for writer in writers:
        writer.stop.set()
    for writer in writers:
        writer.join(30)
    client = own_server.client("kms")
    for writer in writers:
        for blob, plain in writer.sealed.items():
            assert client.decrypt(CiphertextBlob=blob)["Plaintext"] == plain
        for key_id, public in writer.public.items():
            assert client.get_public_key(KeyId=key_id)["PublicKey"] == public
            signature = client.sign(KeyId=key_id, Message=b"m", SigningAlgorithm="ECDSA_SHA_256")["Signature"]
            assert client.verify(KeyId=key_id, Message=b"m", Signature=signature, SigningAlgorithm="ECDSA_SHA_256")


def _on_disk(data: Path, *secrets: bytes) -> list[bytes]:
    return [
        secret
        for secret in secrets
        for path in data.rglob("*")
        if path.is_file() and (content := path.read_bytes()) and (secret in content or secret.hex().encode() in content)
    ]


def test_the_data_directory_reveals_no_key(tmp_path: Path) -> None:
    """Material that we know because we imported it is nowhere on the disk; nor is the given master key."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    master, material, plain = os.urandom(32), os.urandom(32), os.urandom(32)
    server = Served(tmp_path / "data", env={"PENSTOCK_MASTER_KEY": master.hex()}).start()
    client = server.client("kms")
    key_id = client.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    given = client.get_parameters_for_import(
        KeyId=key_id, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )
    public = serialization.load_der_public_key(given["PublicKey"])
    assert isinstance(public, rsa.RSAPublicKey)
    client.import_key_material(
        KeyId=key_id, ImportToken=given["ImportToken"], ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
        EncryptedKeyMaterial=public.encrypt(
            material, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        ),
    )  # fmt: skip
    blob = client.encrypt(KeyId=key_id, Plaintext=plain)["CiphertextBlob"]
    data_key = client.generate_data_key(KeyId=key_id, KeySpec="AES_256")["Plaintext"]
    server.kill()
    assert any(key_id.encode() in p.read_bytes() for p in server.data.rglob("*") if p.is_file())
    assert _on_disk(server.data, master, material, plain, data_key) == []
    assert not (server.data / FILE).exists()
    server.restart()
    assert server.client("kms").decrypt(CiphertextBlob=blob)["Plaintext"] == plain
    server.stop()
    assert _on_disk(server.data, master, material, plain, data_key) == []
