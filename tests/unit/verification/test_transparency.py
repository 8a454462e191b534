"""A log entry is *this* signature's only if every field of its body says so (CVE-2022-36056, CVE-2026-22703).

The log's signature keeps a body from being changed, so the bodies are put to the comparison directly here: a log does
hold entries of other keys over the same signature (anybody can compute such a key) and of other content.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from controller.settings import DocumentSettings
from controller.verification import legacy, transparency
from controller.verification.bundle import Bundle, Content, Envelope, MessageSignature, SimpleSigning, parse_bundle
from controller.verification.certificates import load_certificate
from controller.verification.keys import checked_key, load_public_key
from controller.verification.transparency import Verifier
from tests.support.fixtures import RECORDED_LEGACY, recorded_bundles, recorded_layers
from tests.unit.verification.legacy import layer_artifact

UNCOMPARED = {
    "hashedrekord/0.0.2": {"hashedRekordV002.signature.verifier.keyDetails"},  # the key itself is compared
    "hashedrekord/0.0.1": set(),
    # JSON that no two programs write alike: payload and signature bind instead.
    "dsse/0.0.1": {"envelopeHash.algorithm", "envelopeHash.value"},
    "intoto/0.0.2": {"content.hash.algorithm", "content.hash.value"},
}


@dataclass(frozen=True)
class Case:
    """A recorded log entry, and what it is the entry of."""

    name: str
    kind: str
    spec: Any
    content: Content
    by: Verifier

    def matches(self, spec: Any, by: Verifier | None = None) -> bool:
        """Whether a body of this kind is held to be that of this content."""
        return transparency._BODIES[(self.kind, type(self.content))](spec, self.content, by or self.by)


def _case(name: str, bundle: Bundle, pem: str) -> Case:
    if bundle.certificate is not None:
        key = checked_key(load_certificate(bundle.certificate).public_key())
    else:
        key = load_public_key(pem)
    entry = bundle.log_entries[0]
    kind = f"{entry['kindVersion']['kind']}/{entry['kindVersion']['version']}"
    spec = json.loads(base64.b64decode(entry["canonicalizedBody"]))["spec"]
    return Case(name, kind, spec, bundle.content, Verifier(key, bundle.certificate))


def _cases() -> Iterator[Case]:
    limits = DocumentSettings()
    for bundle in recorded_bundles():
        if bundle.log.startswith("rekor"):
            yield _case(bundle.name, parse_bundle(bundle.raw, limits=limits), bundle.key and bundle.public_key)
    release = (RECORDED_LEGACY / "keys" / "release.pub").read_text()
    for file in sorted((RECORDED_LEGACY / "bundles").iterdir()):
        yield _case(f"legacy {file.stem}", parse_bundle(file.read_bytes(), limits=limits), release)
    for layer in recorded_layers():
        if layer.log.startswith("rekor"):
            read = legacy.read(layer_artifact(layer), limits=limits)
            yield _case(f"legacy {layer.name}", read, layer.key and layer.public_key)


CASES = tuple(_cases())
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from _leaves(child, (*path, name))
    if isinstance(value, str):
        yield path


def _other(value: str) -> str:
    """Another value of the same form."""
    if set(value) <= set("0123456789abcdef"):
        return ("1" if value[0] == "0" else "0") + value[1:]
    if value.startswith("LS0t"):  # a PEM block
        return base64.b64encode(OTHER_KEY.encode()).decode()
    with contextlib.suppress(ValueError):
        content = bytearray(base64.b64decode(value, validate=True))
        if len(content) > 8:
            content[-1] ^= 1
            return base64.b64encode(content).decode()
    return "SHA2_512" if value == "SHA2_256" else "SHA2_256"


OTHER_KEY = next(b.public_key for b in recorded_bundles() if b.name.startswith("stranger."))


def test_every_kind_of_entry_and_signer_is_among_the_cases() -> None:
    assert {case.kind for case in CASES} == set(UNCOMPARED)
    assert {kind for kind, _ in transparency._BODIES} == set(UNCOMPARED)
    assert {(case.kind, case.by.certificate is None) for case in CASES} == {
        (kind, bare) for kind in UNCOMPARED for bare in (True, False)
    }
    assert {(case.kind, type(case.content)) for case in CASES} == set(transparency._BODIES)
    assert {type(case.content) for case in CASES} == {Envelope, MessageSignature, SimpleSigning}


@by_name
def test_every_field_of_the_entrys_body_is_compared(case: Case) -> None:
    assert case.matches(case.spec)
    passed_over = set()
    for path in _leaves(case.spec):
        changed = json.loads(json.dumps(case.spec))
        holder = changed
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = _other(holder[path[-1]])
        assert changed != case.spec
        with contextlib.suppress(KeyError, TypeError, ValueError, UnsupportedAlgorithm):
            if case.matches(changed):
                passed_over.add(".".join(map(str, path)))
    assert passed_over == UNCOMPARED[case.kind]


@by_name
def test_entry_of_another_key_or_certificate_over_the_same_signature_is_not_this_ones(case: Case) -> None:
    others = [Verifier(load_public_key(OTHER_KEY))]
    others += [Verifier(other.by.key, other.by.certificate) for other in CASES if other.by != case.by]
    # The certificate's key alone is another signer than the certificate, and so the other way round.
    others.append(Verifier(case.by.key, b"certificate" if case.by.certificate is None else None))
    for other in others:
        if other == case.by:
            continue
        with contextlib.suppress(KeyError, ValueError):
            assert not case.matches(case.spec, other)


@by_name
def test_entry_of_one_signature_is_never_that_of_another(case: Case) -> None:
    for other in CASES:
        if (other.kind, type(other.content)) != (case.kind, type(case.content)):
            continue
        if other.content.signature == case.content.signature:
            continue
        with contextlib.suppress(KeyError, ValueError):
            assert not case.matches(other.spec)
