"""Commands on jobs: list, show, wait, logs, stop, pause, resume, resubmit, delete."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from threading import Event
from typing import Annotated, Any

import typer

from prefect_jobs import statuses
from prefect_jobs.cli.output import EXPECTED, JsonOption, command, fail, print_data, say, table_of
from prefect_jobs.errors import JobStateError, PrefectJobsError
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.polling import poll_once
from prefect_jobs.jobs.summary import amounts, details, summary
from prefect_jobs.records import HistoryEntry, Message
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.store.filters import JobQuery

IdArgument = Annotated[int, typer.Argument(metavar="ID", help="The job's id.", min=1)]
IdsArgument = Annotated[list[int], typer.Argument(metavar="ID...", help="The jobs' ids.", min=1)]
CleanOption = Annotated[bool, typer.Option("--clean", help="Remove the job directories, too.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("list")(list_)
    for function in (show, wait, logs):
        app.command()(function)
    for name, help_text in (
        ("stop", "Stop the work of jobs."),
        ("pause", "Hold the work of jobs."),
        ("resume", "Resume paused or held jobs."),
    ):
        app.command(name, help=help_text)(_action(name))
    app.command()(resubmit)
    app.command()(delete)


@command
def list_(
    app: Annotated[str | None, typer.Option(help="Only jobs of the app with this package.")] = None,
    user: Annotated[str | None, typer.Option(help="Only jobs of this user.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only in this status (name or code); repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The largest number of jobs; the newest come first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List jobs, as last known."""
    filters: dict[str, Any] = {}
    if status:
        filters["status__in"] = parse_statuses(status)
    query = JobQuery(label=app, user=user, filters=filters, order_by="-id", limit=limit)
    runtime = get_runtime()
    found = [runtime.job(record) for record in runtime.store.find(query)]
    rows = [summary(job) for job in found]
    columns = ("id", "app", "user", "type", "name", "status", "remote_id", "execute_time", "run_time")
    print_data(
        rows,
        as_json=as_json,
        table=lambda: table_of(
            (c.replace("_", " ") for c in columns), ([_short(row[c]) for c in columns] for row in rows)
        ),
    )


def parse_statuses(given: Iterable[str]) -> list[str]:
    """The statuses for names or codes, in upper or lower case; custom ones only if a job has them.

    Raises:
        ValueError: there is none; the message names the existing ones.
    """
    return [name for text in given for name in _statuses(text)]


def _statuses(text: str) -> list[str]:
    wanted = text.strip().lower()
    custom = sorted({statuses.HELD, *get_runtime().store.custom_statuses()})
    if wanted in (statuses.OTHER.lower(), statuses.OTHER_CODE.lower()):
        return custom
    official = [line.name for line in statuses.BY_CODE.values() if wanted in (line.name.lower(), line.code.lower())]
    found = official or [name for name in custom if name.lower() == wanted]
    if not found:
        valid = ", ".join([*statuses.BY_NAME, *custom])
        raise ValueError(f"There is no status {text!r}. Valid: {valid}.")
    return found


@command
def show(id: IdArgument, as_json: JsonOption = False) -> None:
    """Show all that is known about a job."""
    job = job_of(id)
    job.update_status()
    found = {**details(job), "waits": _why_waiting(job)}
    told = {
        **found,
        "resources": _used(found.get("resources") or {}),
        "history": "\n".join(_line(entry) for entry in job.history),
    }
    print_data(
        found,
        as_json=as_json,
        table=lambda: table_of(
            ("", ""),
            ((key.replace("_", " "), _text(value)) for key, value in told.items() if value not in (None, "", {}, [])),
        ),
    )


def _why_waiting(job: Job) -> str:
    """Why it waits for a machine, asked now, or as last noted, if its scheduler does not answer; empty: it does not."""
    record = job.handle.record
    if record.final:
        return ""
    from prefect_jobs.jobs.condor.access_point import AccessPointJob

    if not isinstance(job, AccessPointJob) or not job.engine.may_wait(record):
        return ""
    with suppress(PrefectJobsError):
        return job.why_waiting()
    return record.noted.waits(record.state.attempt)


def _used(resources: Mapping[Any, Mapping[str, Any]]) -> str:
    """What all of it has used."""
    total = amounts(resources.get("total") or {})
    return ", ".join(f"{name} {text}" for name, text in total.items() if text)


@command
def wait(
    id: IdArgument,
    timeout: Annotated[float | None, typer.Option(min=0, help="The longest wait in seconds.")] = None,
    until_held: Annotated[bool, typer.Option("--until-held", help="End also when the job is Held or Paused.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Wait until a job is over, and print each change of its status; exit status 0 only if it ended as Complete."""
    wait_for(job_of(id), timeout, until_held=until_held, as_json=as_json)


def wait_for(job: Job, timeout: float | None = None, *, until_held: bool = False, as_json: bool = False) -> None:
    """Waits for a job, shows it in a live table or tells each change, and prints how it ended; ends the command with an
    error if that is not Complete."""
    from prefect_jobs.cli import live  # what it needs is not loaded for other commands

    with live.shown(job) as seen:
        job.wait(timeout, progress=_nothing if seen else _tell, until_held=until_held)
    print_data(summary(job) if as_json else job.cached_status, as_json=as_json)
    if job.cached_status in (statuses.HELD, statuses.PAUSED):
        raise fail(f"job {job.id} is {job.cached_status}: {job.status_message}")
    if job.handle.record.state.as_status.kind.state_type != "COMPLETED":
        raise fail(f"job {job.id} ended as {job.cached_status}: {job.status_message}")


def _nothing(_job: Job) -> None:
    """What is seen need not be told."""


def _tell(job: Job) -> None:
    why = f": {job.status_message}" if job.status_message else ""
    say(f"job {job.id} is {job.cached_status}{why}")


@command
def logs(
    id: IdArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until the job is over.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the messages of a job, then its logs (standard output and error, HTCondor's log)."""
    from prefect_jobs.jobs.condor.logs import is_tail

    job = job_of(id)
    if as_json and not follow:
        said = [{"time": m.time, "level": m.level, "text": m.text} for m in job.handle.backend.jobs.messages(id)]
        print_data({"messages": said, "logs": _called(job.get_logs())}, as_json=True)
        return
    seen = 0
    ends: list[Message] = []  # of the logs, which are printed in full afterwards
    while True:
        over = poll_once(job) if follow else True
        for message in job.handle.backend.jobs.messages(id):
            if message.id > seen:
                seen = message.id
                ends.append(message) if is_tail(message.text) else _write_message(message)
        sys.stdout.flush()
        if over:
            break
        Event().wait(job.handle.backend.site.poll_interval)
    found = _called(job.get_logs())
    _write_logs(found)
    if not any(_texts(found)):  # the files no longer exist: print their ends
        for message in ends:
            _write_message(message)


def _write_message(message: Message) -> None:
    sys.stdout.write(f"{message.time:%H:%M:%S} {message.text}\n")


def _texts(logs: Mapping[str, Any]) -> Iterator[str]:
    for value in logs.values():
        if isinstance(value, Mapping):
            yield from _texts(value)
        else:
            yield str(value or "")


@command
def delete(ids: IdsArgument, clean: CleanOption = False) -> None:
    """Delete jobs: stop them if they are active, remove them and their flow runs."""
    _each(ids, "deleted", lambda job: _delete(job, clean))


def _delete(job: Job, clean: bool) -> None:
    job.clean_on_delete = clean
    job.delete()


@command
def resubmit(
    ids: IdsArgument,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run all nodes of workflows, not only those that are not done.")
    ] = False,
) -> None:
    """Submit jobs again after they are over; a workflow continues from where it failed."""
    _each(ids, None, lambda job: _resubmit(job, fresh))


def _resubmit(job: Job, fresh: bool) -> None:
    from prefect_jobs.jobs.workflow.job import CondorWorkflow

    if not fresh:
        job.resubmit()
    elif isinstance(job, CondorWorkflow):
        job.resubmit(fresh=True)
    else:
        raise JobStateError(f"job {job.id} is not a workflow and always starts over: leave --fresh out.")


def _action(name: str) -> Callable[..., None]:
    def act(ids: IdsArgument) -> None:
        _each(ids, None, lambda job: getattr(job, name)())

    act.__name__ = name
    return command(act)


def _each(ids: list[int], done: str | None, action: Callable[[Job], None]) -> None:
    """Tries and reports each job; exit status 1 if one of them failed."""
    failed = False
    for job_id in ids:
        try:
            job = job_of(job_id)
            action(job)
            say(f"job {job_id}: {done or job.cached_status}")
        except EXPECTED as error:
            failed = True
            say(f"job {job_id}: error: {error}")
    if failed:
        raise typer.Exit(1)


def job_of(job_id: int) -> Job:
    """A job.

    Raises:
        LookupError: there is none.
    """
    runtime = get_runtime()
    record = runtime.jobs.get(job_id)
    if record is None:
        raise LookupError(f"There is no job {job_id} in {runtime.store.database.name}.")
    return runtime.job(record)


def _called(logs: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in logs.items():
        found[name] = _called(value) if isinstance(value, dict) else value() if callable(value) else value
    return found


def _write_logs(logs: dict[str, Any], prefix: str = "") -> None:
    for name, value in logs.items():
        title = f"{prefix}{name}"
        if isinstance(value, dict):
            _write_logs(value, f"{title} / ")
        elif value and not any(other.startswith(f"{name} of ") for other in logs):  # else its parts are printed
            sys.stdout.write(f"\n==> {title} <==\n{value}")
            sys.stdout.write("" if str(value).endswith("\n") else "\n")


def _short(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    text = "" if value is None else str(value).splitlines()[0] if str(value) else ""
    return text.split(".")[0] if text.count(":") == 2 and text[:1].isdigit() else text


def _line(entry: HistoryEntry) -> str:
    said = f": {entry.message.splitlines()[0]}" if entry.message else ""
    return f"{entry.time:%Y-%m-%d %H:%M:%S} {entry.status} ({entry.who}){said}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        between = "\n" if all(isinstance(item, str) for item in value.values()) else ", "
        return between.join(f"{key}: {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
