"""Serves our deployments: runs that people start in Prefect, or a schedule, become jobs within a poll interval."""

import logging
import time
from collections.abc import Mapping

from prefect_jobs import clock
from prefect_jobs.acting import PREFECT, acting
from prefect_jobs.errors import JobStateError, PrefectJobsError
from prefect_jobs.jobs import steering
from prefect_jobs.monitor.leased_thread import LeasedThread
from prefect_jobs.monitor.workers import Workers
from prefect_jobs.pickup.pickup import PickUp
from prefect_jobs.pickup.served import Deployments, Served
from prefect_jobs.projection.offers import PAGE
from prefect_jobs.projection.prefect_api import PrefectApi
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.runtime.wiring import Runtime

log = logging.getLogger(__name__)

#: Number of threads that submit jobs, so that a scheduler that hangs does not stop the others.
_WORKERS = 4
#: Number of pages of runs in one round.
_PAGES = 5
#: Seconds for which a place in a concurrency limit is kept, and after which that is done again.
_PLACE, _RENEWED = 3600.0, 900.0


class Serving(LeasedThread):
    """Asks Prefect for runs, in a separate thread."""

    name = "Runs in Prefect"
    lease = "prefect-offers"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime.store, runtime.settings.poll_interval)
        self._runtime = runtime
        self._api = PrefectApi()
        self._workers = Workers(_WORKERS, "prefect-jobs-pickup")
        self._deployments = Deployments(runtime.store)
        self._pickup = PickUp(runtime, self._deployments, self._workers.submit)
        #: Lease on a place in a concurrency limit → when it is renewed next (monotonic).
        self._places: dict[str, float] = {}
        #: Jobs that are being stopped since their time is over.
        self._overdue: set[int] = set()

    def stop(self) -> None:
        """Asks for the end."""
        super().stop()
        self._workers.stop()

    def keep(self) -> None:
        """Keeps the runs that are being picked up: other threads may still submit their jobs."""
        self._pickup.keep()

    def ended(self) -> None:
        """Closes the connection."""
        self._api.close()

    def round(self) -> None:
        """Turns runs that are due into jobs, and does what is due for the jobs of runs."""
        api = self._api
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
                with acting(PREFECT):
                    steering.time_out(self._runtime.job(record), seconds)
        except JobStateError as error:
            log.info("Job %s: %s", job_id, error)
        except PrefectJobsError as error:
            log.warning("Job %s is not over in time, and could not be stopped yet: %s", job_id, error)
        finally:
            self._overdue.discard(job_id)


def _placeless(fresh: JobRecord) -> Change:
    return Change({"concurrency_lease": None})
