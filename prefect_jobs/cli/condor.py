"""Commands on the personal HTCondor pool."""

import shlex
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from prefect_jobs.cli.output import JsonOption, command, fail, print_data, say, table_of
from prefect_jobs.local.condor_pool import PersonalPool

app = typer.Typer(help="A personal HTCondor pool on this machine: real daemons, no root needed.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    """Adds the commands."""
    root.add_typer(app, name="condor")


NameOption = Annotated[str, typer.Option(help="Name of the pool; several can run side by side.")]


@app.command()
@command
def up(
    name: NameOption = "default",
    cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs that the pool offers; by default all of this machine.")
    ] = None,
    memory: Annotated[
        int | None, typer.Option(min=64, help="Memory in MB that the pool offers; by default all of this machine.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; by default a free one.")] = None,
    identity: Annotated[list[str] | None, typer.Option(help="Create a token for this identity; repeatable.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Start the pool with the HTCondor on PATH, or else with Debian's packages, which are fetched once."""
    pool = PersonalPool(name=name)
    info = pool.up(cpus=cpus, memory_mb=memory, port=port, identities=identity or (), report=say)
    folders = {who: str(pool.export_token(who)) for who in identity or ()}
    if as_json:
        print_data({**asdict(info), "tokens": folders}, as_json=True)
    say(f'HTCondor {info.version} is up at {info.host}:{info.port}; for a shell: eval "$(prefect-jobs condor env)"')
    for who, folder in folders.items():
        say(f"token of {who}: in {folder}")


@app.command()
@command
def down(
    name: NameOption = "default",
    remove: Annotated[bool, typer.Option("--remove", help="Also remove its queue, tokens and logs.")] = False,
) -> None:
    """Stop the pool and all its processes."""
    if not PersonalPool(name=name).down(remove=remove):
        say(f"The pool {name!r} was not up.")
        return
    say(f"The pool {name!r} is down.")


@app.command()
@command
def status(name: NameOption = "default", as_json: JsonOption = False) -> None:
    """Report whether the pool is up, and what is in it; exit status 0 only if it answers."""
    found = PersonalPool(name=name).status()
    data = asdict(found)
    info = found.info
    rows = (
        ("up", "yes" if found.up else "no"),
        ("answering", "yes" if found.answering else "no"),
        ("address", f"{info.host}:{info.port}" if info else ""),
        ("version", info.version if info else ""),
        ("folder", info.directory if info else ""),
        ("daemons", ", ".join(found.daemons)),
        ("slots", found.slots),
        ("jobs", ", ".join(f"{number} {state}" for state, number in found.jobs.items()) or "none"),
    )
    print_data(data, as_json=as_json, table=lambda: table_of(("", ""), rows))
    if not (found.up and found.answering):
        raise fail(f"the pool {name!r} is not up: prefect-jobs condor up")


@app.command()
@command
def env(name: NameOption = "default", as_json: JsonOption = False) -> None:
    """Print the variables that a shell must export to use the pool."""
    found = PersonalPool(name=name).env()
    if as_json:
        print_data(found, as_json=True)
        return
    for key, value in found.items():
        sys.stdout.write(f"export {key}={shlex.quote(value)}\n")
