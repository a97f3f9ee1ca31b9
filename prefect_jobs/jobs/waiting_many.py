"""Waiting for many jobs: one request to each scheduler for all of them."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from prefect_jobs import statuses
from prefect_jobs.errors import JobStateError, SchedulerConnectionError
from prefect_jobs.jobs import polling, registry
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.group import Group
from prefect_jobs.progress import bar, is_seen
from prefect_jobs.records import JobRecord

#: Called with each job that has ended, the number of those that have, and the number of all.
Progress = Callable[[Job, int, int], object]
#: Seconds between two requests to a scheduler that does not answer.
_AWAY = 10.0
#: Number of jobs that a message names.
_NAMED = 10

#: A scheduler: its kind, and the name of its block.
Place = tuple[str | None, str | None]


class WaitingForAll:
    """One wait for many jobs; see :meth:`JobManager.wait_jobs`."""

    def __init__(
        self,
        jobs: Sequence[Job],
        read: Callable[[Sequence[int]], list[JobRecord]],
        timeout: float | None = None,
        ended: Progress = lambda *_: None,
        stop: threading.Event | None = None,
    ) -> None:
        """
        Args:
            jobs: saved jobs.
            read: reads the present records of jobs.
            timeout: seconds.
            ended: called for each job that has ended.
            stop: ends the wait, from another thread; the jobs go on.
        """
        self._jobs = {job.handle.record.id: job for job in jobs}
        self._read = read
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout
        #: Called after each round.
        self.looked: Callable[[], object] = bool
        self._ended = ended
        self._left = dict(self._jobs)
        self._groups: dict[Place, Group] = {}
        #: Place → when it is asked again, since it did not answer (monotonic).
        self._away: dict[Place, float] = {}
        self._stop = stop or threading.Event()

    def run(self) -> None:
        """Waits.

        Raises:
            TimeoutError: some are not over in time.
        """
        interval = min((job.handle.backend.site.poll_interval for job in self._jobs.values()), default=0.0)
        while True:
            self._round()
            self.looked()
            if not self._left or self._stop.is_set():
                return
            pause = interval if self._deadline is None else min(interval, self._deadline - time.monotonic())
            if pause <= 0:
                raise TimeoutError(
                    f"{len(self._left)} of {len(self._jobs)} jobs are not over after {self._timeout:g} s: "
                    f"{self.names()}. They continue; wait again."
                )
            self._stop.wait(pause)

    def names(self) -> str:
        """The jobs that are not over, for people."""
        named = [f"{job.id} ({job.handle.status.text})" for job in list(self._left.values())[:_NAMED]]
        return ", ".join(named) + (", …" if len(self._left) > _NAMED else "")

    def _round(self) -> None:
        """Reads all, and asks each scheduler once."""
        found = {record.id: record for record in self._read(list(self._left))}
        at: dict[Place, list[Job]] = {}
        for job_id, job in list(self._left.items()):
            if job_id not in found:  # it was deleted: nothing more happens to it
                self._over(job)
                continue
            job.handle.take(found[job_id])
            if job.handle.record.final:
                self._over(job)
            elif _is_at_scheduler(job):
                at.setdefault((job.scheduler_engine, job.handle.record.scheduler), []).append(job)
            else:
                self._alone(job)
        for place, jobs in at.items():
            self._ask(place, jobs)

    def _ask(self, place: Place, jobs: list[Job]) -> None:
        if time.monotonic() < self._away.get(place, 0.0):
            return
        if place not in self._groups:
            self._groups[place] = registry.group_type(place[0])()
        group = self._groups[place]
        try:
            news = group.poll(jobs, self._stop.is_set)
        except SchedulerConnectionError as error:
            self._away[place] = time.monotonic() + _AWAY
            for job in jobs:
                if job.handle.record.noted.unreachable_since is None:
                    polling.note_unreachable(job, error)
            return
        for job in jobs:
            found = news.get(job.handle.record.id)
            if found is not None:
                if not polling.observed(job, found):
                    group.look_again()  # another process has written it meanwhile
            elif job.handle.record.noted.unreachable_since is not None and not group.failed(job):
                self._alone(job)
            if job.handle.record.final:
                group.forget(job)
                self._over(job)

    def _alone(self, job: Job) -> None:
        """Polls a job by itself: its outputs are fetched, or its submission is looked up."""
        try:
            polling.poll(job)
        except JobStateError:  # deleted meanwhile; the next round finds that
            return
        if job.handle.record.final:
            self._over(job)

    def _over(self, job: Job) -> None:
        self._left.pop(job.handle.record.id, None)
        job.engine.ended()
        self._ended(job, self.done, len(self._jobs))

    @property
    def done(self) -> int:
        """The number of jobs that are over."""
        return len(self._jobs) - len(self._left)

    def counts(self) -> dict[str, int]:
        """Status → the number of jobs."""
        found: dict[str, int] = {}
        for job in self._jobs.values():
            text = job.handle.status.text
            found[text] = found.get(text, 0) + 1
        return found


def _is_at_scheduler(job: Job) -> bool:
    """Whether its scheduler can be asked for it together with others."""
    record, status = job.handle.record, job.handle.status
    at_work = status.kind.non_terminal and status.text not in (statuses.PENDING, statuses.RESULTS_READY)
    at_work = at_work and record.remote_id is not None and job.scheduler_engine is not None
    return at_work and not job.engine.asks_freely


def check(jobs: Iterable[Job]) -> list[Job]:
    """The jobs of a call as a list.

    Raises:
        TypeError: not jobs.
        JobStateError: one was never saved.
    """
    found = list(jobs)
    for job in found:
        if not isinstance(job, Job):
            raise TypeError(f"wait_jobs takes jobs, not {job!r}.")
        if job.id is None:
            raise JobStateError(f"{job.handle.title} was never saved, so there is nothing to wait for. Call execute().")
    return found


def wait(
    jobs: Sequence[Job],
    read: Callable[[Sequence[int]], list[JobRecord]],
    timeout: float | None,
    progress: bool | Progress | None,
    stop: threading.Event | None = None,
) -> None:
    """See :meth:`JobManager.wait_jobs`."""
    told = progress if callable(progress) else lambda *_: None
    waiting = WaitingForAll(jobs, read, timeout, ended=told, stop=stop)
    try:
        if progress is True or (progress is None and jobs and is_seen()):
            with bar(len(jobs)) as show:
                waiting.looked = lambda: show(waiting.done, waiting.counts())
                waiting.run()
        else:
            waiting.run()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"The wait has ended, and {len(jobs) - waiting.done} of {len(jobs)} jobs continue: {waiting.names()}. "
            "Call wait_jobs() again to go on waiting."
        ) from None
