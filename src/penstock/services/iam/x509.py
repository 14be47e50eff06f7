"""X.509 certificates as IAM takes them: in PEM, valid now, with their key and the chain that vouches for them.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_server-certs.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from penstock.services.iam import errors

if TYPE_CHECKING:
    from cryptography import x509

ServerKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_UNREADABLE = "Unable to parse certificate. Please ensure the certificate is in PEM format."
_CHAIN = (
    "Unable to validate certificate chain. The certificate chain must start with the immediate signing certificate, "
    "followed by any intermediaries in order. The index within the chain of the invalid certificate is: "
)


def parse(body: str, now: float) -> x509.Certificate:
    """The one certificate of a PEM body. Raises AwsError MalformedCertificate: unreadable, expired, not valid yet.

    now: seconds since the epoch.
    """
    found = _all(body)
    if len(found) != 1:
        raise errors.malformed_certificate(_UNREADABLE)
    certificate = found[0]
    if certificate.not_valid_before_utc.timestamp() > now:
        raise errors.malformed_certificate("The certificate is not yet valid.")
    if certificate.not_valid_after_utc.timestamp() <= now:
        raise errors.malformed_certificate("The certificate has expired.")
    return certificate


def check_key(certificate: x509.Certificate, private_key: str) -> None:
    """That the key is the certificate's own. Raises AwsError MalformedCertificate or KeyPairMismatch."""
    key = _private_key(private_key)
    try:
        theirs = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        raise errors.malformed_certificate("Unsupported public key algorithm.") from None
    plain = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*plain) != theirs.public_bytes(*plain):
        raise errors.key_mismatch("The public key certificate and the private key do not match.")


def check_chain(certificate: x509.Certificate, chain: str) -> None:
    """That each certificate of the chain has issued the one before it. Raises AwsError MalformedCertificate."""
    below = certificate
    for index, issuer in enumerate(_all(chain), -1):
        try:
            below.verify_directly_issued_by(issuer)
        except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
            raise errors.malformed_certificate(f"{_CHAIN}{index}") from None
        below = issuer


def _all(text: str) -> list[x509.Certificate]:
    from cryptography import x509  # seldom needed, and 10 ms of every start

    try:
        return x509.load_pem_x509_certificates(text.encode("utf-8"))
    except ValueError:
        raise errors.malformed_certificate(_UNREADABLE) from None


def _private_key(text: str) -> ServerKey:
    """The key, without the primality test that OpenSSL would make of it: of a large one it takes minutes."""
    try:
        key = load_pem_private_key(text.encode("utf-8"), None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise errors.malformed_certificate("Unable to use the private key. It must not be encrypted.") from None
    except (UnsupportedAlgorithm, ValueError):
        raise errors.malformed_certificate(
            "Unable to parse private key. Please ensure the private key is in PEM format."
        ) from None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key
    if not isinstance(key, rsa.RSAPrivateKey):
        raise errors.malformed_certificate("The private key must be an RSA or an elliptic curve key.")
    numbers = key.private_numbers()
    exponent = numbers.public_numbers.e * numbers.d
    if numbers.p * numbers.q != numbers.public_numbers.n or any(
        exponent % (p - 1) != 1 for p in (numbers.p, numbers.q)
    ):
        raise errors.key_mismatch("The private key's parts do not belong together.")
    return key
