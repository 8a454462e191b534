"""`--trusted-root`: several, by name, and errors that say which one and which file."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.app import read_trust_roots
from controller.errors import ConfigurationError

DOCUMENT = b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'


def test_several_are_read_each_under_its_name_and_one_without_is_public_good(tmp_path: Path) -> None:
    file = tmp_path / "root.json"
    file.write_bytes(DOCUMENT)
    roots = read_trust_roots([str(file), f"own={file}", f"github={file}"])
    assert {name: root.content for name, root in roots.items()} == dict.fromkeys(
        ("public-good", "own", "github"), DOCUMENT
    )
    assert {root.name for root in roots.values()} == roots.keys()


@pytest.mark.parametrize(
    ("texts", "code", "said"),
    [
        (["={good}"], "SettingInvalid", "neither NAME=FILE nor FILE"),
        (["own="], "SettingInvalid", "neither NAME=FILE nor FILE"),
        ([""], "SettingInvalid", "neither NAME=FILE nor FILE"),
        (["own={good}", "own={good}"], "SettingInvalid", "own is named twice"),
        (["{good}", "public-good={good}"], "SettingInvalid", "public-good is named twice"),
        (["own={folder}/none.json"], "TrustRootUnreadable", "trust root own: {folder}/none.json: No such file"),
        (["own={folder}"], "TrustRootUnreadable", "trust root own: {folder}: Is a directory"),
        (["own={bad}"], "TrustRootMalformed", "trust root own: {bad} is no JSON"),
        (["own=/dev/zero"], "TrustRootMalformed", "trust root own: /dev/zero is no JSON object of at most"),
    ],
)
def test_one_that_cannot_be_read_is_named_with_its_file(tmp_path: Path, texts: list[str], code: str, said: str) -> None:
    names = {"good": tmp_path / "good.json", "bad": tmp_path / "bad.json", "folder": tmp_path}
    names["good"].write_bytes(DOCUMENT)
    names["bad"].write_bytes(b"{")
    with pytest.raises(ConfigurationError) as raised:
        read_trust_roots(text.format(**names) for text in texts)
    assert raised.value.code == code
    assert said.format(**names) in raised.value.message
