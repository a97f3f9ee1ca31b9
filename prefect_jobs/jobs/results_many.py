"""Results of many jobs: fetched together, and kept with the outcomes in one transaction."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from prefect_jobs import statuses
from prefect_jobs.errors import DatabaseError, PrefectJobsError
from prefect_jobs.jobs import results
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.jobs.observation import Fetched, OutputsNotFetched
from prefect_jobs.jobs.ports import Backend
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.records import Change, ChangeOf, JobRecord, Written
from prefect_jobs.transition import News, Source

log = logging.getLogger(__name__)

#: Number of jobs whose results are fetched together.
CHUNK = 50


def fetch_many(jobs: Sequence[AnyJob], stop: Callable[[], bool] = bool) -> dict[int, Exception]:
    """Fetches what jobs that are Results-Ready left behind, and ends them, each as :func:`results.fetch_and_end` does.
    One that fails does not affect the others.

    Args:
        jobs: the jobs.
        stop: whether to stop; the others stay Results-Ready.

    Returns:
        Job id → why it could not be ended now: it stays Results-Ready.

    Raises:
        DatabaseError: the database cannot be used; what is not ended is fetched again.
    """
    problems: dict[int, Exception] = {}
    alone = [job for job in jobs if not job.fetches_together()]
    for engine, many in _alike(job for job in jobs if job.fetches_together()):
        for start in range(0, len(many), CHUNK):
            if stop():
                return problems
            batch = {job.handle.record.id: job for job in many[start : start + CHUNK]}
            alone += _Batch(engine, batch, problems).run()
    for job in alone:
        if stop():
            break
        try:
            results.fetch_and_end(job)
        except DatabaseError:
            raise
        except PrefectJobsError as error:
            problems[job.handle.record.id] = error
    return problems


def _alike(jobs: Iterable[AnyJob]) -> Iterator[tuple[type[Engine], list[AnyJob]]]:
    """Jobs of one engine and one backend."""
    found: dict[tuple[type[Engine], int], list[AnyJob]] = {}
    for job in jobs:
        found.setdefault((type(job.engine), id(job.handle.backend)), []).append(job)
    for (engine, _), many in found.items():
        yield engine, many


class _Batch:
    """Jobs of one engine whose results are fetched together."""

    def __init__(self, engine: type[Engine], jobs: Mapping[int, AnyJob], problems: dict[int, Exception]) -> None:
        self._engine = engine
        self._jobs = jobs
        self._problems = problems
        self._backend: Backend = next(iter(jobs.values())).handle.backend

    def run(self) -> list[AnyJob]:
        """Fetches and ends; returns the jobs of which a process that died has kept something already."""
        with self._backend.results.lease_all(list(self._jobs)) as mine:
            ready = []
            for record in self._backend.jobs.get_all(sorted(mine)):
                self._jobs[record.id].handle.take(record)
                if record.state.status == statuses.RESULTS_READY:
                    ready.append(self._jobs[record.id])
            going = [job for job in ready if job.handle.record.noted.result is None]
            for portion in self._engine.fetch_many([job.engine for job in going]):
                self._end([(going[number], answer) for number, answer in portion])
        return [job for job in ready if job not in going]

    def _end(self, portion: Sequence[tuple[AnyJob, Fetched | Exception]]) -> None:
        changes: list[tuple[int, ChangeOf]] = []
        for job, answer in portion:
            job_id = job.handle.record.id
            if isinstance(answer, OutputsNotFetched):
                if (change := results.not_fetched(job, answer)) is not None:
                    changes.append((job_id, change))
            else:
                changes.append((job_id, _change(job, answer)))
        written = self._backend.jobs.update_all(changes)
        for (job_id, _), outcome in zip(changes, written, strict=True):
            if isinstance(outcome, Written):
                self._jobs[job_id].handle.take(outcome.after)
            else:
                self._problems[job_id] = outcome  # deleted meanwhile
        for job, answer in portion:
            waits = job.handle.status.text == statuses.RESULTS_READY and job.handle.record.id not in self._problems
            if isinstance(answer, Fetched) and _has_function(job) and waits:
                results.end(job, replace(answer, native={}, blobs={}))
        over = [job for job, _ in portion if job.handle.record.final]
        try:
            self._engine.release_many([job.engine for job in over])
        except Exception as error:  # the jobs are over in any case
            log.warning("What is left of %d jobs at their scheduler could not be removed: %s", len(over), error)


def _has_function(job: AnyJob) -> bool:
    return job.handle.record.process_results_function is not None


def _change(job: AnyJob, answer: Fetched | Exception) -> ChangeOf:
    """The outcome of a job; before a results function is called, only what it is called with."""
    if isinstance(answer, Exception):
        return results.failed(answer)
    mine = News(Source.RESULTS, None, attempt=job.handle.record.state.attempt)
    compute = results.outcome(job, answer, mine if _has_function(job) else None)

    def change(fresh: JobRecord) -> Change | None:
        found = compute(fresh)
        return None if found is None else replace(found, blobs=answer.blobs)

    return change
