"""Serves our deployments: runs that people start in Prefect, or a schedule, become jobs within a poll interval."""

import logging
import random
import threading
import time
import uuid
from collections.abc import Mapping

from prefect_jobs import clock
from prefect_jobs.backoff import Backoff
from prefect_jobs.errors import JobStateError, PrefectJobsError
from prefect_jobs.jobs import steering
from prefect_jobs.monitor.workers import Workers
from prefect_jobs.pickup.pickup import PickUp
from prefect_jobs.pickup.served import Deployments, Served
from prefect_jobs.projection.offers import PAGE
from prefect_jobs.projection.prefect_api import PrefectApi, PrefectAway
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.store.leases import kept_up

log = logging.getLogger(__name__)

#: Seconds for which the lease on asking for runs holds; it is renewed during a long round.
LEASE = 9.0
_LEASE_NAME = "prefect-offers"
#: Number of threads that submit jobs, so that a scheduler that hangs does not stop the others.
_WORKERS = 4
_BACKOFF = (2.0, 30.0)
#: Number of pages of runs in one round.
_PAGES = 5
#: Seconds for which a place in a concurrency limit is kept, and after which that is done again.
_PLACE, _RENEWED = 3600.0, 900.0


class Serving:
    """Asks Prefect for runs, in a separate thread."""

    name = "Runs in Prefect"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._owner = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefect-jobs-serving", daemon=True)
        self._workers = Workers(_WORKERS, "prefect-jobs-pickup")
        self._deployments = Deployments(runtime.store)
        self._pickup = PickUp(runtime, self._deployments, self._workers.submit)
        self._backoff = Backoff(*_BACKOFF)
        #: Lease on a place in a concurrency limit → when it is renewed next (monotonic).
        self._places: dict[str, float] = {}
        #: Jobs that are being stopped since their time is over.
        self._overdue: set[int] = set()

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Asks for the end."""
        self._stop.set()
        self._workers.stop()

    def join(self, seconds: float) -> bool:
        """Waits for the end; returns whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        interval = self._runtime.settings.poll_interval
        api = PrefectApi()
        while not self._stop.is_set():
            pause = interval * random.uniform(0.9, 1.1)  # noqa: S311
            try:
                self._pickup.keep()
                if self._claim():
                    with kept_up(self._claim, LEASE / 3):
                        self._look(api)
                self._backoff.reset()
            except PrefectAway as error:
                log.info("Runs in Prefect cannot be read: %s", error)
                pause = self._backoff.pause()
            except Exception as error:  # the database fails: nothing is lost
                log.warning("Runs in Prefect could not be picked up: %s", error)
                pause = self._backoff.pause()
            self._stop.wait(pause)
        api.close()
        try:
            self._runtime.store.release_lease(_LEASE_NAME, self._owner)
        except PrefectJobsError:
            log.info("The lease on runs in Prefect could not be released; it expires by itself")

    def _claim(self) -> bool:
        # The runs that are being picked up are kept, too, while a round takes long.
        self._pickup.keep()
        return self._runtime.store.claim_lease(_LEASE_NAME, self._owner, LEASE)

    def _look(self, api: PrefectApi) -> None:
        self._stop_overdue()
        self._renew_places(api)
        served = self._deployments.served(api)
        self._pickup.go_on(api)
        # Runs that wait for a place in a limit must not hide the others.
        for limited in (False, True):
            self._take(api, {name: each for name, each in served.items() if each.limited is limited})

    def _take(self, api: PrefectApi, served: Mapping[str, Served]) -> None:
        for _ in range(_PAGES):
            if not served or self._stop.is_set():
                return
            offers = api.offers(list(served))
            if not self._pickup.take(api, offers, served) or len(offers) < PAGE:
                return

    def _renew_places(self, api: PrefectApi) -> None:
        """Keeps the places of active jobs in the concurrency limits of their deployments."""
        limited = self._runtime.store.limited()
        for job_id, lease in limited:
            if time.monotonic() < self._places.get(lease, 0.0):
                continue
            if not api.renew_lease(lease, _PLACE):
                # The server has restarted, or the limit was removed.
                log.info("Job %s has lost its place in the concurrency limit of its deployment", job_id)
                self._runtime.jobs.update(job_id, _placeless)
            self._places[lease] = time.monotonic() + _RENEWED
        current = {lease for _, lease in limited}
        self._places = {lease: due for lease, due in self._places.items() if lease in current}

    def _stop_overdue(self) -> None:
        """Stops jobs that are not over in time."""
        for job_id, began, seconds in self._runtime.store.timed():
            if job_id not in self._overdue and (clock.now() - began).total_seconds() > seconds:
                self._overdue.add(job_id)
                self._workers.submit(self._time_out, job_id, seconds)

    def _time_out(self, job_id: int, seconds: float) -> None:
        try:
            record = self._runtime.jobs.get(job_id)
            if record is not None and not record.final:
                steering.time_out(self._runtime.job(record), seconds)
        except JobStateError as error:
            log.info("Job %s: %s", job_id, error)
        except PrefectJobsError as error:
            log.warning("Job %s is not over in time, and could not be stopped yet: %s", job_id, error)
        finally:
            self._overdue.discard(job_id)


def _placeless(fresh: JobRecord) -> Change:
    return Change({"concurrency_lease": None})
