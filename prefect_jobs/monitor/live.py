"""Notes what jobs write while they run."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.jobs.base import Job
from prefect_jobs.runtime.wiring import Runtime

log = logging.getLogger(__name__)

#: Seconds between two readings of the output of a job, and the number of jobs in one turn.
EVERY, AT_ONCE = 60.0, 20


class LiveOutput:
    """The output of the jobs at one scheduler."""

    def __init__(self, runtime: Runtime) -> None:
        """
        Args:
            runtime: gives the jobs: the output is read in another thread, with an object of its own.
        """
        self._runtime = runtime
        #: When the output of each job is read next (monotonic).
        self._due: dict[int, float] = {}
        #: Those whose output is being read.
        self._busy: set[int] = set()

    def due(self, jobs: Sequence[Job]) -> Iterator[Callable[[], None]]:
        """For each job whose turn it is, what notes its newest output; it may take long."""
        now = time.monotonic()
        wanted = [job.handle.record.id for job in jobs if job.engine.may_say_more(job.handle.record)]
        self._due = {job_id: self._due.get(job_id, 0.0) for job_id in wanted}
        turn = sorted((due, job_id) for job_id, due in self._due.items() if due <= now and job_id not in self._busy)
        for _, job_id in turn[:AT_ONCE]:
            self._due[job_id] = now + EVERY
            self._busy.add(job_id)
            yield partial(self._note, job_id)

    def _note(self, job_id: int) -> None:
        try:
            record = self._runtime.jobs.get(job_id)
            if record is not None:
                self._runtime.job(record).engine.note_output()
        except PrefectJobsError as error:  # the next turn tries again
            log.info("The output of job %s is not known: %s", job_id, error)
        except Exception:
            log.exception("The output of job %s could not be read", job_id)
        finally:
            self._busy.discard(job_id)
