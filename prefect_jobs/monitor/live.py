"""Notes what jobs write while they run."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.runtime.wiring import Runtime

log = logging.getLogger(__name__)

#: Seconds between two readings of the output of a job.
EVERY = 60.0


class LiveOutput:
    """The output of the jobs at one scheduler, read one after the other in a thread of its own: a slow transfer delays
    neither the polls nor the outputs of jobs that are over."""

    def __init__(self, runtime: Runtime, ends: Callable[[], bool]) -> None:
        """
        Args:
            runtime: gives the jobs: the thread has objects of its own.
            ends: whether it is to end.
        """
        self._runtime = runtime
        self._ends = ends
        #: When the output of each job is read next (monotonic).
        self._due: dict[int, float] = {}
        self._thread: threading.Thread | None = None

    def turn(self, wanted: Collection[int]) -> None:
        """Begins to read the output of the jobs whose turn it is, unless it is still at it.

        Args:
            wanted: the jobs whose output is to be shown.
        """
        if self._thread is not None and self._thread.is_alive():
            return
        now = time.monotonic()
        self._due = {job_id: self._due.get(job_id, 0.0) for job_id in wanted}
        turn = sorted((due, job_id) for job_id, due in self._due.items() if due <= now)
        if turn:
            self._due.update({job_id: now + EVERY for _, job_id in turn})
            names = [job_id for _, job_id in turn]
            self._thread = threading.Thread(target=self._read, args=(names,), name="prefect-jobs-live", daemon=True)
            self._thread.start()

    def _read(self, job_ids: Sequence[int]) -> None:
        for job_id in job_ids:
            if self._ends():
                return
            try:
                record = self._runtime.jobs.get(job_id)
                if record is not None:
                    self._runtime.job(record).engine.note_output()
            except PrefectJobsError as error:  # the next turn tries again
                log.info("The output of job %s is not known: %s", job_id, error)
            except Exception:
                log.exception("The output of job %s could not be read", job_id)
