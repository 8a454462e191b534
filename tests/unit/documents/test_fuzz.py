"""Whatever a stranger signs, a parser answers with a document or with one of two errors, and with nothing else.

Documents are real ones with parts replaced, taken away, doubled or swapped, so that they get past the first check.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.errors import LimitExceeded, Unacceptable
from tests.unit.documents.predicates import FOLDER, PREDICATES, load, look_through, parse

TYPES = {
    "spdx": "https://spdx.dev/Document",
    "cyclonedx": "https://cyclonedx.org/bom",
    "slsa-0.1": "https://slsa.dev/provenance/v0.1",
    "slsa-0.2": "https://slsa.dev/provenance/v0.2",
    "slsa-1": "https://slsa.dev/provenance/v1",
    "openvex": "https://openvex.dev/ns",
    "vsa": "https://slsa.dev/verification_summary/v1",
    "scai": "https://in-toto.io/attestation/scai/v0.3",
    "release": "https://in-toto.io/attestation/release/v0.1",
    "test-result": "https://in-toto.io/attestation/test-result/v0.1",
    "trivy": "https://cosign.sigstore.dev/attestation/vuln/v1",
    "grype": "https://cosign.sigstore.dev/attestation/vuln/v1",
    "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
}
SEEDS = [
    (next(uri for prefix, uri in TYPES.items() if path.stem.startswith(prefix)), path.stem, path.parent)
    for path in (*sorted(FOLDER.glob("*.json")), *sorted(PREDICATES.glob("*.json")))
    if path.stem != "approval"
]

NASTY = (
    *("pkg:", "pkg:npm/", "pkg:npm/%ff", "pkg:npm/a@1", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    *("CRITICAL", "2.1.0", "git+", "://@#", "https://user@", "_:creationinfo", "-1", "1e999", "nan", "\ud800"),
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(NASTY)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values in a document."""
    found = [path]
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(inner, (*path, key))
    return found


def mutated(data: st.DataObject, document: Any) -> Any:
    """The document with one to three places changed."""
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from(places(document)[1:] or [(None,)]))
        if last is None:
            return document
        holder = document
        for key in parents:
            holder = holder[key]
        how = data.draw(st.sampled_from(["replace", "remove", "double", "wrap", "elsewhere"]))
        if how == "replace":
            holder[last] = data.draw(VALUES)
        elif how == "remove":
            del holder[last]
        elif how == "double":
            holder[last] = [holder[last], copy.deepcopy(holder[last])]
        elif how == "wrap":
            holder[last] = {data.draw(st.text(max_size=6)): holder[last]}
        else:
            value = document
            for key in data.draw(st.sampled_from(places(document))):
                value = value[key]
            holder[last] = copy.deepcopy(value)
    return document


def check(predicate_type: str, predicate: Any) -> None:
    """The property: a document, or one of the two errors; and what was read can be looked through."""
    try:
        document = parse(predicate_type, predicate)
    except Unacceptable as exc:
        if not isinstance(exc, LimitExceeded) and exc.code not in {"DocumentMalformed", "DocumentUnsupported"}:
            raise
        return
    assert document is not None
    look_through(document)


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(("predicate_type", "name", "folder"), SEEDS, ids=[name for _, name, _ in SEEDS])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_changed_document_is_read_or_refused(
    data: st.DataObject, predicate_type: str, name: str, folder: Any
) -> None:
    document = mutated(data, load(name, folder))
    check(predicate_type, document)
    check(predicate_type, json.dumps(document))


@pytest.mark.guarantee(10)
@pytest.mark.parametrize("predicate_type", sorted(set(TYPES.values())))
@settings(max_examples=50, deadline=None)
@given(predicate=VALUES)
def test_any_value_is_read_or_refused(predicate_type: str, predicate: Any) -> None:
    check(predicate_type, predicate)


@pytest.mark.parametrize(("predicate_type", "name", "folder"), SEEDS, ids=[name for _, name, _ in SEEDS])
def test_every_seed_is_a_good_document(predicate_type: str, name: str, folder: Any) -> None:
    assert parse(predicate_type, load(name, folder)) is not None
