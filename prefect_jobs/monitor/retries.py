"""Retry in Prefect: each press leads to one submission, even with workers, and if monitors are killed."""

import logging
import uuid
from collections.abc import Callable
from contextlib import suppress

from prefect_jobs import statuses
from prefect_jobs.errors import DatabaseError, JobStateError, PrefectJobsError, SchedulerConnectionError
from prefect_jobs.jobs import submission
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.unknown import UnknownJob
from prefect_jobs.monitor.thread_apis import ThreadApis
from prefect_jobs.projection.prefect_api import PrefectAway, RunGone, RunSeen
from prefect_jobs.projection.run_states import Claim
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.store.leases import kept_up

log = logging.getLogger(__name__)

#: Seconds after which a retry counts as interrupted if its monitor does not renew it.
LEASE = 30.0
_PREFIX = "prefect-retry:"


class Retries:
    """Submits jobs again whose flow runs await a retry.

    A worker may get the same run. The monitor claims the run as workers do: it moves the run from SCHEDULED to
    PENDING, which Prefect allows once. Before that, it commits a lease whose owner is the transition's id. A monitor
    that is killed after the claim leaves both behind, and the next monitor continues.
    """

    def __init__(self, runtime: Runtime, apis: ThreadApis) -> None:
        self._runtime = runtime
        self._apis = apis

    def act(self, job: Job, run: RunSeen) -> bool:
        """Submits the job again, unless a worker has claimed its run.

        Returns:
            Whether nothing more is to be done for this press.

        Raises:
            SchedulerConnectionError: the scheduler does not answer; the run was not claimed.
            PrefectAway: Prefect does not answer.
        """
        if isinstance(job, UnknownJob):
            log.warning("%s is of a type that is not installed here: its retry is left to workers", job.handle.title)
            return True
        submit = _ready(job)
        record = job.handle.record
        name, owner = f"{_PREFIX}{record.id}:{record.state.attempt}", uuid.uuid4().hex
        if not self._runtime.store.claim_lease(name, owner, LEASE):
            return False  # another monitor has the lease, or had it: see interrupted()
        with kept_up(lambda: self._runtime.store.claim_lease(name, owner, LEASE), LEASE / 3):
            try:
                claimed = self._apis.get().claim_retry(run.id, owner)
            except PrefectAway as error:
                if error.busy:
                    self._runtime.store.release_lease(name, owner)
                raise  # it may have claimed the run: that is read once the lease has expired
            except RunGone:
                self._runtime.store.release_lease(name, owner)
                raise
            if claimed is None:
                log.info("Job %s: a worker has its retry, or it waits for a place in a limit", record.id)
            else:
                self._say(job)
                self._submit(job, claimed, submit)
        self._runtime.store.release_lease(name, owner)
        return True

    def interrupted(self) -> list[tuple[int, str, str]]:
        """Retries whose monitor died before they were finished: the job, and the lease's name and owner."""
        return [
            (int(name.removeprefix(_PREFIX).partition(":")[0]), name, owner)
            for name, owner in self._runtime.store.ended_leases(_PREFIX)
        ]

    def go_on(self, job_id: int, name: str, owner: str) -> None:
        """Finishes an interrupted retry: submits the job if the run was claimed for it and nothing was submitted.

        Raises:
            PrefectAway: Prefect does not answer; the lease stays.
        """
        record = self._runtime.jobs.get(job_id)
        attempt = int(name.rpartition(":")[2])
        if record is not None and _undecided(record, attempt):
            return  # its token tells whether it was submitted, at the next poll
        if not self._runtime.store.claim_lease(name, owner, LEASE):
            return
        with kept_up(lambda: self._runtime.store.claim_lease(name, owner, LEASE), LEASE / 3):
            if record is not None and record.flow_run_id is not None:
                try:
                    self._submit_interrupted(record, attempt, owner)
                except RunGone:
                    log.info("Job %s: its flow run was deleted; its interrupted retry is dropped", record.id)
        self._runtime.store.release_lease(name, owner)

    def _submit_interrupted(self, record: JobRecord, attempt: int, owner: str) -> None:
        job = self._runtime.job(record)
        if record.state.attempt == attempt + 1 and _never_submitted(record):
            log.info("Job %s: its retry was interrupted before the submission; it is submitted now", record.id)
            self._submit(job, None, lambda: submission.submit_again(job))
            return
        if record.state.attempt != attempt or not record.final:
            return  # it was submitted
        claimed = self._apis.get().claimed(str(record.flow_run_id), owner)
        if claimed is not None:
            self._say(job)
            self._submit(job, claimed, job.resubmit)

    def _submit(self, job: Job, claimed: Claim | None, submit: Callable[[], None]) -> None:
        """Submits the job. If that is refused, the run shows the job's status, and the log has the reason."""
        if claimed is not None and claimed.lease != job.handle.record.concurrency_lease:
            job.handle.update(lambda fresh: Change({"concurrency_lease": claimed.lease}))
        try:
            submit()
        except DatabaseError:
            raise  # the lease stays: the retry is tried again
        except Exception as error:
            if not isinstance(error, PrefectJobsError | NotImplementedError):
                log.exception("Job %s could not be submitted again", job.id)
            state = None if claimed is None else claimed.state_id
            self.answer(job.handle.record.id, state, str(error) or type(error).__name__)

    def answer(self, job_id: int, state_id: str | None, why: str) -> None:
        """Makes the run show the job's status: the state in Prefect counts as read, and is overwritten."""
        messages = ((logging.WARNING, why),) if why else ()

        def change(fresh: JobRecord) -> Change:
            known = {} if state_id is None else {"flow_state_id": state_id}
            return Change({"face_seq": fresh.face_seq + 1, **known}, messages)

        with suppress(JobStateError):  # deleted meanwhile
            self._runtime.jobs.update(job_id, change)

    @staticmethod
    def _say(job: Job) -> None:
        record = job.handle.record
        text = "Retry was asked for in Prefect."
        if record.retry_due is not None:
            text = f"Retry {record.state.attempt} of {record.retries}."
        log.info("Job %s: %s", job.id, text)
        job.handle.apply(None, messages=((logging.INFO, text),))


def _ready(job: Job) -> Callable[[], None]:
    """The function that submits the job, once its scheduler answers.

    Raises:
        SchedulerConnectionError: the scheduler does not answer. If it no longer exists, the function refuses.
    """
    try:
        job.engine.reach()
    except Exception as error:
        if isinstance(error, SchedulerConnectionError) and submission.may_be_tried_again(error):
            raise
        problem = error

        def refuse() -> None:  # after the claim: an earlier answer would overwrite a worker's claim
            raise problem

        return refuse
    return job.resubmit


def _never_submitted(record: JobRecord) -> bool:
    """Whether the intent of the present attempt was committed, and nothing was submitted."""
    return record.state.status == statuses.PENDING and record.remote_id is None and record.submission_token is None


def _undecided(record: JobRecord, attempt: int) -> bool:
    """Whether the outcome of the attempt after this one is unknown."""
    return (
        record.state.attempt == attempt + 1
        and record.state.status == statuses.PENDING
        and record.remote_id is None
        and record.submission_token is not None
    )
