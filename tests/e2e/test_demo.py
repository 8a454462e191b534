"""`assay demo`, which is how most people meet Assay first: it shows what it promises, and fails when it does not."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import MODULE, assay
from tests.support.fixtures import CHECKOUT, DEMO_LAYOUT
from tests.support.processes import wait_until
from tests.support.tools import hermetic_environment

PODS = json.loads((DEMO_LAYOUT / "story.json").read_text())["pods"]
CAUSES = {
    "newsletter": ("SignatureMissing", "AttestationMissing"),
    "reports": ("SignatureNotTrusted", "was not made with the key of authority release"),
    "checkout-fork": ("SignatureNotTrusted", "github.com/mallory/checkout"),
    "search": ("breaks a policy's rule", "VulnerableComponent", "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"),
    "billing": ("AttestationNotTrusted", "about another digest"),
    "gateway": ("SignatureMissing", "is no signature"),
    "catalog": ("SignatureMissing", "acme/catalog:stable@sha256:"),
}
ALTERED = """
import sys
from pathlib import Path
from controller.cli import run
from controller.demo import story
story.LAYOUT = Path(sys.argv[1])
sys.exit(run(["demo"]))
"""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    folder = tmp_path_factory.mktemp("demo")
    scratch = folder / "scratch"
    scratch.mkdir()
    done = assay("demo", folder=folder, environment={"TMPDIR": str(scratch), "ASSAY_NO_MATCH": "Deny"})
    assert list(scratch.iterdir()) == []  # nothing is left behind
    assert not (folder / "home" / ".local").exists()
    return done


def test_the_demo_ends_well_and_says_nothing_on_standard_error(played: subprocess.CompletedProcess[str]) -> None:
    assert (played.returncode, played.stderr) == (0, "")
    assert played.stdout.endswith("10 pods reviewed, 10 decisions recorded: every verdict is the expected one.\n")
    assert "UNEXPECTED" not in played.stdout


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: str(pod["pod"]))
def test_the_demo_shows_each_pod_with_its_verdict_and_why(
    played: subprocess.CompletedProcess[str], pod: dict[str, str]
) -> None:
    paragraphs = played.stdout.partition("What the inventory has of it")[0].split("\n\n")
    (shown,) = [text for text in paragraphs if re.match(rf"(Allow|Deny)\s+pod {pod['pod']}: ", text)]
    verdict = "Allow" if pod["expected"] == "allow" else "Deny"
    assert shown.startswith(f"{verdict:5}  pod {pod['pod']}: {pod['because']}\n")
    if verdict == "Allow":
        assert re.search(rf"runs \S+/{pod['image'].partition('@')[0]}@sha256:[0-9a-f]{{64}}$", shown)
        return
    for part in (*CAUSES[pod["pod"]], f"Pod shop/{pod['pod']}: ", 'container "main" runs ', "next: ", "record "):
        assert part in shown


def test_the_demo_shows_what_the_inventory_hknown_at_each_pod(played: subprocess.CompletedProcess[str]) -> None:
    heading, *rows = played.stdout.partition("What the inventory has of it:\n\n")[2].split("\n\n")[0].splitlines()
    assert heading.split() == ["DECIDED", "VERDICT", "OBJECT", "IMAGE", "DIGEST", "RECORD"]
    expected = [("Allow" if pod["expected"] == "allow" else "Deny", f"Pod/{pod['pod']}") for pod in PODS]
    assert [tuple(row.split()[2:4]) for row in rows] == expected
    records = {row.split()[-1] for row in rows}
    assert len(records) == len(PODS)
    assert records >= set(re.findall(r"^ +record (\S+)$", played.stdout, re.MULTILINE))


@pytest.mark.parametrize("pod", ["shop", "gateway"])
def test_the_demo_fails_when_a_verdict_is_not_the_expected_one(tmp_path: Path, pod: str) -> None:
    layout = tmp_path / "layout"
    shutil.copytree(DEMO_LAYOUT, layout)
    told = json.loads((layout / "story.json").read_text())
    (scene,) = [scene for scene in told["pods"] if scene["pod"] == pod]
    scene["expected"] = {"allow": "deny", "deny": "allow"}[scene["expected"]]
    (layout / "story.json").write_text(json.dumps(told))
    done = assay(layout, folder=tmp_path, program=[sys.executable, "-c", ALTERED])
    assert done.returncode == 1
    assert re.search(rf"pod {pod}: .*UNEXPECTED", done.stdout)
    assert "1 verdict was NOT the expected one" in done.stdout


def test_the_demo_that_is_kept_can_be_looked_into_until_it_is_stopped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*MODULE, "demo", "--keep"], cwd=CHECKOUT, env=hermetic_environment(tmp_path / "home"),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            # A test run may be deaf to SIGINT (nohup, a shell's background), and would hand that down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no other thread yet
        )  # fmt: skip
    try:
        wait_until(lambda: "assay verify " in log.read_text() or process.poll() is not None, what="the demo is kept")
        suggested = re.findall(r"^  assay (inventory .*|verify .*)$", log.read_text(), re.MULTILINE)
        assert len(suggested) == 2, log.read_text()
        for command in suggested:
            done = assay(*command.split(), folder=tmp_path)
            assert done.returncode == 0, done.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()
