"""SAML 2.0 responses: taken apart and checked against a provider's metadata. Knows no AWS operation and no storage.

XML signatures are signxml's business (on lxml), which comes with the extra `saml`. Only what the signature covers is
looked at, so that nothing wrapped around it counts; text is taken without comments, as it was signed.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_saml_assertions.html
"""

from __future__ import annotations

import base64
import binascii
import datetime
from typing import Any, NamedTuple

from penstock.wire import timestamps
from penstock.wire.errors import AwsError, not_implemented

REDEEM_S = 300
SKEW_S = 300
AUDIENCES = frozenset({"https://signin.aws.amazon.com/saml", "urn:amazon:webservices"})
_NS = {
    "p": "urn:oasis:names:tc:SAML:2.0:protocol", "a": "urn:oasis:names:tc:SAML:2.0:assertion",
    "m": "urn:oasis:names:tc:SAML:2.0:metadata", "ds": "http://www.w3.org/2000/09/xmldsig#",
}  # fmt: skip
_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_FORMATS = "urn:oasis:names:tc:SAML:2.0:nameid-format:"


class Assertion(NamedTuple):
    """What a provider says of somebody, verified. recipient: whom it was made for; attributes: values by name."""

    issuer: str
    subject: str
    subject_type: str
    recipient: str
    attributes: dict[str, list[str]]


def invalid(text: str) -> AwsError:
    """InvalidIdentityToken."""
    return AwsError("InvalidIdentityToken", text, 400)


def verified(response: str, metadata: str, host_now: float) -> Assertion:
    """The assertion of a SAMLResponse (in base64), held against the provider's metadata.

    host_now: seconds since the epoch by the host's clock. Raises AwsError InvalidIdentityToken, ExpiredTokenException, and
    NotImplemented where the extra `saml` is not installed.
    """
    try:
        raw = base64.b64decode(response, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Invalid base64 SAMLResponse") from None
    root, described = _parsed(raw), _parsed(metadata.encode())
    status = root.find("p:Status/p:StatusCode", _NS)
    if root.tag != f"{{{_NS['p']}}}Response" or status is None or status.get("Value") != _SUCCESS:
        raise invalid("Your request included an invalid SAML response.")
    if root.find(".//a:EncryptedAssertion", _NS) is not None:
        raise not_implemented("encrypted SAML assertions")
    assertion = _signed(root, described)
    issuer = _text(assertion, "a:Issuer")
    if issuer != described.get("entityID"):
        raise invalid("Issuer not present in specified provider")
    recipient = _checked_times(assertion, host_now)
    audiences = {_string(each) for each in assertion.iterfind("a:Conditions/a:AudienceRestriction/a:Audience", _NS)}
    if not audiences & AUDIENCES and not any(name.endswith(".signin.aws.amazon.com/saml") for name in audiences):
        raise invalid("Response does not contain the required audience.")
    name_id = assertion.find("a:Subject/a:NameID", _NS)
    if name_id is None:
        raise invalid("Your request included an invalid SAML response.")
    kind = str(name_id.get("Format", "")).removeprefix(_FORMATS)
    attributes: dict[str, list[str]] = {}
    for each in assertion.iterfind("a:AttributeStatement/a:Attribute", _NS):
        values = [_string(value) for value in each.iterfind("a:AttributeValue", _NS)]
        attributes.setdefault(str(each.get("Name")), []).extend(values)
    return Assertion(issuer, _string(name_id), kind, recipient, attributes)


def _parsed(document: bytes) -> Any:
    """The root element; a document type, hence an entity, is refused."""
    try:
        from lxml import etree
    except ImportError:
        raise not_implemented("AssumeRoleWithSAML without its XML libraries: pip install 'penstock[saml]'") from None
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(document, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise invalid("Your request included an invalid SAML response.") from None
    if root.getroottree().docinfo.doctype:
        raise invalid("Your request included an invalid SAML response.")
    return root


def _signed(root: Any, described: Any) -> Any:
    """The one assertion that a signature of the provider covers. Raises AwsError InvalidIdentityToken."""
    from lxml import etree
    from signxml.algorithms import SignatureMethod
    from signxml.exceptions import SignXMLException
    from signxml.verifier import SignatureConfiguration, XMLVerifier

    methods = frozenset(each for each in SignatureMethod if "HMAC" not in each.name and "SHA1" not in each.name)
    config = SignatureConfiguration(expect_references=1, ignore_ambiguous_key_info=True, signature_methods=methods)
    for certificate in _certificates(described):
        try:
            found = XMLVerifier().verify(root, x509_cert=certificate, expect_config=config)
        except (SignXMLException, etree.LxmlError, ValueError, TypeError, KeyError, AttributeError):
            continue  # whatever cannot be verified is not verified
        covered = None if isinstance(found, list) else found.signed_xml
        if covered is None:
            continue
        name = f"{{{_NS['a']}}}Assertion"
        inside = [covered] if covered.tag == name else covered.findall("a:Assertion", _NS)
        if len(inside) == 1 and covered.tag in (name, f"{{{_NS['p']}}}Response"):
            return inside[0]
    raise invalid("Response signature invalid")


def _certificates(described: Any) -> list[str]:
    """The provider's signing certificates, in PEM."""
    found = []
    for key in described.iterfind("m:IDPSSODescriptor/m:KeyDescriptor", _NS):
        if key.get("use", "signing") == "signing":
            for each in key.iterfind("ds:KeyInfo/ds:X509Data/ds:X509Certificate", _NS):
                body = "".join(_string(each).split())
                lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
                found.append(f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
    return found


def _checked_times(assertion: Any, host_now: float) -> str:
    """The recipient of a bearer's confirmation that holds now. Raises AwsError ExpiredTokenException and others."""
    if not -SKEW_S <= host_now - _time(assertion.get("IssueInstant")) <= REDEEM_S:
        raise AwsError("ExpiredTokenException", "Token must be redeemed within 5 minutes of issuance", 400)
    conditions = assertion.find("a:Conditions", _NS)
    if conditions is not None:
        if conditions.get("NotBefore") and host_now < _time(conditions.get("NotBefore")) - SKEW_S:
            raise invalid("The response is not valid yet.")
        if conditions.get("NotOnOrAfter") and host_now >= _time(conditions.get("NotOnOrAfter")):
            raise AwsError("ExpiredTokenException", f"Token expired: {_date(host_now)}", 400)
    for each in assertion.iterfind("a:Subject/a:SubjectConfirmation", _NS):
        data = each.find("a:SubjectConfirmationData", _NS)
        if each.get("Method") != _BEARER or data is None or not data.get("Recipient"):
            continue
        if host_now < _time(data.get("NotOnOrAfter")):
            return str(data.get("Recipient"))
    raise AwsError("ExpiredTokenException", "Token must be redeemed within 5 minutes of issuance", 400)


def _time(text: str | None) -> float:
    try:
        return timestamps.parse(text or "")
    except ValueError:
        raise invalid("Your request included an invalid SAML response.") from None


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(element: Any, path: str) -> str:
    found = element.find(path, _NS)
    return "" if found is None else _string(found)


def _string(element: Any) -> str:
    """All text of an element, comments left out."""
    return str(element.xpath("string(.)")).strip()
