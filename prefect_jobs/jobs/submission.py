"""Submission: intent, submission, outcome, each committed, so that a crash in between neither loses nor doubles it."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from prefect_jobs import clock
from prefect_jobs.errors import (
    DatabaseError,
    JobStateError,
    SchedulerConnectionError,
    SchedulerMissing,
    SubmissionError,
)
from prefect_jobs.jobs import changes
from prefect_jobs.jobs.observation import Submitted, TransientSubmissionError
from prefect_jobs.jobs.possible import BEING_SUBMITTED, at_scheduler, has_run, possible
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.noted import ADOPTED, HAPPENED, PEER, RAN, Happened
from prefect_jobs.records import Change, ChangeOf, JobRecord, Written
from prefect_jobs.transition import Accepted, Intent, News, Refused, Source, transition, visible_change


def may_be_tried_again(error: BaseException | None) -> bool:
    """Whether a submission that failed with this error was not refused: nothing was submitted, and it may be later."""
    return isinstance(error, SchedulerConnectionError | TransientSubmissionError) and not isinstance(
        error, SchedulerMissing
    )


# -- one job ----------------------------------------------------------------------------------------------------


def execute(job: AnyJob, args: tuple[Any, ...], kwargs: dict[str, Any], *, again: bool = False) -> None:
    """See :meth:`Job.execute`; with ``again`` also a job that is over."""
    check(job, again=again)
    job.handle.save()
    job.engine.save_parts()
    _submit(job, job.hooks.execute, *args, **kwargs)


def check(job: AnyJob, *, again: bool = False) -> None:
    """
    Raises:
        JobStateError: the job is active, or, unless ``again``, it is over.
        ValueError: the job cannot be saved with its present values.
    """
    handle = job.handle
    if handle.id is not None:
        handle.refresh()
    refusal = possible("execute", handle.record, job.abilities)
    if refusal is not None and not (again and handle.record.final):
        raise JobStateError(refusal.reason)
    job.check_fields()


def has_past(job: AnyJob) -> bool:
    """Whether an earlier submission may have left work at the scheduler, which must be found first."""
    return job.handle.record.submission_unknown or job.handle.record.noted.in_queue


def resubmit(job: AnyJob, **options: Any) -> None:
    """See :meth:`Job.resubmit`; ``options`` are passed to the hook."""
    job.handle.refresh()
    refusal = possible("resubmit", job.handle.record, job.abilities)
    if refusal is not None:
        raise JobStateError(refusal.reason)
    job.check_fields()
    job.handle.save()
    job.engine.save_parts()
    _submit(job, partial(job.hooks.resubmit, **options))


def submit_again(job: AnyJob) -> None:
    """Submits a job whose resubmission was interrupted before anything was submitted.

    Raises:
        JobStateError: it is active by now.
        SubmissionError: as :meth:`Job.resubmit`.
    """
    job.handle.refresh()
    _check_not_there(job, job.handle.record)
    _submit(job, job.hooks.resubmit)


def _check_not_there(job: AnyJob, record: JobRecord) -> None:
    why = at_scheduler(record, "submitted")
    if why:
        raise JobStateError(f"{job.handle.title} {why}")


def _submit(job: AnyJob, submit: Callable[..., Submitted], *args: Any, **kwargs: Any) -> None:
    """Intent, submission and outcome, each committed."""
    handle = job.handle
    if handle.record.submission_unknown:
        try:
            adopted = adopt(job)
        except SchedulerConnectionError as error:
            raise refused(job, error) from error
        if adopted:
            return
    token = new_token()
    if handle.record.noted.in_queue:
        # Remove what is left of an earlier submission: afterwards no row names it, and it could not be stopped.
        try:
            job.hooks.clean_up()
        except SchedulerConnectionError as error:
            raise SubmissionError(f"{handle.title} was not submitted: {error} Nothing was changed.") from error
    prepare(job, *args, **kwargs)
    try:
        handle.update(intention(job, token))
    except JobStateError:
        job.engine.unprepare()
        raise
    try:
        with handle.backend.jobs.submission_lease({handle.record.id: token}):
            submitted = submit(*args, **kwargs)
    except DatabaseError:
        raise  # the work may be at the scheduler; the token finds it later
    except Exception as error:
        raise refused(job, error) from error
    except BaseException:
        # Interrupted (Ctrl-C): the next poll finds out by the token whether the work was submitted.
        handle.update(interrupted)
        raise
    accepted(job, submitted)


def new_token() -> str:
    """A new token, unlike any other."""
    return uuid.uuid4().hex


def prepare(job: AnyJob, *args: Any, **kwargs: Any) -> None:
    """Does what can be done before the intent is committed; if that fails, the submission raises the error."""
    with suppress(OSError):
        job.engine.prepare(*args, **kwargs)


def intention(job: AnyJob, token: str) -> ChangeOf:
    """The change that commits the intent to submit a job under a token."""
    handle = job.handle
    attempt, over = handle.record.state.attempt, handle.record.final
    beside = job.engine.beside_intent()

    def intend(fresh: JobRecord) -> Change | None:
        _check_not_submitting(job, fresh)
        _check_not_there(job, fresh)
        if fresh.state.attempt != attempt:
            raise JobStateError(
                f"{handle.title} was submitted by another process meanwhile. Its status is {fresh.state.status!r}."
            )
        if fresh.final and not over:
            raise JobStateError(f"{handle.title} was stopped meanwhile. Its status is {fresh.state.status!r}.")
        state = transition(fresh.state, Intent(), clock.now())
        values = {
            "state": state,
            "submission_token": token,
            "submitting_since": clock.now(),
            "remote_id": None,
            "native": {
                **job.engine.origin(),
                **({RAN: True} if fresh.final and has_run(fresh) else {}),
                **({HAPPENED: fresh.noted.happened} if fresh.noted.happened else {}),  # their numbers go on
                **({PEER: fresh.noted.peer} if fresh.noted.peer else {}),
            },
            "engine_run": handle.engine_run,
        }
        wanted = handle.user_changes(fresh)  # such as the directory that was just made
        if wanted is not None:
            values = {**wanted.values, **values}
        if visible_change(fresh.state, state):
            values["face_seq"] = fresh.face_seq + 1
        return Change(values, beside.messages, blobs=beside.blobs)

    return intend


def interrupted(fresh: JobRecord) -> Change:
    """The change that allows other processes to search for the work."""
    return Change({"submitting_since": None})


# -- the outcome ------------------------------------------------------------------------------------------------


def failed(job: AnyJob, error: Exception) -> tuple[ChangeOf, SubmissionError]:
    """The change that notes why a job was not submitted, and the error for the caller."""
    cause = str(error) or type(error).__name__
    event: News | Refused
    if may_be_tried_again(error):
        # Nothing was submitted, and it may be tried again. Only the message changes: if a person stopped the job
        # meanwhile, it stays stopped.
        event = News(Source.SCHEDULER, None, f"Not submitted: {cause}")
        values: dict[str, Any] = {"submitting_since": None}
        answer = SubmissionError(f"{job.handle.title} was not submitted: {cause} Execute it again later.")
    else:
        event = Refused(cause)
        values = {"submitting_since": None, "submission_token": None}
        answer = SubmissionError(f"{job.handle.title} was refused: {cause}")
    answer.__cause__ = error
    return lambda fresh: changes.change_for(fresh, event, values=values), answer


def refused(job: AnyJob, error: Exception) -> SubmissionError:
    """Notes why a job was not submitted; returns the error for the caller."""
    change, answer = failed(job, error)
    job.handle.update(job.handle.with_noted(change))
    return answer


def accepted(job: AnyJob, submitted: Submitted, happened: tuple[Happened, ...] = ()) -> None:
    """Commits that the scheduler has the job, and events that go with it.

    Raises:
        JobStateError: the job was deleted meanwhile; its work is removed.
    """
    handle = job.handle
    change = handle.with_noted(acceptance(submitted, happened))
    answer: Written | Exception
    try:
        answer = handle.backend.jobs.update(handle.record.id, change, handle.record)
    except JobStateError as error:
        answer = error
    committed(job, submitted, answer)


def acceptance(submitted: Submitted, happened: tuple[Happened, ...] = ()) -> ChangeOf:
    """The change that notes that the scheduler has a job."""
    values: dict[str, Any] = {"submitting_since": None, **_remote_id(submitted)}

    def accept(fresh: JobRecord) -> Change | None:
        event = Accepted(submitted.message)
        return changes.change_for(
            fresh, event, native=submitted.native, values=values, nodes=submitted.nodes, happened=happened
        )

    return accept


def _remote_id(submitted: Submitted) -> dict[str, Any]:
    return {} if submitted.remote_id is None else {"remote_id": str(submitted.remote_id)}


def committed(job: AnyJob, submitted: Submitted, answer: Written | Exception) -> None:
    """Follows up on an :func:`acceptance` that was committed, or failed to be.

    Args:
        job: the job.
        submitted: the work at the scheduler.
        answer: what was written, or why nothing was written.

    Raises:
        JobStateError: the job was deleted meanwhile; its work is removed.
    """
    handle = job.handle
    if isinstance(answer, Exception):
        # No row names the work.
        handle.record = replace(handle.record, native=submitted.native, **_remote_id(submitted))
        job.hooks.clean_up()
        raise answer
    handle.take(answer.after)
    if handle.record.final:
        # Stopped while it was being submitted: the work must not run.
        job.hooks.clean_up()


# -- interrupted submissions ------------------------------------------------------------------------------------


def adopt(job: AnyJob) -> bool:
    """Finds the work of a submission whose outcome was not committed; returns whether it was found and adopted.

    Raises:
        JobStateError: another process is still submitting.
        SchedulerConnectionError: the scheduler does not answer.
    """
    _check_not_submitting(job, job.handle.record)
    found = job.hooks.find_submission()
    if found is None:
        return False
    accepted(job, found, (Happened(ADOPTED, {"remote_id": str(found.remote_id or "")}),))
    return True


def forget(job: AnyJob) -> None:
    """Notes that nothing was submitted, unless another submission has begun since the search."""
    known = job.handle.record

    def nothing(fresh: JobRecord) -> Change | None:
        same = (fresh.submission_token, fresh.submitting_since) == (known.submission_token, known.submitting_since)
        if not same or fresh.remote_id is not None:
            return None
        return Change({"submission_token": None, "submitting_since": None})

    job.handle.update(job.handle.with_noted(nothing))


def _check_not_submitting(job: AnyJob, record: JobRecord) -> None:
    if record.submitting:
        raise JobStateError(f"{job.handle.title} {BEING_SUBMITTED}")
