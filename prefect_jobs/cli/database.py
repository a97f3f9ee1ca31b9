"""Commands on the database."""

import typer

from prefect_jobs.cli.output import command, say
from prefect_jobs.runtime.wiring import default_database_url
from prefect_jobs.settings import get_settings
from prefect_jobs.store import Database

app = typer.Typer(help="The database of jobs.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    """Adds the commands."""
    root.add_typer(app, name="db")


@app.command()
@command
def upgrade() -> None:
    """Bring the database's schema to this version."""
    database = Database(get_settings().database_url or default_database_url())
    before, now = database.upgrade()
    say(f"{database.name}: schema {before or 'none'} -> {now}" if before != now else f"{database.name}: schema {now}")
    database.dispose()


@app.callback()
def _group() -> None:
    """The database of jobs."""
