"""Submission: intent, hand-over, outcome, each committed, so that a crash in between loses and doubles nothing."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prefect_jobs import clock, statuses
from prefect_jobs.errors import (
    DatabaseError,
    JobStateError,
    PrefectJobsError,
    SchedulerConnectionError,
    SchedulerMissing,
    SubmissionError,
)
from prefect_jobs.jobs import changes, hooks
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.transition import Accepted, Intent, News, Refused, Source, transition, visible_change

if TYPE_CHECKING:
    from prefect_jobs.jobs.base import Job

#: Time after which a submission whose mark is not renewed is taken for interrupted: its process died.
GRACE = timedelta(seconds=30)


#: Key in what is known of a job: an earlier submission of it was taken, so that to submit it again is to run it again.
_RAN = "ran"


class TransientSubmissionError(PrefectJobsError):
    """Raised by ``_execute`` hooks: nothing was submitted, and trying again may help."""


def may_be_tried_again(error: BaseException | None) -> bool:
    """Whether a submission that failed with this was not refused: nothing was submitted, and it may be later."""
    return isinstance(error, SchedulerConnectionError | TransientSubmissionError) and not isinstance(
        error, SchedulerMissing
    )


def execute(job: "Job", args: tuple[Any, ...], kwargs: dict[str, Any], *, again: bool = False) -> None:
    """See :meth:`Job.execute`; with ``again`` also a job that is over."""
    check(job, again=again)
    if job.id is None:
        job._take(job._backend.insert(job._drafted(job._record)), keep=False)
    else:
        job._take(job._backend.update(job._record.id, job._user_changes), keep=False)
    job._save_parts()
    _submit(job, lambda: job._hook(job._execute, *args, **kwargs))


def check(job: "Job", *, again: bool = False) -> None:
    """
    Raises:
        JobStateError: the job is active, or, unless ``again``, it is over.
        ValueError: as it is, it cannot be saved.
    """
    if job.id is not None:
        job._refresh()
    _check_not_active(job, "executed")
    if not again and statuses.is_final(job._record.state.as_status) and _has_run(job._record):
        raise JobStateError(
            f"{job._title()} is over: it is {job.cached_status!r}. Call resubmit() to run it once more, or create a "
            "new job."
        )
    job._check_fields()


def _has_run(record: JobRecord) -> bool:
    """Whether a scheduler has ever taken a job that is over. One that is refused keeps no token."""
    return record.submission_token is not None or bool(record.native.get(_RAN))


def has_past(job: "Job") -> bool:
    """Whether something may be left at the scheduler of an earlier submission, which must be looked for first."""
    lost = job._record.submission_token is not None and job._record.remote_id is None
    return lost or bool(job._record.native.get("in_queue"))


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
    _submit(job, lambda: job._hook(job._resubmit, **options))


def submit_again(job: "Job") -> None:
    """Submits a job whose resubmission was interrupted before anything was submitted.

    Raises:
        JobStateError: it is active meanwhile.
        SubmissionError: as :meth:`Job.resubmit`.
    """
    job._refresh()
    _check_not_active(job, "submitted")
    _submit(job, lambda: job._hook(job._resubmit))


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
            raise refused(job, error) from error
        if adopted:
            return
    token = new_token()
    if job._record.native.get("in_queue"):
        # What is left of an earlier submission goes first: it would be forgotten, not stopped.
        try:
            hooks.call(job._clean_up)
        except SchedulerConnectionError as error:
            raise SubmissionError(f"{job._title()} was not submitted: {error} Nothing was changed.") from error
    prepare(job)
    try:
        job._take(job._backend.update(job._record.id, intention(job, token)))
    except JobStateError:
        job._unprepare()
        raise
    try:
        with job._backend.submission_lease({job._record.id: token}):
            submit()
    except DatabaseError:
        raise  # it did not refuse the job; should it have got through, it is found by the token once the mark is old
    except Exception as error:
        raise refused(job, error) from error
    except BaseException:
        # Interrupted (Ctrl-C): whether it got through is found out by the token, at the next look.
        job._backend.update(job._record.id, interrupted)
        raise
    accepted(job)


def new_token() -> str:
    """A token that no other submission has."""
    return uuid.uuid4().hex


def prepare(job: "Job") -> None:
    """What can be done before the intent is committed; where it is not possible, the hook that submits says so."""
    with suppress(OSError):
        job._prepare()


def intention(job: "Job", token: str) -> Callable[[JobRecord], Change | None]:
    """The change that commits the intent to submit a job under a token."""
    attempt = job._record.state.attempt

    def intend(fresh: JobRecord) -> Change | None:
        _check_not_submitting(job, fresh)
        _check_record(job, fresh, "submitted")
        if fresh.state.attempt != attempt:
            raise JobStateError(
                f"{job._title()} was submitted by another process meanwhile; it is {fresh.state.status!r}."
            )
        state = transition(fresh.state, Intent(), clock.now())
        ran = statuses.is_final(fresh.state.as_status) and _has_run(fresh)
        values = {
            "state": state,
            "submission_token": token,
            "submitting_since": clock.now(),
            "remote_id": None,
            "native": {**job._origin(), **({_RAN: True} if ran else {})},
            "engine_run": job._engine,
        }
        wanted = job._user_changes(fresh)  # such as the directory that was made for it just now
        if wanted is not None:
            values = {**wanted.values, **values}
        if visible_change(fresh.state, state):
            values["face_seq"] = fresh.face_seq + 1
        return Change(values)

    return intend


def interrupted(fresh: JobRecord) -> Change:
    """The change by which others may look for what got through."""
    return Change({"submitting_since": None})


def failed(job: "Job", error: Exception) -> tuple[Callable[[JobRecord], Change | None], SubmissionError]:
    """The change that notes why a job was not submitted, and the error for its caller."""
    cause = str(error) or type(error).__name__
    event: News | Refused
    if may_be_tried_again(error):
        # Nothing got through; it waits for another try. The message alone: where a person stopped the job
        # meanwhile, it stays stopped.
        event = News(Source.SCHEDULER, None, f"Not submitted: {cause}")
        values: dict[str, Any] = {"submitting_since": None}
        answer = SubmissionError(f"{job._title()} was not submitted: {cause} Execute it again later.")
    else:
        event = Refused(cause)
        values = {"submitting_since": None, "submission_token": None}
        answer = SubmissionError(f"{job._title()} was refused: {cause}")
    answer.__cause__ = error
    return lambda fresh: changes.change_for(fresh, event, values=values), answer


def refused(job: "Job", error: Exception) -> SubmissionError:
    """Notes why a job was not submitted; the error for its caller."""
    change, answer = failed(job, error)
    job._take(job._backend.update(job._record.id, job._with_noted(change)))
    job._wait_shown()
    return answer


def accepted(job: "Job") -> None:
    """Commits that the scheduler has the job; what the hook noted in ``job._submitted`` is kept."""
    change, noted = acceptance(job)
    try:
        answer: JobRecord | Exception = job._backend.update(job._record.id, job._with_noted(change))
    except JobStateError as error:
        answer = error
    committed(job, noted, answer)
    job._wait_shown()


def acceptance(job: "Job") -> tuple[Callable[[JobRecord], Change | None], dict[str, Any]]:
    """The change that notes that the scheduler has the job, and the values that it writes: what the hook noted in
    ``job._submitted``."""
    noted, job._submitted = dict(job._submitted), {}
    message = str(noted.pop("message", ""))
    remote_id = noted.pop("remote_id", None)
    nodes = tuple(noted.pop("nodes", ()))
    values: dict[str, Any] = {"submitting_since": None}
    if remote_id is not None:
        values["remote_id"] = str(remote_id)

    def accept(fresh: JobRecord) -> Change | None:
        return changes.change_for(fresh, Accepted(message), native=noted, values=values, nodes=nodes)

    return accept, {"native": noted, **values}


def committed(job: "Job", noted: dict[str, Any], answer: JobRecord | Exception) -> None:
    """After an :func:`acceptance` was committed, or could not be.

    Args:
        job: the job.
        noted: the values that it should write.
        answer: the record as written, or why it was not.

    Raises:
        JobStateError: the job was deleted meanwhile.
    """
    if isinstance(answer, Exception):
        # Deleted while it was being submitted: nobody else knows of the work.
        job._record = replace(job._record, **noted)
        hooks.call(job._clean_up)
        raise answer
    job._take(answer)
    if statuses.is_final(job._record.state.as_status):
        # Stopped while it was being submitted: what has got through since must not run.
        hooks.call(job._clean_up)


def adopt(job: "Job") -> bool:
    """Looks for an earlier submission whose end this database never saw; whether it was found and adopted.

    Raises:
        JobStateError: it is going on: another process is at it.
        SchedulerConnectionError: nobody can tell now.
    """
    _check_not_submitting(job, job._record)
    if not job._hook(job._find_submission):
        return False
    accepted(job)
    return True


def is_going_on(record: JobRecord) -> bool:
    """Whether a process submits the job just now."""
    return record.submitting_since is not None and clock.now() - record.submitting_since < GRACE


def _check_not_submitting(job: "Job", record: JobRecord) -> None:
    if is_going_on(record):
        raise JobStateError(
            f"{job._title()} is being submitted by another process. Should that one have died, this will be found "
            f"out {GRACE.total_seconds():.0f} s after its last sign of life."
        )
