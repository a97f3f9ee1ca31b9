"""``prefect-jobs watch``: the jobs, live in a terminal."""

import logging
import shlex
import sys
from typing import Annotated, Any

import typer

from prefect_jobs.cli.jobs import parse_statuses
from prefect_jobs.cli.output import JsonOption, command, print_data, say, table_of

#: Jobs in the table, at most.
_MOST = 2000


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(watch)


@command
def watch(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILTER]...",
            help="What to search for, or filters as in the address of the jobs page: status=Held.",
        ),
    ] = None,
    app: Annotated[str | None, typer.Option(help="Only jobs of the app with this package.")] = None,
    user: Annotated[str | None, typer.Option(help="Only jobs of this user.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only in this status (name or code); repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="The largest number of jobs in the table.")] = 200,
    once: Annotated[bool, typer.Option("--once", help="Print the table once; so too without a terminal.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the jobs in a live table. Keys filter it, stop, pause and resume a job, and open its logs."""
    from prefect_jobs.cli import watched  # what it needs is not loaded for other commands

    fixed: list[dict[str, Any]] = [{"status__in": parse_statuses(status)}] if status else []
    fixed += [{name: value} for name, value in (("label", app), ("user", user)) if value is not None]
    view = watched.View(shlex.join(words or []), fixed, limit)
    if once or as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        if problems := view.problems():
            raise ValueError(" ".join(problems))
        found = view.read()
        rows = [dict(zip(watched.COLUMNS, row.cells, strict=True)) for row in found.rows]
        print_data(
            {"jobs": rows, "totals": dict(found.totals), "monitored": found.watched},
            as_json=as_json,
            table=lambda: table_of(watched.COLUMNS, (row.cells for row in found.rows)),
        )
        say(found.line)
        return
    from prefect_jobs.cli.watch_screen import Watch

    logging.disable(logging.CRITICAL)  # lines of a log would be written over the table
    try:
        Watch(view).run()
    finally:
        logging.disable(logging.NOTSET)
