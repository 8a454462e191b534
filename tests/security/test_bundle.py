"""Bundles from an attacker: nothing is unpacked, nothing hangs, nothing passes that is not whole."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.errors import InputError
from controller.inventory.bundle import archive, assembling, checking
from controller.inventory.bundle.archive import Archive, File
from controller.inventory.bundle.cosign import Material, command
from controller.inventory.bundle.plan import Proven
from controller.inventory.bundle.signing import ExportKey
from controller.inventory.bundle.source import Circumstances, Kept, Selection
from controller.inventory.canonical import canonical
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.workers.replay import replay
from tests.support.fixtures import recorded_bundle
from tests.support.inventory import evaluation, leaf, sighting

KEY = ExportKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
ATTACKER = ExportKey(Ed25519PrivateKey.from_private_bytes(bytes(31) + b"1"))
VSA = "https://slsa.dev/verification_summary/v1"
NOW = datetime(2026, 11, 28, tzinfo=UTC)


class Memory:
    """A source that holds its records."""

    checkpoint = None

    def __init__(self, *leaves: dict[str, Any], blobs: dict[str, bytes] | None = None) -> None:
        self._leaves = leaves
        self._blobs = blobs or {}

    def records(self) -> Any:
        return (Kept(value["id"], canonical(value), None, None) for value in self._leaves)

    def leaves(self) -> Any:
        return iter(self._leaves)

    def weigh(self, digests: Any) -> int:
        return sum(len(self._blobs.get(digest, b"")) for digest in digests)

    def blob(self, digest: str) -> bytes | None:
        return self._blobs.get(digest)


def decided(number: int, **changes: Any) -> dict[str, Any]:
    """A decision without proofs: what its record says is then all that there is to verify."""
    return leaf(number, **{"evaluations": [evaluation() | {"signatures": [], "attestations": []}], **changes})


def files(*leaves: dict[str, Any], key: ExportKey = KEY, blobs: dict[str, bytes] | None = None) -> list[File]:
    about = Circumstances(Selection(namespace="shop"), NOW, NOW, None, "0.1.0")
    return list(assembling.assemble(Memory(*leaves, blobs=blobs), about, key))


def checked(*given: File) -> checking.BundleReport:
    return checking.verify(
        Archive(io.BytesIO(b"".join(archive.write(given)))),
        export_key=KEY.private.public_key(),
        ledger_keys=[],
        replay=lambda value, blob: (
            (proof.image, proof.trouble) for proof in replay(value, blob, limits=DocumentSettings())
        ),
    )


def codes(report: checking.BundleReport) -> set[str]:
    return {finding.code for finding in report.findings}


def tarred(**changes: Any) -> bytes:
    member = tarfile.TarInfo(changes.pop("name", "a"))
    for name, value in changes.items():
        setattr(member, name, value)
    return member.tobuf(changes.pop("format", tarfile.USTAR_FORMAT)) + bytes(1024)


def with_checksum(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


def field(start: int, content: bytes) -> bytes:
    header = bytearray(tarred()[:512])
    header[start : start + len(content)] = content
    return with_checksum(header) + bytes(1024)


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        bytes(512),
        bytes(1024) + b"x",
        bytes(4096),
        tarred(name="../escape"),
        tarred(name="/etc/passwd"),
        tarred(name="a/../../b"),
        tarred(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        tarred(type=tarfile.LNKTYPE, linkname="a"),
        tarred(type=tarfile.DIRTYPE),
        tarred(type=tarfile.CHRTYPE),
        tarred(type=tarfile.FIFOTYPE),
        tarred(type=tarfile.AREGTYPE, linkname="x"),
        tarred(type=tarfile.XHDTYPE),
        tarred(type=tarfile.GNUTYPE_LONGNAME),
        tarred(type=tarfile.GNUTYPE_SPARSE),
        tarred(size=8**11 - 1),
        tarred() [:512] + tarred(),
        field(345, b"prefix"),
        field(124, b"\x80\0\0\0\0\0\0\xff\xff\xff\xff\xff"),  # GNU's numbers past eight gigabytes
        field(124, b"-0000000001\0"),
        field(124, b"77777777777\0"),
        field(0, b"a\0b"),
        field(257, b"ustar  \0"),
        tarred()[:148] + b"0000000\0" + tarred()[156:],
    ],
)  # fmt: skip
def test_an_archive_of_any_other_kind_is_refused_and_nothing_is_unpacked(content: bytes) -> None:
    with pytest.raises(InputError) as raised:
        Archive(io.BytesIO(content))
    assert raised.value.code == "BundleMalformed"


def test_a_number_of_files_past_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_FILES", 2)
    content = b"".join(archive.write([File(f"f{number}", b"") for number in range(3)]))
    with pytest.raises(InputError, match="MAX_FILES"):
        Archive(io.BytesIO(content))
    monkeypatch.setattr(archive, "MAX_READ", 2)
    large = Archive(io.BytesIO(b"".join(archive.write([File("f", b"123")]))))
    assert large.sha256("f")
    with pytest.raises(InputError, match="MAX_READ"):
        large.read("f")


def test_every_change_of_any_file_is_named() -> None:
    whole = files(decided(1), sighting("Started", 2))
    assert checked(*whole).findings == []
    for number, file in enumerate(whole):
        changed = File(file.path, file.content[:-3] + bytes([file.content[-3] ^ 1]) + file.content[-2:])
        told = [*whole[:number], changed, *whole[number + 1 :]]
        try:
            assert any(finding.where.startswith(file.path) for finding in checked(*told).findings), file.path
        except InputError as exc:
            assert exc.code == "BundleMalformed"  # noqa: PT017 - either names it
        without = [*whole[:number], *whole[number + 1 :]]
        try:
            assert any(finding.where.startswith(file.path) for finding in checked(*without).findings), file.path
        except InputError as exc:
            assert exc.code == "BundleIncomplete"  # noqa: PT017
    assert codes(checked(*whole, File("evidence/extra", b""))) == {"FileAdded"}


@pytest.mark.parametrize(
    "changed",
    [
        {assembling.INDEX: b"no JSON"},
        {f"records/{leaf()['id']}": canonical(decided(0))},
        {f"records/{leaf()['id']}": canonical(decided(0)), f"records/{leaf()['id']}.json": b"no JSON"},
    ],
)
def test_a_change_that_stops_the_reader_is_still_a_finding_and_not_that_it_cannot_be_told(
    changed: dict[str, bytes],
) -> None:
    whole = {file.path: file for file in files(decided(0))}
    assert not checked(*whole.values()).findings
    report = checked(*(whole | {path: File(path, content) for path, content in changed.items()}).values())
    assert codes(report) & {"FileChanged", "FileAdded"}


def test_a_bundle_that_somebody_else_signed_is_not_the_exporters() -> None:
    report = checked(*files(decided(1), key=ATTACKER))
    assert codes(report) == {"SignatureInvalid", "SummaryInvalid"}


def signed_anew(changed: dict[str, bytes], *whole: File) -> list[File]:
    """The same bundle with other files, its sums and signature made anew by the exporter's own key."""
    kept = [File(f.path, changed.get(f.path, f.content)) for f in whole[:-2]]
    kept += [File(path, content) for path, content in changed.items() if path not in {f.path for f in whole}]
    sums = File(assembling.SUMS, "".join(f"{f.sha256}  {f.path}\n" for f in kept).encode())
    about = assembling.statement(assembling.SUMS, sums.sha256, predicate_type=assembling.PREDICATE, predicate={})
    return [*kept, sums, File(assembling.SIGNATURE, KEY.sign(about))]


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"id": "x", "evaluations": 3}',
        canonical(decided(1, id="x", evaluations=[{}])),
        canonical(decided(1, id="x", images=[3])),
        canonical(decided(1, id="y")),
    ],
)
def test_a_record_that_is_none_is_named_and_nothing_falls_over(record: bytes) -> None:
    report = checked(*signed_anew({"records/x.json": record}, *files(decided(1))))
    assert [(finding.code, finding.where) for finding in report.findings] == [("RecordMalformed", "records/x.json")]


def test_bytes_under_another_digest_and_a_summary_of_something_else_are_named_though_all_is_signed() -> None:
    content = b"a policy"
    value = decided(1, blobs=[str(Digest.of(content))])
    whole = files(value, blobs={str(Digest.of(content)): content})
    (path,) = (file.path for file in whole if file.path.startswith("other/"))
    assert codes(checked(*signed_anew({path: b"another"}, *whole))) == {"DigestMismatch"}
    (vsa,) = (file.path for file in whole if file.path.startswith("vsa/"))
    lie = KEY.sign(
        assembling.statement("x", "ab" * 32, predicate_type="https://slsa.dev/verification_summary/v1", predicate={})
    )
    assert codes(checked(*signed_anew({vsa: lie}, *whole))) == {"SummaryInvalid"}
    for junk in ("vsa/x.sigstore.json", "vsa/y"):
        assert codes(checked(*signed_anew({junk: lie}, *whole))) == {"SummaryInvalid"}


def test_what_the_bundle_says_that_it_lacks_is_told_and_what_was_taken_out_of_it_is_a_finding() -> None:
    """Bytes may be gone, or not for who asked: the exporter signs that. Nobody else can leave them out unseen."""
    policy, evidence = b'{"spec":{}}', b"evidence"
    judged = evaluation()
    judged["policy"] = {**judged["policy"], "hash": str(Digest.of(policy))}
    name = str(Digest.of(evidence))
    for part in ("signatures", "attestations"):
        judged[part] = [{**proof, "artifact": name} for proof in judged[part]]
    found = {"artifact": name, "location": "x", "kind": "sigstore-bundle", "mediaType": "x", "annotations": {}}
    judged |= {"artifacts": [found], "used": {"trustRoots": {}}}
    value = leaf(1, evaluations=[judged], blobs=sorted([str(Digest.of(policy)), name]))
    without = checked(*files(value))
    assert (without.findings, without.proofs, without.unproven) == ([], 0, 2)
    whole = files(value, blobs={name: evidence, str(Digest.of(policy)): policy})
    taken = [file for file in whole if not file.path.startswith("policies/")]
    assert {"FileMissing", "ProofFails"} <= codes(checked(*taken))


def test_a_proof_without_a_checkpoint_proves_nothing() -> None:
    value = decided(1)
    proof = f"ledger/{value['id']}.tlog-proof"
    report = checked(*signed_anew({proof: b"c2sp.org/tlog-proof@v1\nindex 0\n\nx"}, *files(value)))
    assert (codes(report), report.proven) == ({"InclusionFails"}, 0)


@pytest.mark.parametrize(
    "subject", ["$(touch /tmp/x)", "`id`", "a'b", "; rm -rf .", "a\nb", "a\u2028b", "\x1b[2J", "--key=evil", "-"]
)
def test_no_signers_name_becomes_a_command(subject: str) -> None:
    """Who signs chooses his name; the README must not run it."""
    import shlex

    root = b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'
    proof = {"signer": {"key": "", "issuer": "i", "subject": subject}, "logEntry": {"index": 1}}
    proven = Proven("sha256:" + "ab" * 32, "sha256:" + "cd" * 32, proof, "", {})
    content = recorded_bundle("workflow.rekor1.signature").raw
    line, why = command(proven, "e.sigstore.json", content, Material(trust_root=root, trust_root_path="r.json"))
    if line:
        assert line.isprintable()
        words = shlex.split(line)
        assert words[words.index("--certificate-identity") + 1] == subject
    else:
        assert not subject.isprintable()
        assert "characters that no command should have" in why


def test_what_pods_and_records_are_named_never_leaves_its_line_in_the_readme() -> None:
    about = Circumstances(Selection(namespace="shop\n```sh\nrm -rf /\n```"), NOW, NOW, None, "0.1.0")
    made = {file.path: file.content for file in assembling.assemble(Memory(decided(1, id="../../x")), about, KEY)}
    assert b"rm -rf /\n" not in made["README.md"]
    assert all(archive.is_path(path) for path in made)
    assert json.loads(made["index.json"])["records"][0]["id"] == "../../x"
