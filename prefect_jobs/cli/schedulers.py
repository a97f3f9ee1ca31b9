"""Commands on scheduler blocks and assignments."""

import pkgutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from prefect_jobs import statuses
from prefect_jobs.app import App
from prefect_jobs.cli.output import JsonOption, command, print_data, say, table_of
from prefect_jobs.runtime.wiring import get_runtime

AppArgument = Annotated[str, typer.Argument(metavar="APP", help="The app, as module:App.")]


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The block's name.")]

group = typer.Typer(help="List the saved scheduler blocks, add and remove them.")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(group, name="schedulers")
    for function in (check, assign):
        app.command()(function)


@group.callback(invoke_without_command=True)
def schedulers(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the saved scheduler blocks, add and remove them."""
    if context.invoked_subcommand is None:
        list_(as_json)


@group.command("list")
@command
def list_(as_json: JsonOption = False) -> None:
    """List the saved scheduler blocks."""
    from prefect_jobs.blocks import list_schedulers

    rows = [
        {"name": block.name, "engine": block.engine, "host": getattr(block, "host", "")} for block in list_schedulers()
    ]
    print_data(
        rows, as_json=as_json, table=lambda: table_of(("name", "engine", "host"), (row.values() for row in rows))
    )


@group.command()
@command
def add(
    name: NameArgument,
    host: Annotated[str, typer.Option(help="The pool's collector or the access point; of Dask, the scheduler.")] = "",
    engine: Annotated[str, typer.Option(help="htcondor or dask.")] = "htcondor",
    port: Annotated[int | None, typer.Option(help="HTCondor: 9618 if not given.")] = None,
    pool: Annotated[str | None, typer.Option(help="HTCondor: the collector, if --host is the access point.")] = None,
    schedd_name: Annotated[str | None, typer.Option(help="HTCondor: name of the schedd, if there are several.")] = None,
    ask_token: Annotated[bool, typer.Option("--token", help="HTCondor: ask for the IDTOKEN.")] = False,
    token_file: Annotated[str | None, typer.Option(help="HTCondor: file with the IDTOKEN; -: standard input.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Dask: seconds to wait for an answer.")] = None,
    dashboard: Annotated[str | None, typer.Option(help="Dask: address of the dashboard for people.")] = None,
    tls_ca_file: Annotated[str | None, typer.Option(help="Dask: file with the certificate authority.")] = None,
    tls_client_cert: Annotated[str | None, typer.Option(help="Dask: file with the certificate.")] = None,
    tls_client_key: Annotated[str | None, typer.Option(help="Dask: file with the private key.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a block of this name.")] = False,
    unchecked: Annotated[bool, typer.Option("--no-check", help="Save it even if it cannot be reached.")] = False,
) -> None:
    """Save a scheduler block, once it was reached. A secret comes from a prompt, a file or standard input."""
    from prefect_jobs.blocks import create_scheduler, get_scheduler

    known = get_scheduler(name)
    if known is not None and not overwrite:
        raise ValueError(f"There is a scheduler {name!r} already; --overwrite replaces it.")
    given = {
        "port": port,
        "pool": pool,
        "schedd_name": schedd_name,
        "token": _secret("The IDTOKEN", ask_token, token_file),
        "timeout": timeout,
        "dashboard": dashboard,
        "tls_ca_file": tls_ca_file,
        "tls_client_cert": tls_client_cert,
        "tls_client_key": tls_client_key,
    }
    block = create_scheduler(name, host, engine, **{key: value for key, value in given.items() if value is not None})
    if known is not None and known.engine != block.engine:
        raise ValueError(f"{name!r} is a scheduler of {known.engine}, not of {block.engine}. Remove it first.")
    if not unchecked:
        say(block.check())
    block.save(overwrite=overwrite)
    say(f"{block.name} is saved")


@group.command()
@command
def remove(
    name: NameArgument,
    force: Annotated[bool, typer.Option("--force", help="Even if jobs are there that are not over.")] = False,
) -> None:
    """Delete a saved scheduler block. Jobs there that are not over cannot be seen or stopped any more."""
    from prefect_jobs.blocks import delete_scheduler, get_scheduler

    block = get_scheduler(name)
    known = name if block is None else block.name
    if not force:
        there = [
            job.id for job in get_runtime().store.watched() if job.scheduler == known and job.status != statuses.PENDING
        ]
        if there:
            named = ", ".join(map(str, there[:10])) + (", …" if len(there) > 10 else "")
            raise ValueError(
                f"Not all jobs at {name!r} are over ({len(there)}: {named}). Stop them, or wait; or use --force."
            )
    if not delete_scheduler(name):
        raise LookupError(f"There is no scheduler {name!r}; see: prefect-jobs schedulers")
    say(f"{known} is removed")


def _secret(what: str, ask: bool, file: str | None) -> str | None:
    """A secret from a prompt, a file or standard input; ``None``: none is wanted.

    Raises:
        ValueError: both are wanted, or it cannot be read, or there is nothing in it.
    """
    if ask and file is not None:
        raise ValueError("--token asks for the token, and --token-file reads it: use one of them.")
    if ask:
        return str(typer.prompt(what, hide_input=True, err=True)).strip()
    if file is None:
        return None
    try:
        text = sys.stdin.read() if file == "-" else Path(file).expanduser().read_text()
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{what} cannot be read from {file}: {getattr(error, 'strerror', None) or error}.") from None
    if not text.strip():
        raise ValueError(f"{what}: there is nothing in {'standard input' if file == '-' else file}.")
    return text.strip()


@command
def check(name: NameArgument, as_json: JsonOption = False) -> None:
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
