"""All commands in one place."""

import logging
import sys
from typing import Annotated

import typer

from prefect_jobs import __version__
from prefect_jobs.cli import adopt, condor, database, deploy, jobs, monitor, schedulers, schedules, serve, submit, watch

app = typer.Typer(
    name="prefect-jobs",
    help="Long-running jobs on HTCondor and Dask, watched and steered in the Prefect UI.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(condor.app, name="condor")
app.add_typer(database.app, name="db")
app.add_typer(schedules.app, name="schedules")
jobs.register(app)
schedulers.register(app)
deploy.register(app)
monitor.register(app)
serve.register(app)
submit.register(app)
adopt.register(app)
watch.register(app)


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
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


@app.command()
def demo(
    keep: Annotated[
        float, typer.Option(help="Seconds to stay up after the jobs have ended, to explore the Prefect UI.")
    ] = 0.0,
) -> None:
    """Run real jobs of each type on services of its own, with a live table; ends by itself."""
    from prefect_jobs.cli.demo import run_demo

    raise typer.Exit(run_demo(keep=keep))


def main() -> None:
    """The entry point of the console script."""
    app()
