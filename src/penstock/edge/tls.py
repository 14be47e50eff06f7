"""TLS for the listener: a context from given files, or from a certificate of our own that is made once and kept.

Clients trust our own by its file (AWS_CA_BUNDLE, `verify=`): it names this machine only, and signs nothing else.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from pathlib import Path

from penstock.edge.opening import ALPN

CERTIFICATE, KEY = "certificate.pem", "key.pem"
VALID_DAYS = 825
"""The longest that Apple's clients take."""
RENEW_DAYS = 30
NAMES = (
    "localhost", "*.localhost", "*.s3.localhost", "localhost.localstack.cloud", "*.localhost.localstack.cloud",
    "*.s3.localhost.localstack.cloud",
)  # fmt: skip
"""OpenSSL takes no wildcard right below a top-level name, so its clients reach buckets under s3.localhost."""
ADDRESSES = ("127.0.0.1", "::1")


class TlsError(OSError):
    """The certificate or its key cannot be used; the message names the files."""


def context(certificate: str, key: str) -> ssl.SSLContext:
    """A server's context, of TLS 1.2 and later. key: "" where the certificate's file holds it. Raises TlsError."""
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(ALPN)
    try:
        made.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError) as error:
        named = f"{certificate} and {key}" if key else certificate
        raise TlsError(f"TLS certificate and key in {named} cannot be used: {error}") from None
    return made


def self_signed(folder: Path, host: str, host_now: float) -> tuple[Path, Path]:
    """(certificate, key) files in `folder`, made where there are none or where they are about to expire.

    host: named in it beside this machine's usual names. host_now: the host's time, seconds since the epoch. Raises
    OSError where they cannot be written.
    """
    now = datetime.datetime.fromtimestamp(host_now, datetime.UTC)
    certificate, key = folder / CERTIFICATE, folder / KEY
    if not _serves(certificate, key, host, now):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        made_key, made = _make(host, now)
        _write(key, made_key)
        _write(certificate, made)
    return certificate, key


def _serves(certificate: Path, key: Path, host: str, now: datetime.datetime) -> bool:
    """Whether what is there is good for a while, and for that host."""
    from cryptography import x509

    if not key.exists() or not certificate.exists():
        return False
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    if found.not_valid_after_utc - now < datetime.timedelta(days=RENEW_DAYS):
        return False
    return all(name in names for name in _names(host))


def _names(host: str) -> list[object]:
    from cryptography import x509

    dns, addresses = list(NAMES), list(ADDRESSES)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        dns += [host] if host and host not in dns else []
    else:
        addresses += [host] if not address.is_unspecified and host not in addresses else []
    return [*map(x509.DNSName, dns), *(x509.IPAddress(ipaddress.ip_address(each)) for each in addresses)]


def _make(host: str, now: datetime.datetime) -> tuple[bytes, bytes]:
    """(key, certificate) in PEM. It signs itself and so has to be a CA's, of nothing below it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Penstock on this machine")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    names: list[x509.GeneralName] = _names(host)  # type: ignore[assignment]
    made = (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS - 1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), made.public_bytes(Encoding.PEM)


def _write(path: Path, data: bytes) -> None:
    """Readable for the owner only, and never half there."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
