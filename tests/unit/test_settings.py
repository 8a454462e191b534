"""Settings: one order of sources, every name known, every value of its type, every one documented."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import pytest

from controller import settings
from controller.errors import ConfigurationError
from controller.model.decision import NoMatch, Templates
from controller.settings import Seconds, Settings, load, quotable


def from_environment(**variables: str) -> Settings:
    return load(environment=variables)


def from_file(folder: Path, content: str) -> Settings:
    file = folder / "assay.yaml"
    file.write_text(content)
    return load(environment={}, file=file)


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "assay.yaml"
    file.write_text("webhook_port: 1\nwebhook_host: file\ncluster_name: file\n")
    environment = {"ASSAY_WEBHOOK_PORT": "2", "ASSAY_WEBHOOK_HOST": "environment"}
    flags = {"webhook_port": 3, "cluster_name": None}
    loaded = load(flags=flags, environment=environment, file=file)
    assert loaded.webhook.webhook_port == 3
    assert loaded.webhook.webhook_host == "environment"
    assert loaded.review.cluster_name == "file"
    assert loaded.webhook.webhook_max_reviews == Settings().webhook.webhook_max_reviews


def test_nothing_given_is_every_default() -> None:
    assert load(environment={"PATH": "/bin", "NOT_ASSAY_X": "1"}) == Settings()


@pytest.mark.parametrize("source", ["flag", "environment", "file"])
def test_a_name_that_is_not_known_is_an_error_that_says_where_it_stood(source: str, tmp_path: Path) -> None:
    file = tmp_path / "assay.yaml"
    file.write_text("no_mach: Deny\n")
    given: dict[str, dict[str, Any]] = {
        "flag": {"flags": {"no_mach": "Deny"}, "environment": {}},
        "environment": {"environment": {"ASSAY_NO_MACH": "Deny"}},
        "file": {"environment": {}, "file": file},
    }
    with pytest.raises(ConfigurationError, match="SettingUnknown") as caught:
        load(**given[source])
    assert "no_mach" in caught.value.message
    assert {"flag": "command line", "environment": "ASSAY_NO_MACH", "file": "assay.yaml"}[
        source
    ] in caught.value.message


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("ASSAY_REGISTRY_ALLOW_LOOPBACK", "true", True),
        ("ASSAY_REGISTRY_ALLOW_LOOPBACK", "Yes", True),
        ("ASSAY_REGISTRY_ALLOW_LOOPBACK", "1", True),
        ("ASSAY_REGISTRY_ALLOW_LOOPBACK", "0", False),
        ("ASSAY_REGISTRY_ALLOW_LOOPBACK", "no", False),
        ("ASSAY_WEBHOOK_TIMEOUT", "500ms", 0.5),
        ("ASSAY_WEBHOOK_TIMEOUT", "7", 7.0),
        ("ASSAY_WEBHOOK_TIMEOUT", "2.5s", 2.5),
        ("ASSAY_WEBHOOK_TIMEOUT", "5m", 300.0),
        ("ASSAY_WEBHOOK_TIMEOUT", "24h", 86400.0),
        ("ASSAY_WEBHOOK_TIMEOUT", "14d", 14 * 86400.0),
        ("ASSAY_WEBHOOK_PORT", "0", 0),
        ("ASSAY_WEBHOOK_NAMES", " a , b,,", ("a", "b")),
        ("ASSAY_WEBHOOK_NAMES", "", ()),
        ("ASSAY_NO_MATCH", "Deny", "Deny"),
    ],
)
def test_text_becomes_the_settings_type(variable: str, text: str, value: Any) -> None:
    loaded = from_environment(**{variable: text})
    name = variable.removeprefix("ASSAY_").lower()
    section = settings.names()[name][0]
    assert getattr(getattr(loaded, section), name) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ASSAY_REGISTRY_ALLOW_LOOPBACK", ""),
        ("ASSAY_REGISTRY_ALLOW_LOOPBACK", "maybe"),
        ("ASSAY_WEBHOOK_TIMEOUT", ""),
        ("ASSAY_WEBHOOK_TIMEOUT", "-1s"),
        ("ASSAY_WEBHOOK_TIMEOUT", "1w"),
        ("ASSAY_WEBHOOK_TIMEOUT", "nan"),
        ("ASSAY_WEBHOOK_TIMEOUT", "inf"),
        ("ASSAY_WEBHOOK_PORT", "-1"),
        ("ASSAY_WEBHOOK_PORT", "1.5"),
        ("ASSAY_WEBHOOK_PORT", "1_000"),
        ("ASSAY_WEBHOOK_PORT", "٣"),
        ("ASSAY_WEBHOOK_PORT", "9" * 5000),
        ("ASSAY_NO_MATCH", "deny"),
        ("ASSAY_NO_MATCH", ""),
        ("ASSAY_TEMPLATES", "Denied"),
        ("ASSAY_LOG_LEVEL", "loud"),
        ("ASSAY_LOG_FORMAT", "xml"),
    ],
)
def test_a_value_of_another_type_is_an_error_and_never_the_default(variable: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match="SettingInvalid") as caught:
        from_environment(**{variable: text})
    assert variable in caught.value.message


@pytest.mark.parametrize(
    "line",
    [
        "no_match:",
        "cluster_name: null",
        "cluster_name: true",
        "cluster_name: [a]",
        "webhook_port: 1.5",
        "webhook_port: true",
        "webhook_timeout: true",
        "webhook_timeout: .nan",
        "webhook_timeout: .inf",
        "webhook_names: {a: b}",
        "webhook_names: 7",
        "webhook_names: [null]",
        "registry_allow_loopback: [true]",
        "database_url: null",
    ],
)
def test_a_yaml_value_of_another_type_is_an_error(line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SettingInvalid"):
        from_file(tmp_path, line)


def test_a_file_of_yaml_values_is_read(tmp_path: Path) -> None:
    loaded = from_file(
        tmp_path, "webhook_port: 7\nwebhook_timeout: 2\nwebhook_names: [a, b]\nregistry_allow_private: false\n"
    )
    assert loaded.webhook.webhook_port == 7
    assert loaded.webhook.webhook_timeout == Seconds(2)
    assert loaded.webhook.webhook_names == ("a", "b")
    assert loaded.registry.registry_allow_private is False


@pytest.mark.parametrize("content", ["[a]", "a: [", "7: x", "\x00"])
def test_a_file_that_is_no_map_of_names_is_an_error(content: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ConfigUnreadable"):
        from_file(tmp_path, content)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ConfigUnreadable"):
        load(environment={}, file=tmp_path / "none.yaml")


def test_what_kubernetes_puts_beside_a_service_named_assay_is_no_setting() -> None:
    """`enableServiceLinks` is on by default: such variables must neither stop Assay nor set anything."""
    links = {
        "ASSAY_SERVICE_HOST": "10.0.0.11",
        "ASSAY_SERVICE_PORT": "443",
        "ASSAY_SERVICE_PORT_HTTPS": "443",
        "ASSAY_PORT": "tcp://10.0.0.11:443",
        "ASSAY_PORT_443_TCP": "tcp://10.0.0.11:443",
        "ASSAY_PORT_443_TCP_PROTO": "tcp",
        "ASSAY_PORT_443_TCP_PORT": "443",
        "ASSAY_PORT_443_TCP_ADDR": "10.0.0.11",
        "ASSAY_WEBHOOK_SERVICE_HOST": "10.0.0.12",
        "ASSAY_WEBHOOK_PORT": "tcp://10.0.0.12:443",
        "ASSAY_WEBHOOK_PORT_443_TCP_ADDR": "10.0.0.12",
    }
    assert load(environment=links) == Settings()


def test_no_error_quotes_a_secret() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(flags={"database_url": ["postgresql://u:hunter2@db"]}, environment={})
    assert "hunter2" not in str(caught.value)


def test_every_setting_has_one_name_a_text_and_a_type_that_can_be_given() -> None:
    hints = typing.get_type_hints(Settings)
    fields = [f for section in dataclasses.fields(Settings) for f in dataclasses.fields(hints[section.name])]
    names = settings.names()
    assert len(names) == len(fields), "two sections have a setting of the same name"
    for field in fields:
        text = field.metadata["help"]
        assert text.endswith("."), f"{field.name} needs a sentence"
        section = hints[names[field.name][0]]
        kind = typing.get_type_hints(section)[field.name]
        assert kind in {str, int, bool, Seconds, tuple[str, ...]}, f"{field.name} has a type that nothing converts to"


@pytest.mark.parametrize("name", settings.names())
def test_every_setting_is_documented(name: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
    assert re.search(rf"\b{name}\b", page.read_text()), f"run `make docs`: {page.name} does not name {name}"


def test_the_choices_of_settings_are_the_words_of_the_model() -> None:
    names = settings.names()
    assert set(names["no_match"][1].metadata["choices"]) == set(NoMatch)
    assert set(names["templates"][1].metadata["choices"]) == set(Templates)
    for _, field in names.values():
        assert not field.metadata["choices"] or field.default in field.metadata["choices"]


@pytest.mark.guarantee(12)
def test_what_stands_before_an_at_sign_is_not_quoted() -> None:
    written = "docker.io=https://jane:pw@mirror.example key+1 https://s3cr3t@witness.example/x a@b"
    assert quotable(written) == "docker.io=…@mirror.example key+1 …@witness.example/x …@b"
