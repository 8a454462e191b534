"""What follows from a decision's images and evaluations: it has that in common with all that judged them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from controller.errors import InputError
from controller.inventory import tables
from controller.inventory.canonical import encoder
from controller.inventory.configurations import kept
from controller.inventory.recording import tracing
from controller.inventory.recording.claims import claims
from controller.inventory.recording.fields import moment as _instant
from controller.inventory.recording.fields import optional as _optional
from controller.inventory.recording.fields import required as _required
from controller.inventory.recording.fields import text as _text
from controller.inventory.recording.proven import NOBODY, NOBODY_SIGNED, Proven, proven
from controller.inventory.recording.rows import KEYS, SHARED, Row, Shared, key_of
from controller.model.reference import Reference

REFUSING = ("Violated", "Error")  # outcomes that are in the way of an image, under a policy that denies
FINDINGS = {"signatures": "signature", "attestations": "attestation", "rejections": "rejection"}
ROW_BYTES = 800  # that a row takes in memory, with its name and its values (counted)
Writing = Callable[[Any], bytes]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What decisions share that judged the same images alike, in one namespace of a cluster.

    `name` is a hash of all that it follows from, empty where that was not asked for; `encoded` has the leaf's members
    that it was read from, in canonical form.
    """

    name: bytes
    encoded: Mapping[str, bytes]
    blobs: tuple[str, ...]
    reasons: str
    images: tuple[Row, ...]
    evaluations: tuple[Row, ...]
    uses: tuple[Row, ...]
    refusals: tuple[Row, ...]
    apart: tuple[Row, ...]
    shared: tuple[Shared, ...]

    @property
    def size(self) -> int:
        """Bytes in memory: most of them are the rows'."""
        own = (self.images, self.evaluations, self.uses, self.refusals, self.apart)
        return sum(map(len, self.encoded.values())) + ROW_BYTES * sum(map(len, (*own, self.shared)))


def judgement_of(leaf: Mapping[str, Any], decision: Row) -> Judgement:
    """What follows from a decision's images and evaluations."""
    listed = {name: leaf[name] for name in ("images", "evaluations", "blobs")}
    write_json = encoder(listed)
    signed = proven(leaf) if lets_in(decision) else NOBODY
    images = tuple(_image(position, item, signed) for position, item in enumerate(leaf["images"]))
    digests = [image["digest"] for image in images]
    evaluations = tuple(_evaluation(n, item, digests, write_json) for n, item in enumerate(leaf["evaluations"]))
    used = [
        (number, exception_row(decision["cluster"], entry))
        for number, item in enumerate(leaf["evaluations"])
        for entry in item.get("exceptions", ())
    ]
    policies = {tuple(row.values()): row for row in (_policy(item["policy"]) for item in leaf["evaluations"])}
    evidence = _distinct(row for item in leaf["evaluations"] for row in tracing.evidence(item, digests))
    claimed = _distinct(claims(leaf, digests, decision["namespace"]))
    refusals = tuple(_refusals(decision, evaluations))
    shared = (
        tuple(policies.values()),
        tuple(row for item in leaf["evaluations"] for row in _facts(item, digests, write_json)),
        _distinct(row for _, row in used),
        evidence,
        _distinct(row for item in leaf["evaluations"] for row in tracing.traces(item, digests)),
        claimed,
        tuple(_manifests(leaf["images"], (*evidence, *claimed))),
        signed.sets,
        signed.members,
        _distinct({"namespace": decision["namespace"], "hash": row["hash"]} for row in policies.values()),
        ({name: decision[name] for name in ("namespace", "cluster")},),
        _distinct({name: row[name] for name in KEYS[tables.refused_image.name]} for row in refusals),
    )
    return Judgement(
        name=b"",
        encoded={name: write_json(value) for name, value in listed.items()},
        blobs=tuple(_required(digest) for digest in kept(leaf)),
        reasons=write_json(_reason_codes(leaf)).decode(),
        images=images,
        evaluations=evaluations,
        uses=tuple(_use(position, number, row) for position, (number, row) in enumerate(used)),
        refusals=refusals,
        apart=signed.apart,
        shared=tuple(
            Shared(table, key_of(table, row), row) for table, rows in zip(SHARED, shared, strict=True) for row in rows
        ),
    )


def lets_in(decision: Row) -> bool:
    """Whether this decision let a pod in: then runs of its containers may rest on it."""
    return decision["kind"] == "Pod" and decision["verdict"] == "Allow" and bool(decision["object_uid"])


def _manifests(images: Iterable[Mapping[str, Any]], found: Iterable[Row]) -> Iterable[Row]:
    """What the indexes among the images hold, each pair once: what is listed, which of a large index is not all, and
    of what something was found as the index's."""
    held = {
        (image["digest"], _required(one)) for image in images if image["digest"] for one in image.get("manifests", ())
    }
    held |= {(row["digest"], row["child"]) for row in found if row["child"]}
    return ({"digest": digest, "manifest": manifest} for digest, manifest in sorted(held))


def _refusals(decision: Row, evaluations: Iterable[Row]) -> Iterable[Row]:
    """The evaluations that stand in the way of an image whose digest is known."""
    where = {name: decision[name] for name in ("cluster", "namespace")}
    names = ("position", "digest", "policy_kind", "policy_namespace", "policy_name", "policy_hash")
    for row in evaluations:
        if row["digest"] and row["outcome"] in REFUSING and '"Deny"' in row["actions"]:
            yield where | {name: row[name] for name in names}


def _image(position: int, item: Mapping[str, Any], signed: Proven) -> Row:
    text = _text(item["reference"])
    try:
        reference = Reference.parse(text)
    except InputError:  # a decision about an image that no one can read is a decision all the same
        name, tag = "", ""
    else:
        name, tag = reference.name, reference.tag or ""
    return {
        "position": position,
        "kind": _text(item["kind"]),
        "container": _text(item["container"]),
        "field": _text(item["field"]),
        "reference": text,
        "repository": _text(item["repository"]) or name,
        "tag": tag,
        "digest": _optional(item["digest"]),
        "media_type": _optional(item["mediaType"]),
        "manifests": len(item.get("manifests", ())),
        "signers": signed.images[position] if signed.images else NOBODY_SIGNED,
    }


def _evaluation(position: int, item: Mapping[str, Any], digests: Sequence[str | None], write_json: Writing) -> Row:
    policy = _policy(item["policy"])
    return {
        "position": position,
        "image": int(item["image"]),
        "digest": digests[item["image"]],
        **{f"policy_{name}": value for name, value in policy.items()},
        "actions": write_json(item["actions"]).decode(),
        "outcome": _required(item["outcome"]),
        "error_kind": _optional(item["errorKind"]),
        "reasons": write_json(item["reasons"]).decode(),
    }


def _facts(item: Mapping[str, Any], digests: Sequence[str | None], write_json: Writing) -> Iterable[Row]:
    digest = digests[item["image"]]
    if digest is None:  # nothing can be found about an image that was never resolved
        return
    policy = {f"policy_{name}": value for name, value in _policy(item["policy"]).items()}
    for name, finding in FINDINGS.items():
        for entry in item[name]:
            signer = entry.get("signer") or {}
            detail = write_json({**entry, "child": item["child"]} if "child" in item else entry)
            fact = "\n".join((digest, finding, *policy.values())).encode() + b"\n" + detail
            yield {
                "fact": sha256(fact).hexdigest(),
                "digest": digest,
                "finding": finding,
                **policy,
                "artifact": _optional(entry.get("artifact")),
                "authority": _optional(entry.get("authority")),
                "signer_key": _optional(signer.get("key")),
                "signer_issuer": _optional(signer.get("issuer")),
                "signer_subject": _optional(signer.get("subject")),
                "predicate_type": _optional(entry.get("predicateType")),
                "code": _optional(entry.get("code")),
                "detail": detail.decode(),
                "child": _optional(item["child"]["digest"]) if "child" in item else None,
                "signed_at": _instant(entry["signedAt"]) if entry.get("signedAt") else None,
            }


def _distinct(rows: Iterable[Row]) -> tuple[Row, ...]:
    return tuple({tuple(row.values()): row for row in rows}.values())


def exception_row(cluster: str, entry: Mapping[str, Any]) -> Row:
    """The row of a version of an exception, as a leaf tells of it."""
    return {
        "cluster": cluster,
        "name": _required(entry["name"]),
        "hash": _required(entry["hash"]),
        "approval": "claimed" if entry["claimed"] else "stamped",
        "approver": _required(entry["approver"]),
        "approved_at": _instant(entry["approvedAt"]) if entry["approvedAt"] is not None else None,
        "reason": _required(entry["reason"]),
        "expires": _instant(entry["expires"]),
        "break_glass": bool(entry["breakGlass"]),
    }


def _use(position: int, evaluation: int, exception: Row) -> Row:
    names = ("cluster", "name", "hash", "approval")
    return {"position": position, "evaluation": evaluation, **{name: exception[name] for name in names}}


def _policy(policy: Mapping[str, Any]) -> Row:
    return {
        "kind": _text(policy["kind"]),
        "namespace": _text(policy["namespace"]),
        "name": _text(policy["name"]),
        "hash": _text(policy["hash"]),
    }


def _reason_codes(leaf: Mapping[str, Any]) -> list[str]:
    return sorted({reason["code"] for evaluation in leaf["evaluations"] for reason in evaluation["reasons"]})
