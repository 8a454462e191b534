"""Trust roots of own certificate authorities and keys: read whole, or refused with the field."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from controller.model.policy import OwnAuthority, OwnKey, Problem, TrustRoot, TufRepository
from controller.model.reference import Digest
from controller.policy.references import Materials
from controller.policy.trust import parse_trust_root, repository_of
from tests.support.authorities import new_ca
from tests.unit.policy.make import pem

ROOT = new_ca()
CHAIN = new_ca("signing", above=ROOT).chain
KEY = pem()
DOCUMENT = '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'


def read(**spec: Any) -> TrustRoot | list[tuple[str, str]]:
    obj = {"apiVersion": "assay.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "acme"}, "spec": spec}
    found = parse_trust_root(obj)
    return found if isinstance(found, TrustRoot) else [(problem.code, problem.field) for problem in found]


def good(**spec: Any) -> TrustRoot:
    found = read(**spec)
    assert isinstance(found, TrustRoot), found
    return found


def test_own_parts_are_read_with_their_windows_in_utc() -> None:
    root = good(
        certificateAuthorities=[{"chain": CHAIN, "validity": {"from": "2026-01-01T01:00:00+01:00"}}],
        publicKeys=[{"pem": KEY, "validity": {"until": "2026-06-30T23:59:59Z"}}, {"pem": KEY}],
    )
    assert root.name == "acme"
    assert root.certificate_authorities == (OwnAuthority(CHAIN, datetime(2026, 1, 1, tzinfo=UTC), None),)
    assert root.public_keys == (OwnKey(KEY, None, datetime(2026, 6, 30, 23, 59, 59, tzinfo=UTC)), OwnKey(KEY))
    assert root.trusted_root == b""
    assert root.hash == str(Digest.of(root.content))


def test_a_document_may_stand_beside_own_parts_and_all_of_it_is_hashed() -> None:
    alone, both, keys = (
        good(trustedRoot=DOCUMENT),
        good(trustedRoot=DOCUMENT, publicKeys=[{"pem": KEY}]),
        good(publicKeys=[{"pem": KEY}]),
    )
    assert (alone.trusted_root, both.trusted_root) == (DOCUMENT.encode(), DOCUMENT.encode())
    assert alone.content == DOCUMENT.encode()
    assert len({root.hash for root in (alone, both, keys)}) == 3
    window = good(publicKeys=[{"pem": KEY, "validity": {"until": "2026-06-30T23:59:59Z"}}])
    assert window.hash != keys.hash


def test_a_time_that_yaml_reads_as_one_is_one() -> None:
    written = yaml.safe_load(f"publicKeys:\n- pem: {json.dumps(KEY)}\n  validity: {{from: 2026-01-01T00:00:00Z}}\n")
    assert good(**written).public_keys[0].valid_from == datetime(2026, 1, 1, tzinfo=UTC)


TUF = {"url": "https://tuf.acme.example/repo", "root": '{"signed": {"_type": "root"}}'}


def test_a_tuf_repository_gives_its_document_or_its_trouble() -> None:
    repository = TufRepository(TUF["url"], TUF["root"], "acme/root.json", refresh=3600.0, max_stale=7 * 86_400.0)
    spec = {"tuf": TUF | {"target": "acme/root.json", "refresh": "1h", "maxStale": "7d"}}
    obj = {"apiVersion": "assay.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "acme"}, "spec": spec}
    assert repository_of(obj) == repository
    assert repository_of(obj | {"spec": {"trustedRoot": DOCUMENT}}) is None
    assert repository_of(obj | {"spec": {"tuf": TUF | {"refresh": "daily"}}}) is None
    found = parse_trust_root(obj, Materials(distributed={repository: DOCUMENT.encode()}))
    assert isinstance(found, TrustRoot)
    assert found.trusted_root == DOCUMENT.encode()
    stale = Problem("TufStale", "spec.tuf", "too old")
    assert parse_trust_root(obj, Materials(distributed={repository: stale})) == (stale,)
    assert read(**spec) == [("TufUnread", "spec.tuf")]
    junk = parse_trust_root(obj, Materials(distributed={repository: b"junk"}))
    assert isinstance(junk, tuple)
    assert [(problem.code, problem.field) for problem in junk] == [("TrustRootMalformed", "spec.tuf")]


AUTHORITY, PUBLIC = "spec.certificateAuthorities[0]", "spec.publicKeys[0]"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, ("FieldMissing", "spec.trustedRoot")),
        ({"certificateAuthorities": []}, ("FieldMissing", "spec.trustedRoot")),
        ({"certificateAuthorities": [{}]}, ("FieldMissing", f"{AUTHORITY}.chain")),
        ({"certificateAuthorities": [{"chain": "x"}]}, ("ChainMalformed", f"{AUTHORITY}.chain")),
        (
            {"certificateAuthorities": [{"chain": CHAIN.removesuffix(ROOT.chain)}]},
            ("ChainMalformed", f"{AUTHORITY}.chain"),
        ),
        ({"certificateAuthorities": [{"chain": CHAIN, "root": "x"}]}, ("FieldUnknown", f"{AUTHORITY}.root")),
        ({"publicKeys": [{"pem": KEY + KEY}]}, ("KeyMalformed", f"{PUBLIC}.pem")),
        ({"publicKeys": [{"pem": "-----BEGIN PRIVATE KEY-----"}]}, ("KeyMalformed", f"{PUBLIC}.pem")),
        (
            {"publicKeys": [{"pem": KEY, "validity": {"from": "2026-01-01T00:00:00"}}]},
            ("TimeMalformed", f"{PUBLIC}.validity.from"),
        ),
        (
            {"publicKeys": [{"pem": KEY, "validity": {"until": "9999-12-31T23:59:59-05:00"}}]},
            ("TimeMalformed", f"{PUBLIC}.validity.until"),
        ),
        (
            {"publicKeys": [{"pem": KEY, "validity": {"until": "2026-01-01"}}]},
            ("TimeMalformed", f"{PUBLIC}.validity.until"),
        ),
        ({"publicKeys": [{"pem": KEY, "validity": {"until": 5}}]}, ("TimeMalformed", f"{PUBLIC}.validity.until")),
        ({"publicKeys": [{"pem": KEY, "validity": {"till": "x"}}]}, ("FieldUnknown", f"{PUBLIC}.validity.till")),
        (
            {
                "publicKeys": [
                    {"pem": KEY, "validity": {"from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}}
                ]
            },
            ("ValidityEmpty", f"{PUBLIC}.validity.until"),
        ),
        (
            {"trustedRoot": DOCUMENT, "configMapRef": {"name": "roots", "key": "a"}},
            ("TrustRootMalformed", "spec"),
        ),
        ({"trustedRoot": "no JSON", "publicKeys": [{"pem": KEY}]}, ("TrustRootMalformed", "spec.trustedRoot")),
        ({"tuf": {"url": TUF["url"]}}, ("FieldMissing", "spec.tuf.root")),
        ({"tuf": TUF | {"url": "http://tuf.acme.example"}}, ("UrlMalformed", "spec.tuf.url")),
        ({"tuf": TUF | {"url": "https://me:secret@tuf.acme.example"}}, ("UrlMalformed", "spec.tuf.url")),
        ({"tuf": TUF | {"url": "https://tuf.acme.example/?a=b"}}, ("UrlMalformed", "spec.tuf.url")),
        ({"tuf": TUF | {"target": "../../etc/passwd"}}, ("NameMalformed", "spec.tuf.target")),
        ({"tuf": TUF | {"target": "/etc/passwd"}}, ("NameMalformed", "spec.tuf.target")),
        ({"tuf": TUF | {"refresh": "1w"}}, ("DurationMalformed", "spec.tuf.refresh")),
        ({"tuf": TUF | {"maxStale": "-1d"}}, ("DurationMalformed", "spec.tuf.maxStale")),
        ({"tuf": TUF | {"mirror": "x"}}, ("FieldUnknown", "spec.tuf.mirror")),
    ],
)
def test_each_mistake_is_named_with_its_field(spec: dict[str, Any], problem: tuple[str, str]) -> None:
    assert read(**spec) == [problem]
