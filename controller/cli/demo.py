"""`assay demo`: the main job on recorded images, from pods to the inventory's view of them."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import click

from controller import serving, settings, telemetry
from controller.cli import render
from controller.demo import story
from controller.demo.registry import EmbeddedRegistry, Layout

EXIT_UNEXPECTED = 1


@click.command()
@click.option("--keep", is_flag=True, help="Leave it running until Ctrl-C, with its addresses printed.")
def demo(*, keep: bool) -> int:
    """Review ten pods with recorded real images, and show what the inventory has of them.

    Serves the images from an embedded registry, the webhook by TLS and the inventory on SQLite, all on loopback. Ends
    with exit status 0 only if every verdict was the expected one.
    """
    telemetry.configure_logging("error", "auto")
    with (
        tempfile.TemporaryDirectory(prefix="assay-demo-") as folder,
        EmbeddedRegistry(Layout(story.LAYOUT)) as registry,
    ):
        return asyncio.run(_demo(Path(folder), registry.host, keep=keep))


async def _demo(folder: Path, host: str, *, keep: bool) -> int:
    policies = story.write_policies(folder)
    flags = {
        "policies": str(policies),
        "trusted_root": [f"demo={story.LAYOUT / 'trusted_root.json'}"],
        "registry_allow_loopback": True,
        "database_url": f"sqlite:///{folder / 'inventory.db'}",
        "webhook_certificate_directory": str(folder / "certificates"),
        "ledger_directory": str(folder / "ledger"),
        "webhook_host": "127.0.0.1",
        "webhook_port": 0,
        "inventory_port": 0,
        "cluster_name": "demo",
    }
    click.echo(f"A registry with recorded images serves at {host}; the policies lie in {policies}.\n")
    async with serving.serving(settings.load(flags=flags, environment={})) as served:
        if served.webhook_port is None or served.inventory_port is None:
            raise AssertionError("the demo serves webhook and inventory")
        server = story.ApiServer(served.webhook_port, served.ca_bundle)
        unexpected = 0
        for scene in story.scenes(host):
            played = await asyncio.to_thread(server.create, scene)
            _print(played)
            unexpected += not played.as_expected
        recorded = await asyncio.to_thread(story.decisions, served.inventory_port)
        click.echo("What the inventory has of it:\n")
        render.table(
            ("DECIDED", "VERDICT", "OBJECT", "IMAGE", "DIGEST", "RECORD"),
            (
                (
                    item["decidedAt"][:19].replace("T", " "),
                    item["verdict"],
                    f"{item['kind']}/{item['name']}",
                    item["images"][0]["reference"].partition("@")[0].removeprefix(f"{host}/"),
                    (item["images"][0]["digest"] or "-")[:19],
                    item["id"],
                )
                for item in recorded
            ),
        )
        click.echo(_summary(unexpected, len(recorded)))
        if keep:
            await _wait(served, folder, host)
    return EXIT_UNEXPECTED if unexpected or len(recorded) != len(story.scenes(host)) else 0


def _print(played: story.Played) -> None:
    scene = played.scene
    verdict = "Allow" if played.allowed else "Deny"
    surprise = "" if played.as_expected else "   UNEXPECTED"
    click.echo(f"{render.coloured(verdict):5}  pod {scene.pod}: {scene.because}{surprise}")
    if played.allowed:
        click.echo(f"       runs {played.image}")
    else:
        click.echo(render.indented(played.message, "       "))
    for warning in played.warnings:
        click.echo(f"       warning: {warning}")
    click.echo()


def _summary(unexpected: int, recorded: int) -> str:
    pods = len(story.scenes(""))
    wrong = "1 verdict was" if unexpected == 1 else f"{unexpected} verdicts were"
    verdicts = f"{wrong} NOT the expected one" if unexpected else "every verdict is the expected one"
    return f"\n{pods} pods reviewed, {recorded} decisions recorded: {verdicts}."


async def _wait(served: serving.Serving, folder: Path, host: str) -> None:
    click.echo(
        f"\nStill running, until Ctrl-C:\n"
        f"  registry   http://{host}/v2/\n"
        f"  webhook    https://127.0.0.1:{served.webhook_port} (CA: {folder}/certificates/ca.crt)\n"
        f"  inventory  http://127.0.0.1:{served.inventory_port}/api/v1/decisions\n"
        f"Try:\n"
        f"  assay inventory decisions --database-url {served.database_url}\n"
        f"  assay ledger verify --database-url {served.database_url} --ledger-directory {folder}/ledger\n"
        f"  assay verify {host}/acme/shop:1.4 --policies {folder}/policies"
    )
    await asyncio.Event().wait()
