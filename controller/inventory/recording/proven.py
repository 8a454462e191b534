"""Who signed what a decision admitted: of each of its images the set of those of whom something was verified. Pure.

Where a policy looked at each manifest of an index, what is said of one manifest holds for that one alone; of a run that
the kubelet names by the index, what was said of each of them holds.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from controller.inventory.canonical import canonical
from controller.inventory.recording.fields import required, text

NOBODY_SIGNED = ""
"""The name of the empty set."""

Row = dict[str, Any]
_Who = tuple[str, str, str]  # a signer's key, issuer and subject
_Said = tuple[_Who, str]  # and the kind of statement


@dataclass(frozen=True, slots=True)
class Proven:
    """What a decision says of signers.

    `images` has the name of the set of each image; `apart` the rows of manifests whose signers are others than that
    (table `manifest_signers`); `sets` and `members` the rows of the sets themselves.
    """

    images: tuple[str, ...] = ()
    apart: tuple[Row, ...] = ()
    sets: tuple[Row, ...] = ()
    members: tuple[Row, ...] = ()


NOBODY = Proven()


def proven(leaf: Mapping[str, Any]) -> Proven:
    """The signers of each image of a decision's leaf. Raises what a malformed leaf raises."""
    images: list[str] = []
    apart: list[Row] = []
    sets: dict[str, Row] = {}
    members: dict[tuple[str, str], Row] = {}

    def name_of(verified: Mapping[_Who, set[str]]) -> str:
        if not verified:
            return NOBODY_SIGNED
        content = canonical([[*who, sorted(verified[who])] for who in sorted(verified)])
        name = sha256(content).hexdigest()
        sets[name] = {"id": name, "signers": content.decode()}
        for key, _, subject in verified:
            for one in {key, subject} - {""}:
                members[one, name] = {"name": one, "id": name}
        return name

    for position, image in enumerate(leaf["images"]):
        about = [item for item in leaf["evaluations"] if item["image"] == position]
        rest = name_of(_signers(about, None))
        images.append(rest)
        children = {required(item["child"]["digest"]) for item in about if item.get("child")}
        if not children:
            continue
        whole = {text(image["digest"])} - {""}
        for manifest in sorted(children | whole):
            signers = name_of(_signers(about, manifest, of_all=manifest in whole))
            if signers != rest:
                apart.append({"position": position, "manifest": manifest, "signers": signers})
    return Proven(tuple(images), tuple(apart), tuple(sets.values()), tuple(members.values()))


def read(signers: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """A set's rows: key, issuer, subject, and what of theirs was verified."""
    return [(key, issuer, subject, tuple(what)) for key, issuer, subject, what in json.loads(signers)]


def _signers(
    evaluations: Iterable[Mapping[str, Any]], manifest: str | None, *, of_all: bool = False
) -> Mapping[_Who, set[str]]:
    """Of whom something was verified about this manifest (`of_all`: about each that a policy looked at).

    None is a manifest that no policy looked at by itself.
    """
    by_policy: dict[tuple[str, ...], list[set[_Said]]] = defaultdict(list)
    for item in evaluations:
        child = item.get("child")
        if child and not of_all and child["digest"] != manifest:
            continue
        policy = item["policy"]
        name = (text(policy["kind"]), text(policy["namespace"]), text(policy["name"]), text(policy["hash"]))
        by_policy[name].append({_said(proof) for proof in (*item.get("signatures", ()), *item.get("attestations", ()))})
    found: dict[_Who, set[str]] = defaultdict(set)
    for verified in by_policy.values():
        for who, what in set.intersection(*verified):
            found[who].add(what)
    return found


def _said(proof: Mapping[str, Any]) -> _Said:
    signer = proof.get("signer") or {}
    who = (text(signer.get("key")), text(signer.get("issuer")), text(signer.get("subject")))
    return who, text(proof.get("predicateType", "signature"))
