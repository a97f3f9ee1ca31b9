"""Carries actions out that people have pressed."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from anyio.to_thread import run_sync
from markupsafe import Markup

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.jobs.base import Job
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.web.actions import BUILT_IN, CUSTOM, CUSTOM_PATH, DOING, slug
from prefect_jobs.web.custom import CustomJobAction
from prefect_jobs.web.options import TableOptions, opened
from prefect_jobs.web.problems import Problem, of_error
from prefect_jobs.web.rows import refused
from prefect_jobs.web.site import Site
from prefect_jobs.web.visits import Visit, call

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """An action that was pressed."""

    #: For the permission function.
    permission: str
    label: str
    custom: CustomJobAction | None = None
    question: str | Markup = ""


def choose(name: str, given: Mapping[str, str], site: Site, job: Job) -> Chosen:
    """The action of an address.

    Args:
        name: the end of the address.
        given: the fields of the request; ``table`` has the table in which it was pressed.
        site: knows the actions of ``routes(tables=…)``.
        job: the job on which it was pressed.

    Raises:
        Problem: 404, there is none.
    """
    if name in DOING:
        return Chosen(name, BUILT_IN[name].label, question=BUILT_IN[name].question)
    if name.startswith(CUSTOM_PATH):
        wanted = name.removeprefix(CUSTOM_PATH)
        for each in _known(given, site):
            if slug(each.label) == wanted and each.applies_to(job):
                return Chosen(f"{CUSTOM}{each.label}", each.label, each, each.confirmation_message or "")
        raise Problem(404, f"Job {job.id} has no action {wanted!r} here. Give its table to routes(tables=…).")
    raise Problem(404, f"There is no action {name!r}. Valid: {', '.join(DOING)}, {CUSTOM_PATH}….")


def _known(given: Mapping[str, str], site: Site) -> list[CustomJobAction]:
    table = opened(given.get("table", ""))
    sent = [] if table is None else [each for each in table.actions if isinstance(each, CustomJobAction)]
    return [*_of_tables(site), *sent]


def _of_tables(site: Site) -> Iterator[CustomJobAction]:
    """The actions of ``routes(tables=…)``, whose functions every process has."""
    for each in site.tables:
        yield from [each] if isinstance(each, CustomJobAction) else each.custom_actions


def with_functions(options: TableOptions, site: Site) -> TableOptions:
    """A table that a browser has sent, with the functions of the same actions in ``routes(tables=…)``."""
    known = {(each.label, each.job_type): each for each in _of_tables(site)}
    actions = tuple(
        known.get((each.label, each.job_type), each) if isinstance(each, CustomJobAction) else each
        for each in options.actions
    )
    return replace(options, actions=actions)


async def do(job: Job, name: str, chosen: Chosen, given: Mapping[str, str]) -> None:
    """Carries an action out.

    Raises:
        Problem: 409, it is not possible now; 502, the scheduler does not answer; 500, the function of an app failed.
    """
    try:
        if chosen.custom is None:
            action = BUILT_IN[name]
            if why_not := action.why_not(job):
                raise Problem(409, why_not, job_status=job.cached_status)
            if action.call is not None:
                await run_sync(action.call, job, given)
        else:
            await _do_custom(job, chosen.custom)
    except PrefectJobsError as error:
        raise of_error(error, job_status=job.cached_status) from error
    except NotImplementedError as error:
        raise Problem(409, str(error), job_status=job.cached_status) from error
    except Problem:
        raise
    except Exception as error:  # of a type of the app
        log.exception("%s of job %s failed", chosen.label, job.id)
        text = f"{chosen.label} failed: {error or type(error).__name__}"
        raise Problem(500, text, job_status=job.cached_status) from error


async def _do_custom(job: Job, action: CustomJobAction) -> None:
    if why_not := await refused(action, job):
        raise Problem(409, why_not, job_status=job.cached_status)
    target = action.callback_or_url
    if target is None or action.is_link:
        raise Problem(404, f"The action {action.label!r} is a link.")
    try:
        if isinstance(target, str):
            await call(getattr(job, target))
        else:
            await call(target, job)
    except (Problem, PrefectJobsError):
        raise
    except Exception as error:  # of the app
        text = f"{action.label} failed: {error or type(error).__name__}"
        raise Problem(500, text, job_status=job.cached_status) from error


@dataclass(frozen=True)
class Outcome:
    """What an action did to one of many jobs."""

    job_id: int
    name: str
    #: Empty: it was done.
    problem: str

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"id": self.job_id, "name": self.name, "done": not self.problem, "problem": self.problem}


async def do_to_all(visit: Visit, jobs: Sequence[Job], name: str, given: Mapping[str, str]) -> list[Outcome]:
    """Carries a built-in action out on many jobs; the failure of one does not affect the others."""
    chosen = Chosen(name, BUILT_IN[name].label)
    found = []
    for job in jobs:
        number, title, problem = job.id or 0, job.name, ""  # a job that is deleted has no id any more
        if not await visit.may(name, job):
            problem = "It is not granted to you."
        else:
            try:
                await do(job, name, chosen, given)
            except Problem as error:
                problem = error.detail
        found.append(Outcome(number, title, problem))
    return found


def jobs_by_id(ids: Sequence[int]) -> list[Job]:
    """Jobs by their ids, without those that were deleted."""
    runtime = get_runtime()
    return [runtime.job(record) for record in runtime.store.records(ids)]
