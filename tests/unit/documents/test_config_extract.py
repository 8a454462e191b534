"""What of an image's configuration is recorded: words of a fixed list of fields, and no value of its environment."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.documents.config_extract import LABELS, MAX_LABEL, extract
from controller.model.bases import BASE_DIGEST, BASE_NAME, MAX_BASE_NAME
from controller.model.image import ConfigExtract

DIGEST = "sha256:" + "ab" * 32
SECRET_NAMES = """PASSWORD DB_PASSWORD dbPassword DBPASS MYSQL_PWD GITHUB_TOKEN githubToken NPMTOKEN TOKEN2 API_KEY
    apikey GPG_KEYS SECRET CLIENTSECRET1 AWS_CREDENTIALS BASIC_AUTH PIN SENTRY_DSN"""
OTHERS = """VERBOSE=1 DEBUG=true LANG=en_US APP_VERSION=1.2.3 PWD=/ TOKENIZERS_PARALLELISM=true AUTHOR=x KEYBOARD=us
    API_KEY="""
VERSION = "org.opencontainers.image.version"


def labels(told: Any, env: Any = None) -> dict[str, str]:
    return dict(extract({}, {"Labels": told, "Env": env}, created=None).labels)


def test_what_it_is_and_where_it_comes_from_is_recorded() -> None:
    document = {"os": "windows", "architecture": "arm64", "variant": "v8", "os.version": "10.0.20348.2762"}
    told = dict.fromkeys(LABELS, "x") | {"team": "shop", BASE_NAME: "debian:12", BASE_DIGEST: DIGEST}
    found = extract(document, {"User": "65532:65532", "Labels": told}, created=datetime(26, 1, 2, tzinfo=UTC))
    assert (found.os, found.architecture, found.variant, found.os_version) == tuple(document.values())
    assert (found.user, found.created) == ("65532:65532", "0026-01-02T00:00:00Z")
    assert dict(found.labels) == {name: value for name, value in told.items() if name != "team"}


@pytest.mark.guarantee(12)
@pytest.mark.parametrize(
    "env", [["TOKEN=hunter2-hunter2"], ["PLAIN=hunter2-hunter2"], ["hunter2-hunter2"], ["A=b=hunter2-hunter2"]]
)
def test_a_word_that_holds_an_environment_value_is_left_out(env: list[str]) -> None:
    secret = env[0].removeprefix("TOKEN=").removeprefix("PLAIN=").removeprefix("A=")
    assert labels({VERSION: f"1-{secret}"}, env) == {}
    assert labels({VERSION: "1-2"}, env) == {VERSION: "1-2"}
    assert extract({"os.version": secret}, {"User": secret, "Env": env}, created=None) == ConfigExtract()


@pytest.mark.guarantee(12)
@pytest.mark.parametrize(
    "name",
    SECRET_NAMES.split(),
)
def test_a_short_value_of_a_variable_that_is_named_as_a_secret_is_left_out_where_it_is_a_word(name: str) -> None:
    for written in ("abc", "1-abc", "x/abc/y", "ABC", "x (abc)", "%61bc"):
        assert labels({VERSION: written}, [f"{name}=abc"]) == {}, written
    assert labels({VERSION: "abcd"}, [f"{name}=abc"]) == {VERSION: "abcd"}


@pytest.mark.guarantee(12)
@pytest.mark.parametrize("entry", ["abc", "=abc", "DATABASE_URL=postgres://app:abc@db/x", "PROXY=http://abc@proxy"])
def test_a_short_value_without_a_name_and_a_password_in_a_url_are_secrets(entry: str) -> None:
    assert labels({VERSION: "1-abc"}, [entry]) == {}
    assert extract({"os.version": "abc"}, {"User": "abc", "Env": [entry]}, created=None) == ConfigExtract()


@pytest.mark.parametrize(
    "entry",
    OTHERS.split(),
)
def test_a_short_value_of_any_other_variable_takes_nothing_away(entry: str) -> None:
    told = {VERSION: "1.2.3", LABELS[0]: "1", LABELS[5]: "true en_US us x /"}
    assert labels(told, [entry]) == told


@pytest.mark.guarantee(12)
@pytest.mark.parametrize("env", ["TOKEN=x", {"TOKEN": "x"}, ["A=b", 1], 7, [None]])
def test_where_the_environment_cannot_be_read_no_word_is_recorded(env: Any) -> None:
    assert (
        extract({"os": "linux"}, {"User": "1", "Labels": {VERSION: "1"}, "Env": env}, created=None) == ConfigExtract()
    )


@pytest.mark.parametrize(
    ("written", "recorded"),
    [
        ("https://jane:pw@github.com/acme/app.git?token=pw#pw", "https://github.com/acme/app.git"),
        ("git+ssh://git@github.com/acme/app", "git+ssh://github.com/acme/app"),
        ("git@github.com:acme/app", "git@github.com:acme/app"),
        ("jane:pw@github.com/acme/app", None),
        ("jane:p/w@github.com/acme/app", None),
        ("jane:p w@github.com", None),
        ("jane:pw@host/x https://y", None),
        ("https://jane:p/w@host/x", None),
        ("ghp_4bC@github.com/acme/app", None),
        ("//s3cr3t@github.com/acme/app", None),
        ("https:s3cr3t@github.com/acme/app", None),
        ("https://s3cr3t@github.com/acme/app", "https://github.com/acme/app"),
        ("https://s3cr3t:@github.com/acme/app", "https://github.com/acme/app"),
        ("https://a.example/x https://s3cr3t@b.example/y", "https://a.example/x https://b.example/y"),
        ("https://jane:p?w@host/x", None),
        ("https://jane:p#w@host/x", None),
        ("jane%3Apw%40host/x", None),
        ("jane%253Apw%2540host/x", None),
        ("git@s3cr3t@host:acme/app", None),
        ("Jane <jane@acme.example>", None),
        ("@acme/app", "@acme/app"),
        (f"docker.io/acme/app:1@{DIGEST}", f"docker.io/acme/app:1@{DIGEST}"),
        ("github.com/acme/app?token=s3cr3t", "github.com/acme/app"),
        ("acme.blob.core.windows.net/x?sv=2020&sig=s3cr3t", "acme.blob.core.windows.net/x"),
        ("github.com/acme/app#s3cr3t", "github.com/acme/app"),
        ("C# in a day?", "C# in a day?"),
        ("https://host/x&sig=s3cr3t", None),
        ("https://host/x;jsessionid=1;access_token=s3cr3t", None),
        ("https://host/x%3Ftoken%3Ds3cr3t", None),
        ("1.2 (api-key: s3cr3t)", None),
        ("docker.io/acme/keys:1", "docker.io/acme/keys:1"),
        ("Bearer s3cr3t-1", None),
        ("Basic authentication server", "Basic authentication server"),
        ("https://host/glpat-s3cr3t/x", None),
        ("1.2-ghp_s3cr3t", None),
        ("eyJhbGciOiJIUzI1NiJ9.e30.x", None),
        ("a\nb", None),
        ("\x1b[2K", None),
        ("x" * (MAX_LABEL + 1), None),
        (["x"], None),
        (None, None),
    ],
)
def test_a_label_is_one_bounded_line_without_a_password(written: Any, recorded: str | None) -> None:
    assert labels({VERSION: written}) == ({VERSION: recorded} if recorded else {})


@pytest.mark.parametrize(
    ("told", "recorded"),
    [
        ({BASE_NAME: "debian:12", BASE_DIGEST: DIGEST}, {BASE_NAME: "debian:12", BASE_DIGEST: DIGEST}),
        ({BASE_NAME: "debian:12", BASE_DIGEST: "sha512:00"}, {BASE_NAME: "debian:12"}),
        ({BASE_NAME: "https://jane:pw@x/y", BASE_DIGEST: DIGEST}, {BASE_DIGEST: DIGEST}),
        ({BASE_NAME: "x" * (MAX_BASE_NAME + 1)}, {}),
        ({BASE_NAME: "", BASE_DIGEST: ""}, {}),
        ({BASE_NAME: 1, BASE_DIGEST: []}, {}),
    ],
)
def test_a_base_image_is_claimed_by_an_images_name_and_a_digest_or_not_at_all(
    told: dict[str, Any], recorded: dict[str, str]
) -> None:
    assert labels(told) == recorded


@pytest.mark.guarantee(12)
def test_a_base_image_is_not_claimed_with_an_environment_value() -> None:
    env = ["TOKEN=S3cret-Token-123456"]
    assert labels({BASE_NAME: "registry.example/x:S3cret-Token-123456", BASE_DIGEST: DIGEST}, env) == {
        BASE_DIGEST: DIGEST
    }


@pytest.mark.parametrize("unit", ["x://a", "a:", "x://", "a:a@"])
def test_a_label_of_a_megabyte_is_left_out_unread(unit: str) -> None:
    """By this thread's CPU time: patterns that go over it again and again took a minute for a tenth of it.

    The best of three: a machine that stands still is taken for work at times.
    """

    def took() -> float:
        began = time.thread_time()
        assert labels({VERSION: unit * 250_000}) == {}
        return time.thread_time() - began

    assert any(took() < 5 for _ in range(3))


plain = st.none() | st.booleans() | st.integers() | st.text()
anything = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
fields = st.sampled_from(["os", "architecture", "variant", "os.version", "User", "Labels", "Env"])


@given(st.dictionaries(fields, anything), st.dictionaries(st.sampled_from([*LABELS, BASE_NAME, BASE_DIGEST]), anything))
def test_whatever_it_holds_it_decides_nothing_and_is_bounded(config: dict[str, Any], told: dict[str, Any]) -> None:
    found = extract(config, config | {"Labels": told}, created=None)
    assert len(json.dumps(dict(found.labels))) < 8192
