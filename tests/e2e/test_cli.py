"""The command line as its users meet it: what it prints where, and the exit status that scripts rely on."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.demo import story
from controller.demo.registry import EmbeddedRegistry, Layout
from tests.support.assay import Assay, serving
from tests.support.commands import SCRIPTS, assay, assay_on_a_terminal
from tests.support.exceptions import exception, stamp
from tests.support.fixtures import DEMO_LAYOUT
from tests.support.pipeline import policy, review_of, workload
from tests.support.tools import tool

ROOT = ("--trusted-root", f"demo={DEMO_LAYOUT / 'trusted_root.json'}")
NOBODY = "127.0.0.1:9"  # discard: nobody listens there
ESCAPE = "\x1b["


@dataclass(frozen=True, slots=True)
class Desk:
    """What somebody has who tries Assay: a registry with images, policies, and a folder to work in."""

    folder: Path
    host: str
    policies: Path

    def run(self, *arguments: str | Path, **more: Any) -> Any:
        """Run `assay`."""
        return assay(*arguments, folder=self.folder, **more)

    def review(self, *images: str, options: tuple[str, ...] = (), obj: dict[str, Any] | None = None) -> Any:
        """Run `assay review` on a pod of these images, from standard input."""
        given = json.dumps(obj or pod(*images))
        return self.run("review", "-", "--policies", self.policies, *ROOT, *options, stdin=given)


def pod(*images: str, name: str = "app") -> dict[str, Any]:
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers}}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    with EmbeddedRegistry(Layout(DEMO_LAYOUT)) as registry:
        yield Desk(folder, registry.host, story.write_policies(folder))


# review


@pytest.mark.parametrize(
    ("image", "status", "verdict"),
    [("acme/shop:1.4", 0, "Allow"), ("acme/newsletter:0.9", 1, "Deny"), ("acme/gone:1", 2, "Deny")],
)
def test_review_tells_allowed_denied_and_could_not_tell_apart(
    desk: Desk, image: str, status: int, verdict: str
) -> None:
    done = desk.review(f"{desk.host}/{image}")
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.startswith(f"{verdict}  Pod default/app\n")
    assert ESCAPE not in done.stdout
    if status == 0:
        assert re.search(r"pinned /spec/containers/0/image to \S+acme/shop:1\.4@sha256:[0-9a-f]{64}\n", done.stdout)
        assert "ClusterEvidencePolicy/release-signed: Satisfied" in done.stdout
    else:
        assert f"{desk.host}/{image}" in done.stdout
        assert "next: " in done.stdout


def test_review_says_violated_before_could_not_tell(desk: Desk) -> None:
    done = desk.review(f"{NOBODY}/acme/app:1", f"{desk.host}/acme/newsletter:0.9")
    assert done.returncode == 1
    assert "RegistryUnavailable" in done.stdout
    assert "SignatureMissing" in done.stdout


def test_review_prints_the_admission_review_for_programs(desk: Desk) -> None:
    image = f"{desk.host}/acme/shop:1.4"
    done = desk.review(image, options=("-o", "json"))
    answer = json.loads(done.stdout)
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert set(answer["response"]) == {"uid", "allowed", "patchType", "patch", "auditAnnotations"}
    (test, replace) = json.loads(base64.b64decode(answer["response"]["patch"]))
    assert test == {"op": "test", "path": "/spec/containers/0/image", "value": image}
    assert replace["value"].startswith(f"{image}@sha256:")
    by_yaml = yaml.safe_load(desk.review(image, options=("-o", "yaml")).stdout)
    assert set(by_yaml["response"]) == set(answer["response"])
    denied = json.loads(desk.review(f"{desk.host}/acme/newsletter:0.9", options=("-o", "json")).stdout)["response"]
    assert (denied["allowed"], denied["status"]["code"], denied["status"]["reason"]) == (False, 403, "Forbidden")


def test_review_takes_admission_reviews_and_answers_under_their_uid(desk: Desk) -> None:
    asked = review_of({**pod(f"{desk.host}/acme/shop:1.4"), "metadata": {"name": "app", "namespace": "shop"}})
    done = desk.review(obj=asked, options=("-o", "json"))
    assert (done.returncode, json.loads(done.stdout)["response"]["uid"]) == (0, asked["request"]["uid"])


def test_review_judges_each_document_of_a_file(desk: Desk) -> None:
    file = desk.folder / "all.yaml"
    file.write_text(yaml.safe_dump_all([pod(f"{desk.host}/acme/{n}") for n in ("shop:1.4", "newsletter:0.9")]))
    done = desk.run("review", file, "--policies", desk.policies, *ROOT, "-o", "json")
    assert done.returncode == 1
    assert [item["response"]["allowed"] for item in json.loads(done.stdout)["items"]] == [True, False]


def test_review_of_a_template_warns_and_says_violated(desk: Desk) -> None:
    deployment = workload("apps", "Deployment", pod(f"{desk.host}/acme/newsletter:0.9"))
    done = desk.review(obj=deployment)
    assert done.returncode == 1  # what will be denied is found before it is rolled out
    assert done.stdout.startswith("Allow  Deployment shop/app\n")
    assert "warning: pods of this Deployment will be denied" in done.stdout
    strict = desk.review(obj=deployment, options=("--templates", "Deny"))
    assert strict.stdout.startswith("Deny  Deployment shop/app\n")


@pytest.mark.guarantee(16)
def test_guarantee_16_an_exception_from_a_file_applies_as_claimed_until_its_end(desk: Desk) -> None:
    folder, end = desk.folder / "excepted", datetime.now(UTC) + timedelta(days=1)
    shutil.copytree(desk.policies, folder)
    image = f"{desk.host}/acme/newsletter:0.9"
    named = [{"name": name} for name in ("release-signed", "no-log4shell")]
    granted = exception(policies=named, images=["*/acme/newsletter"], approvedAt=None, expires=stamp(end))
    (folder / "exception.yaml").write_text(yaml.safe_dump(granted))
    told = "by exception hotfix, claimed by jane: "
    done = desk.run("review", "-", "--policies", folder, *ROOT, stdin=json.dumps(pod(image)))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Allow  Pod default/app\n")
    assert "ClusterEvidencePolicy/release-signed: Exempt" in done.stdout
    assert f"is exempt from ClusterEvidencePolicy release-signed until {end:%Y-%m-%d %H:%MZ} {told}" in done.stdout
    proof = desk.run("verify", image, "--policies", folder, *ROOT)
    assert proof.returncode == 0
    assert f"exempt  until {end:%Y-%m-%dT%H:%M:%S}Z by hotfix, claimed by jane: the signing service" in proof.stdout
    record = json.loads(desk.run("verify", image, "--policies", folder, *ROOT, "-o", "json").stdout)
    assert {e["outcome"] for e in record["evaluations"]} == {"Exempt"}
    assert {x["claimed"] for e in record["evaluations"] for x in e["exceptions"]} == {True}
    later = f"{end + timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}+0000"
    over = desk.run("review", "-", "--policies", folder, *ROOT, "--now", later, stdin=json.dumps(pod(image)))
    assert over.returncode == 1
    assert "note: EvidenceException hotfix excepts nothing: spec.expires was " in over.stderr
    (folder / "exception.yaml").write_text(yaml.safe_dump(exception(approver=None, expires=stamp(end))))
    nobody = desk.run("verify", image, "--policies", folder, *ROOT)
    assert nobody.returncode == 1
    assert "note: EvidenceException hotfix excepts nothing: spec.approver is missing" in nobody.stderr


def test_review_judges_as_the_given_user_namespace_and_settings(desk: Desk) -> None:
    folder = desk.folder / "by-user"
    folder.mkdir()
    condition = {
        "name": "jane",
        "expression": "request.userInfo.username == 'jane' && 'dev' in request.userInfo.groups",
    }
    match = {"images": ["**"], "namespaceSelector": {"matchLabels": {"team": "red"}}, "conditions": [condition]}
    never = {"expression": "image.registry == 'nowhere'"}
    (folder / "p.json").write_text(json.dumps(policy("p", match=match, validations=[never])))
    namespace = desk.folder / "namespace.yaml"
    namespace.write_text(
        yaml.safe_dump(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "red", "labels": {"team": "red"}}}
        )
    )

    def status(*options: str) -> int:
        given = json.dumps(pod(f"{desk.host}/acme/shop:1.4"))
        done = desk.run("review", "-", "--policies", folder, *options, stdin=given)
        assert done.stderr == ""
        return int(done.returncode)

    jane, red = ("--user", "jane", "--group", "dev"), ("-n", "red", "--namespace-object", str(namespace))
    assert (status(*jane, *red), status(*red), status(*jane), status("--user", "jane", *red)) == (1, 0, 0, 0)
    assert status(*red, "--no-match", "Deny") == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", "FileUnreadable"),
        ("- 1\n", "FileUnreadable"),
        ("", "FileUnreadable"),
        ("{apiVersion: v1, kind: Service, metadata: {name: x}}", "KindUnsupported"),
        ("{kind: Pod}", "ObjectMalformed"),
        ("{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: 1}}", "ObjectMalformed"),
        ("{apiVersion: admission.k8s.io/v1beta1, kind: AdmissionReview}", "AdmissionReviewMalformed"),
    ],
)
def test_review_names_what_is_wrong_with_its_input(desk: Desk, content: str, code: str) -> None:
    done = desk.run("review", "-", "--policies", desk.policies, stdin=content)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"assay: {code}: ")
    assert done.stderr.count("\n") == 1


# verify


def test_verify_prints_the_proof_step_by_step(desk: Desk) -> None:
    done = desk.run("verify", f"{desk.host}/acme/checkout:2.0", "--policies", desk.policies, *ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Satisfied  ClusterEvidencePolicy/checkout-by-its-workflow" in done.stdout
    assert "signature by https://github.com/acme/checkout/.github/workflows/release.yml@refs/tags/v2.0.0" in done.stdout
    assert re.search(r"^ +1\. ", done.stdout, re.MULTILINE)


def test_verify_has_a_schema_for_programs(desk: Desk) -> None:
    for image, status, verdict in (("acme/shop:1.4", 0, "Allow"), ("acme/reports:1.1", 1, "Deny")):
        done = desk.run("verify", f"{desk.host}/{image}", "--policies", desk.policies, *ROOT, "-o", "json")
        shown = json.loads(done.stdout)
        assert done.returncode == status
        assert set(shown) == {"schema", "image", "digest", "verdict", "evaluations"}
        assert (shown["schema"], shown["verdict"]) == ("assay.dev/verification/v1alpha1", verdict)
        for evaluation in shown["evaluations"]:
            assert set(evaluation) >= {"policy", "outcome", "reasons", "signatures", "attestations", "rejections"}


@pytest.mark.parametrize(
    ("image", "code"),
    [("elsewhere.example/app:1", "NoPolicyMatched"), ("no image", "ReferenceMalformed"), ("a@sha256:1", "DigestMalf")],
)
def test_verify_says_what_it_cannot_answer(desk: Desk, image: str, code: str) -> None:
    done = desk.run("verify", image, "--policies", desk.policies, *ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"assay: {code}" in done.stderr


# without a network


def _bundles(repository: str) -> list[bytes]:
    """The bundles that the demo's layout holds of a repository's images."""
    index = json.loads((DEMO_LAYOUT / "index.json").read_bytes())

    def blob(digest: str) -> bytes:
        return (DEMO_LAYOUT / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()

    names = {e["digest"]: e["annotations"]["org.opencontainers.image.ref.name"] for e in index["manifests"]}
    manifests = (json.loads(blob(digest)) for digest, name in names.items() if name.startswith(f"{repository}"))
    layers = [layer for manifest in manifests for layer in manifest.get("layers", ())]
    return [blob(layer["digest"]) for layer in layers if "sigstore.bundle" in layer["mediaType"]]


@pytest.fixture(scope="module")
def away(desk: Desk) -> Path:
    """The policies, for images of a registry that does not answer."""
    folder = desk.folder / "away"
    shutil.copytree(desk.policies, folder)
    for file in folder.glob("*.yaml"):
        file.write_text(file.read_text().replace(desk.host, NOBODY))
    return folder


@pytest.mark.guarantee(17)
@pytest.mark.parametrize(
    ("image", "status"), [("acme/checkout:2.0", 0), ("acme/newsletter:0.9", 1), ("acme/gone:1", 2)]
)
def test_offline_gives_the_registrys_verdict_from_a_layout_and_asks_nobody(
    desk: Desk, away: Path, image: str, status: int
) -> None:
    online = desk.run("verify", f"{desk.host}/{image}", "--policies", desk.policies, *ROOT, "-o", "json")
    done = desk.run("verify", f"{NOBODY}/{image}", "--policies", away, *ROOT, "--offline", DEMO_LAYOUT, "-o", "json")
    assert (done.returncode, online.returncode) == (status, status)
    ours, theirs = json.loads(done.stdout), json.loads(online.stdout)
    assert (ours["verdict"], ours["digest"]) == (theirs["verdict"], theirs["digest"])
    proofs = [[s["steps"] for e in shown["evaluations"] for s in e["signatures"]] for shown in (ours, theirs)]
    assert proofs[0] == proofs[1]
    reviewed = desk.run(
        "review", "-", "--policies", away, *ROOT, "--offline", DEMO_LAYOUT, stdin=json.dumps(pod(f"{NOBODY}/{image}"))
    )
    assert reviewed.returncode == status


@pytest.mark.guarantee(1)
def test_a_bundle_that_is_handed_over_counts_for_its_own_image_alone(desk: Desk, away: Path) -> None:
    def verify(image: str, *files: Path) -> Any:
        handed = [argument for file in files for argument in ("--bundle", file)]
        options = ("--policies", away, *ROOT, "--offline", DEMO_LAYOUT, "-o", "json")
        return desk.run("verify", f"{NOBODY}/{image}", *options, *handed)

    own, others = desk.folder / "own.jsonl", desk.folder / "others.jsonl"
    own.write_bytes(b"\n".join(_bundles("acme/checkout")) + b"\n")
    others.write_bytes(b"\n".join(_bundles("acme/shop")))
    assert verify("acme/checkout:2.0", own).returncode == 0
    refused = verify("acme/checkout:2.0", others)
    assert refused.returncode == 1
    rejections = [r for e in json.loads(refused.stdout)["evaluations"] for r in e["rejections"]]
    assert any(f"file {others}, line 1" in r["location"] for r in rejections)
    assert verify("acme/checkout:2.0", own, others).returncode == 0


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "BundleMissing"), (b"\n \n", "BundleMissing"), (None, "64"), (b"{" * 100_000_000, "LimitExceeded")],
    ids=["empty", "blank", "absent", "huge"],
)
def test_a_bundle_file_that_is_none_is_said(desk: Desk, content: bytes | None, code: str) -> None:
    file = desk.folder / "none.json"
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content)
    done = desk.run("verify", f"{desk.host}/acme/shop:1.4", "--policies", desk.policies, *ROOT, "--bundle", file)
    assert done.stdout == ""
    if content is None:
        assert done.returncode == 64
    else:
        assert done.returncode == 2
        assert f"assay: {code}: " in done.stderr
    file.unlink(missing_ok=True)


def test_an_offline_folder_that_is_no_layout_is_said(desk: Desk) -> None:
    options = ("--policies", desk.policies, *ROOT, "--offline", desk.folder)
    done = desk.run("verify", f"{desk.host}/acme/shop:1.4", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert "assay: LayoutUnreadable: " in done.stderr


# inventory


@pytest.fixture(scope="module")
def served(desk: Desk) -> Iterator[Assay]:
    settings = {"policies": str(desk.policies), "trusted_root": ROOT[1]}
    with serving(desk.folder / "served", **settings) as running:
        for number, image in enumerate(("acme/shop:1.4", "acme/newsletter:0.9")):
            wanted = pod(f"{desk.host}/{image}", name=f"pod-{number}")
            wanted["metadata"] |= {"namespace": "shop", "uid": str(number)}
            review = review_of(wanted)
            status, answer = running.post("/mutate?timeout=10s", review)
            assert status == 200
            patch = json.loads(base64.b64decode(answer["response"]["patch"]))
            wanted["spec"]["containers"][0]["image"] = patch[1]["value"]
            assert running.post("/validate?timeout=10s", review)[0] == 200
        yield running


def inventory(desk: Desk, served: Assay, *arguments: str) -> Any:
    return desk.run("inventory", *arguments, "--database-url", served.environment["ASSAY_DATABASE_URL"])


def test_inventory_lists_decisions_beside_the_serving_process(desk: Desk, served: Assay) -> None:
    table = inventory(desk, served, "decisions")
    assert (table.returncode, table.stderr) == (0, "")
    heading, newest, oldest = table.stdout.splitlines()
    assert heading.split() == ["DECIDED", "VERDICT", "NAMESPACE", "OBJECT", "IMAGE", "WHY", "RECORD"]
    assert ("Deny" in newest, "Pod/pod-1" in newest, "Allow" in oldest, "Pod/pod-0" in oldest) == (True,) * 4
    page = json.loads(inventory(desk, served, "decisions", "-o", "json").stdout)
    assert set(page) == {"schema", "items", "cursor"}
    assert page["schema"] == "assay.dev/inventory/v1alpha1"
    assert [item["verdict"] for item in page["items"]] == ["Deny", "Allow"]
    assert yaml.safe_load(inventory(desk, served, "decisions", "-o", "yaml").stdout) == page
    only = json.loads(inventory(desk, served, "decisions", "--verdict", "Allow", "-o", "json").stdout)
    assert only["items"] == page["items"][1:]
    first = inventory(desk, served, "decisions", "--limit", "1")
    cursor = first.stderr.removeprefix("more: --cursor ").strip()
    second = json.loads(inventory(desk, served, "decisions", "--limit", "1", "--cursor", cursor, "-o", "json").stdout)
    assert second["items"] == page["items"][1:]


def test_inventory_shows_a_decision_and_an_image(desk: Desk, served: Assay) -> None:
    denied, allowed = json.loads(inventory(desk, served, "decisions", "-o", "json").stdout)["items"]
    shown = inventory(desk, served, "show", denied["id"])
    assert (shown.returncode, shown.stdout.splitlines()[0]) == (0, "Deny  Pod shop/pod-1")
    assert "SignatureMissing" in shown.stdout
    leaf = json.loads(inventory(desk, served, "show", allowed["id"], "-o", "json").stdout)
    assert (leaf["schema"], leaf["id"]) == ("assay.dev/decision/v1alpha1", allowed["id"])
    digest = allowed["images"][0]["digest"]
    image = inventory(desk, served, "show", digest)
    assert image.stdout.splitlines()[0] == digest
    assert "1 times allowed, 0 times denied" in image.stdout
    assert "signed by\n    key sha256:" in image.stdout
    assert json.loads(inventory(desk, served, "show", digest, "-o", "json").stdout)["digest"] == digest


def test_inventory_makes_a_proof_again_from_the_database_alone(desk: Desk, served: Assay) -> None:
    denied, allowed = json.loads(inventory(desk, served, "decisions", "-o", "json").stdout)["items"]
    digest = allowed["images"][0]["digest"]
    for name in (allowed["id"], digest):
        done = inventory(desk, served, "show", name, "--replay")
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"(\d+) of \1 proofs hold, made again from the stored bytes alone", done.stdout)
        assert re.search(r"^  holds  signature, for authority \S+ of ClusterEvidencePolicy/", done.stdout, re.MULTILINE)
        assert re.search(r"^ +1\. The signature over ", done.stdout, re.MULTILINE)
    shown = json.loads(inventory(desk, served, "show", digest, "--replay", "-o", "json").stdout)
    assert shown["schema"] == "assay.dev/replay/v1alpha1"
    assert {proof["holds"] for proof in shown["proofs"]} == {True}
    nothing = inventory(desk, served, "show", denied["id"], "--replay")
    assert (nothing.returncode, "nothing was proven then" in nothing.stdout) == (0, True)

    # A copy of the database whose bytes were changed behind Assay's back.
    copy = desk.folder / "altered.db"
    with sqlite3.connect(served.environment["ASSAY_DATABASE_URL"].removeprefix("sqlite:///")) as source:
        source.execute(f"VACUUM INTO '{copy}'")
    with contextlib.closing(sqlite3.connect(copy)) as altered:
        altered.executescript("UPDATE blob SET content = CAST(content || x'20' AS BLOB);")
    done = desk.run("inventory", "show", digest, "--replay", "--database-url", f"sqlite:///{copy}")
    assert done.returncode == 1
    assert "0 of " in done.stdout
    assert "are damaged" in done.stdout
    assert re.search(r"^  FAILS  signature, for authority ", done.stdout, re.MULTILINE)
    # One in which they are not any more: nothing can be said of the proofs.
    with contextlib.closing(sqlite3.connect(copy)) as altered:
        altered.executescript("DELETE FROM blob;")
    done = desk.run("inventory", "show", digest, "--replay", "--database-url", f"sqlite:///{copy}")
    assert done.returncode == 2
    assert "0 of " in done.stdout
    assert re.search(r"^  cannot tell  signature, for authority ", done.stdout, re.MULTILINE)
    assert re.search(r"^    BytesMissing: sha256:[0-9a-f]{64} is not stored$", done.stdout, re.MULTILINE)
    done = desk.run("inventory", "show", digest, "--replay", "-o", "json", "--database-url", f"sqlite:///{copy}")
    assert (done.returncode, {proof["holds"] for proof in json.loads(done.stdout)["proofs"]}) == (2, {None})


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "sha256:" + "0" * 64), "ImageUnknown"),
        (("show", "sha256:" + "0" * 64, "--replay"), "ImageUnknown"),
        (("show", "00000000-0000-0000-0000-000000000000", "--replay"), "DecisionUnknown"),
        (("show", "00000000-0000-0000-0000-000000000000"), "DecisionUnknown"),
        (("decisions", "--cursor", "nonsense"), "Cursor"),
        (("decisions", "--limit", "0"), ""),
    ],
)
def test_inventory_says_what_it_cannot_answer(desk: Desk, served: Assay, arguments: tuple[str, ...], code: str) -> None:
    done = inventory(desk, served, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"assay: {code}")


def test_inventory_says_that_there_is_none(desk: Desk) -> None:
    done = desk.run("inventory", "decisions", "--database-url", f"sqlite:///{desk.folder / 'none.db'}")
    assert (done.returncode, done.stderr.startswith("assay: DatabaseMissing: ")) == (2, True)
    assert not (desk.folder / "none.db").exists()


# serve, usage, names, colour


def test_serve_ends_well_when_it_is_told_to(desk: Desk) -> None:
    with serving(desk.folder / "stopped", policies=str(desk.policies)) as running:
        running.server.process.terminate()
        assert running.server.process.wait(60) == 0
        assert "stopping" in running.server.log_tail()


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"ASSAY_REGISTRY_TIMEOUT": "3s"}, "SettingUnknown"),
        ({"ASSAY_WEBHOOK_PORT": "many"}, "SettingInvalid"),
        ({"ASSAY_NO_MATCH": "deny"}, "SettingInvalid"),
        ({"ASSAY_POLICIES": "/nonexistent"}, "PolicyFileUnreadable"),
        ({"ASSAY_DATABASE_URL": "mysql://x"}, "DatabaseUrlInvalid"),
    ],
)
def test_serve_does_not_start_on_a_setting_that_is_wrong(desk: Desk, environment: dict[str, str], code: str) -> None:
    chosen = {"ASSAY_POLICIES": str(desk.policies), "ASSAY_WEBHOOK_PORT": "0", "ASSAY_INVENTORY_PORT": "0"}
    done = desk.run("serve", environment=chosen | environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"assay: {code}: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("review",),
        ("review", "-"),
        ("review", "-", "--policies", "/nonexistent"),
        ("verify", "image", "--policies", ".", "--nonsense"),
        ("verify", "image", "--policies", ".", "-o", "xml"),
        ("inventory", "decisions", "--limit", "many"),
        ("demo", "--kept"),
    ],
)
def test_wrong_usage_is_64_and_says_how_it_is_used(desk: Desk, arguments: tuple[str, ...]) -> None:
    done = desk.run(*arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("Usage: assay ")
    assert "Error: " in done.stderr


def test_the_program_has_three_names(desk: Desk) -> None:
    helps = [desk.run("--help")]
    helps += [desk.run("--help", program=[SCRIPTS / name]) for name in ("assay", "kubectl-assay")]
    assert {done.returncode for done in helps} == {0}
    assert len({done.stdout for done in helps}) == 1
    assert desk.run("--version").stdout.startswith("assay, version ")


def test_kubectl_finds_it_as_its_plugin(desk: Desk) -> None:
    environment = {"PATH": f"{SCRIPTS}:/usr/bin:/bin"}
    done = desk.run("assay", "--version", program=[tool("kubectl")], environment=environment)
    assert (done.returncode, done.stdout.startswith("assay, version ")) == (0, True), done.stderr


def test_colour_is_for_terminals_that_want_it(desk: Desk) -> None:
    command = ("verify", f"{desk.host}/acme/shop:1.4", "--policies", desk.policies, *ROOT)
    status, coloured = assay_on_a_terminal(*command, folder=desk.folder)
    assert (status, f"{ESCAPE}32m" in coloured) == (0, True)
    status, plain = assay_on_a_terminal(*command, folder=desk.folder, environment={"NO_COLOR": "1"})
    assert (status, ESCAPE in plain) == (0, False)


def test_help_says_the_exit_statuses(desk: Desk) -> None:
    for command in ("review", "verify"):
        assert re.search(r"Exit\s+status: 0 .*1 .*2 ", desk.run(command, "--help").stdout, re.DOTALL)
