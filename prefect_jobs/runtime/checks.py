"""Checks: polls of jobs on request, now or at a given time. A later check is a row, so it survives any process."""

import atexit
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from prefect_jobs import clock, statuses
from prefect_jobs.backoff import Backoff
from prefect_jobs.errors import DatabaseError
from prefect_jobs.jobs import polling
from prefect_jobs.jobs.base import Job
from prefect_jobs.records import JobRecord
from prefect_jobs.store import Store
from prefect_jobs.store.leases import kept_up

log = logging.getLogger(__name__)

OpenJob = Callable[[JobRecord], Job]

#: Seconds for which a claim on a check holds. After that, its owner counts as dead.
_CLAIM = 60.0
#: Seconds until a failed check is tried again: the first and the longest pause.
_RETRY = (5.0, 300.0)
#: The longest and shortest sleep in seconds: other processes add rows, and their clocks may differ a little.
_SLEEP = (15.0, 0.2)
#: Seconds between two tries to reach the database: the first and the longest pause.
_BACKOFF = (1.0, 30.0)
#: Number of checks that run at the same time.
_THREADS = 3
#: Seconds for which closing waits for running checks.
_PATIENCE = 1.0


def look(job: Job) -> None:
    """Polls a job now, however recent the last poll is. :func:`prefect_jobs.jobs.polling.was_reached` tells whether the
    scheduler answered.

    Raises:
        JobStateError: the job was deleted, or its type is not known to this process.
        Exception: any error of the job's type.
    """
    job.check_known("polled")
    polling.poll_once(job)


def retry_delay(tries: int) -> float:
    """Seconds until the next try after a number of failed ones: doubled each time, and never in step with others."""
    longest = min(_RETRY[1], _RETRY[0] * 2.0 ** min(tries - 1, 20))
    return longest * random.uniform(0.75, 1)  # noqa: S311


class Checker:
    """Runs the checks of one runtime in threads of this process, which are started when they are first needed. A
    check that fetches large outputs must not block the others.

    One for each runtime: ``runtime.checker``.
    """

    def __init__(self, store: Store, open_job: OpenJob) -> None:
        """
        Args:
            store: stores the checks.
            open_job: creates the job for a record.
        """
        self._store = store
        self._open_job = open_job
        self._owner = uuid.uuid4().hex
        #: Number of failures of each check. In memory: after a restart it is tried sooner, which does no harm.
        self._tries: dict[int, int] = {}
        self._changed = threading.Condition()
        self._woken = 0
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def schedule(self, job_id: int, delay_seconds: float) -> None:
        """Requests a check of a job in ``delay_seconds``, by any process that runs then.

        The time is rounded up to a whole second, and two requests for the same second lead to one check, so that
        callers without a limit do not fill the table.

        Raises:
            JobGone: the job was deleted.
        """
        due = clock.now() + timedelta(seconds=delay_seconds)
        if due.microsecond:
            due = due.replace(microsecond=0) + timedelta(seconds=1)
        self._store.add_check(job_id, due)
        self.wake()

    def start(self) -> None:
        """Starts the threads if they do not run; checks that other processes left are done then."""
        with self._changed:
            if any(thread.is_alive() for thread in self._threads) and not self._stop.is_set():
                return
            # A new event: old threads that have not ended yet must not continue.
            self._stop = threading.Event()
            self._threads = [
                threading.Thread(target=self._run, args=(self._stop,), name="prefect-jobs-checker", daemon=True)
                for _ in range(_THREADS)
            ]
            for thread in self._threads:
                thread.start()
            atexit.unregister(self.close)
            atexit.register(self.close)

    def wake(self) -> None:
        """Makes the threads, which are started if necessary, run what is due now."""
        self.start()
        with self._changed:
            self._woken += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the threads. Running checks are waited for, 1 s at most; the next process does what they leave.

        The next :meth:`start` or :meth:`wake` starts new ones.
        """
        with self._changed:
            threads, self._threads = self._threads, []
            self._stop.set()
            self._changed.notify_all()
        if threads:
            atexit.unregister(self.close)
        deadline = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def run_due(self, stop: threading.Event | None = None) -> float | None:
        """Runs the checks that are due, one after the other; returns early if ``stop`` is set.

        If the scheduler does not answer, the check is delayed, longer each time, until the job is over.

        Returns:
            Seconds until the next one is due; ``None`` if there is none.

        Raises:
            DatabaseError: the database cannot be used; nothing is lost.
        """
        store = self._store
        away: set[str] = set()
        while not (stop is not None and stop.is_set()):
            claimed = store.claim_check(self._owner, _CLAIM)
            if claimed is None:
                break
            check_id, job_id = claimed
            with kept_up(partial(store.keep_check, check_id, self._owner, _CLAIM), _CLAIM / 3):
                done = self._done(job_id, away)
            if done:
                store.check_done(check_id)
                self._tries.pop(check_id, None)
            else:
                self._tries[check_id] = tries = self._tries.get(check_id, 0) + 1
                store.retry_check(check_id, clock.now() + timedelta(seconds=retry_delay(tries)))
        due = store.next_check()
        if due is None:
            self._tries.clear()
            return None
        return max(0.0, (due - clock.now()).total_seconds())

    def _done(self, job_id: int, away: set[str]) -> bool:
        """Runs a check, unless its scheduler is in ``away``; returns whether no other check is needed."""
        record = self._store.get(job_id)
        if record is None or record.final:
            return True
        if record.scheduler in away:
            return False  # each request would time out like the first one
        try:
            job = self._open_job(record)
            look(job)
        except DatabaseError:
            raise
        except Exception as error:  # a job type may raise anything; the other checks continue
            log.warning("Job %s could not be polled; trying again: %s", job_id, error)
            return False
        if not polling.was_reached(job):
            if record.scheduler is not None:
                away.add(record.scheduler)
            return False
        return job.cached_status != statuses.RESULTS_READY  # its outputs could not be fetched yet

    def _run(self, stop: threading.Event) -> None:
        backoff = Backoff(*_BACKOFF)
        while not stop.is_set():
            woken = self._woken
            try:
                due = self.run_due(stop)
                pause = _SLEEP[0] if due is None else min(_SLEEP[0], max(_SLEEP[1], due))
                backoff.reset()
            except Exception as error:  # the database fails; its rows are not lost
                if not stop.is_set():
                    log.warning("The checks that are due cannot be read; trying again: %s", error)
                pause = backoff.pause()
            with self._changed:
                self._changed.wait_for(lambda: self._woken != woken or stop.is_set(), timeout=pause)  # noqa: B023
