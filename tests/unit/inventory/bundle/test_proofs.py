"""Proofs and signatures that stand in files: read as they are written, and nothing else."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controller.inventory.bundle.signing import ExportKey, open_statement, pae, read_key, statement
from controller.inventory.bundle.tlog_proof import TlogProof

KEY = ExportKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
STRANGER = ExportKey(Ed25519PrivateKey.from_private_bytes(bytes(31) + b"1"))
SAID = statement("file", "ab" * 32, predicate_type="https://example.com/x", predicate={"said": "so"})
CHECKPOINT = "assay/test\n4\nAAAA\n\n\N{EM DASH} assay/test c2ln\n"
WRITTEN = f"""\
c2sp.org/tlog-proof@v1
index 2
{base64.b64encode(bytes(32)).decode()}
{base64.b64encode(b"1" * 32).decode()}

{CHECKPOINT}"""


def test_a_proof_is_written_as_c2sp_has_it() -> None:
    proof = TlogProof(2, (bytes(32), b"1" * 32), CHECKPOINT)
    assert proof.text() == WRITTEN
    assert TlogProof.parse(WRITTEN.encode()) == proof
    with_extra = WRITTEN.replace("index", f"extra {base64.b64encode(b'x').decode()}\nindex")
    assert TlogProof.parse(with_extra.encode()) == proof
    alone = TlogProof(0, (), CHECKPOINT)
    assert TlogProof.parse(alone.text().encode()) == alone


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        WRITTEN.replace("@v1", "@v2").encode(),
        WRITTEN.replace("index 2", "index 02").encode(),
        WRITTEN.replace("index 2", "index -1").encode(),
        WRITTEN.replace("index 2\n", "").encode(),
        WRITTEN.replace("AAAA", "A\u00e9AA", 1).encode(),
        WRITTEN.replace("AAAA", "", 1).encode(),
        b"c2sp.org/tlog-proof@v1\nindex 1\n" + 65 * (base64.b64encode(bytes(32)) + b"\n") + b"\nx",
        WRITTEN.encode() + bytes(200_000),
    ],
)
def test_what_is_no_proof_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"proof|text"):
        TlogProof.parse(content)


def test_a_statement_is_signed_the_same_each_time_and_opens_by_its_key_alone() -> None:
    signed = KEY.sign(SAID)
    assert signed == KEY.sign(SAID)
    assert open_statement(signed, read_key(KEY.pem())) == SAID
    with pytest.raises(ValueError, match="was not signed by this key"):
        open_statement(signed, read_key(STRANGER.pem()))
    value = json.loads(signed)
    value["dsseEnvelope"]["payload"] = base64.b64encode(b"{}").decode()
    with pytest.raises(ValueError, match="was not signed by this key"):
        open_statement(json.dumps(value).encode(), read_key(KEY.pem()))


def test_what_is_signed_is_the_type_with_the_payload() -> None:
    """https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md#test-vectors"""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100_000, b'{"dsseEnvelope": []}', bytes(5_000_000)])
def test_what_is_no_bundle_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"is no Sigstore bundle|has more than"):
        open_statement(content, read_key(KEY.pem()))


def test_a_signed_text_that_is_no_statement_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no in-toto statement"):
        open_statement(KEY.sign({"_type": "something else"}), read_key(KEY.pem()))


def test_only_an_ed25519_key_is_taken() -> None:
    other = generate_private_key(SECP256R1()).public_key()
    with pytest.raises(ValueError, match="is no Ed25519 key"):
        read_key(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ValueError, match="is no public key in PEM"):
        read_key(b"-----BEGIN PUBLIC KEY-----\n")
