"""What a secret looks like where nobody marked it as one: in a line of text, and in the name of a variable.

Both are guesses and err on the side of leaving out: what is recorded is read by more people, and for longer, than what
it was taken from (guarantee 12).
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_DECODED = 3  # times a text is percent-decoded before it is judged: deeper ones are left out

_USER_IN_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#]*@")
_QUERY_OF_URL = re.compile(r"[?#].*")
_QUERY = re.compile(r"(?<=\S)[?#](?=\S).*")  # of a URL without scheme: `C# in a day?` is a title

# What stands before an `@` is a user, but for Git's own (`git@host:path`) and the name that a digest follows.
_USER = re.compile(r"(?<!^)@(?!sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})(?!\S))")
_GIT = re.compile(r"^git@(?=[^\s@]+$)")

_NAMES = (
    r"(?:passw(?:or)?d|passphrase|pass|pwd?|secrets?|tokens?|keys?|sig|signature|auth|authorization|credentials?|jwt)"
)
_NAMED = re.compile(rf"{_NAMES}\s*=\s*\S|(?<![A-Za-z0-9/]){_NAMES}\s*:\s*\S", re.IGNORECASE)  # `acme/keys:1` is none
_BEARER = re.compile(r"(?<![A-Za-z])(?:bearer|basic)\s+(?=\S*[0-9=+/_])\S{6}", re.IGNORECASE)
_KNOWN = re.compile(  # how issuers begin their tokens, so that they are found
    r"(?:^|[^A-Za-z0-9])(?:"
    r"gh[opsur]_[A-Za-z0-9]|github_pat_|gl(?:pat|dt|rt|cbt|ptt|soat|agent|oas|ft|imt)-[A-Za-z0-9]"
    r"|xox[a-z]-|xapp-\d|(?:AKIA|ASIA)[0-9A-Z]{12}|AIza[0-9A-Za-z_-]{20}|ya29\.|eyJ[A-Za-z0-9_-]{6}"
    r"|npm_[A-Za-z0-9]{16}|pypi-[A-Za-z0-9_-]{16}|dckr_(?:pat|oat)_|hf_[A-Za-z]{16}|(?:sk|rk|pk)_(?:live|test)_"
    r"|sk-[A-Za-z0-9_-]{16}|hv[sbr]\.[A-Za-z0-9]|dop_v1_|SG\.[A-Za-z0-9_-]{16}|AGE-SECRET-KEY-|ATATT3|ATBB[A-Za-z0-9]"
    r")|-----BEGIN"
)

_MARKS = re.compile(r"PASSW|PASSPHRASE|SECRET|CREDENTIAL|PRIVATE")  # anywhere in a name
_WORDS = re.compile(r"(?:KEY|TOKEN|PASS|PWD|AUTH|SALT|SIGNATURE|JWT|LICEN[CS]E|COOKIE)S?$")  # how a word of it ends
_ALONE = frozenset({"PW", "PIN", "OTP", "SIG", "SAS", "PAT", "DSN"})  # a word of it
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_DIRECTORIES = frozenset({"PWD", "OLDPWD"})  # a shell's own: where it stands


def harmless(value: str) -> str:
    """A line without what may be a secret; empty where that cannot be taken off.

    Taken off are user, password, query and fragment of a URL. Left out is a line with a user that is written without a
    scheme (`token@host/path`, `user:password@host`), with a named secret (`token=…`, `sig: …`), or with a token whose
    issuer is known by how it begins. Percent-encoding hides nothing.
    """
    told = _USER_IN_URL.sub(r"\1", value)
    if _USER.search(_GIT.sub("", _decoded(told))):  # in a query too: a password with a `?` in it is none
        return ""
    told = (_QUERY_OF_URL if "://" in told else _QUERY).sub("", told)
    decoded = _decoded(told)
    is_suspect = decoded != unquote(decoded) or any(shape.search(decoded) for shape in (_NAMED, _BEARER, _KNOWN))
    return "" if is_suspect else told


def says_secret(name: str) -> bool:
    """Whether a variable of this name is there to hold a secret, whatever its value looks like."""
    upper = name.upper()
    if upper in _DIRECTORIES:
        return False
    words = [part.upper() for part in _PARTS.findall(name)]
    whole = re.split(r"[^A-Z]+", upper)  # letter case may mean nothing: `DBpASSWORD`
    return bool(_MARKS.search(upper)) or any(
        word in _ALONE or bool(_WORDS.search(word)) for word in (*words, *whole) if word
    )


def passwords(value: str) -> frozenset[str]:
    """The passwords in the URLs of a value, and the users that stand without one but for Git's own."""
    found: set[str] = set()
    for match in re.finditer(r"://([^\s/?#]*)@", value):
        user, colon, password = match.group(1).partition(":")
        found |= {password if colon and password else user}
    found |= {unquote(each) for each in found}
    return frozenset(found - {"", "git"})


def _decoded(text: str) -> str:
    for _ in range(_DECODED):
        text = unquote(text)
    return text
