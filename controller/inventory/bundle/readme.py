"""The bundle's README.md: how an auditor verifies it with cosign, sha256sum, openssl and python3, step by step.

The commands stand in blocks of `sh` and are run as they stand (tests/e2e/test_export.py). Names from outside come into
text with care: whoever signs, or names a pod, must not be able to write a command here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

MAX_COMMANDS = 200  # for evidence, that the README spells out; `index.json` has every one
_UNSAFE = re.compile(r"[^\w .:/@,+=()-]")

MERKLE = """\
import base64, glob, hashlib, json, sys
sha = lambda content: hashlib.sha256(content).digest()
check = lambda holds: holds or sys.exit(f"records/{name}.json is NOT proven to be in the ledger")
signed = open("checkpoint", encoding="utf-8").read()
size, root = int(signed.split("\\n")[1]), base64.b64decode(signed.split("\\n")[2])
for name in sorted(glob.glob("ledger/*.tlog-proof")):
    name = name[len("ledger/"):-len(".tlog-proof")]
    record = open(f"records/{name}.json", "rb").read()
    entry = open(f"ledger/{name}.entry.json", "rb").read()
    check(json.loads(entry)["leaf"] == "sha256:" + hashlib.sha256(record).hexdigest())
    head, checkpoint = open(f"ledger/{name}.tlog-proof", encoding="utf-8").read().split("\\n\\n", 1)
    check(checkpoint == signed)
    index = int(head.split("\\n")[1].split(" ")[1])
    found, at, last = sha(b"\\0" + entry), index, size - 1
    check(0 <= index < size)
    for line in head.split("\\n")[2:]:  # RFC 9162, 2.1.3.2
        step = base64.b64decode(line)
        check(last > 0)
        if at & 1 or at == last:
            found = sha(b"\\1" + step + found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = sha(b"\\1" + found + step)
        at, last = at >> 1, last >> 1
    check(last == 0 and found == root)
    print(f"records/{name}.json is entry {index} of {size}")
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the README tells. `evidence` is (image, command); `without` (file, why); `summaries` (image, file, word)."""

    selection: Mapping[str, str]
    known_at: str
    made_at: str
    records: int
    waiting: int
    has_checkpoint: bool
    ledger: str
    evidence: Sequence[tuple[str, str]]
    without: Sequence[tuple[str, str]]
    summaries: Sequence[tuple[str, str, str]]
    missing: int


def text(facts: Facts) -> str:
    """The page."""
    return "\n".join(_lines(facts)) + "\n"


def _lines(facts: Facts) -> Iterator[str]:
    about = ", ".join(f"{name} {_plain(value)}" for name, value in facts.selection.items())
    yield from (
        "# Evidence bundle",
        "",
        f"What Assay's inventory knew at {facts.known_at} about: {about}.",
        f"Made at {facts.made_at}; {facts.records} records. `index.json` says what each file is; the format is",
        "described in Assay's documentation (docs/reference/evidence-bundle.md).",
        "",
        "Verify it in this order, in the folder into which it was unpacked. You need `cosign` 3, `sha256sum`,",
        "`openssl` 3 and `python3`, and no network. A command that fails says so and stops.",
        "",
        "## 1. Nobody changed the bundle",
        "",
        "`keys/export.pub` is the key of whoever made it. **Compare it with the one that you were given another way**:",
        "the key in the bundle proves nothing about itself.",
        "",
        "```sh",
        "cosign verify-blob-attestation --key keys/export.pub --insecure-ignore-tlog=true \\",
        "  --bundle SHA256SUMS.sigstore.json --type https://assay.dev/evidence-bundle/v1alpha1 SHA256SUMS",
        "sha256sum --check --strict --quiet SHA256SUMS",
        "```",
        "",
    )
    yield from _ledger(facts)
    yield from _evidence(facts)
    yield from _summaries(facts)
    yield from (
        "## 5. What this proves, and what it does not",
        "",
        "A record in `records/` is what Assay wrote down when it happened: a decision (what was asked, which",
        "evidence counted, which policy said what) or a sighting (a kubelet reported that a container runs this",
        "digest). Step 2 proves that it was in the ledger when the checkpoint was signed, and is unchanged since;",
        "step 3, independently of Assay, that the evidence is about the image. That Assay saw everything is not",
        "proven: records of kind `Gap` say when nobody watched. That an image index leads to the manifest that ran",
        "is the record's word (`images[].manifests`).",
        "",
        "With Assay all of it, and each proof of every decision made again from these bytes, is one command that",
        "needs no database:",
        "`assay inventory export --verify FILE.tar --key export.pub --ledger-key ledger.vkey`.",
    )


def _ledger(facts: Facts) -> Iterator[str]:
    yield from ("## 2. The records are in the ledger, unchanged", "")
    if not facts.has_checkpoint:
        yield from (
            "No checkpoint of the ledger was signed yet: nothing proves the records beside the bundle's key.",
            "",
        )
        return
    if facts.ledger:
        yield from (
            "The checkpoint is signed with the ledger's key (a C2SP signed note, Ed25519). Compare",
            "`keys/ledger.vkey` with the key that you were given another way. `keys/ledger.pub` is the same key for",
            "openssl.",
            "",
            "```sh",
            'work="$(mktemp -d)"',
            "sed '/^$/,$d' checkpoint > \"$work/text\"",
            f"grep -F -m 1 {shlex.quote(chr(0x2014) + ' ' + facts.ledger + ' ')} checkpoint | cut -d ' ' -f 3 \\",
            '  | base64 -d | tail -c 64 > "$work/signature"',
            "openssl pkeyutl -verify -pubin -inkey keys/ledger.pub -rawin \\",
            '  -in "$work/text" -sigfile "$work/signature"',
            "```",
            "",
        )
    else:
        yield from ("Who made the bundle did not know the ledger's key: verify `checkpoint` with the one you have.", "")
    yield from (
        "Each record's SHA-256 stands in its entry (`ledger/*.entry.json`), and each entry leads to the",
        "checkpoint's root by its proof (`ledger/*.tlog-proof`, https://c2sp.org/tlog-proof, RFC 6962). Any verifier",
        "of RFC 6962 will do, such as Go's golang.org/x/mod/sumdb/tlog; this is one in whole:",
        "",
        "```sh",
        "python3 - <<'END'",
        *MERKLE.splitlines(),
        "END",
        "```",
        "",
    )
    if facts.waiting:
        yield from (f"{facts.waiting} records had no number in the ledger yet and have no proof.", "")


def _evidence(facts: Facts) -> Iterator[str]:
    yield from ("## 3. The evidence is about these images", "")
    if facts.evidence:
        yield from (
            "Each command verifies one file of `evidence/` with the key, or the identity and trust root, by which it",
            "counted. Keys and trust roots are those of the policies: compare them with yours.",
            "",
        )
        yield "```sh"
        image = ""
        for about, command in facts.evidence[:MAX_COMMANDS]:
            if about != image:
                yield f"# {_plain(about)}"
                image = about
            yield command
        yield from ("```", "")
    else:
        yield from ("Nothing in it can be verified with cosign.", "")
    if len(facts.evidence) > MAX_COMMANDS:
        yield from (
            f"{len(facts.evidence) - MAX_COMMANDS} more commands stand in `index.json`, `evidence[].command`.",
            "",
        )
    for file, why in facts.without[:MAX_COMMANDS]:
        yield f"- `{file}`: {why}."
    if facts.without:
        yield ""
    if facts.missing:
        yield from (
            f"{facts.missing} of the bytes that records name are not here: not kept any more, or not for this",
            "namespace (`index.json`, `missing`).",
            "",
        )


def _summaries(facts: Facts) -> Iterator[str]:
    yield from (
        "## 4. The summaries are Assay's",
        "",
        "`vsa/` has a SLSA verification summary of each image, by its newest decision here, signed with",
        "`keys/export.pub`.",
        "",
    )
    made = [(image, path, word) for image, path, word in facts.summaries if path]
    if made:
        yield "```sh"
        for image, path, word in made[:MAX_COMMANDS]:
            digest = shlex.quote(image.removeprefix("sha256:"))
            yield f"# {_plain(image)}: {word}"
            yield (
                "cosign verify-blob-attestation --key keys/export.pub --insecure-ignore-tlog=true"
                f" --bundle {shlex.quote(path)}"
                f" --type https://slsa.dev/verification_summary/v1 --digest {digest} --digestAlg sha256"
            )
        yield from ("```", "")
    if len(made) > MAX_COMMANDS:
        yield from (f"And {len(made) - MAX_COMMANDS} more, by the same command.", "")
    without = [(image, word) for image, path, word in facts.summaries if not path]
    for image, word in without[:MAX_COMMANDS]:
        yield f"- `{image}` has none: {word}."
    if without:
        yield ""


def _plain(value: str) -> str:
    """Text from outside as it may stand in a page: no markup, no control characters."""
    return _UNSAFE.sub("?", value)
