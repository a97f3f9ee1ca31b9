"""Waiting for many jobs: one request to each scheduler for all of them."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from prefect_jobs import statuses
from prefect_jobs.errors import DatabaseError, JobStateError, PrefectJobsError, SchedulerConnectionError
from prefect_jobs.jobs import polling, registry, results_many
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.group import Group
from prefect_jobs.jobs.observation import NOTHING_NEW, Observation
from prefect_jobs.records import JobRecord

log = logging.getLogger(__name__)

#: Called with each job that has ended, the number of those that have, and the number of all; plain or ``async def``.
Progress = Callable[[Job, int, int], object]
#: Reads the present records of jobs.
Read = Callable[[Sequence[int]], list[JobRecord]]
#: Seconds between two requests to a scheduler that does not answer.
_AWAY = 10.0
#: Of how many jobs it is noted at once that their scheduler does not answer, and how many of them in one transaction.
_MARKED, _TOGETHER = 500, 50
#: Number of jobs that a message names.
_NAMED = 10

#: A scheduler: its kind, the name of its block, and, without one, the machine that has it.
Place = tuple[str | None, str | None, str | None]


class WaitingForAll:
    """One wait for many jobs; see :meth:`JobManager.wait_jobs`."""

    def __init__(self, jobs: Iterable[Job], read: Read, timeout: float | None = None) -> None:
        """
        Args:
            jobs: the jobs.
            read: reads them.
            timeout: seconds.

        Raises:
            TypeError: not jobs.
            JobStateError: one was never saved.
        """
        self.jobs = list(jobs)
        #: The objects of each job: there may be several.
        self._objects: dict[int, list[Job]] = {}
        for job in self.jobs:
            _check(job)
            self._objects.setdefault(job.handle.record.id, []).append(job)
        self._read = read
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._left = {job_id: objects[0] for job_id, objects in self._objects.items()}
        #: Whether it was cancelled, from another thread.
        self.cancelled = False
        self._groups: dict[Place, Group] = {}
        #: Place → when it is asked again, since it did not answer (monotonic).
        self._away: dict[Place, float] = {}

    @property
    def total(self) -> int:
        """The number of jobs."""
        return len(self._objects)

    @property
    def done(self) -> int:
        """The number of jobs that are over."""
        return self.total - len(self._left)

    def round(self) -> list[tuple[Job, int]]:
        """Reads all, and asks each scheduler once; returns the jobs that have ended, each with the number of those."""
        before = list(self._left.values())
        already = self.done
        found = {record.id: record for record in self._read(list(self._left))}
        at: dict[Place, list[Job]] = {}
        ready: list[Job] = []
        for job_id, job in list(self._left.items()):
            if job_id not in found:  # it was deleted: nothing more happens to it
                del self._left[job_id]
                continue
            for each in self._objects[job_id]:
                each.handle.take(found[job_id])
            if job.handle.status.text == statuses.RESULTS_READY:
                ready.append(job)
            elif not job.handle.record.final and _is_at_scheduler(job):
                at.setdefault(_place(job), []).append(job)
            elif not job.handle.record.final and not self._ends():
                with _alone(job):
                    polling.poll(job)
        for place, jobs in at.items():
            ready += self._ask(place, jobs)
        self._fetch(ready)
        for job in before:
            if job.handle.record.final:
                self._over(job)
        ended = [job for job in before if job.handle.record.id not in self._left]
        return [(job, already + number) for number, job in enumerate(ended, 1)]

    def pause(self) -> float | None:
        """Seconds to the next round; ``None``: all are over.

        Raises:
            TimeoutError: the deadline has passed.
        """
        if not self._left:
            return None
        interval = min(job.handle.backend.site.poll_interval for job in self._left.values())
        if self._deadline is None:
            return interval
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(
                f"{len(self._left)} of {self.total} jobs are not over after {self._timeout:g} s: {self.names()}. "
                "They continue; wait again."
            )
        return min(interval, left)

    def names(self) -> str:
        """The jobs that are not over, for people."""
        named = [f"{job.id} ({job.handle.status.text})" for job in list(self._left.values())[:_NAMED]]
        return ", ".join(named) + (", …" if len(self._left) > _NAMED else "")

    def interrupted(self) -> str:
        """What to say when someone interrupts the wait."""
        return (
            f"The wait has ended, and {len(self._left)} of {self.total} jobs continue: {self.names()}. "
            "Call wait_jobs() again to go on waiting."
        )

    def counts(self) -> dict[str, int]:
        """Status → the number of jobs."""
        found: dict[str, int] = {}
        for objects in self._objects.values():
            text = objects[0].handle.status.text
            found[text] = found.get(text, 0) + 1
        return found

    def _ends(self) -> bool:
        return self.cancelled or (self._deadline is not None and time.monotonic() >= self._deadline)

    def _ask(self, place: Place, jobs: list[Job]) -> list[Job]:
        """Asks a scheduler for its jobs; returns those whose results can be fetched."""
        if time.monotonic() < self._away.get(place, 0.0) or self._ends():
            return []
        if place not in self._groups:
            self._groups[place] = registry.group_type(place[0])()
        group = self._groups[place]
        try:
            news = group.poll(jobs, self._ends)
        except SchedulerConnectionError as error:
            self._away[place] = time.monotonic() + _AWAY
            change = polling.silence(error)
            due = [(job, NOTHING_NEW) for job in jobs if job.handle.record.noted.unreachable_since is None][:_MARKED]
            for start in range(0, len(due), _TOGETHER):
                part = due[start : start + _TOGETHER]
                polling.observed_many(part, {job.handle.record.id: change for job, _ in part})
            return []
        told: list[tuple[Job, Observation]] = []
        for job in jobs:
            found = news.get(job.handle.record.id)
            if found is None and job.handle.record.noted.unreachable_since is not None and not group.failed(job):
                found = NOTHING_NEW
            if found is not None:
                told.append((job, found))
        if polling.observed_many(told):
            group.written()
        else:
            group.look_again()  # another process has written one of them meanwhile
        for job, _ in told:
            if job.handle.record.final:
                group.forget(job)
        return [job for job, _ in told if job.handle.status.text == statuses.RESULTS_READY]

    def _fetch(self, jobs: list[Job]) -> None:
        for job_id, error in results_many.fetch_many(jobs, self._ends).items():
            job = self._left[job_id]
            with _alone(job):
                if isinstance(error, SchedulerConnectionError):
                    polling.note_unreachable(job, error)
                else:
                    log.warning("Outputs of %s: %s", job.handle.title, error)

    def _over(self, job: Job) -> None:
        self._left.pop(job.handle.record.id, None)
        for other in self._objects[job.handle.record.id]:
            if other is not job:
                other.handle.take(job.handle.record)
            other.engine.ended()


def _check(job: object) -> None:
    if not isinstance(job, Job):
        raise TypeError(f"wait_jobs takes jobs, not {job!r}.")
    if job.id is None:
        raise JobStateError(f"{job.handle.title} was never saved, so there is nothing to wait for. Call execute().")


def _place(job: Job) -> Place:
    record = job.handle.record
    return job.scheduler_engine, record.scheduler, None if record.scheduler else record.noted.host


def _is_at_scheduler(job: Job) -> bool:
    """Whether its scheduler can be asked for it together with others."""
    record, status = job.handle.record, job.handle.status
    at_work = status.kind.non_terminal and status.text not in (statuses.PENDING, statuses.RESULTS_READY)
    at_work = at_work and record.remote_id is not None and job.scheduler_engine is not None
    return at_work and not job.engine.asks_freely


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """Keeps errors of one job from ending the wait for the others; the next round tries again."""
    try:
        yield
    except DatabaseError:
        raise
    except JobStateError as error:
        log.info("%s", error)  # deleted meanwhile
    except PrefectJobsError as error:
        log.warning("Job %s could not be polled: %s", job.id, error)
