"""What an estate's answers are, from its facts alone: loops over plain values, no database, none of the program's code.

It is slow and simple on purpose. Each method is one question; `as_of` is what was true then, `known_at` what had been
recorded by then (None: now, and everything). With a `namespace` an answer holds what ran or was decided there, and of
images what the namespace's own and the cluster's policies found.
"""

from __future__ import annotations

from tests.bench.estate.oracle.admissions import Admissions
from tests.bench.estate.oracle.assets import Asset
from tests.bench.estate.oracle.documents import Contained
from tests.bench.estate.oracle.exports import Exports
from tests.bench.estate.oracle.findings import Found
from tests.bench.estate.oracle.past import Ran, Used
from tests.bench.estate.oracle.refusals import Refused

__all__ = ["Asset", "Contained", "Found", "Oracle", "Ran", "Refused", "Used"]


class Oracle(Admissions, Exports):
    """Answers about one estate."""
