"""`assay` and `kubectl assay`: one thin file a command group.

This one holds what all of them share: the entry, errors as messages, and exit statuses.

Exit statuses: 0 good; 1 Violated under Deny (or a finding); 2 could not tell, or another error; 64 wrong usage; 130
interrupted; 141 whoever read the output went away, so that nothing was answered (both as a shell has them).
"""

from __future__ import annotations

import errno
import os
import sys

import click
from click.shell_completion import shell_complete

from controller import __version__
from controller.cli.commands import COMMANDS, Lazy
from controller.cli.writing import UnwritableError, telling_apart
from controller.errors import AssayError, ConfigurationError

EXIT_DENIED = 1
EXIT_ERROR = 2
EXIT_USAGE = 64  # sysexits.h EX_USAGE
EXIT_INTERRUPTED = 130  # 128 and SIGINT
EXIT_UNREAD = 141  # 128 and SIGPIPE
_COMPLETE = "_ASSAY_COMPLETE"  # by which a shell asks click what may follow


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, cls=Lazy, places=COMMANDS
)
@click.version_option(__version__, prog_name="assay")
def root() -> None:
    """No image runs without evidence, and for every image that ever ran the evidence can be shown."""


def main() -> None:
    """The program."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit status. Messages go to standard error."""
    if sys.stdout is None:  # who started it closed it: an answer that nobody wants is no failure, and no finding
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    if asked := os.environ.get(_COMPLETE):
        return shell_complete(root, {}, "assay", _COMPLETE, asked)
    if (own := sys.__stdout__) is not None and sys.stdout is own:
        sys.stdout = telling_apart(own)
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except UnwritableError as exc:
        _let_go()
        if exc.errno == errno.EPIPE:
            return EXIT_UNREAD
        click.echo(f"assay: OutputUnwritable: the output is not whole: {exc.strerror}", err=True)
        return EXIT_ERROR
    except OSError as exc:  # anything else that the system refused: nothing was found by that
        what = f"{exc.filename}: " if exc.filename else ""
        error = ConfigurationError("SystemRefused", f"{what}{exc.strerror or type(exc).__name__}")
        click.echo(f"assay: {error}", err=True)
        return EXIT_ERROR
    return status


def _run(arguments: list[str]) -> int:
    try:
        # Not click's `main`, which ends with 1 when nobody reads on: that is the status of a finding.
        with root.make_context("assay", list(arguments)) as context:
            status = root.invoke(context)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.UsageError as exc:
        exc.show(sys.stderr)
        return EXIT_USAGE
    except click.ClickException as exc:
        exc.show(sys.stderr)
        return EXIT_ERROR
    except (click.Abort, KeyboardInterrupt):
        click.echo(err=True)  # after a terminal's ^C
        return EXIT_INTERRUPTED
    except AssayError as exc:
        click.echo(f"assay: {exc}", err=True)
        return EXIT_ERROR
    return status if isinstance(status, int) else 0


def _let_go() -> None:
    """Give up standard output, so that what is still to be written to it is no error as the program ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
