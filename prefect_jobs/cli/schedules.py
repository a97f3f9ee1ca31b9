"""Commands on schedules."""

from typing import Annotated, Any

import typer

from prefect_jobs.app import App
from prefect_jobs.cli.output import JsonOption, command, print_data, say, table_of
from prefect_jobs.manager import JobManager
from prefect_jobs.records import ScheduleRecord
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.schedule import Schedule

app = typer.Typer(help="List schedules, and start, pause or delete them.")


def register(root: typer.Typer) -> None:
    """Adds the commands."""
    root.add_typer(app, name="schedules")


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
AppOption = Annotated[str | None, typer.Option("--app", help="Only schedules of the app with this package.")]
UserOption = Annotated[str | None, typer.Option("--user", help="Only schedules of this user.")]


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """List schedules, and start, pause or delete them."""
    if context.invoked_subcommand is None:
        list_()


@app.command("list")
@command
def list_(label: AppOption = None, user: UserOption = None, as_json: JsonOption = False) -> None:
    """List schedules, with what the last call of schedule_job said; Prefect has what people changed since."""
    rows = [
        {
            "name": record.name,
            "app": record.label,
            "user": record.user,
            "type": record.type,
            "timing": record.timing,
            "parameters": record.parameters,
            "deployment_id": record.deployment_id,
        }
        for record in get_runtime().store.schedules(label, user)
    ]
    columns = ("name", "app", "user", "type", "timing")
    print_data(
        rows,
        as_json=as_json,
        table=lambda: table_of(columns, ([*(row[c] for c in columns[:-1]), _short(row["timing"])] for row in rows)),
    )


@app.command()
@command
def pause(name: NameArgument, label: AppOption = None, user: UserOption = None) -> None:
    """Make no runs until resume."""
    _named(name, label, user).pause()
    say(f"{name} is paused")


@app.command()
@command
def resume(name: NameArgument, label: AppOption = None, user: UserOption = None) -> None:
    """Make runs again."""
    _named(name, label, user).resume()
    say(f"{name} makes runs")


@app.command()
@command
def run(name: NameArgument, label: AppOption = None, user: UserOption = None, as_json: JsonOption = False) -> None:
    """Start a run now, and print its id."""
    run_id = _named(name, label, user).run_now()
    print_data({"flow_run_id": run_id} if as_json else run_id, as_json=as_json)


@app.command()
@command
def delete(name: NameArgument, label: AppOption = None, user: UserOption = None) -> None:
    """Delete a schedule; its jobs stay."""
    _named(name, label, user).delete()
    say(f"{name} is deleted")


def _named(name: str, label: str | None, user: str | None) -> Schedule:
    """
    Raises:
        LookupError: there is none of that name, or several.
    """
    found = [record for record in get_runtime().store.schedules(label, user) if record.name == name]
    if not found:
        raise LookupError(f"There is no schedule {name!r}; see: prefect-jobs schedules list")
    if len(found) > 1:
        which = ", ".join(f"{record.user} in {record.label}" for record in found[:5])
        raise LookupError(f"There are several schedules {name!r}: of {which}. Give --app and --user.")
    return _schedule(found[0])


def _schedule(record: ScheduleRecord) -> Schedule:
    owner = type("ScheduleApp", (App,), {"name": record.label, "package": record.label})
    return JobManager(owner).schedule_for(record)


def _short(timing: Any) -> str:
    words = (f"every {value:g} s" if name == "interval" else str(value) for name, value in timing.items())
    return " ".join(words)
