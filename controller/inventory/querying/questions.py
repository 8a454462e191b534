"""Asks a question of one's own, of whichever database it is."""

from __future__ import annotations

import threading

from sqlalchemy.engine import URL

from controller.errors import ConfigurationError, Unavailable
from controller.inventory.database import engines
from controller.inventory.querying import postgresql, sqlite
from controller.inventory.querying.answer import Answer, Bounds
from controller.inventory.querying.statement import check
from controller.settings import InventorySettings

AT_ONCE = 2  # questions under way in one process: each may be the costliest there is


class OwnQuestions:
    """Questions in SQL over the stable views (`views`). Blocking."""

    def __init__(self, settings: InventorySettings) -> None:
        self._url: URL = engines.parse(settings.url())
        self._query_url = settings.database_query_url
        self._bounds = Bounds(settings.query_timeout, settings.query_max_rows, settings.query_max_bytes)
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def ask(self, sql: str, *, explain: bool = False) -> Answer:
        """The answer, or how the database would find it.

        Raises `InputError` (`QueryRefused`, `QueryMalformed`, `QueryTooCostly`), `Unavailable` (`QueriesBusy`,
        `DatabaseUnavailable`), `ConfigurationError` (`QueryRoleMissing`, `QueryRoleTooWide`).
        """
        statement = check(sql)
        if not self._places.acquire(blocking=False):
            raise Unavailable("QueriesBusy", f"{AT_ONCE} such questions are being answered: ask again")
        try:
            file = engines.sqlite_file(self._url)
            if file is not None:
                return sqlite.ask(file, f"EXPLAIN QUERY PLAN {statement}" if explain else statement, self._bounds)
            if not self._query_url:
                raise ConfigurationError(
                    "QueryRoleMissing",
                    "on PostgreSQL such questions need a role that reads the views alone (database_query_url):"
                    " `assay inventory roles` prints one",
                )
            return postgresql.ask(engines.parse(self._query_url), statement, self._bounds, explain=explain)
        finally:
            self._places.release()
