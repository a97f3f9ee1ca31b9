"""All commands in one place."""

import logging
import sys
from typing import Annotated

import typer

from prefect_jobs import __version__
from prefect_jobs.cli.lazy import LazyGroup

app = typer.Typer(
    name="prefect-jobs",
    cls=LazyGroup,
    help="Long-running jobs on HTCondor and Dask, watched and steered in the Prefect UI.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"prefect-jobs {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Long-running jobs on HTCondor and Dask, watched and steered in the Prefect UI."""
    # Prefect sends an event for each block that is read, and warns at the end of a program if some are not sent yet.
    # That does not concern the user of this command.
    for name in ("prefect", "EventsWorker"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # A thread that reads one as the program ends would have its traceback shown.
    logging.getLogger("prefect.events").setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


def main() -> None:
    """The entry point of the console script."""
    app()
