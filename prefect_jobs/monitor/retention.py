"""Removes jobs that have been over for longer than the setting ``PREFECT_JOBS_RETENTION`` says."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from prefect_jobs import clock
from prefect_jobs.errors import DatabaseError
from prefect_jobs.monitor.cleaning import Cleaning
from prefect_jobs.monitor.leased_thread import LeasedThread
from prefect_jobs.monitor.metrics import Metrics
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.store.retention import OldJobs

log = logging.getLogger(__name__)

#: Seconds between two rounds, at most and at least.
_INTERVAL = (60.0, 0.5)
#: Number of jobs that are removed in one transaction, and seconds until the next one: others write, too.
_AT_ONCE, _PAUSE = 100, 0.1


class Retention(LeasedThread):
    """Removes old jobs, in a separate thread. What they have left at their schedulers is removed before."""

    name = "Old jobs"
    lease = "retention"

    def __init__(self, runtime: Runtime, kept: timedelta, metrics: Metrics) -> None:
        """
        Args:
            runtime: the wiring.
            kept: for how long a job that is over stays.
            metrics: count what is removed.
        """
        super().__init__(runtime.store, min(_INTERVAL[0], max(_INTERVAL[1], kept.total_seconds() / 10)))
        self._runtime = runtime
        self._age = kept
        self._metrics = metrics
        self._old = OldJobs(runtime.store.database)
        self._cleaning = Cleaning(runtime)
        #: Jobs whose results could not be removed, of which the log has a line.
        self._told: set[int] = set()

    def round(self) -> None:
        """Removes what is old now."""
        before = clock.now() - self._age
        removed, after = 0, 0
        self._cleaning.begin()
        while not self._stop.is_set():
            page = self._old.page(before, after)
            for start in range(0, len(page.old), _AT_ONCE):
                removed += self._remove(page.old[start : start + _AT_ONCE], before)
                if self._stop.wait(_PAUSE):
                    break
            if page.last is None:
                break
            after = page.last
        if removed:
            log.info("%d jobs that were over for longer than PREFECT_JOBS_RETENTION are removed", removed)

    def _remove(self, job_ids: Sequence[int], before: datetime) -> int:
        wanted = []
        for record in self._store.records(job_ids):
            if self._stop.is_set():
                break
            if self._may_go(record):
                wanted.append(record.id)
        removed = self._old.remove(wanted, before) if wanted else 0
        if removed:
            self._metrics.removed(removed)
            self._runtime.projector.delete_runs_soon()
        return removed

    def _may_go(self, record: JobRecord) -> bool:
        """Whether nothing is left of a job but rows; what its scheduler and Prefect's result storage have is removed
        first."""
        noted = record.noted
        if record.submission_unknown or not self._cleaning.done(record):
            return False
        if noted.result is None:
            return True
        try:
            self._runtime.results.forget(record.id, noted.result)
        except DatabaseError:
            raise
        except Exception as error:  # a storage may raise anything; the job is tried again
            if record.id not in self._told:
                log.warning("Job %d is old, but its result cannot be removed: %s", record.id, error)
            self._told.add(record.id)
            return False
        return True
