"""Trust by TUF: a repository made by python-tuf, read by Assay's client, with all that may go wrong on the way."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadError

from controller.errors import AssayError, Unacceptable, Unavailable
from controller.model.policy import TufRepository
from controller.registry.addresses import AddressRules
from controller.settings import ClusterSettings, RegistrySettings, Seconds
from controller.verification import tuf
from controller.verification.tuf import Document
from tests.support.fixtures import recorded_trusted_root
from tests.support.tuf import TARGET, Repository, Served, dripping, serving

DOCUMENT = recorded_trusted_root("trusted_root.json")
NEXT = recorded_trusted_root("trusted_root.other.json")
ALLOWED = AddressRules(RegistrySettings(registry_allow_loopback=True)).check
NOW = datetime.now(UTC)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    repository = Repository()
    repository.publish(DOCUMENT)
    with serving(repository, tmp_path / "tls") as found:
        yield found


@pytest.fixture
def settings(served: Served, tmp_path: Path) -> ClusterSettings:
    return ClusterSettings(tuf_directory=str(tmp_path / "tuf"), tuf_ca_file=str(served.ca_file))


def refresh(served: Served, settings: ClusterSettings, *, now: datetime | None = None, **more: Any) -> Document:
    return tuf.refresh(served.described(**more), settings=settings, check_address=ALLOWED, now=now or datetime.now(UTC))


def refused(served: Served, settings: ClusterSettings, **more: Any) -> AssayError:
    with pytest.raises((Unacceptable, Unavailable)) as caught:
        refresh(served, settings, **more)
    return caught.value


def test_the_document_comes_with_its_times_and_is_kept(served: Served, settings: ClusterSettings) -> None:
    assert tuf.remembered(served.described(), settings=settings) is None
    found = refresh(served, settings)
    assert found.content == DOCUMENT
    # The first of its metadata to expire, and not the root's, which is good for a year.
    assert timedelta(days=6) < found.expires_at - found.refreshed_at <= timedelta(days=7)
    assert tuf.remembered(served.described(), settings=settings) == found


def test_a_new_version_replaces_the_old_and_a_rotated_root_is_followed(
    served: Served, settings: ClusterSettings
) -> None:
    refresh(served, settings)
    served.repository.rotate_root()
    served.repository.publish(NEXT)
    assert refresh(served, settings).content == NEXT


def test_a_target_may_lie_in_a_folder(served: Served, settings: ClusterSettings) -> None:
    served.repository.publish(NEXT, target="acme/roots/trusted_root.json")
    assert refresh(served, settings, target="acme/roots/trusted_root.json").content == NEXT


def _expired(repository: Repository) -> None:
    repository.publish(NEXT, expires=datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1))


def _rolled_back(repository: Repository) -> None:
    repository.version = 0
    repository.publish(NEXT)


def _foreign(repository: Repository) -> None:
    repository.publish(NEXT, signer=CryptoSigner.generate_ed25519())


def _foreign_root(repository: Repository) -> None:
    repository.rotate_root(signer=CryptoSigner.generate_ed25519())
    repository.publish(NEXT)


def _another_file(repository: Repository) -> None:
    repository.publish(NEXT, served=DOCUMENT[:-1] + b" ")


def _no_root(repository: Repository) -> None:
    repository.publish(b'{"mediaType": "application/json"}')


def _too_large(repository: Repository) -> None:
    repository.publish(NEXT)
    repository.override["/timestamp.json"] = (200, {}, b" " * 10_000_000)


def _no_metadata(repository: Repository) -> None:
    repository.override["/timestamp.json"] = (200, {}, b"<html>sign in</html>")


def _redirecting(repository: Repository) -> None:
    repository.override["/timestamp.json"] = (302, {"Location": "https://elsewhere.example/timestamp.json"}, b"")


def _without(repository: Repository) -> None:
    repository.publish(NEXT, target="another.json")


@pytest.mark.guarantee(1)
@pytest.mark.parametrize(
    "wrong",
    [
        _expired,
        _rolled_back,
        _foreign,
        _foreign_root,
        _another_file,
        _no_root,
        _too_large,
        _no_metadata,
        _redirecting,
        _without,
    ],
)
def test_what_does_not_verify_is_refused_and_the_last_good_copy_stays(
    served: Served, settings: ClusterSettings, wrong: Any
) -> None:
    good = refresh(served, settings)
    served.repository.publish(DOCUMENT)
    refresh(served, settings)
    wrong(served.repository)
    failure = refused(served, settings)
    assert (type(failure), failure.code) == (Unacceptable, "TufRefused")
    assert served.url in failure.message
    kept = tuf.remembered(served.described(), settings=settings)
    assert kept is not None
    assert kept.content == good.content


@pytest.mark.guarantee(12)
def test_no_answer_of_the_repository_is_quoted(served: Served, settings: ClusterSettings) -> None:
    served.repository.override["/timestamp.json"] = (500, {}, b"token=hunter2")
    failure = refused(served, settings)
    assert (failure.code, "hunter2" in str(failure)) == ("TufUnavailable", False)
    assert "500" in failure.message


def test_a_frozen_repository_is_refused_once_its_metadata_expired(served: Served, settings: ClusterSettings) -> None:
    refresh(served, settings)
    assert refused(served, settings, now=datetime.now(UTC) + timedelta(days=8)).code == "TufRefused"


@pytest.mark.guarantee(11)
def test_an_address_that_may_not_be_reached_is_not(served: Served, settings: ClusterSettings) -> None:
    rules = AddressRules(RegistrySettings())
    with pytest.raises(Unacceptable) as caught:
        tuf.refresh(served.described(), settings=settings, check_address=rules.check, now=NOW)
    assert caught.value.code == "AddressForbidden"
    assert served.repository.asked == []


def test_a_server_of_another_authority_is_not_spoken_to(served: Served, tmp_path: Path) -> None:
    own = ClusterSettings(tuf_directory=str(tmp_path / "tuf"))
    assert refused(served, own).code == "TufUnavailable"
    assert served.repository.asked == []


@pytest.mark.guarantee(10)
def test_a_repository_that_never_answers_is_given_up(served: Served, settings: ClusterSettings) -> None:
    brief = ClusterSettings(
        tuf_directory=settings.tuf_directory, tuf_ca_file=settings.tuf_ca_file, tuf_request_timeout=Seconds(0.3)
    )
    released = threading.Event()
    served.repository.before = lambda _path: released.wait(20)
    try:
        assert refused(served, brief).code == "TufUnavailable"
    finally:
        released.set()


@pytest.mark.guarantee(10)
@pytest.mark.parametrize("part", ["handshake", "headers", "body"])
def test_a_repository_that_drips_is_given_up(served: Served, settings: ClusterSettings, part: str) -> None:
    """Each byte comes in time, and the file never ends: the bound is on the file, not on the wait for a byte."""
    brief = ClusterSettings(
        tuf_directory=settings.tuf_directory, tuf_ca_file=settings.tuf_ca_file, tuf_request_timeout=Seconds(0.5)
    )
    with dripping(served, part) as url:
        repository = TufRepository(url, served.repository.pinned.decode())
        with pytest.raises(Unavailable, match="TufUnavailable"):
            tuf.refresh(repository, settings=brief, check_address=ALLOWED, now=NOW)


def test_a_repository_that_answers_slowly_is_given_up_as_a_whole(
    served: Served, settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuf, "MAX_REFRESH", 0.0)
    assert refused(served, settings).code == "TufUnavailable"


def test_two_refreshes_never_write_beside_each_other(served: Served, settings: ClusterSettings) -> None:
    folder = tuf._folder(served.described(), settings)
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert refused(served, settings).code == "TufUnavailable"
        assert tuf.remembered(served.described(), settings=settings) is None
    assert refresh(served, settings).content == DOCUMENT


def test_a_server_that_is_down_is_unavailable(tmp_path: Path) -> None:
    repository = Repository()
    with serving(repository, tmp_path / "tls") as gone:
        pass
    settings = ClusterSettings(tuf_directory=str(tmp_path / "tuf"), tuf_ca_file=str(gone.ca_file))
    failure = refused(gone, settings)
    assert (failure.code, "ProtocolError" in failure.message) == ("TufUnavailable", True)


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"content": 1}'])
def test_a_kept_copy_that_was_damaged_is_none(served: Served, settings: ClusterSettings, damage: bytes) -> None:
    refresh(served, settings)
    (kept,) = settings.tuf_folder().glob("*/document.json")
    kept.write_bytes(damage)
    assert tuf.remembered(served.described(), settings=settings) is None
    assert refresh(served, settings).content == DOCUMENT


def test_a_kept_copy_whose_content_was_changed_is_none(served: Served, settings: ClusterSettings) -> None:
    refresh(served, settings)
    (kept,) = settings.tuf_folder().glob("*/document.json")
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"content": NEXT.decode()}))
    assert tuf.remembered(served.described(), settings=settings) is None


def test_another_pinned_root_shares_nothing(served: Served, settings: ClusterSettings, tmp_path: Path) -> None:
    refresh(served, settings)
    other = Repository()
    with serving(other, tmp_path / "other") as another:
        strange = another.described()
    pinned = served.described()
    swapped = type(pinned)(pinned.url, strange.root, TARGET)
    assert tuf.remembered(swapped, settings=settings) is None
    with pytest.raises(Unacceptable, match="TufRefused"):
        tuf.refresh(swapped, settings=settings, check_address=ALLOWED, now=NOW)


@pytest.mark.guarantee(10)
def test_a_target_may_be_as_long_as_its_bound_and_no_longer(served: Served, settings: ClusterSettings) -> None:
    for most, counts in ((len(DOCUMENT), True), (len(DOCUMENT) - 1, False)):
        bounded = dataclasses.replace(settings, tuf_max_bytes=most)
        if counts:
            assert refresh(served, bounded).content == DOCUMENT
        else:
            assert refused(served, bounded).code == "TufRefused"


def test_a_refusal_says_what_is_wrong_with_the_document(served: Served, settings: ClusterSettings) -> None:
    for content, said in (
        (b'{"mediaType": "application/json"}', "has no mediaType"),
        (
            b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": 7}',
            "that Assay can read",
        ),
    ):
        served.repository.publish(content)
        assert said in refused(served, settings).message


@pytest.mark.guarantee(11)
@pytest.mark.parametrize("url", ["http://127.0.0.1:9/timestamp.json", "https:///timestamp.json", "file:///etc/passwd"])
def test_nothing_but_https_is_spoken(settings: ClusterSettings, url: str) -> None:
    fetcher = tuf._Fetcher(settings, ALLOWED)
    with pytest.raises(DownloadError, match="only https is spoken"):
        fetcher._fetch(url)
    fetcher.close()
