"""`assay inventory`: what was decided, on what proof. Reads the database beside a serving process or without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from controller.cli import options, render
from controller.errors import InputError
from controller.inventory.records import (
    FLAGS,
    Admission,
    DecisionFilter,
    DecisionImage,
    DecisionSummary,
    Finding,
    ImageRecord,
)
from controller.inventory.store import Store
from controller.reading import wire
from controller.settings import Settings
from controller.workers.replay import Replayed, replay

SCHEMA = "assay.dev/inventory/v1alpha1"
REPLAY_SCHEMA = "assay.dev/replay/v1alpha1"
_TIMES = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])


@click.group()
def inventory() -> None:
    """Read the evidence inventory: every decision, and what it rests on."""


@inventory.command()
@click.option("-n", "--namespace", help="Only of this namespace.")
@click.option("--verdict", type=click.Choice(["Allow", "Deny"]), help="Only these.")
@click.option("--image", help="Only of this image (registry/repository[:tag][@digest]).")
@click.option("--digest", help="Only of this digest.")
@click.option("--policy", help="Only where this policy (name or namespace/name) was evaluated.")
@click.option("--exception", help="Only where this EvidenceException was used.")
@click.option("--flag", type=click.Choice(FLAGS), help="Only those that came about so.")
@click.option("--since", type=_TIMES, help="Decided at or after this time (UTC).")
@click.option("--until", type=_TIMES, help="Decided before this time (UTC).")
@click.option("--as-of", type=_TIMES, help="As the inventory stood at this time (UTC).")
@click.option("--limit", default=50, show_default=True, help="Decisions on one page.")
@click.option("--cursor", help="The next page, as the last one named it.")
@options.output
@options.with_settings("database_url")
def decisions(
    load: Callable[..., Settings],
    *,
    namespace: str | None,
    verdict: str | None,
    image: str | None,
    digest: str | None,
    policy: str | None,
    exception: str | None,
    flag: str | None,
    since: datetime | None,
    until: datetime | None,
    as_of: datetime | None,
    limit: int,
    cursor: str | None,
    form: str,
) -> None:
    """List decisions, newest first."""
    where = DecisionFilter(
        namespace=namespace,
        verdict=verdict,
        image=image,
        digest=digest,
        policy=policy,
        exception=exception,
        flag=flag,
        since=_utc(since),
        until=_utc(until),
    )
    with Store.open_to_read(load().inventory) as store:
        page = store.queries.decisions(where, limit=limit, cursor=cursor, as_of=_utc(as_of))
    if form != "table":
        shown = wire.DecisionPage.model_validate(page).model_dump(mode="json", by_alias=True)
        render.dump({"schema": SCHEMA, **shown}, form)
        return
    print_decisions(page.items)
    if page.cursor:
        click.echo(f"more: --cursor {page.cursor}", err=True)


@inventory.command()
@click.option("--at", type=_TIMES, help="What ran at this time (UTC); default: now.")
@click.option("--ever", is_flag=True, help="Whatever ran at any time.")
@click.option("-n", "--namespace", help="Only of this namespace.")
@click.option("--digest", help="Only of this digest.")
@click.option("--admission", type=click.Choice(list(Admission)), help="Only runs that came to be so.")
@click.option("--signed/--unsigned", default=None, help="Only what somebody signed, or what nobody did.")
@click.option("--signer", help="Only what this one signed: a key's fingerprint, or an identity's subject, whole.")
@click.option("--as-of", type=_TIMES, help="As the inventory stood at this time (UTC).")
@click.option("--limit", default=50, show_default=True, help="Runs on one page.")
@click.option("--cursor", help="The next page, as the last one named it.")
@options.output
@options.with_settings("database_url")
def running(
    load: Callable[..., Settings],
    *,
    at: datetime | None,
    ever: bool,
    namespace: str | None,
    digest: str | None,
    admission: str | None,
    signed: bool | None,
    signer: str | None,
    as_of: datetime | None,
    limit: int,
    cursor: str | None,
    form: str,
) -> None:
    """List what runs, or ran, by the digest that the kubelet reported, whether Assay admitted it, and who signed it.

    Admitted: with this very image. Drifted: with another one. Unadmitted: Assay was never asked about the pod (a static
    pod, an excluded namespace, a webhook that was away). Unknown: it cannot be compared.

    Signed by: whose signature or attestation of this very image was verified when its pod was admitted. What was never
    admitted was never verified, so it counts as unsigned.
    """
    moment = None if ever else _utc(at) or datetime.now(UTC)
    with Store.open_to_read(load().inventory) as store:
        page = store.queries.runs(
            at=moment,
            namespace=namespace,
            digest=digest,
            admission=Admission(admission) if admission else None,
            signed=signed,
            signer=signer,
            limit=limit,
            cursor=cursor,
            as_of=_utc(as_of),
        )
    if form != "table":
        render.dump(
            {"schema": SCHEMA, **wire.RunPage.model_validate(page).model_dump(mode="json", by_alias=True)}, form
        )
        return
    render.table(
        ("STARTED", "ENDED", "ADMISSION", "POD", "CONTAINER", "IMAGE", "DIGEST", "SIGNED BY"),
        (
            (
                f"{item.started_at:%Y-%m-%d %H:%M:%S}",
                f"{item.ended_at:%Y-%m-%d %H:%M:%S} {item.reason}" if item.ended_at is not None else "",
                str(item.admission),
                f"{item.namespace}/{item.pod}",
                item.container,
                item.reference,
                (item.digest or "unknown")[:19],
                ", ".join(who.subject or who.key[:19] for who in item.signers) or "nothing verified",
            )
            for item in page.items
        ),
    )
    for gap in page.gaps:
        click.echo(f"nobody watched {gap.cluster} from {gap.since:%Y-%m-%d %H:%M:%S} to {gap.until:%H:%M:%S}", err=True)
    if page.cursor:
        click.echo(f"more: --cursor {page.cursor}", err=True)


@inventory.command()
@click.argument("name", required=False)
@click.option("--as-of", type=_TIMES, help="As the inventory stood at this time (UTC).")
@click.option("--limit", default=50, show_default=True, help="Exceptions that are listed.")
@options.output
@options.with_settings("database_url")
def exceptions(
    load: Callable[..., Settings], *, name: str | None, as_of: datetime | None, limit: int, form: str
) -> None:
    """List the exceptions that were used (or the versions of NAME), the last used first: by whom, why and how often."""
    with Store.open_to_read(load().inventory) as store:
        found = store.queries.exceptions(name=name, limit=limit, as_of=_utc(as_of))
    if form != "table":
        listed = wire.ExceptionList(items=[wire.ExceptionRecord.model_validate(item) for item in found])
        render.dump({"schema": SCHEMA, **listed.model_dump(mode="json", by_alias=True)}, form)
        return
    render.table(
        ("EXCEPTION", "APPROVER", "EXPIRES", "USES", "LAST USED", "WHY"),
        (
            (
                item.name + (" (break-glass)" if item.break_glass else ""),
                item.approver + (" (claimed)" if item.approval == "claimed" else ""),
                f"{item.expires:%Y-%m-%d %H:%M:%S}",
                str(item.uses),
                f"{item.last_used_at:%Y-%m-%d %H:%M:%S}",
                item.reason,
            )
            for item in found
        ),
    )


@inventory.command()
@click.argument("name", metavar="DIGEST|RECORD")
@click.option("--as-of", type=_TIMES, help="As the inventory stood at this time (UTC).")
@click.option("--replay", "again", is_flag=True, help="Make each proof again, from the stored bytes alone.")
@options.output
@options.with_settings("database_url")
def show(load: Callable[..., Settings], *, name: str, as_of: datetime | None, again: bool, form: str) -> int:
    """Show what is known of an image (sha256:…), or one decision whole (the id that a denial names).

    With --replay the proofs are made again from what is stored: no registry, no cluster, as of the decision's time.
    Exit status: 0, or with --replay 1 if a proof does not hold any more.
    """
    if again:
        return _replay(load(), name, as_of=_utc(as_of), form=form)
    with Store.open_to_read(load().inventory) as store:
        if name.startswith("sha256:"):
            image = store.queries.image(name, as_of=_utc(as_of))
            if image is None:
                raise InputError("ImageUnknown", f"no decision about {name} is recorded")
            if form == "table":
                _print_image(image)
            else:
                shown = wire.ImageRecord.model_validate(image).model_dump(mode="json", by_alias=True)
                render.dump({"schema": SCHEMA, **shown}, form)
            return 0
        decision = store.queries.decision(name, as_of=_utc(as_of))
        if decision is None:
            raise InputError("DecisionUnknown", f"no decision {name} is recorded")
        if form == "table":
            _print_decision(decision.leaf)
        else:
            render.dump(decision.leaf, form)
    return 0


def _replay(settings: Settings, name: str, *, as_of: datetime | None, form: str) -> int:
    digest = name if name.startswith("sha256:") else ""
    with Store.open_to_read(settings.inventory) as store:
        leaves = list(_leaves(store, name, as_of=as_of))
        done = [
            (
                leaf,
                replay(
                    leaf,
                    lambda wanted: store.queries.blob(wanted, as_of=as_of),
                    limits=settings.documents,
                    digest=digest,
                ),
            )
            for leaf in leaves
        ]
    if form != "table":
        proofs = [{"record": leaf["id"], **_replayed(proof)} for leaf, found in done for proof in found]
        render.dump({"schema": REPLAY_SCHEMA, "proofs": proofs}, form)
    else:
        for leaf, found in done:
            _print_replay(leaf, found)
    return 1 if any(proof.trouble for _, found in done for proof in found) else 0


def _leaves(store: Store, name: str, *, as_of: datetime | None) -> Iterator[Any]:
    """The decision of this id, or the newest ones about the image of this digest."""
    ids = [name]
    if name.startswith("sha256:"):
        image = store.queries.image(name, as_of=as_of)
        if image is None:
            raise InputError("ImageUnknown", f"no decision about {name} is recorded")
        ids = [item.id for item in image.decisions.items]
    for identity in ids:
        decision = store.queries.decision(identity, as_of=as_of)
        if decision is None:
            raise InputError("DecisionUnknown", f"no decision {identity} is recorded")
        yield decision.leaf


def _replayed(proof: Replayed) -> dict[str, Any]:
    return {
        "policy": proof.policy,
        "image": proof.image,
        "holds": not proof.trouble,
        "trouble": proof.trouble,
        "recorded": proof.recorded,
        "steps": list(proof.steps),
    }


def _print_replay(leaf: Any, found: Sequence[Replayed]) -> None:
    held = sum(not proof.trouble for proof in found)
    click.echo(f"{leaf['verdict']}  record {leaf['id']}, decided {leaf['decidedAt']}")
    if not found:
        click.echo("  nothing was proven then, so there is nothing to prove again")
        return
    click.echo(f"  {held} of {len(found)} proofs hold, made again from the stored bytes alone")
    for proof in found:
        word = "FAILS" if proof.trouble else "holds"
        click.echo(f"  {word}  {_proven(proof)}")
        click.echo(f"    image  {proof.image}")
        if proof.trouble:
            click.echo(f"    {proof.trouble}")
        for number, step in enumerate(proof.steps, 1):
            click.echo(f"    {number:2}. {step}")


def _proven(proof: Replayed) -> str:
    recorded = proof.recorded
    if "approver" in recorded:
        return f"exception from {proof.policy}, {render.exception(recorded)}"
    what = recorded.get("predicateType") or "signature"
    return f"{what}, for authority {recorded['authority']} of {proof.policy}"


def print_decisions(items: tuple[DecisionSummary, ...]) -> None:
    """Decisions as a table."""
    render.table(
        ("DECIDED", "VERDICT", "NAMESPACE", "OBJECT", "IMAGE", "WHY", "RECORD"),
        (
            (
                f"{item.decided_at:%Y-%m-%d %H:%M:%S}",
                item.verdict,
                item.namespace or "-",
                f"{item.kind}/{item.name}",
                ", ".join(map(_image, item.images)) or "-",
                ", ".join((*item.reasons, *item.flags)) or "-",
                item.id,
            )
            for item in items
        ),
    )


def _image(image: DecisionImage) -> str:
    name, digest = image.reference.partition("@")[0], (image.digest or "")[:19]
    return f"{name}@{digest}…" if digest else name


def _print_image(image: ImageRecord) -> None:
    click.echo(image.digest)
    for name in image.references:
        click.echo(f"  named    {name}")
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
            click.echo(f"    {line}")
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
        click.echo(f"    image  {image['reference']}{_of(evaluation)}")
        for exception in evaluation.get("exceptions", ()):
            click.echo(f"    exempt {render.exception(exception)} (else {evaluation['otherwise']})")
        for proof in (*evaluation["signatures"], *evaluation["attestations"]):
            what = proof.get("predicateType") or "signature"
            click.echo(f"    proven {what}, for authority {proof['authority']}")
            for number, step in enumerate(proof["steps"], 1):
                click.echo(f"      {number:2}. {step}")
        for rejection in evaluation["rejections"]:
            click.echo(f"    did not count: {rejection['location']}: {rejection['code']}: {rejection['message']}")
        for reason in evaluation["reasons"]:
            click.echo(f"    {reason['rule']}: {reason['code']}: {reason['message']}")


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
