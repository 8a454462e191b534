"""A log entry is *this* signature's only if every field of its body says so (CVE-2022-36056, CVE-2026-22703).

The log's signature keeps a body from being changed, so the bodies are put to the comparison directly here: a log does
hold entries of other keys over the same signature (anybody can compute such a key) and of other content.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from controller.settings import DocumentSettings
from controller.verification import transparency
from controller.verification.bundle import parse_bundle
from controller.verification.keys import load_public_key
from tests.support.fixtures import RecordedBundle, recorded_bundles

LOGGED = [b for b in recorded_bundles() if b.authority == "key" and b.log.startswith("rekor")]
UNCOMPARED = {
    "hashedrekord/0.0.2": {"hashedRekordV002.signature.verifier.keyDetails"},  # the key itself is compared
    "hashedrekord/0.0.1": set(),
    "dsse/0.0.1": {"envelopeHash.algorithm", "envelopeHash.value"},  # JSON that no two programs write alike
}


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


@pytest.mark.parametrize("bundle", LOGGED, ids=lambda bundle: bundle.name)
def test_every_field_of_the_entrys_body_is_compared(bundle: RecordedBundle) -> None:
    parsed = parse_bundle(bundle.raw, limits=DocumentSettings())
    by = transparency.Verifier(load_public_key(bundle.public_key))
    entry = parsed.log_entries[0]
    kind = f"{entry['kindVersion']['kind']}/{entry['kindVersion']['version']}"
    matches = transparency._BODIES[(kind, type(parsed.content))]
    spec = json.loads(base64.b64decode(entry["canonicalizedBody"]))["spec"]
    assert matches(spec, parsed.content, by)
    passed_over = set()
    for path in _leaves(spec):
        changed = json.loads(json.dumps(spec))
        holder = changed
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = _other(holder[path[-1]])
        assert changed != spec
        with contextlib.suppress(KeyError, TypeError, ValueError, UnsupportedAlgorithm):
            if matches(changed, parsed.content, by):
                passed_over.add(".".join(map(str, path)))
    assert passed_over == UNCOMPARED[kind]


@pytest.mark.parametrize("bundle", LOGGED, ids=lambda bundle: bundle.name)
def test_entry_of_another_key_over_the_same_signature_is_not_this_ones(bundle: RecordedBundle) -> None:
    parsed = parse_bundle(bundle.raw, limits=DocumentSettings())
    entry = parsed.log_entries[0]
    kind = f"{entry['kindVersion']['kind']}/{entry['kindVersion']['version']}"
    spec = json.loads(base64.b64decode(entry["canonicalizedBody"]))["spec"]
    other = load_public_key(OTHER_KEY)
    own = load_public_key(bundle.public_key).spki == other.spki
    assert transparency._BODIES[(kind, type(parsed.content))](spec, parsed.content, transparency.Verifier(other)) is own
