"""PEM texts of policies taken apart: keys or certificates one after the other, and what certificates are for."""

from __future__ import annotations

import re

from controller.errors import PolicyError

MAX_BLOCKS = 32  # keys of one authority, or certificates of one chain; each is tried with each signature
CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
_USAGES = {
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
    "codeSigning": CODE_SIGNING,
    "emailProtection": "1.3.6.1.5.5.7.3.4",
    "timeStamping": "1.3.6.1.5.5.7.3.8",
    "any": "2.5.29.37.0",
}
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,64})-----[A-Za-z0-9+/=\s]{0,65536}-----END \1-----")
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]{0,9})){1,30}")


def blocks(pem: str, label: str) -> tuple[str, ...]:
    """The PEM blocks of a text, which may hold nothing else but white space; each of them a `label`.

    Raises `PolicyError` (`PemMalformed`), whose message never quotes the text.
    """
    found = list(_BLOCK.finditer(pem))
    if not found or _BLOCK.sub("", pem).strip():
        raise PolicyError("PemMalformed", f"is no PEM (-----BEGIN {label}-----), or has something beside it")
    wrong = [number for number, match in enumerate(found, 1) if match[1] != label]
    if wrong:
        raise PolicyError("PemMalformed", f"has a block {wrong[0]} that is no {label}")
    if len(found) > MAX_BLOCKS:
        raise PolicyError("PemMalformed", f"has {len(found)} blocks; at most {MAX_BLOCKS} are allowed")
    return tuple(match[0] for match in found)


def usage_oid(name: str) -> str:
    """An extended key usage (RFC 5280, section 4.2.1.12) as a dotted OID, from its name or from one; else as it was."""
    return _USAGES.get(name, name)


def is_oid(text: str) -> bool:
    """Whether the text is a dotted object identifier."""
    return _OID.fullmatch(text) is not None
