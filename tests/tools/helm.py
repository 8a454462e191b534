"""Runs the real helm with the arguments given, after building it when the machine has none.

`make check` lints the chart with it and must work from a fresh clone, without waiting for all the other tools.
"""

from __future__ import annotations

import os
import sys

from build import ToolError, build, locate, table

if __name__ == "__main__":
    try:
        build([table()["helm"]])
        os.execv(locate("helm"), ["helm", *sys.argv[1:]])  # noqa: S606  # helm takes over: its streams, its exit status
    except ToolError as error:
        sys.exit(str(error))
