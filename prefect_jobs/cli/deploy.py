"""The command that registers blocks, deployments and a work pool in Prefect."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import typer

from prefect_jobs.app import App
from prefect_jobs.automations import automations_with
from prefect_jobs.cli.output import JsonOption, command, print_data, say, table_of
from prefect_jobs.cli.schedulers import load_app
from prefect_jobs.jobs import registry
from prefect_jobs.projection.deployments import Deployed, Place
from prefect_jobs.projection.prefect_api import PrefectApi, RunGone, retried
from prefect_jobs.runtime.wiring import get_runtime

#: Seconds for which requests are repeated while Prefect is busy.
PATIENCE = 10.0
_COLLISIONS = ("ENQUEUE", "CANCEL_NEW")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(deploy)


@command
def deploy(
    apps: Annotated[list[str], typer.Argument(metavar="APP...", help="Apps, as module:App.")],
    pool: Annotated[
        str | None, typer.Option(help="Make a work pool for workers of the type prefect-jobs, and deployments in it.")
    ] = None,
    queue: Annotated[str | None, typer.Option(help="The queue of the pool.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Active runs of each deployment in the pool.")] = None,
    collision: Annotated[
        str | None, typer.Option(help="What happens to more runs than --limit: ENQUEUE or CANCEL_NEW.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="The version of the deployments.")] = None,
    automations: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE/NAME",
            help="Install automations that notify of held jobs and of errors of scheduled ones by this notification "
            "block, for example slack-webhook/ops.",
        ),
    ] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Register in Prefect the blocks, and a deployment for each app and job type.

    It can be repeated. Schedules, tags, pauses and parameters of people stay.
    """
    place = _place(pool, queue, limit, collision)
    found = [load_app(app) for app in apps]
    rows = [_row("block", slug, "registered") for slug in _blocks(dry=dry)]
    with _api() as api:
        if place is not None:
            rows.append(_row("work pool", place.pool, _pool(api, place.pool, dry=dry)))
        for cls in found:
            for entrypoint in dict.fromkeys(job.flow_entrypoint for job in registry.known_types()):
                for where in (None, place) if place is not None else (None,):
                    rows.append(_deployed(api, cls, entrypoint, where, version, dry=dry))
        if automations is not None:
            rows += [_row("automation", *each) for each in _automations(api, automations, dry=dry)]
    columns = ("kind", "name", "change", "fields")
    if dry:
        say("This is what would happen; nothing was changed.")
    print_data(
        rows,
        as_json=as_json,
        table=lambda: table_of(columns, ([row[c] for c in columns[:-1]] + [", ".join(row["fields"])] for row in rows)),
    )


def _deployed(
    api: PrefectApi, app: type[App], entrypoint: str, place: Place | None, version: str | None, *, dry: bool
) -> dict[str, Any]:
    label = app.check_package()
    made: Deployed = retried(partial(api.deploy, label, entrypoint, place, version=version, dry=dry), PATIENCE)
    if place is None and made.id is not None and not dry:
        get_runtime().store.note_deployment(made.id, label)
    return _row("deployment", made.name, made.change, made.fields)


def _row(kind: str, name: str, change: str, fields: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"kind": kind, "name": name, "change": change, "fields": list(fields)}


def _place(pool: str | None, queue: str | None, limit: int | None, collision: str | None) -> Place | None:
    """
    Raises:
        ValueError: options that need a pool, or another one.
    """
    if pool is None:
        given = {"--queue": queue, "--limit": limit, "--collision": collision}
        if needless := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{needless[0]} is about deployments in a work pool. Give --pool, too.")
        return None
    if collision is not None:
        if collision.upper() not in _COLLISIONS:
            raise ValueError(f"--collision is ENQUEUE or CANCEL_NEW, not {collision!r}.")
        if limit is None:
            raise ValueError("--collision is about runs beyond a limit. Give --limit, too.")
    return Place(pool, queue, limit, collision.upper() if collision is not None else None)


def _blocks(*, dry: bool) -> list[str]:
    from prefect_jobs.blocks import register_blocks

    return [] if dry else register_blocks()


def _pool(api: PrefectApi, name: str, *, dry: bool) -> str:
    from prefect_jobs.worker import TYPE, PrefectJobsWorker

    template = PrefectJobsWorker.get_default_base_job_template()
    return retried(partial(api.put_pool, name, TYPE, template, dry=dry), PATIENCE)


def _automations(api: PrefectApi, block: str, *, dry: bool) -> list[tuple[str, str]]:
    """
    Raises:
        ValueError: there is no such block.
    """
    kind, _, name = block.partition("/")
    if not name:
        raise ValueError(f"--automations takes the type and name of a notification block, not {block!r}: TYPE/NAME.")
    try:
        found = retried(partial(api.block_id, kind, name), PATIENCE)
    except RunGone as error:
        raise ValueError(f"There is no block {block!r}. Save one in the Prefect UI: Blocks, Notifications.") from error
    return [retried(partial(api.put_automation, each, dry=dry), PATIENCE) for each in automations_with(found)]


@contextmanager
def _api() -> Iterator[PrefectApi]:
    api = PrefectApi()
    try:
        yield api
    finally:
        api.close()
