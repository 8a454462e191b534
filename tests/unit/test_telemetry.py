"""What is said on standard error is one line an event, whatever names are in it, and holds no secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from controller import telemetry
from controller.errors import Unavailable


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def said(form: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    telemetry.configure_logging(level, form, stream)
    return stream


def test_a_line_of_json_is_one_object() -> None:
    stream = said("json")
    logging.getLogger("controller.x").warning("refused %s", "web\nlevel: info")
    (line,) = stream.getvalue().splitlines()
    parsed = json.loads(line)
    assert parsed.pop("time").endswith("+00:00")
    assert parsed == {"level": "warning", "logger": "controller.x", "message": "refused web\nlevel: info"}


def test_a_name_from_outside_cannot_write_a_line_of_its_own() -> None:
    stream = said("text")
    logging.getLogger("x").warning("refused %s", "web\n12:00:00 info    allowed \x1b[2K \u202e \ud800")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert r"web\n12:00:00" in stream.getvalue()


@pytest.mark.guarantee(12)
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_shows_where_and_not_what(form: str) -> None:
    """A library's message may hold a URL with a password; Assay's own hold no secret."""
    stream = said(form)
    secret = "https://alice:hunter" + "2@ghcr.io"
    try:
        try:
            raise ValueError(secret)
        except ValueError as exc:
            raise Unavailable("RegistryUnavailable", "ghcr.io does not answer") from exc
    except Unavailable:
        logging.getLogger("x").exception("a fault")
    text = stream.getvalue()
    assert "hunter2" not in text
    assert "RegistryUnavailable: ghcr.io does not answer" in text
    assert "ValueError" in text
    assert "test_telemetry.py" in text


def test_libraries_that_print_what_they_evaluate_stay_silent() -> None:
    stream = said("text", "debug")
    logging.getLogger("Evaluator").debug("activation %s", "hunter2")
    logging.getLogger("celpy").info("activation %s", "hunter2")
    logging.getLogger("controller").debug("own")
    assert "hunter2" not in stream.getvalue()
    assert "own" in stream.getvalue()


def test_metrics_are_exposed_in_prometheus_form_under_one_prefix() -> None:
    text = telemetry.exposition().decode()
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    assert families
    assert all(name.startswith("assay_") for name in families)
