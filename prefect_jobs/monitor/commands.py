"""What people and automations did to flow runs in Prefect, done to the jobs."""

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta

from prefect_jobs import statuses
from prefect_jobs.errors import JobStateError, PrefectJobsError, SchedulerConnectionError
from prefect_jobs.jobs.base import Job
from prefect_jobs.projection.prefect_api import PrefectApi, PrefectAway, RunSeen
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime import Runtime

log = logging.getLogger(__name__)

#: Seconds that the lease on looking at Prefect holds.
LEASE = 12.0
#: How far back cancelled runs are looked for at first: while no monitor ran, people may have cancelled.
_FIRST = timedelta(hours=24)
#: By how much the looks for cancelled runs overlap: clocks of server and monitor may disagree.
_OVERLAP = timedelta(minutes=2)
#: Runs that are looked at in one call, whether they are there and as we wrote them.
_CHUNK = 200
#: Seconds between two looks at a run that is neither as we wrote it nor a command.
_ALL = 30.0
_BACKOFF = (2.0, 30.0)
_RETRY = "AwaitingRetry"


class Commands:
    """Looks at Prefect, in few calls however many jobs there are."""

    def __init__(self, runtime: Runtime, submit: Callable[..., "Future[None]"]) -> None:
        self._runtime = runtime
        self._submit = submit
        self._api = PrefectApi()
        self._owner = uuid.uuid4().hex
        self._since: datetime | None = None
        self._next = 0.0
        self._next_all = 0.0
        self._backoff = _BACKOFF[0]
        self._lock = threading.Lock()
        #: Jobs to which something is being done.
        self._busy: set[int] = set()
        #: Job → the state of its run on which nothing more is to be done.
        self._done: dict[int, str] = {}

    def close(self) -> None:
        """Ends it."""
        self._api.close()
        try:
            self._runtime.store.release_lease("prefect-commands", self._owner)
        except PrefectJobsError:
            log.info("The lease on looking at Prefect could not be given back; it ends by itself")

    def look(self) -> None:
        """One look."""
        if time.monotonic() < self._next or not self._runtime.store.claim_lease("prefect-commands", self._owner, LEASE):
            return
        try:
            self._look()
            self._backoff = _BACKOFF[0]
        except PrefectAway as error:
            log.info("Prefect cannot be asked for what people did there: %s", error)
            self._next = time.monotonic() + self._backoff * random.uniform(0.7, 1.0)  # noqa: S311
            self._backoff = min(_BACKOFF[1], self._backoff * 2)

    def _look(self) -> None:
        began = datetime.now(UTC)
        since = (self._since or began - _FIRST) - _OVERLAP
        ours = {"tags": {"all_": ["prefect-jobs"]}}
        seen = self._api.runs({**ours, "state": {"type": {"any_": ["CANCELLING", "PAUSED"]}}})
        seen += self._api.runs({**ours, "state": {"name": {"any_": [_RETRY]}}})
        seen += self._api.runs(
            {**ours, "state": {"type": {"any_": ["CANCELLED"]}}, "end_time": {"after_": since.isoformat()}}
        )
        runs = {run.id: run for run in seen}
        watched = self._runtime.store.watched()
        active = {job_id for job_id, *_ in watched}
        records = {record.id: record for record in self._runtime.store.records_of_runs(list(runs))}
        few = len(active) <= _CHUNK
        if few or time.monotonic() >= self._next_all:
            self._next_all = time.monotonic() + _ALL
            more = [record for record in self._runtime.store.records(sorted(active)) if record.flow_run_id]
            missing = self._others(more, runs)
            records.update({record.id: record for record in more})
        else:
            # Those that were paused may have been let go on in Prefect.
            paused = [job_id for job_id, _, _, _, status in watched if status in (statuses.PAUSED, statuses.HELD)]
            more = [record for record in self._runtime.store.records(paused) if record.flow_run_id]
            missing = self._others(more, runs)
            records.update({record.id: record for record in more})
        for record in records.values():
            run = runs.get(str(record.flow_run_id))
            self._consider(record, run, gone=record.id in missing)
        self._since = began

    def _others(self, records: list[JobRecord], runs: dict[str, RunSeen]) -> set[int]:
        """Adds the runs of jobs to those seen.

        Returns:
            The jobs whose runs are not there.
        """
        ids = [str(record.flow_run_id) for record in records if record.flow_run_id not in runs]
        for start in range(0, len(ids), _CHUNK):
            found = self._api.runs({"id": {"any_": ids[start : start + _CHUNK]}})
            runs.update({run.id: run for run in found})
        return {record.id for record in records if record.flow_run_id not in runs}

    def _consider(self, record: JobRecord, run: RunSeen | None, *, gone: bool) -> None:
        if record.id in self._busy or (run is None and not gone):
            return
        state = "deleted" if run is None else run.state_id
        if state == record.flow_state_id or self._done.get(record.id) == state:
            return
        if record.behind and run is not None and run.state_type not in ("CANCELLING", "CANCELLED"):
            return  # what we are about to show there may be just this
        with self._lock:
            self._busy.add(record.id)
        self._submit(self._act, record.id, run)

    # -- in a thread of the pool ------------------------------------------------------------------------

    def _act(self, job_id: int, run: RunSeen | None) -> None:
        done = True
        try:
            record = self._runtime.get(job_id)
            if record is None or (run is not None and run.state_id == record.flow_state_id):
                return
            done = self._do(self._runtime.job(record), run)
        except SchedulerConnectionError as error:
            done = False  # the command stands in Prefect, and is taken up again by the next look
            log.warning("Job %s: what was asked for in Prefect could not be done yet: %s", job_id, error)
        except (JobStateError, NotImplementedError) as error:
            log.info("Job %s: %s", job_id, error)  # deleted, or over, at this moment
            self._show_again(job_id, str(error))
        except Exception as error:
            log.exception("Job %s: what was asked for in Prefect failed", job_id)
            self._show_again(job_id, str(error))
        finally:
            if done:
                self._done[job_id] = "deleted" if run is None else run.state_id
                while len(self._done) > 10_000:
                    self._done.pop(next(iter(self._done)))
            with self._lock:
                self._busy.discard(job_id)

    def _do(self, job: Job, run: RunSeen | None) -> bool:
        """Does what the run's state asks for; whether nothing more is to be done on it."""
        status = job._record.state.as_status
        over = status.kind.terminal and status.text != statuses.RESULTS_READY
        if run is None:
            if over:
                return True
            self._say(job, "Its flow run was deleted in Prefect: the job is stopped.")
            job.stop()
            return True
        kind = run.state_type
        if job._record.engine_run and (over or kind not in ("CANCELLING", "CANCELLED")):
            return True  # an engine executes the run: its states, and its retries, are the engine's
        if over:
            if run.state_name != _RETRY:
                return self._show_again(job._record.id)
            self._say(job, "Retry was asked for in Prefect.")
            job.resubmit()
        elif job.scheduler_engine is None and not _asks(job):
            return self._set(job, run)
        elif kind in ("CANCELLING", "CANCELLED"):
            self._say(job, "Cancel was asked for in Prefect.")
            job.stop()
        elif kind == "PAUSED" and status.text not in (statuses.PAUSED, statuses.HELD):
            self._say(job, "Pause was asked for in Prefect.")
            job.pause()
        elif kind in ("RUNNING", "SCHEDULED", "PENDING") and status.text in (statuses.PAUSED, statuses.HELD):
            self._say(job, "Resume was asked for in Prefect.")
            job.resume()
        else:
            return self._show_again(job._record.id)
        return True

    def _set(self, job: Job, run: RunSeen) -> bool:
        """A job without a scheduler is what Prefect says that it is."""
        kind = "CANCELLED" if run.state_type == "CANCELLING" else run.state_type
        named = next((status for status in statuses.BY_CODE.values() if status.state_name == run.state_name), None)
        new = named.name if named is not None and named.kind.state_type == kind else _BY_TYPE.get(kind)
        if new is None or new == job.cached_status:
            return self._show_again(job._record.id)
        self._say(job, f"Set to {run.state_name} in Prefect.")
        job.update_status(new)
        return True

    def _say(self, job: Job, text: str) -> None:
        log.info("Job %s: %s", job._record.id, text)
        job._apply(None, messages=((logging.INFO, text),))

    def _show_again(self, job_id: int, why: str = "") -> bool:
        """Has the job shown as it is, whatever stands in Prefect."""
        from prefect_jobs.records import Change

        messages = ((logging.WARNING, why),) if why else ()
        try:
            self._runtime.update(job_id, lambda fresh: Change({"face_seq": fresh.face_seq + 1}, messages))
        except JobStateError:
            return True  # deleted meanwhile
        return True


def _asks(job: Job) -> bool:
    return type(job)._update_status is not Job._update_status


#: What a state's type says of a job that has no scheduler.
_BY_TYPE = {
    "SCHEDULED": statuses.PENDING,
    "PENDING": statuses.SUBMITTED,
    "RUNNING": statuses.RUNNING,
    "PAUSED": statuses.PAUSED,
    "COMPLETED": statuses.COMPLETE,
    "FAILED": statuses.ERROR,
    "CRASHED": statuses.ERROR,
    "CANCELLED": statuses.ABORTED,
}
