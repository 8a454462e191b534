"""Signed notes and checkpoints: the specifications' own examples, and what must not pass for one."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from controller.inventory.ledger import notes
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.merkle import EMPTY_ROOT
from controller.inventory.ledger.notes import COSIGNATURE, NoteKey, NoteSigner, Signed

LOG = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
WITNESS = NoteSigner.of_seed("witness.example/w1", bytes(range(32, 64)))
AT = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
TEXT = Checkpoint(LOG.name, 7, b"\x07" * 32).text()

# The example of golang.org/x/mod/sumdb/note's documentation, which the signed-note specification describes.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def signed(*lines: str, text: str = TEXT) -> bytes:
    return notes.note(text, lines).encode()


def test_a_note_of_another_implementation_opens() -> None:
    key = NoteKey.parse(GO_KEY)
    text, by = notes.open_note(GO_NOTE.encode(), [key])
    assert text.startswith("If you think cryptography")
    assert by == (Signed(key),)
    assert str(key) == GO_KEY


def test_who_signed_is_told_and_strangers_are_passed_over() -> None:
    content = signed(LOG.sign(TEXT), WITNESS.cosign(TEXT, AT))
    assert notes.open_note(content, [LOG.key()]) == (TEXT, (Signed(LOG.key()),))
    witness = WITNESS.key(COSIGNATURE)
    assert notes.open_note(content, [LOG.key(), witness]) == (TEXT, (Signed(LOG.key()), Signed(witness, AT)))


def test_a_note_that_no_known_key_signed_is_refused() -> None:
    with pytest.raises(ValueError, match="no known key"):
        notes.open_note(signed(LOG.sign(TEXT)), [WITNESS.key()])
    # The same name with another key, and the same key under another name, are other keys.
    for other in (NoteSigner.of_seed(LOG.name, bytes(32)), NoteSigner("other", LOG.private)):
        with pytest.raises(ValueError, match="no known key"):
            notes.open_note(signed(LOG.sign(TEXT)), [other.key()])


def test_a_signature_of_one_kind_is_none_of_the_other() -> None:
    with pytest.raises(ValueError, match="no known key"):
        notes.open_note(signed(WITNESS.cosign(TEXT, AT)), [WITNESS.key()])
    with pytest.raises(ValueError, match="no known key"):
        notes.open_note(signed(WITNESS.sign(TEXT)), [WITNESS.key(COSIGNATURE)])


def test_a_known_keys_signature_over_something_else_spoils_the_note() -> None:
    other = Checkpoint(LOG.name, 8, b"\x08" * 32).text()
    with pytest.raises(ValueError, match="does not verify"):
        notes.open_note(signed(LOG.sign(other)), [LOG.key()])
    good, bad = LOG.sign(TEXT), WITNESS.cosign(other, AT)
    with pytest.raises(ValueError, match="does not verify"):
        notes.open_note(signed(good, bad), [LOG.key(), WITNESS.key(COSIGNATURE)])
    # The time is part of what a witness signs.
    line = WITNESS.cosign(TEXT, AT)
    name, encoded = line.removesuffix("\n").rsplit(" ", 1)
    content = bytearray(base64.b64decode(encoded))
    content[11] ^= 1
    with pytest.raises(ValueError, match="does not verify"):
        notes.open_note(signed(f"{name} {base64.b64encode(content).decode()}\n"), [WITNESS.key(COSIGNATURE)])


def test_cosigned_times_are_whole_seconds() -> None:
    witness = WITNESS.key(COSIGNATURE)
    content = signed(WITNESS.cosign(TEXT, AT + timedelta(milliseconds=900)))
    assert notes.open_note(content, [witness])[1] == (Signed(witness, AT),)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text without an end",
        TEXT.encode(),
        f"{TEXT}\n".encode(),
        f"{TEXT}\n{LOG.sign(TEXT)}".encode().removesuffix(b"\n"),
        f"{TEXT}\n- {LOG.sign(TEXT)[2:]}".encode(),
        f"{TEXT}\n{LOG.sign(TEXT)}trailing\n".encode(),
        f"{TEXT}\n— name !!!\n".encode(),
        f"{TEXT}\n— name AAAA\n".encode(),
        f"{TEXT}\n— two names AAAAAAAAAAA=\n".encode(),
        f"{TEXT}\t\n{LOG.sign(TEXT)}".encode(),
        f"{TEXT}\n{LOG.sign(TEXT)}".encode() + b"\xff\n",
        f"{TEXT}\n{LOG.sign(TEXT) * (notes.MAX_SIGNATURES + 1)}".encode(),
        b"x" * notes.MAX_NOTE + signed(LOG.sign(TEXT)),
    ],
)
def test_what_is_no_note_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"note|signature|malformed|known key"):
        notes.open_note(content, [LOG.key()])


@pytest.mark.parametrize("text", ["no newline", "tab\t\n", "carriage\r\n", ""])
def test_no_note_is_made_that_could_not_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="ends with a newline"):
        notes.note(text, [LOG.sign(TEXT)])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\n"])
def test_names_that_no_key_may_have(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        NoteSigner.of_seed(name, bytes(32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "no verifier key"),
        (str(LOG.key()).replace("ledger", "other"), "not its key's"),
        (f"{LOG.name}+{LOG.key().id.hex()}+AAAA", "no Ed25519 key"),
        (f"{LOG.name}+{LOG.key().id.hex()}+%%%%", "no Ed25519 key"),
        (str(NoteKey(LOG.name, 0x05, LOG.key().public)), "kind 5"),
    ],
)
def test_a_verifier_key_is_read_whole_or_not_at_all(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NoteKey.parse(text)


def test_a_checkpoint_is_read_back_with_or_without_extensions() -> None:
    checkpoint = Checkpoint("assay.example/ledger", 20852163, bytes(range(32)))
    assert Checkpoint.parse(checkpoint.text()) == checkpoint
    assert Checkpoint.parse(checkpoint.text() + "extension\n") == checkpoint
    assert Checkpoint.parse(Checkpoint("x", 0, EMPTY_ROOT).text()).size == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n7\n",
        "\n7\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n",
        "origin\n07\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n",
        "origin\n-7\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n",
        "origin\n9223372036854775808\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n",
        "origin\n7\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw==\n",
        "origin\n7\nnot base64\n",
        "origin\n7\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        "origin\n7\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n\nextension\n",
        "origin\n0\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="checkpoint"):
        Checkpoint.parse(text)
