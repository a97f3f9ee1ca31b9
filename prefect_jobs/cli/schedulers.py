"""Commands on scheduler blocks and assignments."""

import pkgutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from prefect_jobs.app import App
from prefect_jobs.cli.output import JsonOption, command, print_data, say, table_of

AppArgument = Annotated[str, typer.Argument(metavar="APP", help="The app, as module:App.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for function in (schedulers, check, assign):
        app.command()(function)


@command
def schedulers(as_json: JsonOption = False) -> None:
    """List the saved scheduler blocks."""
    from prefect_jobs.blocks import list_schedulers

    rows = [
        {"name": block.name, "engine": block.engine, "host": getattr(block, "host", "")} for block in list_schedulers()
    ]
    print_data(
        rows, as_json=as_json, table=lambda: table_of(("name", "engine", "host"), (row.values() for row in rows))
    )


@command
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The block's name.")], as_json: JsonOption = False
) -> None:
    """Connect to a scheduler and report what is there."""
    from prefect_jobs.blocks import get_scheduler

    block = get_scheduler(name)
    if block is None:
        raise LookupError(f"There is no scheduler {name!r}; see: prefect-jobs schedulers")
    report = block.check()
    print_data({"name": block.name, "report": report.splitlines()} if as_json else report, as_json=as_json)


@command
def assign(
    app: AppArgument,
    setting: Annotated[str, typer.Argument(metavar="SETTING", help="The app's scheduler setting.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The block's name.")],
) -> None:
    """Assign a saved scheduler block to a setting of an app."""
    load_app(app).assign_scheduler(setting, name)
    say(f"{app}: {setting} is {name}")


def load_app(path: str) -> type[App]:
    """The app at ``module:App``.

    Raises:
        ValueError: nothing is there, or it is not an app.
    """
    if ":" not in path:
        raise ValueError(f"{path!r} is not the path of an app: write module:App, for example myproject.app:MyApp.")
    here = str(Path.cwd())
    if here not in sys.path:  # like python -m, for projects that are not installed
        sys.path.insert(0, here)
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{path!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, App)):
        raise ValueError(f"{path!r} is not a subclass of prefect_jobs.App.")
    return found
