"""What tests of several layers share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import postgres

# How long an example takes says something about the machine, and nothing about what is tested.
settings.register_profile(
    "any machine",
    parent=settings.get_profile(settings.get_current_profile_name()),  # in CI another than elsewhere
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")

RIG = (
    *("admission", "exceptions", "platforms", "policy_webhook", "private", "references", "resource_facts"),
    *("sightings", "tuf"),
)
TOGETHER = {
    "the estate": ("tests/contract/estate/",),
    "the rig": tuple(f"tests/e2e/test_{name}.py" for name in RIG),
}
"""Files that share what takes long to set up, a minute for the estate (`loadfile` may give each to another process)."""


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Postgres]:
    """A PostgreSQL for all tests that do it no harm; whoever kills or fills one has a server of its own."""
    with postgres.running() as running:
        yield running


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Side by side by files (`--dist loadfile`), but for those that are better off `TOGETHER`."""
    from xdist.scheduler import LoadFileScheduling  # not there where nothing runs side by side

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((what for what, files in TOGETHER.items() if file.startswith(files)), file)

    return Together(config, log)
