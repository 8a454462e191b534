"""`assay inventory admission`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import click

from controller.cli import options, render
from controller.cli.inventory.shared import Listing, as_of, known_at, listing
from controller.errors import InputError
from controller.inventory.asking.decisions.admissions import MAX_ADMISSIONS, AdmissionPage, AdmissionRecord, JudgedImage
from controller.inventory.store import Store
from controller.reading.wire import admissions as wire
from controller.settings import Settings

_UNTOLD = {
    "PolicyVersionAbsent": "the policy's text is not kept any more",
    "PolicyVersionUnreadable": "the policy's kept text is of no form that this version reads (PolicyVersionUnreadable)",
}


@click.command(short_help="Under which policies a pod was judged, by which rule values.")
@click.argument("name", metavar="[NAMESPACE/]NAME|UID")
@click.option("--kind", default="Pod", show_default=True, help="Kind of the object.")
@click.option("--cluster", help="Only in this cluster.")
@as_of
@known_at
@listing("Decisions")
@options.with_settings("database_url")
def admission(
    load: Callable[..., Settings],
    *,
    name: str,
    kind: str,
    cluster: str | None,
    as_of: datetime | None,
    known_at: datetime | None,
    listing: Listing,
) -> None:
    """Show how a pod was judged: under which policy versions, and what each of their rules came to.

    A name may have been borne by several pods: the decisions about all of them are shown, the newest first. `true`
    means that it held, `not asked` that something before it decided.
    """
    namespace, slash, bare = name.rpartition("/")
    by_uid = not slash and _is_uid(name)
    with Store.open_to_read(load().inventory) as store:

        def ask(limit: int, cursor: str | None, known_at: datetime | None) -> AdmissionPage:
            found = store.questions.admissions.admissions(
                uid=name if by_uid else None,
                namespace=namespace if slash else None,
                name=None if by_uid else bare,
                kind=kind,
                cluster=cluster,
                limit=min(limit, MAX_ADMISSIONS),
                cursor=cursor,
                as_of=as_of,
                known_at=known_at,
            )
            if not found.items and cursor is None:
                then = " of that time" if as_of is not None or known_at is not None else ""
                raise InputError("DecisionUnknown", f"no decision about {kind} {name} is recorded{then}")
            return found

        listing.show(ask, wire.AdmissionPage, table=_print, known_at=known_at)


def _is_uid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _print(page: AdmissionPage) -> None:
    for item in page.items:
        _print_one(item)


def _print_one(item: AdmissionRecord) -> None:
    flags = f" ({', '.join(item.flags)})" if item.flags else ""
    click.echo(f"{render.coloured(item.verdict)}{flags}  {item.kind} {item.namespace}/{item.name} in {item.cluster}")
    click.echo(f"  record   {item.id}, decided {item.decided_at:%Y-%m-%d %H:%M:%S} UTC")
    click.echo(f"  object   uid {item.object_uid}, {item.operation} by {item.username or '(nobody)'}")
    if not item.judged:
        click.echo("  no policy matched it")
    for judged in item.judged:
        _print_judged(judged)


def _print_judged(judged: JudgedImage) -> None:
    policy = judged.policy
    name = f"{policy.namespace}/{policy.name}" if policy.namespace else policy.name
    since = f", in use since {judged.first_used_at:%Y-%m-%d %H:%M:%S}" if judged.first_used_at else ""
    click.echo(f"  {policy.kind} {name} ({', '.join(judged.actions)}): {render.coloured(judged.outcome)}")
    click.echo(f"    version  {policy.hash}{since}")
    click.echo(f"    image    {judged.reference} ({judged.container}), {judged.digest or 'never resolved'}")
    if judged.exceptions:
        click.echo(f"    exempt   by {', '.join(judged.exceptions)}; without, it would be what the rules say")
    if judged.rules is None:
        click.echo(f"    rules    {_UNTOLD.get(judged.untold, judged.untold)}")
        return
    for rule in judged.rules:
        asked = f"  {rule.expression}" if rule.expression else ""
        click.echo(f"    {rule.value:<9} {rule.rule}{asked}")
        if rule.code:
            click.echo(f"              {rule.code}: {rule.message}")
