"""The monitor: a thread for each scheduler that has jobs, a pool that fetches, and this loop, which looks for new jobs
and for what people did in Prefect."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from prefect_jobs.errors import PrefectJobsError, SchedulerConnectionError
from prefect_jobs.jobs import registry
from prefect_jobs.monitor.commands import Commands
from prefect_jobs.monitor.metrics import Metrics
from prefect_jobs.monitor.watch import Watch
from prefect_jobs.runtime import Runtime, own_runtime

log = logging.getLogger(__name__)

#: Threads that fetch outputs and results.
FETCHERS = 4
#: Seconds within which everything has ended after :meth:`Monitor.stop`.
PATIENCE = 4.0
#: Seconds between two counts of what is told to Prometheus.
_COUNTED = 5.0


class Monitor:
    """Watches all jobs of one database. Any number of them, on any machines, share the schedulers by leases."""

    def __init__(self, runtime: Runtime | None = None) -> None:
        """
        Args:
            runtime: the wiring; none: one of its own, closed at the end.
        """
        self._own = runtime is None
        self._runtime = runtime or own_runtime()
        self.metrics = Metrics()
        self._stop = threading.Event()
        self._over = threading.Event()
        self._over.set()
        self._watches: dict[tuple[str | None, str | None], Watch] = {}
        self._pool = ThreadPoolExecutor(FETCHERS, "prefect-jobs-fetch")
        self._commands = Commands(self._runtime, self._submit)
        self._unknown: set[str] = set()
        self._next_count = 0.0

    def run(self) -> None:
        """Watches until :meth:`stop`."""
        self._over.clear()
        interval = self._runtime.settings.poll_interval
        log.info("The monitor watches %s", self._runtime.store.database.name)
        self._runtime.checker.start()
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    self._look()
                    self._commands.look()
                except PrefectJobsError as error:
                    log.warning("%s", error)  # the database is away: everything stays as it is
                except Exception:
                    log.exception("The monitor's round failed; trying again")
                self._stop.wait(max(0.05, interval - (time.monotonic() - began)))
        finally:
            self._end()
            self._over.set()

    def request_stop(self) -> None:
        """Asks :meth:`run` to end; for signal handlers, which must not wait."""
        self._stop.set()

    def stop(self) -> None:
        """Ends it, within five seconds; work at the schedulers goes on, and is found again by the next one."""
        self._stop.set()
        self._over.wait(PATIENCE + 1)

    def _look(self) -> None:
        """Finds out which jobs there are, and gives each to the watch of its scheduler."""
        wanted: dict[tuple[str | None, str | None], dict[int, int]] = {}
        statuses: Counter[str] = Counter()
        for job_id, version, type_name, scheduler, status in self._runtime.store.watched():
            statuses[status] += 1
            cls = registry.load(type_name)
            if cls is None:
                if type_name not in self._unknown:
                    self._unknown.add(type_name)
                    log.warning("Jobs of the type %r are not watched: this process does not know it", type_name)
                continue
            wanted.setdefault((cls.scheduler_engine, scheduler), {})[job_id] = version
        for key in wanted.keys() - self._watches.keys():
            watch = self._watches[key] = Watch(self._runtime, *key, self._submit, self.metrics)
            watch.start()
        for key, watch in self._watches.items():
            watch.give(wanted.get(key, {}))
        if time.monotonic() >= self._next_count:
            self._next_count = time.monotonic() + _COUNTED
            self.metrics.counted(statuses, self._runtime.store.backlog(), self._runtime.projector.away is None)

    def _submit(self, call: Callable[..., None], *args: object) -> "Future[None]":
        try:
            return self._pool.submit(call, *args)
        except RuntimeError as error:  # it is being shut down
            raise SchedulerConnectionError("The monitor is being stopped.") from error

    def _end(self) -> None:
        deadline = time.monotonic() + PATIENCE
        for watch in self._watches.values():
            watch.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for name, watch in [(watch.name, watch) for watch in self._watches.values()]:
            if not watch.join(max(0.0, deadline - time.monotonic())):
                log.warning("%s: its scheduler has not answered yet; left alone", name)
        self._commands.close()
        if self._own:
            self._runtime.close()
        log.info("The monitor has ended")
