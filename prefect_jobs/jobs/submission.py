"""Submission: intent, hand-over, outcome, each committed, so that a crash in between loses and doubles nothing."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prefect_jobs import clock, statuses
from prefect_jobs.errors import JobStateError, PrefectJobsError, SchedulerConnectionError, SubmissionError
from prefect_jobs.jobs import hooks
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.transition import Accepted, Intent, News, Refused, Source, transition, visible_change

if TYPE_CHECKING:
    from prefect_jobs.jobs.base import Job

#: Time after which a submission whose mark is not renewed is taken for interrupted: its process died.
GRACE = timedelta(seconds=30)


class TransientSubmissionError(PrefectJobsError):
    """Raised by ``_execute`` hooks: nothing was submitted, and trying again may help."""


def execute(job: "Job", args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """See :meth:`Job.execute`."""
    if job.id is not None:
        job._refresh()
    _check_not_active(job, "executed")
    job._check_fields()
    if job.id is None:
        job._take(job._backend.insert(job._drafted(job._record)), keep=False)
    else:
        job._take(job._backend.update(job._record.id, job._user_changes), keep=False)
    job._save_parts()
    _submit(job, lambda: hooks.call(job._execute, *args, **kwargs))


def resubmit(job: "Job", **options: Any) -> None:
    """See :meth:`Job.resubmit`; ``options`` are for the hook."""
    job._refresh()
    if job.cached_status == statuses.PENDING:
        raise JobStateError(f"{job._title()} was not submitted yet: execute() it.")
    if job.cached_status == statuses.RESULTS_READY:
        raise JobStateError(f"The outputs of {job._title()} are still being fetched: wait() for them, or delete() it.")
    _check_not_active(job, "resubmitted")
    if not job._record.state.as_status.kind.terminal:
        raise JobStateError(f"{job._title()} is {job.cached_status!r} and cannot be resubmitted: stop() it first.")
    job.save()
    _submit(job, lambda: hooks.call(job._resubmit, **options))


def _check_not_active(job: "Job", what: str) -> None:
    _check_record(job, job._record, what)


def _check_record(job: "Job", record: JobRecord, what: str) -> None:
    status = record.state.as_status
    held = status.text in (statuses.PAUSED, statuses.HELD)
    at_work = record.remote_id is not None and status.text != statuses.PENDING and not status.kind.terminal
    if status.kind.active or held or at_work or status.text == statuses.RESULTS_READY:
        remote = f", at its scheduler as {record.remote_id}" if record.remote_id else ""
        raise JobStateError(f"{job._title()} is {status.text!r}{remote} and cannot be {what} now: stop() it first.")


def _submit(job: "Job", submit: Any) -> None:
    """Intent, submission, outcome: each committed, so that a crash in between loses and doubles nothing."""
    if job._record.submission_token and job._record.remote_id is None:
        try:
            adopted = adopt(job)
        except SchedulerConnectionError as error:
            raise _not_submitted(job, error) from error
        if adopted:
            return
    token = uuid.uuid4().hex

    def intend(fresh: JobRecord) -> Change | None:
        _check_not_submitting(job, fresh)
        _check_record(job, fresh, "submitted")
        state = transition(fresh.state, Intent(), clock.now())
        values = {
            "state": state,
            "submission_token": token,
            "submitting_since": clock.now(),
            "remote_id": None,
            "native": {},
            "engine_run": job._engine,
        }
        if visible_change(fresh.state, state):
            values["face_seq"] = fresh.face_seq + 1
        return Change(values)

    if job._record.native.get("in_queue"):
        # What is left of an earlier submission goes first: it would be forgotten, not stopped.
        try:
            hooks.call(job._clean_up)
        except SchedulerConnectionError as error:
            raise SubmissionError(f"{job._title()} was not submitted: {error} Nothing was changed.") from error
    job._take(job._backend.update(job._record.id, intend))
    try:
        with job._backend.submission_lease(job._record.id, token):
            submit()
    except (SchedulerConnectionError, TransientSubmissionError) as error:
        raise _not_submitted(job, error) from error
    except Exception as error:
        cause = str(error) or type(error).__name__
        job._apply(Refused(cause), values={"submitting_since": None, "submission_token": None})
        job._wait_shown()
        raise SubmissionError(f"{job._title()} was refused: {cause}") from error
    except BaseException:
        # Interrupted (Ctrl-C): whether it got through is found out by the token, at the next look.
        job._backend.update(job._record.id, lambda fresh: Change({"submitting_since": None}))
        raise
    accepted(job)


def _not_submitted(job: "Job", error: Exception) -> SubmissionError:
    """Notes that nothing got through; the job waits for another try."""
    # The message alone: where a person stopped the job meanwhile, it stays stopped.
    job._apply(News(Source.SCHEDULER, None, f"Not submitted: {error}"), values={"submitting_since": None})
    job._wait_shown()
    return SubmissionError(f"{job._title()} was not submitted: {error} Execute it again later.")


def accepted(job: "Job", message: str = "") -> None:
    """Commits that the scheduler has the job; what the hook noted in ``job._submitted`` is kept."""
    noted, job._submitted = dict(job._submitted), {}
    message = message or str(noted.pop("message", ""))
    remote_id = noted.pop("remote_id", None)
    nodes = tuple(noted.pop("nodes", ()))
    values: dict[str, Any] = {
        "submitting_since": None,
        **({"remote_id": str(remote_id)} if remote_id is not None else {}),
    }
    try:
        job._apply(Accepted(message), native=noted, values=values, nodes=nodes)
    except JobStateError:
        # Deleted while it was being submitted: nobody else knows of the work.
        job._record = replace(job._record, native=noted, **values)
        hooks.call(job._clean_up)
        raise
    if statuses.is_final(job._record.state.as_status):
        # Stopped while it was being submitted: what has got through since must not run.
        hooks.call(job._clean_up)
    job._wait_shown()


def adopt(job: "Job") -> bool:
    """Looks for an earlier submission whose end this database never saw; whether it was found and adopted.

    Raises:
        JobStateError: it is going on: another process is at it.
        SchedulerConnectionError: nobody can tell now.
    """
    _check_not_submitting(job, job._record)
    if not hooks.call(job._find_submission):
        return False
    accepted(job)
    return True


def _check_not_submitting(job: "Job", record: JobRecord) -> None:
    since = record.submitting_since
    if since is not None and clock.now() - since < GRACE:
        raise JobStateError(
            f"{job._title()} is being submitted by another process. Should that one have died, this will be found "
            f"out {GRACE.total_seconds():.0f} s after its last sign of life."
        )
