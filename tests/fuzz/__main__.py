"""`python -m tests.fuzz`: fuzzes the readers of strangers' bytes for some seconds, or tries a kept input again.

Exit status 1 if something did not hold. Once that is mended, the file belongs into `tests/fuzz/findings`, where every
test run tries it again.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType

from cryptography.utils import CryptographyDeprecationWarning

from tests.fuzz.run import Failure, fuzz, replay
from tests.fuzz.targets import TARGETS, target

HANGS = 20  # seconds: an input that takes as long is a failure
FOLDER = Path("fuzz-failures")


def main() -> int:
    """Fuzz, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="the same seed, the same inputs")
    parser.add_argument("--target", action="append", choices=[known.name for known in TARGETS], help="only this one")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="try a kept input again")
    arguments = parser.parse_args()
    signal.signal(signal.SIGALRM, _hangs)
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # serial numbers, which nothing reads
    if arguments.replay:
        signal.alarm(HANGS)
        failure = replay(arguments.replay)
        return _told(failure, arguments.replay) if failure is not None else 0
    targets = [target(name) for name in arguments.target or ()] or TARGETS
    print(f"seed {arguments.seed}, {arguments.seconds:g} s: {', '.join(aim.name for aim in targets)}", flush=True)
    end = time.monotonic() + arguments.seconds

    def more(_: int) -> bool:
        signal.alarm(HANGS)
        return time.monotonic() < end

    count, failure = fuzz(arguments.seed, targets, more=more)
    signal.alarm(0)
    print(f"{count} inputs")
    return _told(failure, failure.write(FOLDER)) if failure is not None else 0


def _told(failure: Failure, file: Path) -> int:
    traceback.print_exception(failure.error)
    print(f"FAILED: {failure.target.name}; again with: python -m tests.fuzz --replay {file}", file=sys.stderr)
    return 1


def _hangs(_: int, __: FrameType | None) -> None:
    raise TimeoutError(f"an input took longer than {HANGS} seconds")


if __name__ == "__main__":
    sys.exit(main())
