"""The estate's policies with their versions over the year, and its exceptions."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from tests.bench.estate.facts import Exemption, Policy
from tests.bench.estate.size import BEGIN, DAYS
from tests.bench.estate.world import World

CLUSTER, OWN = "ClusterEvidencePolicy", "EvidencePolicy"
_SPECS: tuple[tuple[str, str, str, str, bool, tuple[tuple[int, str], ...]], ...] = (
    # kind, namespace, name, what it requires, whether it fails open, and from which day on it does what
    (CLUSTER, "", "signed", "signature", False, ((0, "Audit"), (45, "Warn"), (110, "Deny"), (250, "Deny"))),
    (CLUSTER, "", "sbom", "sbom", False, ((0, "Audit"), (140, "Warn"), (300, "Deny"))),
    (CLUSTER, "", "scanned", "vulnerabilities", False, ((0, "Audit"), (200, "Audit"))),
    (CLUSTER, "", "vendor", "signature", True, ((0, "Deny"),)),
    (OWN, "team-01", "provenance", "provenance", False, ((30, "Warn"), (210, "Deny"))),
    (OWN, "team-03", "provenance", "provenance", True, ((60, "Audit"),)),
)
_IMAGES = {"vendor": ("vendor.example/products/**",)}
BREAKS = 4  # hours that a broken glass lasts


class Rules:
    """All versions of all policies, and all exceptions."""

    def __init__(self, policies: Sequence[Policy], exemptions: Sequence[Exemption]) -> None:
        self.policies = tuple(policies)
        self.exemptions = tuple(exemptions)
        self._changes = sorted({policy.since for policy in policies})
        self._special = {policy.namespace for policy in policies}
        self._in_force: dict[tuple[int, str, str], tuple[Policy, ...]] = {}
        self._exempt: dict[tuple[str, str], list[Exemption]] = {}
        for exemption in exemptions:
            self._exempt.setdefault((exemption.policy, exemption.repository), []).append(exemption)

    def in_force(self, moment: datetime, *, namespace: str, owner: str) -> tuple[Policy, ...]:
        """The policies that are about an image of this owner in this namespace, in the order of a leaf."""
        key = bisect_right(self._changes, moment), namespace if namespace in self._special else "", owner
        if key not in self._in_force:
            newest: dict[tuple[str, str, str], Policy] = {}
            for policy in self.policies:
                about = owner == "vendor" if policy.name == "vendor" else owner == "acme"
                if policy.since <= moment and about and policy.namespace in {"", namespace}:
                    newest[policy.key] = policy
            self._in_force[key] = tuple(newest[name] for name in sorted(newest))
        return self._in_force[key]

    def exempt(self, moment: datetime, *, policy: Policy, repository: str, cluster: str) -> tuple[Exemption, ...]:
        """The exceptions that hold for an image under a policy."""
        return tuple(
            exemption
            for exemption in self._exempt.get((policy.name, repository), ())
            if cluster in exemption.clusters and exemption.approved_at <= moment < exemption.expires
        )


def rules(world: World, clusters: tuple[str, ...]) -> Rules:
    """The rules of an estate: each way of being refused has an exception somewhere."""
    policies = tuple(
        _policy(kind, namespace, name, requires, opens, day, action)
        for kind, namespace, name, requires, opens, versions in _SPECS
        for day, action in versions
    )
    random = Random(f"{world.seed} exceptions")
    exemptions = []
    refused = [r for r in world.repositories if r.owner != "external"]
    for number, repository in enumerate(refused):
        image = repository.releases[0]
        for policy, lacks in (
            ("signed", image.signing in {"none", "stranger"}),
            ("sbom", image.sbom_state in {"none", "unsigned", "other-digest"}),
            ("vendor", image.signing in {"none", "stranger"}),
        ):
            if not lacks or (policy == "vendor") != (repository.owner == "vendor"):
                continue
            first = {"signed": 112, "sbom": 300, "vendor": 5}[policy]
            for turn in range(3):
                begin = BEGIN + timedelta(days=first + turn * 60 + random.uniform(0, 20))
                glass = turn == 1
                length = timedelta(hours=BREAKS * 6) if glass else timedelta(days=random.uniform(15, 50))
                if begin < BEGIN + timedelta(days=DAYS):
                    chosen = clusters if turn != 2 else clusters[:1]
                    exemptions.append(_exemption(number, turn, policy, repository.name, begin, length, glass, chosen))
    return Rules(policies, tuple(exemptions))


def _policy(kind: str, namespace: str, name: str, requires: str, opens: bool, day: int, action: str) -> Policy:
    spec = {
        "match": {"images": list(_IMAGES.get(name, ("ghcr.io/acme/**",))), "conditions": []},
        "validationActions": [action],
        "failurePolicy": "Ignore" if opens else "Fail",
        "digest": "Pin",
        "platforms": "Index",
        "authorities": [{"name": "release", "keyless": {"identities": [{"subject": f"since day {day}"}]}}],
        "attestations": [] if requires == "signature" else [_attestation(requires)],
        "validations": [],
        **({"signatures": {"minimum": 1, "authorities": ["release"]}} if requires == "signature" else {}),
    }
    content = json.dumps({"spec": spec}, sort_keys=True, separators=(",", ":")).encode()
    since = BEGIN + timedelta(days=day)
    return Policy(kind, namespace, name, _hash(content), content, (action,), requires, opens, since)


def _attestation(requires: str) -> dict[str, object]:
    kind = {"sbom": "SBOM", "vulnerabilities": "Vulnerability", "provenance": "SLSAProvenance"}[requires]
    return {"name": requires, "type": kind, "minimum": 1, "authorities": ["release"]}


def _exemption(
    number: int,
    turn: int,
    policy: str,
    repository: str,
    begin: datetime,
    length: timedelta,
    glass: bool,
    clusters: tuple[str, ...],
) -> Exemption:
    begin = begin.replace(microsecond=0)
    spec = {
        "policies": [{"kind": CLUSTER, "name": policy}],
        "images": [repository],
        "reason": f"OPS-{number}{turn}: the fix for {repository} is on its way",
        "approver": ("ada", "grace", "edsger")[number % 3],
        "expires": (begin + length).isoformat(),
        "breakGlass": glass,
    }
    content = json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()
    return Exemption(
        name=f"{'glass' if glass else 'waiver'}-{policy}-{number}" + ("" if turn == 0 else f"-{turn}"),
        hash=_hash(content),
        content=content,
        approver=str(spec["approver"]),
        claimed=False,
        approved_at=begin,
        reason=str(spec["reason"]),
        expires=begin + length,
        break_glass=glass,
        policy=policy,
        repository=repository,
        clusters=clusters,
    )


def _hash(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
