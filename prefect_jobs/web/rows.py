"""The rows of a table: cells, status and actions of each job."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from anyio.to_thread import run_sync
from markupsafe import Markup
from starlette.requests import Request
from starlette.routing import NoMatchFound

from prefect_jobs.jobs.base import Job
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.web import looks, shown
from prefect_jobs.web.actions import BUILT_IN, CUSTOM, CUSTOM_PATH, SEPARATOR, Button, calls_with_status, slug
from prefect_jobs.web.custom import CustomJobAction
from prefect_jobs.web.options import TableOptions
from prefect_jobs.web.visits import Visit, call

_NOT_GRANTED = "It is not granted to you."


@dataclass(frozen=True)
class Cell:
    """A value of a column."""

    text: str
    time: datetime | None = None
    #: Seconds, of a duration that grows.
    ticking: float | None = None
    href: str | None = None


@dataclass(frozen=True)
class Row:
    """A job in a table."""

    id: int
    version: int
    name: str
    status: str
    status_class: str
    icon: str
    message: str
    no_answer_since: str | None
    progress: looks.Progress | None
    columns: Sequence[Cell]
    #: Entries of the menu; ``None``: a separator.
    actions: Sequence[Button | None]

    @property
    def job_status(self) -> str:
        """The status."""
        return self.status


async def rows_of(jobs: Sequence[Job], options: TableOptions, visit: Visit | None, base: str) -> list[Row]:
    """The rows of jobs.

    Args:
        jobs: the jobs, which the visitor may see.
        options: columns and actions.
        visit: who looks; ``None``: rows have no actions.
        base: where the routes are mounted.
    """
    totals = await run_sync(node_totals, jobs)
    if visit is not None:
        shown.note(visit.visitor.name, [job.id for job in jobs if job.id])
        if options.show_actions:
            await visit.ask_ahead((_granted_as(each), job) for job in jobs for each in _shown_for(job, options))
    found = []
    for job in jobs:
        buttons = [] if visit is None or not options.show_actions else await _buttons(job, options, visit, base)
        found.append(row_of(job, options, totals.get(job.id or 0, {}), buttons, base))
    return found


def node_totals(jobs: Sequence[Job]) -> dict[int, dict[str, int]]:
    """Of the workflows among jobs, status → number of nodes."""
    ids = [job.id for job in jobs if job.handle.record.type == "CONDORWORKFLOW" and job.id]
    return get_runtime().store.node_totals(ids)


def row_of(job: Job, options: TableOptions, nodes: Mapping[str, int], buttons: Sequence[Any], base: str) -> Row:
    """The row of a job."""
    record = job.handle.record
    kind = looks.status_class(record.state.as_status)
    href = f"{base}jobs/{record.id}/" if options.link else None
    return Row(
        id=record.id,
        version=record.version,
        name=record.name,
        status=record.state.status,
        status_class=kind,
        icon=looks.ICONS[kind],
        message=looks.message_of(record),
        no_answer_since=record.noted.unreachable_since,
        progress=looks.progress_of(record, nodes),
        columns=[_cell(job, name, href if name == "name" else None) for _, name in options.columns],
        actions=buttons,
    )


def value_of(job: Job, name: str) -> Any:
    """The value of a field, or of a dotted path; missing ones are ``""``."""
    found: Any = job
    # The attribute asks the scheduler; a page asks none.
    for part in ("cached_status" if name == "status" else name).split("."):
        if isinstance(found, Mapping):
            found = found.get(part, "")
        else:
            found = getattr(found, part, "")
    return "" if found is None else found


def _cell(job: Job, name: str, href: str | None) -> Cell:
    value = value_of(job, name)
    if isinstance(value, datetime):
        return Cell(f"{value:%Y-%m-%d %H:%M:%S} UTC", time=value)
    if isinstance(value, timedelta):
        record = job.handle.record
        ticks = (name == "run_time" and record.state.as_status.kind.running) or (
            name == "wait_time" and record.state.start_time is None and not record.final
        )
        seconds = value.total_seconds()
        return Cell(looks.duration(seconds), ticking=seconds if ticks else None)
    return Cell(str(value), href=href)


def _shown_for(job: Job, options: TableOptions) -> Iterator[str | CustomJobAction]:
    """The actions that the menu of a job has."""
    links = {"monitor": options.monitor_url, "results": options.results_url}
    for each in options.actions:
        if isinstance(each, CustomJobAction):
            if each.applies_to(job):
                yield each
        elif each != SEPARATOR and links.get(each, "yes"):
            yield each


def _granted_as(action: str | CustomJobAction) -> str:
    """The name by which the permission function knows an action."""
    return f"{CUSTOM}{action.label}" if isinstance(action, CustomJobAction) else str(action)


async def _buttons(job: Job, options: TableOptions, visit: Visit, base: str) -> list[Button | None]:
    found: list[Button | None] = []
    for each in options.actions:
        if each == SEPARATOR:
            if found and found[-1] is not None:
                found.append(None)
        elif isinstance(each, CustomJobAction):
            if each.applies_to(job):
                found.append(await custom_button(each, job, visit))
        elif button := await built_in_button(str(each), job, options, visit, base):
            found.append(button)
    while found and found[-1] is None:
        found.pop()
    return found


async def built_in_button(name: str, job: Job, options: TableOptions, visit: Visit, base: str) -> Button | None:
    """A built-in action of a job; ``None``: the table has none of that name."""
    action = BUILT_IN[name]
    href = None
    if action.call is None:
        href = _link(name, job, options, visit.request, base)
        if href is None:
            return None
    return Button(name, action.label, await why_not(name, job, visit), href, action.question)


async def why_not(name: str, job: Job, visit: Visit) -> str:
    """Why a built-in action is not possible for a visitor; empty: it is."""
    return BUILT_IN[name].why_not(job) if await visit.may(name, job) else _NOT_GRANTED


def _link(name: str, job: Job, options: TableOptions, request: Request, base: str) -> str | None:
    if name == "logs":
        return f"{base}jobs/{job.id}/logs/"
    given = options.monitor_url if name == "monitor" else options.results_url
    return address(given, job, request) if given else None


async def custom_button(action: CustomJobAction, job: Job, visit: Visit) -> Button:
    """A custom action of a job."""
    name = f"{CUSTOM_PATH}{slug(action.label)}"
    reason = await refused(action, job) if await visit.may(_granted_as(action), job) else _NOT_GRANTED
    href = None
    if action.is_link and not reason:
        href = address(str(action.callback_or_url), job, visit.request)
    modal = None if action.modal_url is None else address(action.modal_url, job, visit.request)
    question: str | Markup = action.confirmation_message or ""
    return Button(name, action.label, reason, href, question, action.show_overlay, modal)


async def refused(action: CustomJobAction, job: Job) -> str:
    """Why a custom action is not possible; empty: it is."""
    enabled = action.enabled_callback
    if enabled is None:
        return ""
    args = (job, job.cached_status) if calls_with_status(enabled) else (job,)
    try:
        answer = await call(enabled, *args)
    except Exception as error:  # of the app
        return str(error) or type(error).__name__
    return "" if answer else "It is not possible for this job now."


def address(text: str, job: Job, request: Request) -> str:
    """The address of a link of a table: a path, or the name of a route.

    Raises:
        ValueError: there is no such route.
    """
    if "/" in text:
        if "{job_id}" in text:
            return text.replace("{job_id}", str(job.id))
        return f"{text}{job.id}" if text.endswith(("/", "=")) else f"{text}/{job.id}"
    try:
        return request.url_for(text, job_id=job.id).path
    except NoMatchFound as error:
        raise ValueError(f"The table names the route {text!r}; this app has none of that name with job_id.") from error
