"""TrustRoot resources: a Sigstore TrustedRoot document, own certificate authorities and own keys, under a name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import rfc8785

from controller.errors import PolicyError
from controller.model.policy import KeyIn, OwnAuthority, OwnKey, Problem, TrustRoot, TufRepository
from controller.model.reference import Digest
from controller.policy.fields import MAX_TEXT, Fields
from controller.policy.kinds import API_VERSION, TRUST_ROOT
from controller.policy.references import CONFIG_MAP, NOTHING, SECRET, Materials, ObjectRef, key_in
from controller.policy.semantics import check_chain, check_key

MAX_DOCUMENT = 8 * MAX_TEXT  # characters of one inline document, as in the CRD
DOCUMENTS = ("trustedRoot", "secretRef", "configMapRef", "tuf")
NONE_OWN: tuple[tuple[OwnAuthority, ...], tuple[OwnKey, ...]] = ((), ())
_REFERENCES = {"secretRef": SECRET, "configMapRef": CONFIG_MAP}
_URL = re.compile(r"https://[^/@?#\s]+(/[^?#\s@]*)?")
_TARGET = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot"


def parse_trust_root(obj: Mapping[str, Any], materials: Materials = NOTHING) -> TrustRoot | tuple[Problem, ...]:
    """Read a TrustRoot, or say what is wrong with it.

    Its document is inline (`trustedRoot`, a JSON string) or in a Secret or ConfigMap of Assay's own namespace; own
    `certificateAuthorities` and `publicKeys` come instead or beside it. Whether the document's certificates and keys
    are good is for verification to say. Raises `PolicyError` (`KindUnknown`, `NameMissing`) for an object that is no
    TrustRoot or has no name.
    """
    metadata = obj.get("metadata")
    if obj.get("kind") != TRUST_ROOT or obj.get("apiVersion") != API_VERSION:
        raise PolicyError("KindUnknown", f"not a TrustRoot of {API_VERSION}", "kind")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise PolicyError("NameMissing", "the trust root has no name", "metadata.name")
    problems: list[Problem] = []
    fields = Fields(obj.get("spec"), "spec", problems)
    given = [name for name in DOCUMENTS if fields.has(name)]
    references = {name: key_in(fields.node(name)) for name in _REFERENCES if fields.has(name)}
    repository = _repository(fields.node("tuf")) if fields.has("tuf") else None
    own = _own_parts(fields)
    if not given and own == NONE_OWN and not problems:
        fields.problem("FieldMissing", "is required: the TrustedRoot document as a JSON string", "trustedRoot")
    elif len(given) > 1:
        fields.problem("TrustRootMalformed", f"must have one document; it has {' and '.join(given)}")
    elif fields.has("trustedRoot") and not isinstance(fields.raw("trustedRoot"), str):
        fields.problem("WrongType", "must be a string that holds the JSON document", "trustedRoot")
    fields.close()
    if problems:
        return tuple(problems)
    name = metadata["name"]
    try:
        if repository is not None:
            document: bytes | None = materials.distributed_by(repository, field="spec.tuf")
        else:
            document = _document(given[0], fields, references, materials) if given else None
        found = trust_root(name, document, field=f"spec.{given[0]}") if document is not None else None
    except PolicyError as exc:
        return (Problem(code=exc.code, field=exc.field, message=exc.message),)
    if found is not None and own == NONE_OWN:
        return found
    return _with_own(name, b"" if found is None else found.content, *own)


def _document(source: str, fields: Fields, references: Mapping[str, KeyIn], materials: Materials) -> bytes:
    """The bytes that the source leads to. Raises `PolicyError`."""
    if source in references:
        where = references[source]
        held = ObjectRef(_REFERENCES[source], materials.namespace, where.name)
        return materials.read(held, where.key, field=f"spec.{source}")
    return str(fields.raw(source)).encode(errors="replace")


def _own_parts(fields: Fields) -> tuple[tuple[OwnAuthority, ...], tuple[OwnKey, ...]]:
    """Own authorities and keys. Their PEM is checked here: nothing else will."""
    authorities, keys = [], []
    for node in fields.nodes("certificateAuthorities"):
        chain, (start, end) = node.text("chain", required=True), _window(node.node("validity"))
        node.close()
        if chain:
            fields.problems.extend(check_chain(chain, node.at("chain")))
        authorities.append(OwnAuthority(chain, start, end))
    for node in fields.nodes("publicKeys"):
        pem, (start, end) = node.text("pem", required=True), _window(node.node("validity"))
        node.close()
        if pem:
            fields.problems.extend(_check_one_key(pem, node.at("pem")))
        keys.append(OwnKey(pem, start, end))
    return tuple(authorities), tuple(keys)


def _with_own(name: str, document: bytes, authorities: tuple[OwnAuthority, ...], keys: tuple[OwnKey, ...]) -> TrustRoot:
    parts: dict[str, Any] = {
        "certificateAuthorities": [_canonical("chain", a.chain, a) for a in authorities],
        "publicKeys": [_canonical("pem", key.pem, key) for key in keys],
        **({"trustedRoot": document.decode(errors="replace")} if document else {}),
    }
    content = rfc8785.dumps(parts)
    return TrustRoot(name, content, str(Digest.of(content)), None, authorities, keys, document)


def _check_one_key(pem: str, field: str) -> Iterator[Problem]:
    yield from check_key(pem, field)
    if pem.count("-----BEGIN") > 1:
        yield Problem("KeyMalformed", field, "holds several keys; write an entry for each, with its own validity")


def _canonical(name: str, pem: str, own: OwnAuthority | OwnKey) -> dict[str, Any]:
    ends = {"from": own.valid_from, "until": own.valid_until}
    window = {end: time.isoformat() for end, time in ends.items() if time is not None}
    return {name: pem, **({"validity": window} if window else {})}


def _window(fields: Fields) -> tuple[datetime | None, datetime | None]:
    """The ends of a validity window, in UTC; None is open."""
    start, end = fields.time("from"), fields.time("until")
    fields.close()
    if start is not None and end is not None and end < start:
        fields.problem("ValidityEmpty", "is over before it begins, so nothing would ever count", "until")
    return start, end


def repository_of(obj: Mapping[str, Any]) -> TufRepository | None:
    """The TUF repository that a TrustRoot names, if it names one and that is well-formed."""
    problems: list[Problem] = []
    fields = Fields(obj.get("spec"), "spec", problems)
    repository = _repository(fields.node("tuf")) if fields.has("tuf") else None
    return None if problems else repository


def _repository(fields: Fields) -> TufRepository:
    default = TufRepository("", "")
    repository = TufRepository(
        url=fields.text("url", required=True),
        root=fields.text("root", required=True),
        target=fields.text("target", default.target),
        refresh=default.refresh if (refresh := fields.duration("refresh")) is None else refresh,
        max_stale=default.max_stale if (longest := fields.duration("maxStale")) is None else longest,
    )
    if not _URL.fullmatch(repository.url) and repository.url:
        fields.problem("UrlMalformed", "must be an https URL without user, query and fragment", "url")
    if not _TARGET.fullmatch(repository.target) or ".." in repository.target:
        fields.problem("NameMalformed", "must be a relative path of letters, digits, '.', '_', '-' and '/'", "target")
    if repository.root and not _is_root(repository.root):
        fields.problem("TufRootMalformed", "is no root.json of a TUF repository (signed._type is 'root')", "root")
    fields.close()
    return repository


def _is_root(text: str) -> bool:
    """Whether a text looks like TUF root metadata. Whether it is any, its first use tells (TUF specification, 4.3)."""
    try:
        document = json.loads(text)
        return bool(document["signed"]["_type"] == "root")
    except (ValueError, RecursionError, KeyError, TypeError):
        return False


def is_reference(problem: Problem) -> bool:
    """Whether what the problem is about is only referred to: the trust root itself is well-formed."""
    return problem.field in {f"spec.{name}" for name in DOCUMENTS[1:]} and problem.code != "WrongType"


def faulty(name: str, fault: Problem) -> TrustRoot:
    """A trust root of which only its name is known: what needs it says why it cannot be judged."""
    content = f"{fault.code}: {fault.field}: {fault.message}".encode(errors="replace")
    return TrustRoot(name=name, content=content, hash=str(Digest.of(content)), fault=fault)


def trust_root(name: str, content: bytes, *, field: str = "spec.trustedRoot") -> TrustRoot:
    """A TrustedRoot document (protobuf-specs JSON) under a name.

    Raises `PolicyError` (`TrustRootMalformed`, with `field`) for bytes that are no such document.
    """
    try:
        document = json.loads(content) if len(content) <= MAX_DOCUMENT else None
    except (ValueError, RecursionError) as exc:
        raise _malformed(field, f"is no JSON: {type(exc).__name__}") from None  # its message quotes what it read
    if not isinstance(document, dict):
        raise _malformed(field, f"is no JSON object of at most {MAX_DOCUMENT} bytes")
    if not str(document.get("mediaType", "")).startswith(_MEDIA_TYPE):
        raise _malformed(field, f"has no mediaType {_MEDIA_TYPE}…, so it is no Sigstore TrustedRoot")
    return TrustRoot(name=name, content=content, hash=str(Digest.of(content)))


def _malformed(field: str, message: str) -> PolicyError:
    return PolicyError("TrustRootMalformed", message, field)
