"""The monitor: a thread for each scheduler with jobs, a pool that fetches outputs, and a loop that finds new jobs and
commands in Prefect."""

import logging
import threading
import time
from collections import Counter
from concurrent.futures import wait

from prefect_jobs.backoff import Backoff
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.monitor.adoptions import Adoptions
from prefect_jobs.monitor.commands import Commands
from prefect_jobs.monitor.known_types import KnownTypes
from prefect_jobs.monitor.leased_thread import LeasedThread
from prefect_jobs.monitor.metrics import Metrics
from prefect_jobs.monitor.retention import Retention
from prefect_jobs.monitor.serving import Serving
from prefect_jobs.monitor.watch import Watch
from prefect_jobs.monitor.workers import Workers
from prefect_jobs.runtime.wiring import Runtime, own_runtime
from prefect_jobs.store.watched import Watched, WatchedJobs
from prefect_jobs.threads import in_thread

log = logging.getLogger(__name__)

#: Number of threads that fetch outputs and results.
FETCHERS = 4
#: Seconds in which everything has ended after :meth:`Monitor.stop`.
PATIENCE = 4.0
#: The seconds of these for answers of schedulers.
_ANSWERS = 2.5
#: The longest pause in seconds while the database does not answer.
_BACKOFF = 10.0
#: Seconds between two counts for Prometheus.
_COUNTED = 5.0


class Monitor:
    """Watches all jobs of one database. Several monitors, on any machines, share the schedulers by leases."""

    def __init__(self, runtime: Runtime | None = None) -> None:
        """
        Args:
            runtime: the wiring; none: a new one, closed at the end.
        """
        self._own = runtime is None
        self._runtime = runtime or own_runtime()
        self.metrics = Metrics()
        self._stop = threading.Event()
        self._over = threading.Event()
        self._over.set()
        self._watches: dict[tuple[str | None, str | None], Watch] = {}
        self._fetchers = Workers(FETCHERS, "prefect-jobs-fetch")
        self._commands = Commands(self._runtime)
        self._serving = Serving(self._runtime)
        self._adoptions = Adoptions(self._runtime)
        kept = self._runtime.settings.retention
        self._retention = [] if kept is None else [Retention(self._runtime, kept, self.metrics)]
        self._types = KnownTypes("Jobs of the type %r are not watched: %s")
        #: Scheduler → jobs that were written, with their versions, and jobs that are no longer active; not given yet.
        self._news: dict[tuple[str | None, str | None], tuple[dict[int, int], list[int]]] = {}
        #: Jobs of types that could not be loaded.
        self._skipped: dict[int, Watched] = {}
        self._jobs = WatchedJobs(self._runtime.store)
        self._next_count = 0.0

    def run(self) -> None:
        """Watches until :meth:`stop`."""
        # In one thread: if several threads import Prefect at once, they get incomplete modules.
        import prefect.client.orchestration
        import prefect.context  # noqa: F401

        import prefect_jobs.blocks  # noqa: F401

        self._over.clear()
        interval = self._runtime.settings.poll_interval
        backoff = Backoff(interval, max(interval, _BACKOFF))
        lost: float | None = None
        log.info("The monitor watches %s", self._runtime.store.database.name)
        self._runtime.checker.start()
        self._commands.start()
        self._serving.start()
        self._adoptions.start()
        for part in self._retention:
            part.start()
        try:
            while not self._stop.is_set():
                began, pause = time.monotonic(), interval
                try:
                    self._look()
                    if lost is not None:
                        log.info("The monitor continues after %.0f s", time.monotonic() - lost)
                        lost = None
                    backoff.reset()
                except Exception as error:
                    lost = began if lost is None else lost
                    pause = backoff.pause()
                    if isinstance(error, PrefectJobsError):
                        log.warning("%s Trying again.", error)  # the database does not answer: nothing changes
                    else:
                        log.exception("A round of the monitor failed; trying again")
                self._stop.wait(max(0.05, pause - (time.monotonic() - began)))
        finally:
            self._end()
            self._over.set()

    def request_stop(self) -> None:
        """Asks :meth:`run` to end; for signal handlers, which must not wait."""
        self._stop.set()

    def stop(self) -> None:
        """Ends it, within five seconds; work at the schedulers continues, and the next monitor finds it."""
        self._stop.set()
        self._over.wait(PATIENCE + 1)

    def _look(self) -> None:
        """Reads the active jobs that have changed, and assigns each to the watch of its scheduler."""
        changed, gone = self._jobs.read()
        left = {job.id for job in gone} - {job.id for job in changed}
        # Types that could not be loaded are tried again.
        tried = {**self._skipped, **{job.id: job for job in changed}}
        tried = {job_id: job for job_id, job in tried.items() if job_id not in left}
        types = {name: self._types.get(name) for name in {job.type for job in (*gone, *tried.values())}}
        self._skipped = {job_id: job for job_id, job in tried.items() if types[job.type] is None}
        news = self._news  # with what could not be given in the last round
        for job in gone:
            if (cls := types[job.type]) is not None:
                news.setdefault((cls.scheduler_engine, job.scheduler), ({}, []))[1].append(job.id)
        for job in tried.values():
            if (cls := types[job.type]) is not None:
                news.setdefault((cls.scheduler_engine, job.scheduler), ({}, []))[0][job.id] = job.version
        for key, (written, over) in list(news.items()):
            watch = self._watches.get(key) or Watch(self._runtime, *key, self._fetchers.submit, self.metrics)
            watch.give(written, over)
            del news[key]
            if key not in self._watches:
                watch.start()  # with its jobs: without any, it would say that it has polled them all
                self._watches[key] = watch
        if time.monotonic() >= self._next_count:
            self._next_count = time.monotonic() + _COUNTED
            statuses = Counter(job.status for job in self._jobs.all())
            self.metrics.counted(statuses, self._runtime.store.backlog(), self._runtime.projector.away is None)

    def _end(self) -> None:
        began = time.monotonic()
        parts: list[Watch | LeasedThread] = [
            *self._watches.values(), self._commands, self._serving, self._adoptions, *self._retention,
        ]  # fmt: skip
        for part in parts:
            part.stop()
        self._fetchers.stop()
        for part in parts:
            if not part.join(max(0.0, began + _ANSWERS - time.monotonic())):
                log.warning("%s: no answer yet; not waited for", part.name)
        if self._own:
            # What Prefect does not show yet is noted; the next process finds it.
            closing = in_thread(self._runtime.close, "prefect-jobs-closer", daemon=True)
            wait([closing], max(0.0, began + PATIENCE - time.monotonic()))
            if closing.done() and (error := closing.exception()):
                log.error("A connection could not be closed", exc_info=error)
        log.info("The monitor has ended")
