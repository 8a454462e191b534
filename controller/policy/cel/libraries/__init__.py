"""Every function that expressions may call: one file a library, and the one table of all of them.

A library is a file with a `LIBRARY` whose functions are declared with their types, cost and text. It is added by a line
here, and nowhere else: the checker, the evaluation and `docs/reference/cel.md` read `TABLE`.
"""

from __future__ import annotations

from controller.policy.cel.libraries import (
    addresses,
    formats,
    images,
    lists,
    numbers,
    operators,
    patterns,
    quantities,
    sboms,
    semvers,
    sets,
    standard,
    texts,
    times,
    urls,
    vex,
    vulnerabilities,
)
from controller.policy.cel.overloads import Table

TABLE = Table(
    library.LIBRARY
    for library in (
        operators,
        standard,
        numbers,
        times,
        texts,
        lists,
        sets,
        patterns,
        urls,
        addresses,
        quantities,
        semvers,
        formats,
        sboms,
        vulnerabilities,
        vex,
        images,
    )
)
