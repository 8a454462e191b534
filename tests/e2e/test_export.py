"""An export verifies where there is no Assay: by the commands of its own README, with public tools alone."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from controller.inventory.bundle.cosign import Material, command
from controller.inventory.bundle.keys import fingerprint
from controller.inventory.bundle.plan import Proven
from controller.inventory.ledger.notes import NoteSigner
from controller.model.reference import Digest
from controller.policy.resolving import public_keys_der
from tests.support.commands import assay_on_a_terminal
from tests.support.exported import Happened, make_happen, unpacked
from tests.support.fixtures import RECORDED, RecordedBundle, recorded_bundles, recorded_key
from tests.support.tools import CommandError, run_tool, tool

PUBLIC_TOOLS = ("sh", "sha256sum", "openssl", "sed", "grep", "cut", "base64", "tail", "mktemp")
STRANGER = NoteSigner.of_seed("assay/shop-cluster", bytes(32))
VSA = "https://slsa.dev/verification_summary/v1"


@pytest.fixture(scope="module")
def happened(tmp_path_factory: pytest.TempPathFactory) -> Happened:
    return make_happen(tmp_path_factory.mktemp("exported") / "assay")


@pytest.fixture(scope="module")
def bundle(happened: Happened) -> Path:
    file = happened.folder / "shop.tar"
    done = happened.run("export", "-n", "shop", "-O", file)
    assert (done.returncode, done.stderr) == (0, "")
    return file


@pytest.fixture
def folder(bundle: Path, tmp_path: Path) -> Path:
    return unpacked(bundle, tmp_path / "unpacked")


def commands(folder: Path) -> str:
    """All that the README tells an auditor to type."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (folder / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return "".join(blocks)


def followed(folder: Path, script: str, elsewhere: Path) -> subprocess.CompletedProcess[str]:
    """Run commands in an environment with nothing but public tools: no Assay, no virtual environment, no home."""
    programs = elsewhere / "bin"
    if not programs.exists():
        programs.mkdir(parents=True)
        for name in PUBLIC_TOOLS:
            found = shutil.which(name, path="/usr/bin:/bin")
            assert found, f"{name} is not on this machine"
            (programs / name).symlink_to(found)
        (programs / "cosign").symlink_to(tool("cosign"))
        (programs / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    environment = {"PATH": str(programs), "HOME": str(elsewhere / "home"), "TMPDIR": str(elsewhere)}
    return subprocess.run(
        [str(programs / "sh"), "-eu", "-c", script],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_readme_alone_verifies_the_bundle_with_public_tools(folder: Path, tmp_path: Path) -> None:
    script = commands(folder)
    done = followed(folder, script, tmp_path / "auditor")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Verified OK") == script.count("cosign verify") > 20
    assert "Signature Verified Successfully" in done.stdout
    records = len(list((folder / "records").iterdir()))
    assert done.stdout.count(" is entry ") == records == 13


def test_gos_own_implementation_proves_every_record_by_the_bundles_proofs(folder: Path) -> None:
    key = (folder / "keys" / "ledger.vkey").read_text().strip()
    answer = json.loads(run_tool("tlog-proof-verifier", "-bundle", folder, "-key", key))
    assert answer == {"records": 13}
    record = next((folder / "records").iterdir())
    record.write_bytes(record.read_bytes().replace(b"shop", b"bank", 1))
    with pytest.raises(CommandError, match="the entry is that of another record"):
        run_tool("tlog-proof-verifier", "-bundle", folder, "-key", key)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("evidence/*.sigstore.json", "FAILED"),
        ("records/*.json", "FAILED"),
        ("policies/*.json", "FAILED"),
        ("SHA256SUMS", "do not match digests in statement"),
    ],
)
def test_a_changed_file_ends_the_verification_by_the_readme(folder: Path, tmp_path: Path, what: str, told: str) -> None:
    file = min(folder.glob(what))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    done = followed(folder, commands(folder), tmp_path / "auditor")
    assert done.returncode != 0
    assert told in done.stdout + done.stderr


def test_each_step_stands_for_itself_and_not_on_the_sums(folder: Path, tmp_path: Path) -> None:
    """Who could sign the bundle anew still cannot change a record, or have evidence be about another image."""
    record = min((folder / "records").glob("*.json"))
    record.write_bytes(record.read_bytes().replace(b'"shop"', b'"bank"', 1))
    ledger = commands(folder).partition("work=")[2].partition("# sha256:")[0]
    done = followed(folder, f"work={ledger}", tmp_path / "auditor")
    assert f"{record.relative_to(folder)} is NOT proven to be in the ledger" in done.stderr
    line = next(line for line in commands(folder).splitlines() if "evidence/" in line)
    moved = re.sub(r"--digest [0-9a-f]{64}", f"--digest {'ab' * 32}", line)
    assert followed(folder, line, tmp_path / "auditor").returncode == 0
    done = followed(folder, moved, tmp_path / "auditor")
    assert "does not match any digest in statement" in done.stderr


def test_summaries_say_what_was_decided_and_claim_no_level(happened: Happened, folder: Path) -> None:
    said = {}
    for file in (folder / "vsa").iterdir():
        envelope = json.loads(file.read_text())["dsseEnvelope"]
        statement = json.loads(base64.b64decode(envelope["payload"]))
        (subject,) = statement["subject"]
        assert (statement["predicateType"], file.name) == (VSA, f"{subject['digest']['sha256']}.sigstore.json")
        said[f"sha256:{subject['digest']['sha256']}"] = statement["predicate"]
    expected = {
        leaf["images"][0]["digest"]: "PASSED" if leaf["verdict"] == "Allow" else "FAILED"
        for leaf in happened.decisions.values()
    }
    assert {digest: predicate["verificationResult"] for digest, predicate in said.items()} == expected
    levels = {predicate["verificationResult"]: predicate["verifiedLevels"] for predicate in said.values()}
    assert levels == {"PASSED": ["SLSA_BUILD_LEVEL_UNEVALUATED"], "FAILED": ["FAILED"]}
    shop = said[happened.digest("shop")]
    sets = json.loads((folder / shop["policy"]["uri"]).read_bytes())
    assert [policy["name"] for policy in sets] == ["no-log4shell", "release-signed"]
    assert shop["timeVerified"] == happened.decisions["shop"]["decidedAt"]
    assert len(shop["inputAttestations"]) == 3  # a signature, an SPDX and a CycloneDX document
    assert all((folder / entry["uri"]).is_file() for entry in shop["inputAttestations"])


def test_assay_verifies_it_without_a_database_and_names_what_was_changed(
    happened: Happened, bundle: Path, tmp_path: Path
) -> None:
    keys = happened.folder / "ledger"
    nowhere = Happened(tmp_path / "nowhere", {})
    given = ("--key", keys / "export.pub", "--ledger-key", keys / "ledger.pub")
    done = nowhere.run("export", "--verify", bundle, *given)
    assert (done.returncode, done.stderr) == (0, "")
    first, about, known, proven, proofs, summaries = done.stdout.splitlines()
    assert re.fullmatch(r"Satisfied  the bundle holds: \d+ files, 13 records", first)
    assert (about, known[:21]) == ("  about namespace shop", "  as it was known at ")
    assert proven == "  13 of 13 records are proven to be in the ledger assay/shop-cluster (of 14 entries)"
    assert proofs == "  15 proofs were made again from the bundle's bytes"
    assert summaries == "  10 summaries are signed, and say what the records say"
    assert "give --key" in nowhere.run("export", "--verify", bundle).stdout
    changed = tmp_path / "changed.tar"
    changed.write_bytes(bundle.read_bytes().replace(b'"username":"system:', b'"username":"sYstem:', 1))
    done = nowhere.run("export", "--verify", changed, *given, "-o", "json")
    report: Any = json.loads(done.stdout)
    assert (done.returncode, report["holds"]) == (1, False)
    assert {finding["code"] for finding in report["findings"]} == {"FileChanged", "InclusionFails"}
    stranger = tmp_path / "stranger.pub"
    stranger.write_text(recorded_key("ed25519"))
    done = nowhere.run("export", "--verify", bundle, "--key", stranger)
    assert done.returncode == 1
    assert "SignatureInvalid  SHA256SUMS.sigstore.json: it was not signed by this key" in done.stdout
    junk = tmp_path / "junk.tar"
    junk.write_bytes(b"junk")
    done = nowhere.run("export", "--verify", junk)
    assert (done.returncode, "BundleMalformed" in done.stderr) == (2, True)


def test_a_report_is_proven_to_be_about_the_very_image_that_ran(happened: Happened) -> None:
    """The pod runs a manifest of the index that was admitted; its SBOM is attested of the index."""
    done = happened.run("prove", "containerd://9", "-o", "json")
    proof: Any = json.loads(done.stdout)
    assert (done.returncode, done.stderr, proof["schema"], proof["holds"]) == (0, "", "assay.dev/proof/v1alpha1", True)
    (run,), decision = proof["runs"], happened.decisions["shop"]
    image = decision["images"][0]
    assert (run["decision"], run["digest"]) == (decision["id"], image["manifests"][0])
    types = {document["predicateType"] for document in proof["documents"]}
    assert types == {"", "https://spdx.dev/Document", "https://cyclonedx.org/bom"}
    assert {document["image"] for document in proof["documents"]} == {image["digest"]}
    states = {link["state"] for part in (*proof["runs"], *proof["documents"]) for link in part["links"]}
    assert states == {"Holds"}
    (sbom,) = (one for one in proof["documents"] if one["predicateType"] == "https://spdx.dev/Document")
    for name in (image["digest"], image["manifests"][0], decision["id"], run["record"]):
        told = happened.run("prove", name, "--document", sbom["artifact"])
        assert (told.returncode, told.stderr) == (0, ""), told.stdout
        assert told.stdout.startswith("Satisfied  every link holds\n  run of shop/shop, container main, since ")
        assert told.stdout.count("holds") == 1 + 4 + 3


@pytest.mark.parametrize(
    ("pod", "missing"),
    [
        ("newsletter", ["NeverSeenRunning", "Denied", "NothingVerified"]),
        ("gateway", ["NeverSeenRunning", "Denied"]),
    ],
)
def test_what_was_denied_is_proven_of_nothing_that_ran(happened: Happened, pod: str, missing: list[str]) -> None:
    done = happened.run("prove", happened.decisions[pod]["id"], "-o", "json")
    assert (done.returncode, [link["code"] for link in json.loads(done.stdout)["missing"]]) == (1, missing)


def test_what_nobody_admitted_is_named_so_and_what_is_unknown_is_no_answer(happened: Happened) -> None:
    done = happened.run("prove", "containerd://90")
    assert done.returncode == 1
    assert done.stdout.startswith("Violated  the chain is broken: see FAILS and MISSING\n")
    assert "MISSING  admission  Unadmitted: Assay never admitted this container" in done.stdout
    ran = f"sha256:{'9f' * 32}"
    done = happened.run("show", ran)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"but it ran: assay inventory running --ever --digest {ran}" in done.stderr
    assert len(json.loads(happened.run("running", "--ever", "--digest", ran, "-o", "json").stdout)["items"]) == 1
    done = happened.run("prove", "containerd://nothing")
    assert (done.returncode, "NothingToProve" in done.stderr) == (2, True)
    done = happened.run("prove", "containerd://9", "--ledger-key", str(STRANGER.key()))
    assert (done.returncode, done.stdout.count("FAILS    ledger     CheckpointInvalid")) == (1, 2)


def test_a_chain_to_a_ledger_whose_key_nobody_has_here_is_not_said_to_be_broken(
    happened: Happened, tmp_path: Path
) -> None:
    done = happened.run("prove", "containerd://9", "--ledger-directory", tmp_path)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("Error  the chain holds so far as it can be told here: see UNKNOWN\n")
    assert done.stdout.count("UNKNOWN  ledger     LedgerKeyUnknown: ") == 2
    assert "FAILS" not in done.stdout
    done = happened.run("prove", "containerd://9", "--ledger-directory", tmp_path, "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["holds"]) == (2, False)
    # What is broken is told all the same.
    done = happened.run("prove", "containerd://90", "--ledger-directory", tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0].split()[0]) == (1, "Violated")


def test_evidence_comes_out_byte_for_byte_and_no_terminal_gets_it(happened: Happened, tmp_path: Path) -> None:
    names = happened.decisions["shop"]["blobs"]
    assert names
    for number, digest in enumerate(names):
        file = tmp_path / str(number)
        done = happened.run("blob", digest, "-O", file)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert str(Digest.of(file.read_bytes())) == digest
        assert happened.run("blob", digest).stdout.encode() == file.read_bytes()
    nobody = happened.run("blob", f"sha256:{'0' * 64}", "-O", tmp_path / "none")
    assert (nobody.returncode, nobody.stderr.split(":")[1].strip()) == (2, "BlobUnknown")
    assert not (tmp_path / "none").exists()
    others = happened.run("blob", names[0], "-n", "bank", "-O", tmp_path / "none")
    assert (others.returncode, "BlobUnknown" in others.stderr) == (2, True)
    database = {"ASSAY_DATABASE_URL": happened.settings.database_url}
    status, shown = assay_on_a_terminal("inventory", "blob", names[0], folder=tmp_path, environment=database)
    assert (status, shown.strip().split(":")[1].strip()) == (2, "OutputMissing")


def test_the_same_content_gives_the_same_bytes(happened: Happened, tmp_path: Path) -> None:
    moment = "2026-12-31T00:00:00"  # everything is known by then
    one, two = (
        unpacked(file, tmp_path / file.stem)
        for file in (tmp_path / "one.tar", tmp_path / "two.tar")
        if happened.run("export", "--digest", happened.digest("shop"), "--known-at", moment, "-O", file).returncode == 0
    )
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    dated = {"README.md", "SHA256SUMS", "SHA256SUMS.sigstore.json", "index.json"}
    assert {str(file) for file in files if (one / file).read_bytes() != (two / file).read_bytes()} == dated


# What is about an image, and can be verified at all: a certificate without any trusted time is nobody's proof.
COUNTED = [one for one in recorded_bundles() if one.purpose != "blob" and (one.key or one.log != "none")]


@pytest.mark.parametrize("recorded", COUNTED, ids=lambda recorded: recorded.name)
def test_each_command_for_evidence_is_one_with_which_cosign_agrees(recorded: RecordedBundle, tmp_path: Path) -> None:
    """Of every recorded kind of bundle: cosign accepts it by our command, or we say that it does not."""
    der = public_keys_der((RECORDED / recorded.key).read_text())[0] if recorded.key else b""
    logged = "rekor" in recorded.log
    proof = {
        "signer": {"key": fingerprint(der) if der else "", "issuer": recorded.issuer, "subject": recorded.identity},
        "logEntry": {"logId": "", "index": 1} if logged else None,
        **({"predicateType": recorded.predicate_type} if recorded.purpose == "attestation" else {}),
    }
    proven = Proven(recorded.digest, "sha256:" + "00" * 32, proof, "", {})
    for name, content in (
        ("a.sigstore.json", recorded.raw),
        ("key.pub", (RECORDED / recorded.key).read_bytes() if recorded.key else b""),
        ("root.json", (RECORDED / recorded.trusted_root).read_bytes()),
    ):
        (tmp_path / name).write_bytes(content)
    material = Material(der or None, "key.pub", (tmp_path / "root.json").read_bytes(), "root.json")
    line, why = command(proven, "a.sigstore.json", recorded.raw, material)
    unfit = recorded.key_type in {"ecdsa-p384", "ed25519ph"} or (
        recorded.key_type == "ed25519" and recorded.content != "dsse"
    )
    assert bool(why) is unfit
    if line:
        done = followed(tmp_path, line, tmp_path / "auditor")
        assert (done.returncode, "Verified OK" in done.stderr) == (0, True), f"{line}\n{done.stderr}"
