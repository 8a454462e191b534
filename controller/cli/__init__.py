"""`assay` and `kubectl assay`: one thin file a command group.

This one holds what all of them share: the entry, errors as messages, and exit statuses.

Exit statuses: 0 good; 1 Violated under Deny (or a finding); 2 could not tell, or another error; 64 wrong usage.
"""

from __future__ import annotations

import sys

import click

from controller import __version__
from controller.cli.commands import COMMANDS, Lazy
from controller.errors import AssayError

EXIT_DENIED = 1
EXIT_ERROR = 2
EXIT_USAGE = 64  # sysexits.h EX_USAGE
EXIT_INTERRUPTED = 130


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
    try:
        status = root.main(args=arguments, prog_name="assay", standalone_mode=False)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.UsageError as exc:
        exc.show(sys.stderr)
        return EXIT_USAGE
    except click.ClickException as exc:
        exc.show(sys.stderr)
        return EXIT_ERROR
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except AssayError as exc:
        click.echo(f"assay: {exc}", err=True)
        return EXIT_ERROR
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    return status if isinstance(status, int) else 0
