"""SLSA verification summaries (VSA 1.0) of what was decided: https://slsa.dev/spec/v1.0/verification_summary.

One for an image, of one decision. It says what a signed sentence may say and no more: PASSED, if every policy that
could have denied the image was satisfied; FAILED, if one was violated, an exception or not. Where one could not be
judged there is none, as *cannot verify* is neither. Assay evaluates no build level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from controller.inventory.bundle.signing import STATEMENT
from controller.inventory.canonical import canonical
from controller.model.reference import Digest

PREDICATE = "https://slsa.dev/verification_summary/v1"
SLSA_VERSION = "1.0"
PASSED, FAILED = "PASSED", "FAILED"
UNEVALUATED = "SLSA_BUILD_LEVEL_UNEVALUATED"
_POLICY = ("kind", "namespace", "name", "hash")
_VERIFIER = "https://assay.dev/verifier"

Leaf = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Summary:
    """A statement that is to be signed, with the set of policies that it names by hash (`policies`, canonical JSON)."""

    statement: Mapping[str, Any]
    result: str
    policies: bytes

    @property
    def policies_path(self) -> str:
        """Where the set lies in the bundle."""
        return policies_path(self.policies)


def policies_path(policies: bytes) -> str:
    """Where a set of policies lies in the bundle."""
    return f"policy-sets/{Digest.of(policies).hex}.json"


def summarise(leaf: Leaf, digest: str, paths: Mapping[str, str]) -> Summary | str:
    """The summary of what this decision says of the image of this digest, or why there is none.

    `paths` are the evidence's files by digest.
    """
    numbers = {number for number, image in enumerate(leaf["images"]) if image["digest"] == digest}
    judged = [e for e in leaf["evaluations"] if e["image"] in numbers and "Deny" in e["actions"]]
    if not judged:
        return "no policy that denies judged it"
    outcomes = {e.get("otherwise") or e["outcome"] for e in judged}
    if "Violated" in outcomes:
        result = FAILED
    elif outcomes == {"Satisfied"}:
        result = PASSED
    else:
        return "a policy that denies could not be judged"
    named = {tuple(e["policy"][name] for name in _POLICY): dict(e["policy"]) for e in judged}
    policies = canonical([named[key] for key in sorted(named)])
    image = leaf["images"][min(numbers)]
    statement = _statement(leaf, image, judged, result=result, policies=policies, paths=paths)
    return Summary(statement, result, policies)


def _statement(
    leaf: Leaf, image: Leaf, judged: Sequence[Leaf], *, result: str, policies: bytes, paths: Mapping[str, str]
) -> Mapping[str, Any]:
    digest = image["digest"].removeprefix("sha256:")
    name = image["repository"] or image["reference"]
    inputs = sorted({p["artifact"] for e in judged for p in (*e["signatures"], *e["attestations"])})
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}}],
        "predicateType": PREDICATE,
        "predicate": {
            "verifier": {"id": f"{_VERIFIER}/{quote(leaf['cluster'], safe='')}", "version": dict(leaf["verifier"])},
            "timeVerified": leaf["decidedAt"],
            "resourceUri": _purl(name, digest),
            "policy": {"uri": policies_path(policies), "digest": {"sha256": Digest.of(policies).hex}},
            "inputAttestations": [
                {**({"uri": paths[one]} if one in paths else {}), "digest": {"sha256": one.removeprefix("sha256:")}}
                for one in inputs
            ],
            "verificationResult": result,
            "verifiedLevels": [UNEVALUATED if result == PASSED else FAILED],
            "slsaVersion": SLSA_VERSION,
        },
    }


def _purl(name: str, digest: str) -> str:
    """https://github.com/package-url/purl-spec/blob/main/types-doc/oci-definition.md"""
    short = name.rpartition("/")[2].lower()
    return f"pkg:oci/{quote(short, safe='.-_~')}@sha256%3A{digest}?repository_url={quote(name, safe='/.-_~')}"
