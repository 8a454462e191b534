"""`assay inventory show`, and the proofs made again from what is stored (`--replay`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from controller.cli import EXIT_DENIED, EXIT_ERROR, options, render
from controller.cli.inventory.decisions import print_decisions
from controller.cli.inventory.shared import as_of, dump, known_at
from controller.errors import InputError
from controller.inventory.asking.asker import DEFAULT_LIMIT
from controller.inventory.asking.names import Named
from controller.inventory.records import (
    Finding,
    ImageRecord,
)
from controller.inventory.store import Store
from controller.reading import wire
from controller.settings import Settings
from controller.workers.replay import Replayed, replay

REPLAY_SCHEMA = "assay.dev/replay/v1alpha1"


@click.command(short_help="All that is known of an image, or one decision whole.")
@click.argument("name", metavar="DIGEST|RECORD")
@click.option("-n", "--namespace", help="Of an image: as far as this namespace is concerned.")
@as_of
@known_at
@click.option(
    "--limit", default=DEFAULT_LIMIT, show_default=True, help="Of an image: decisions that are shown, the newest."
)
@click.option("--replay", "again", is_flag=True, help="Make each proof again, from the stored bytes alone.")
@options.output
@options.with_settings("database_url")
def show(
    load: Callable[..., Settings],
    *,
    name: str,
    namespace: str | None,
    as_of: datetime | None,
    known_at: datetime | None,
    limit: int,
    again: bool,
    form: str,
) -> int:
    """Show what is known of an image (sha256:…), or one decision whole (the id that a denial names).

    With --replay the proofs are made again from what is stored: no registry, no cluster, as of the decision's time.
    Exit status: 0, or with --replay 1 if a proof does not hold any more, else 2 if one cannot be made again here.
    """
    settings = load()
    times: dict[str, Any] = {"as_of": as_of, "known_at": known_at}
    with Store.open_to_read(settings.inventory) as store:
        name = store.questions.names.whole(Named.IMAGE, name)
        is_image = name.startswith("sha256:")
        if namespace is not None and not is_image:
            raise InputError(
                "ParameterInvalid", "a record is one namespace's: --namespace goes with an image (sha256:…)"
            )
        if again:
            return _replay(store, settings, name, limit=limit, namespace=namespace, form=form, **times)
        if is_image:
            image = store.queries.image(name, limit=limit, namespace=namespace, **times)
            if image is None:
                raise _unknown(store, name, namespace=namespace, **times)
            if form == "table":
                _print_image(image)
            else:
                dump(wire.ImageRecord.model_validate(image), form)
            return 0
        decision = store.queries.decision(name, **times)
        if decision is None:
            raise InputError("DecisionUnknown", f"no decision {name} is recorded: give its whole id, or a digest")
        if form == "table":
            _print_decision(decision.leaf)
        else:
            render.dump(decision.leaf, form)
    return 0


def _replay(store: Store, settings: Settings, name: str, *, form: str, known_at: datetime | None, **asked: Any) -> int:
    digest = name if name.startswith("sha256:") else ""
    done = [
        (
            leaf,
            replay(
                leaf,
                lambda wanted: store.queries.blob(wanted, known_at=known_at),
                limits=settings.documents,
                digest=digest,
            ),
        )
        for leaf in _leaves(store, name, known_at=known_at, **asked)
    ]
    if form != "table":
        proofs = [{"record": leaf["id"], **_replayed(proof)} for leaf, found in done for proof in found]
        render.dump({"schema": REPLAY_SCHEMA, "proofs": proofs}, form)
    else:
        for leaf, found in done:
            _print_replay(leaf, found)
    open_ = [proof.untold for _, found in done for proof in found if not proof.holds]
    return 0 if not open_ else EXIT_ERROR if all(open_) else EXIT_DENIED


def _leaves(store: Store, name: str, *, limit: int, namespace: str | None, **times: Any) -> Iterator[Any]:
    """The decision of this id, or the newest ones about the image of this digest."""
    ids = [name]
    if name.startswith("sha256:"):
        image = store.queries.image(name, limit=limit, namespace=namespace, **times)
        if image is None:
            raise _unknown(store, name, namespace=namespace, **times)
        ids = [item.id for item in image.decisions.items]
    for identity in ids:
        decision = store.queries.decision(identity, **times)
        if decision is None:
            raise InputError("DecisionUnknown", f"no decision {identity} is recorded")
        yield decision.leaf


def _unknown(store: Store, digest: str, *, namespace: str | None, **times: datetime | None) -> InputError:
    """That nothing was decided about it: where it is a manifest of an index, what was decided is about that; and what
    ran without a decision is told all the same. Of a namespace, or of a time, no more is said than of that."""
    if namespace is not None:
        seen = f"no decision about {digest} is recorded that namespace {namespace} may see"
        return InputError("ImageUnknown", seen)
    if any(times.values()):
        return InputError("ImageUnknown", f"no decision about {digest} is recorded of that time")
    found = store.questions.names.indexes(digest)
    where = f"; it is a manifest of the index {' and of '.join(found)}: show that" if found else ""
    if not found and store.queries.runs(digest=digest, limit=1).items:
        where = f", but it ran: assay inventory running --ever --digest {digest}"
    return InputError("ImageUnknown", f"no decision about {digest} is recorded{where}")


def _replayed(proof: Replayed) -> dict[str, Any]:
    return {
        "policy": proof.policy,
        "image": proof.image,
        "holds": None if proof.untold else proof.holds,
        "trouble": proof.trouble,
        "recorded": proof.recorded,
        "steps": list(proof.steps),
    }


def _print_replay(leaf: Any, found: Sequence[Replayed]) -> None:
    held = sum(proof.holds for proof in found)
    click.echo(f"{leaf['verdict']}  record {leaf['id']}, decided {leaf['decidedAt']}")
    if not found:
        click.echo("  nothing was proven then, so there is nothing to prove again")
        return
    click.echo(f"  {held} of {len(found)} proofs hold, made again from the stored bytes alone")
    for proof in found:
        word = "cannot tell" if proof.untold else "holds" if proof.holds else "FAILS"
        click.echo(render.plain(f"  {word}  {_proven(proof)}"))
        click.echo(f"    image  {proof.image}")
        if proof.trouble:
            click.echo(render.plain(f"    {proof.trouble}"))
        for number, step in enumerate(proof.steps, 1):
            click.echo(render.plain(f"    {number:2}. {step}"))


def _proven(proof: Replayed) -> str:
    recorded = proof.recorded
    if "approver" in recorded:
        return f"exception from {proof.policy}, {render.exception(recorded)}"
    what = recorded.get("predicateType") or "signature"
    return f"{what}, for authority {recorded['authority']} of {proof.policy}"


def _print_image(image: ImageRecord) -> None:
    click.echo(image.digest)
    for name in image.references:
        click.echo(render.plain(f"  named    {name}"))
    click.echo(f"  decided  {image.admitted} times allowed, {image.denied} times denied,")
    click.echo(
        f"           first {image.first_decided_at:%Y-%m-%d %H:%M:%S}, last {image.last_decided_at:%Y-%m-%d %H:%M:%S}"
    )
    for heading, findings in (
        ("signed by", image.signatures),
        ("attested", image.attestations),
        ("did not count", image.rejections),
    ):
        click.echo(f"  {heading}")
        for line in dict.fromkeys(map(_finding, findings)) or ["nothing"]:
            click.echo(render.plain(f"    {line}"))
    click.echo("  decisions")
    print_decisions(image.decisions.items)


def _finding(finding: Finding) -> str:
    detail = finding.detail
    if finding.finding == "rejection":
        who = f" for authority {detail['authority']}" if detail["authority"] else ""
        return f"{detail['location']}{who}: {detail['code']}: {detail['message']}"
    signer = detail["signer"]
    who = f"key {signer['key']}" if signer["key"] else f"{signer['subject']} ({signer['issuer']})"
    what = f"{detail['predicateType']} by " if finding.finding == "attestation" else ""
    policy = f"{finding.policy.kind}/{finding.policy.name}"
    return f"{what}{who}, for authority {detail['authority']} of {policy}{_of(detail)}"


def _of(record: Mapping[str, Any]) -> str:
    """Which manifest of the image is meant, where it is one of several."""
    child = record.get("child")
    return f" ({child['platform'] or 'no platform'}, {child['digest'][:19]}…)" if child else ""


def _print_decision(leaf: Any) -> None:
    request, user = leaf["request"], leaf["request"]["user"]
    click.echo(f"{render.coloured(leaf['verdict'])}  {request['kind']} {request['namespace']}/{request['name']}")
    click.echo(f"  record   {leaf['id']}, decided {leaf['decidedAt']} in {leaf['latencyUs'] / 1000:.1f} ms")
    click.echo(f"  by       {user['username'] or '(nobody)'}, {request['operation']}")
    for evaluation in leaf["evaluations"]:
        image, policy = leaf["images"][evaluation["image"]], evaluation["policy"]
        click.echo(
            f"  {policy['kind']}/{policy['name']} ({policy['hash'][:19]}…): {render.coloured(evaluation['outcome'])}"
        )
        click.echo(render.plain(f"    image  {image['reference']}{_of(evaluation)}"))
        for exception in evaluation.get("exceptions", ()):
            click.echo(f"    exempt {render.exception(exception)} (else {evaluation['otherwise']})")
        for proof in (*evaluation["signatures"], *evaluation["attestations"]):
            what = proof.get("predicateType") or "signature"
            click.echo(render.plain(f"    proven {what}, for authority {proof['authority']}"))
            for number, step in enumerate(proof["steps"], 1):
                click.echo(render.plain(f"      {number:2}. {step}"))
        for rejection in evaluation["rejections"]:
            told = f"    did not count: {rejection['location']}: {rejection['code']}: {rejection['message']}"
            click.echo(render.plain(told))
        for reason in evaluation["reasons"]:
            click.echo(render.plain(f"    {reason['rule']}: {reason['code']}: {reason['message']}"))
