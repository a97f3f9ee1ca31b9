"""What a Prefect worker does with the runs of its work pool."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from prefect_jobs.acting import PREFECT, acting
from prefect_jobs.errors import JobStateError, PrefectJobsError
from prefect_jobs.monitor.monitor import Monitor
from prefect_jobs.monitor.workers import Workers
from prefect_jobs.pickup.pickup import PickUp
from prefect_jobs.pickup.served import Deployments
from prefect_jobs.projection.offers import Offer
from prefect_jobs.projection.prefect_api import PrefectApi, PrefectAway
from prefect_jobs.projection.states import Face, job_of_pid, pid_of
from prefect_jobs.runtime.wiring import own_runtime
from prefect_jobs.store.leases import kept_up

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Number of threads that submit jobs.
_WORKERS = 4
#: Seconds between two renewals of what is in progress.
_RENEWED = 10.0


class Pool:
    """The runs of one work pool. A thread asks Prefect, and a few others submit jobs."""

    def __init__(self, worker: str, *, monitor: bool) -> None:
        """
        Args:
            worker: the worker's name.
            monitor: whether a monitor runs in this process.
        """
        self._worker = worker
        self._runtime = own_runtime()
        self._api = PrefectApi()
        self._asking = ThreadPoolExecutor(1, "prefect-jobs-pool")
        self._deployments = Deployments(self._runtime.store)
        self._workers = Workers(_WORKERS, "prefect-jobs-pickup")
        self._pickup = PickUp(self._runtime, self._deployments, self._workers.submit, worker)
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="prefect-jobs-pool", daemon=True)
        self._keeper.start()
        self._monitor = Monitor(self._runtime) if monitor else None
        if self._monitor is not None:
            threading.Thread(target=self._monitor.run, name="prefect-jobs-monitor", daemon=True).start()

    def stop(self) -> None:
        """Ends it; jobs continue."""
        self._ended.set()
        self._workers.stop()
        if self._monitor is not None:
            self._monitor.stop()
        self._keeper.join(1)
        self._ask(self._api.close)
        self._asking.shutdown()
        self._runtime.close()

    def _ask(self, call: Callable[..., T], *given: Any) -> T:
        return self._asking.submit(call, *given).result()

    def take(self, runs: Sequence[Mapping[str, Any]], most: int | None) -> None:
        """Turns runs that are due into jobs. An error of one run, or of Prefect, ends nothing.

        Args:
            runs: the runs, in the form of the API.
            most: number of active jobs of this worker; none: no limit.
        """
        self._ask(self._take, runs, most)

    def _take(self, runs: Sequence[Mapping[str, Any]], most: int | None) -> None:
        api = self._api
        try:
            now = api.now()
            # Workers are offered runs some seconds before their time.
            offers = [each for each in map(Offer.of, runs) if each.due is None or each.due <= now]
            served = self._deployments.find(api, {each.deployment_id for each in offers if each.deployment_id})
            for each in offers:
                if each.deployment_id not in served and not self._deployments.is_broken(each.deployment_id):
                    self._refuse(each)
            offers = [each for each in offers if each.deployment_id in served]
            room = None
            if most is not None:
                room = max(0, most - self._runtime.store.count_of_worker(self._worker))
            self._pickup.take(api, offers, served, room)
        except PrefectAway as error:
            log.info("Runs of the work pool cannot be picked up now: %s", error)
        except PrefectJobsError as error:  # the database: nothing is lost
            log.warning("Runs of the work pool could not be picked up: %s", error)
        except Exception:
            log.exception("Runs of the work pool could not be picked up")

    def _refuse(self, offer: Offer) -> None:
        text = (
            "This work pool runs the flows of prefect-jobs and of the job types that its workers know. Give the "
            "deployment a work pool of another type."
            if offer.deployment_id
            else "Its deployment was deleted."
        )
        log.warning("Run %s: %s", offer.run_id, text)
        self._api.set_waiting([offer.run_id], Face("FAILED", "Failed", text))

    def adopt(self, run_id: str) -> str:
        """Turns a run that was claimed for this worker into a job; returns what executes it.

        Raises:
            PrefectJobsError: it cannot become a job.
        """
        job_id = self._ask(self._pickup.adopt, self._api, run_id)
        return pid_of(self._runtime.store.identity, job_id)

    def job_of(self, pid: str) -> int | None:
        """The id of a job by what executes its run; ``None``: it is not in this database."""
        return job_of_pid(pid, self._runtime.store.identity)

    def kill(self, job_id: int) -> bool:
        """Stops a job, unless it is over; returns whether there is one.

        Raises:
            SchedulerConnectionError: its scheduler does not answer.
        """
        record = self._runtime.jobs.get(job_id)
        if record is None:
            return False
        if not record.final:
            try:
                with acting(PREFECT):
                    self._runtime.job(record).stop()
            except JobStateError as error:
                log.info("Job %s: %s", job_id, error)
        return True

    def _keep(self) -> None:
        with kept_up(self._pickup.keep, _RENEWED):
            self._ended.wait()
