"""Key Management Service: keys that never leave, what they encrypt, sign and authenticate, and who may use them.

Lives here: operations by noun (`customer_keys`, `deletion`, `descriptions`, `tags`, `aliases`, `policies`, `grants`,
`encryption`, `data_keys`, `signatures`, `macs`, `agreements`, `imports`, `rotations`, `replicas`), `records` and `keys`
(what is kept and where), `specs` (which key can do what), `material` (real keys, sealed under the node's master key),
`ciphertexts` (what Encrypt answers with), `finding` (from a KeyId to a key), `access` (key policies and grants),
`workers` (deletion, expiry and rotation by the clock). Knows no other service: those that encrypt call its operations.
"""

from pathlib import Path

from penstock.services.kms import (
    agreements,
    aliases,
    customer_keys,
    data_keys,
    deletion,
    descriptions,
    encryption,
    grants,
    imports,
    macs,
    policies,
    replicas,
    rotations,
    signatures,
    tags,
    workers,
)
from penstock.wire import models

models.patch("kms", Path(__file__).with_name("model-patch.json"))

__all__ = [
    "agreements", "aliases", "customer_keys", "data_keys", "deletion", "descriptions", "encryption", "grants", "imports",
    "macs", "policies", "replicas", "rotations", "signatures", "tags", "workers",
]  # fmt: skip
