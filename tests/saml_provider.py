"""A small SAML identity provider: metadata, and signed responses as one likes."""

from __future__ import annotations

import base64
import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml.signer import XMLSigner

AWS = "https://signin.aws.amazon.com/saml"
ATTRIBUTES = "https://aws.amazon.com/SAML/Attributes/"


def stamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class SamlProvider:
    """`metadata` for IAM; `response(now, ...)` gives a SAMLResponse in base64."""

    def __init__(self, entity: str = "https://idp.example.com/saml") -> None:
        self.entity = entity
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp")])
        now = datetime.datetime.now(datetime.UTC)
        self._certificate = x509.CertificateBuilder(
            name, name, self._key.public_key(), 1, now - datetime.timedelta(days=1), now + datetime.timedelta(days=9)
        ).sign(self._key, hashes.SHA256())

    @property
    def metadata(self) -> str:
        der = base64.b64encode(self._certificate.public_bytes(Encoding.DER)).decode()
        return (
            f'<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{self.entity}">'
            '<md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">'
            '<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data>'
            f"<ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
            '<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" '
            f'Location="{self.entity}/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>'
        )

    def assertion(
        self, now: float, attributes: dict[str, list[str]], *, subject: str = "ann", issuer: str = "",
        audience: str = "urn:amazon:webservices", recipient: str = AWS,
    ) -> str:  # fmt: skip
        given = "".join(
            f'<saml:Attribute Name="{name if ":" in name[:6] else ATTRIBUTES + name}">'
            + "".join(f"<saml:AttributeValue>{value}</saml:AttributeValue>" for value in values)
            + "</saml:Attribute>"
            for name, values in attributes.items()
        )
        return (
            f'<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_a" Version="2.0" '
            f'IssueInstant="{stamp(now)}"><saml:Issuer>{issuer or self.entity}</saml:Issuer><saml:Subject>'
            f'<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">{subject}</saml:NameID>'
            '<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData '
            f'NotOnOrAfter="{stamp(now + 300)}" Recipient="{recipient}"/></saml:SubjectConfirmation></saml:Subject>'
            f'<saml:Conditions NotBefore="{stamp(now - 60)}" NotOnOrAfter="{stamp(now + 300)}"><saml:AudienceRestriction>'
            f"<saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions>"
            f"<saml:AttributeStatement>{given}</saml:AttributeStatement></saml:Assertion>"
        )

    def signed(self, element: Any) -> Any:
        return XMLSigner(c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#").sign(
            element, key=self._key, cert=[self._certificate], reference_uri="#" + element.get("ID"), id_attribute="ID"
        )

    def response(self, now: float, attributes: dict[str, list[str]], *, whole: bool = False, **said: Any) -> str:
        """whole: the response is signed in place of the assertion."""
        assertion = etree.fromstring(self.assertion(now, attributes, **said))
        return wrapped(assertion if whole else self.signed(assertion), now, self.signed if whole else None)


def wrapped(assertion: Any, now: float, sign: Any = None, *further: Any) -> str:
    """A response around an assertion, in base64."""
    root = etree.fromstring(
        f'<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_r" Version="2.0" '
        f'IssueInstant="{stamp(now)}"><samlp:Status><samlp:StatusCode '
        'Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status></samlp:Response>'
    )
    for each in (*further, assertion):
        root.append(each)
    return base64.b64encode(etree.tostring(sign(root) if sign else root)).decode()
