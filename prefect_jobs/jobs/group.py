"""Jobs at one scheduler, polled together with one request for all."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from prefect_jobs.jobs.observation import Observation
from prefect_jobs.jobs.type_hooks import AnyJob

log = logging.getLogger(__name__)

#: Reads jobs by their ids.
Load = Callable[[Sequence[int]], Sequence[AnyJob]]


class Group:
    """Jobs of unrelated types: each is polled by itself."""

    def __init__(self) -> None:
        self._failed: set[int] = set()
        #: Whether more jobs are being read, which will be followed soon.
        self.reading = False

    def poll(self, jobs: Sequence[AnyJob], stop: Callable[[], bool] = bool) -> dict[int, Observation]:
        """Polls jobs; returns observations by job id, without the jobs that have no news.

        Args:
            jobs: active jobs.
            stop: whether to stop polling.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        self._failed.clear()
        return self._each(jobs, stop)

    def keeps(self, job: AnyJob) -> bool:
        """Whether a job must be the same object at each poll. Others are followed, and read when there are news."""
        return True

    def follow(self, job: AnyJob) -> None:
        """Notes an active job that is not kept, or that it was written."""

    def seen(self, job: AnyJob, news: Observation) -> None:
        """Notes what was observed of a followed job and is not written, since the row says as much."""

    def drop(self, job_id: int) -> None:
        """Follows a job no longer."""

    def poll_followed(self, load: Load, stop: Callable[[], bool] = bool) -> list[tuple[AnyJob, Observation]]:
        """Polls the followed jobs; returns those with news.

        Args:
            load: reads jobs by their ids, without those that were deleted.
            stop: whether to stop polling.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        return []

    def failed(self, job: AnyJob) -> bool:
        """Whether the last poll failed for this job alone."""
        return job.handle.record.id in self._failed

    def unmatched(self, jobs: Sequence[AnyJob]) -> dict[int, float]:
        """The seconds for which jobs have waited for a first machine, by job id; the others are left out.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        return {}

    def why_waiting(self, jobs: Sequence[AnyJob]) -> dict[int, str]:
        """Why jobs wait for a machine, for people, by job id; empty for one that does not wait; where nothing can be
        known, jobs are left out.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        return {}

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Waits until the next poll is due: ``seconds`` at most, less if the scheduler reports an end."""
        stop.wait(seconds)

    def pause(self, seconds: float) -> float:
        """Seconds until the next poll, after a poll that succeeded: ``seconds`` at most."""
        return seconds

    def written(self) -> None:
        """Notes that all news of the last poll were written: what is not may be told again."""

    def look_again(self) -> None:
        """Makes the next poll request everything."""

    @property
    def catching_up(self) -> bool:
        """Whether jobs are new here for which the scheduler was not asked yet."""
        return False

    def forget(self, job: AnyJob) -> None:
        """Drops what is kept of a job that is over, or was submitted again."""

    def _each(self, jobs: Iterable[AnyJob], stop: Callable[[], bool]) -> dict[int, Observation]:
        """Polls each by itself; one that fails does not affect the others."""
        found: dict[int, Observation] = {}
        for job in jobs:
            if stop():
                break
            job_id = job.handle.record.id
            try:
                news = job.hooks.update_status()
            except Exception as error:  # a type's hook may raise anything
                self._failed.add(job_id)
                log.warning("Job %s could not be polled: %s", job_id, error)
                continue
            if news is not None:
                found[job_id] = news
        return found
