"""The archive: what is written is what tar reads, and only what is written so is read."""

from __future__ import annotations

import io
import tarfile

import pytest

from controller.errors import InputError
from controller.inventory.bundle.archive import Archive, File, is_path, write

FILES = [File("README.md", b"read me"), File("evidence/a.json", b""), File("records/b.json", bytes(1500))]


def archived(*files: File) -> bytes:
    return b"".join(write(files))


def test_it_is_the_tar_that_everybody_reads_and_the_same_each_time() -> None:
    content = archived(*FILES)
    assert content == archived(*FILES)
    with tarfile.open(fileobj=io.BytesIO(content)) as read:
        found = [(member.name, member.mode, member.mtime, member.isreg()) for member in read]
        assert found == [(file.path, 0o644, 0, True) for file in FILES]
        assert [read.extractfile(file.path).read() for file in FILES] == [file.content for file in FILES]  # type: ignore[union-attr]


def test_it_is_read_back_whole() -> None:
    read = Archive(io.BytesIO(archived(*FILES)))
    assert list(read) == [file.path for file in FILES]
    assert [read.read(file.path) for file in FILES] == [file.content for file in FILES]
    assert [read.sha256(file.path) for file in FILES] == [file.sha256 for file in FILES]
    with pytest.raises(InputError, match="BundleIncomplete"):
        read.read("evidence/c.json")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "../a",
        "a/../b",
        "a/b/c",
        "a//b",
        ".a",
        "a/.b",
        "a\nb",
        "a b",
        "ä",
        "a/",
        "x" * 101,
        "-a",
        "a\\b",
        "C:a",
    ],
)
def test_a_path_that_leads_anywhere_is_neither_written_nor_read(path: str) -> None:
    assert not is_path(path)
    with pytest.raises(ValueError, match="no path in a bundle"):
        archived(File(path, b""))
