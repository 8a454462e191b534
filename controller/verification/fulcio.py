"""Who a Fulcio certificate says somebody is: its one subject, its issuer, its claims.

https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md. To be believed only where the chain was verified.
"""

from __future__ import annotations

from cryptography import x509

from controller.model.evidence import Signer
from controller.verification.failures import NotVerified, Unjudged

_ARC = "1.3.6.1.4.1.57264.1."
_ISSUER_RAW, _OTHER_NAME, _ISSUER = f"{_ARC}1", f"{_ARC}7", f"{_ARC}8"

_RAW_CLAIMS = {
    2: "githubWorkflowTrigger",
    3: "githubWorkflowSHA",
    4: "githubWorkflowName",
    5: "githubWorkflowRepository",
    6: "githubWorkflowRef",
}
"""Claims of old, written without DER around them."""

_CLAIMS = {
    9: "buildSignerURI",
    10: "buildSignerDigest",
    11: "runnerEnvironment",
    12: "sourceRepositoryURI",
    13: "sourceRepositoryDigest",
    14: "sourceRepositoryRef",
    15: "sourceRepositoryIdentifier",
    16: "sourceRepositoryOwnerURI",
    17: "sourceRepositoryOwnerIdentifier",
    18: "buildConfigURI",
    19: "buildConfigDigest",
    20: "buildTrigger",
    21: "runInvocationURI",
    22: "sourceRepositoryVisibilityAtSigning",
    23: "deploymentEnvironment",
    24: "tokenSubject",
}
"""Claims, each a DER UTF8String. 7 is no claim: it is a kind of subject."""

MAX_CLAIM_BYTES = 4096  # bounds what is recorded and shown of one claim


def signer_of(certificate: x509.Certificate) -> Signer:
    """The identity in a certificate.

    Raises `NotVerified` (`CertificateSubjectAmbiguous`, `CertificateIssuerMissing`, `CertificateIssuerAmbiguous`),
    `Unjudged` (`CertificateMalformed`).
    """
    try:
        extensions = certificate.extensions
        values = {
            extension.oid.dotted_string: extension.value.value
            for extension in extensions
            if isinstance(extension.value, x509.UnrecognizedExtension)
        }
        names = [
            name
            for extension in extensions
            if isinstance(extension.value, x509.SubjectAlternativeName)
            for name in extension.value
        ]
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as exc:
        raise Unjudged("CertificateMalformed", "its certificate has extensions that cannot be read") from exc
    claims = {name: _text(values[f"{_ARC}{n}"]) for n, name in _RAW_CLAIMS.items() if f"{_ARC}{n}" in values}
    claims |= {name: _utf8_string(values[f"{_ARC}{n}"]) for n, name in _CLAIMS.items() if f"{_ARC}{n}" in values}
    return Signer(issuer=_issuer(values), subject=_subject(names), claims=tuple(sorted(claims.items())))


def _subject(names: list[x509.GeneralName]) -> str:
    if len(names) != 1:
        raise NotVerified("CertificateSubjectAmbiguous", f"its certificate has {len(names)} subjects instead of one")
    match names[0]:
        case x509.RFC822Name(value=value) | x509.UniformResourceIdentifier(value=value):
            return value
        case x509.OtherName(type_id=kind, value=value) if kind.dotted_string == _OTHER_NAME:
            return _utf8_string(value)
    raise NotVerified("CertificateSubjectAmbiguous", "its certificate's subject is no e-mail address, URI or user name")


def _issuer(values: dict[str, bytes]) -> str:
    found = [_utf8_string(values[_ISSUER])] if _ISSUER in values else []
    found += [_text(values[_ISSUER_RAW])] if _ISSUER_RAW in values else []
    if not found or not found[0]:
        raise NotVerified("CertificateIssuerMissing", "its certificate does not say who issued the identity")
    if len(set(found)) != 1:
        raise NotVerified("CertificateIssuerAmbiguous", "its certificate names two different issuers of the identity")
    return found[0]


def _text(value: bytes) -> str:
    if len(value) > MAX_CLAIM_BYTES:
        raise Unjudged("LimitExceeded", f"its certificate has a claim of {len(value)} bytes (bound: MAX_CLAIM_BYTES)")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise Unjudged("CertificateMalformed", "its certificate has a claim that is no text") from exc


def _utf8_string(der: bytes) -> str:
    """The text of a DER UTF8String (X.690, 8.1.3 and 10.1): one tag, the shortest length, nothing after it."""
    if len(der) >= 2 and der[0] == 0x0C:
        if der[1] < 0x80 and len(der) == 2 + der[1]:
            return _text(der[2:])
        count = der[1] & 0x7F
        length = int.from_bytes(der[2 : 2 + count], "big")
        if der[1] > 0x80 and length >= max(0x80, 1 << 8 * (count - 1)) and len(der) == 2 + count + length:
            return _text(der[2 + count :])
    raise Unjudged("CertificateMalformed", "its certificate has a claim that is no DER UTF8String")
