"""What happens to a job, step by step: submission, polls, results, commands, deletion.

Every change of status goes through :func:`change_for`, that is through :func:`prefect_jobs.transition.transition`,
on the record as it is at that moment.
"""

import logging
import shutil
import traceback
import uuid
from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from prefect_jobs import clock, statuses
from prefect_jobs.errors import JobStateError, PrefectJobsError, SchedulerConnectionError, SubmissionError
from prefect_jobs.jobs import hooks
from prefect_jobs.jobs.observation import Observation, OutputsNotFetched
from prefect_jobs.records import Change, JobRecord, StatusState
from prefect_jobs.transition import Accepted, Event, Intent, News, Refused, Source, transition, visible_change

if TYPE_CHECKING:
    from prefect_jobs.jobs.base import Job

log = logging.getLogger(__name__)

OTHER_STATUS_KEY = "__other_status__"
#: Seconds after which a submission that never came to an end is taken for interrupted.
SUBMISSION_GRACE = timedelta(seconds=120)
_UNREACHABLE = "unreachable_since"
#: What the job will be once its outputs are fetched.
OUTCOME = "outcome"


class TransientSubmissionError(PrefectJobsError):
    """Raised by ``_execute`` hooks: nothing was submitted, and trying again may help."""


def change_for(
    record: JobRecord,
    event: Event | None,
    *,
    native: dict[str, Any] | None = None,
    values: dict[str, Any] | None = None,
    messages: tuple[tuple[int, str], ...] = (),
) -> Change | None:
    """What an event does to a job: its state, what follows from that, and the mark that Prefect is behind."""
    now = clock.now()
    state = transition(record.state, event, now) if event is not None else record.state
    changed: dict[str, Any] = dict(values or {})
    if state != record.state and not _only_looked(record.state, state):
        changed["state"] = state
    if native:
        merged = {**record.native, **native}
        merged = {key: value for key, value in merged.items() if value is not None}
        if merged != record.native:
            changed["native"] = merged
    said = list(messages)
    if visible_change(record.state, state):
        changed["face_seq"] = record.face_seq + 1
        properties = _with_other_status(record.extended_properties, state)
        if properties != record.extended_properties:
            changed["extended_properties"] = properties
        text = f"{state.status}: {state.status_message}" if state.status_message else state.status
        said.insert(0, (_level(state), text))
    if isinstance(event, News) and event.attempt is not None and event.attempt != record.state.attempt:
        return None  # news of an earlier submission: nothing of it counts
    return Change(changed, tuple(said)) if changed or said else None


def _only_looked(old: StatusState, new: StatusState) -> bool:
    """Nothing but the time of the look changed, and that was written not long ago."""
    if replace(new, last_status_update=old.last_status_update) != old:
        return False
    if old.last_status_update is None or new.last_status_update is None:
        return False
    return new.last_status_update - old.last_status_update < timedelta(seconds=8)


def _with_other_status(properties: dict[str, Any], state: StatusState) -> dict[str, Any]:
    found = {key: value for key, value in properties.items() if key != OTHER_STATUS_KEY}
    if state.status_code == statuses.OTHER_CODE:
        found[OTHER_STATUS_KEY] = state.status
    return found


def _level(state: StatusState) -> int:
    if state.status in (statuses.ERROR, statuses.VARIOUS_COMPLETE):
        return logging.ERROR
    return logging.WARNING if state.status in (statuses.HELD, statuses.ABORTED) else logging.INFO


# -- submission -----------------------------------------------------------------------------------------------


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
    _submit(job, lambda: hooks.call(job._execute, *args, **kwargs))


def resubmit(job: "Job") -> None:
    """See :meth:`Job.resubmit`."""
    job._refresh()
    if job.cached_status == statuses.PENDING:
        raise JobStateError(f"{job._title()} was not submitted yet: execute() it.")
    if job.cached_status == statuses.RESULTS_READY:
        raise JobStateError(f"The outputs of {job._title()} are still being fetched: wait() for them, or delete() it.")
    _check_not_active(job, "resubmitted")
    if not job._record.state.as_status.kind.terminal:
        raise JobStateError(f"{job._title()} is {job.cached_status!r} and cannot be resubmitted: stop() it first.")
    job.save()
    try:
        hooks.call(job._clean_up)
    except SchedulerConnectionError as error:
        raise SubmissionError(f"{job._title()} was not resubmitted: {error} Nothing was changed.") from error
    _submit(job, lambda: hooks.call(job._resubmit))


def _check_not_active(job: "Job", what: str) -> None:
    status = job._record.state.as_status
    held = status.text in (statuses.PAUSED, statuses.HELD)
    if status.kind.active or held or status.text == statuses.RESULTS_READY:
        remote = f", at its scheduler as {job.remote_id}" if job.remote_id else ""
        raise JobStateError(f"{job._title()} is {status.text!r}{remote} and cannot be {what} now: stop() it first.")


def _submit(job: "Job", submit: Any) -> None:
    """Intent, submission, outcome: each committed, so that a crash in between loses and doubles nothing."""
    if job._record.submission_token and job._record.remote_id is None:
        try:
            adopted = _adopt(job)
        except SchedulerConnectionError as error:
            raise _not_submitted(job, error) from error
        if adopted:
            return
    token = uuid.uuid4().hex

    def intend(fresh: JobRecord) -> Change | None:
        since = fresh.submitting_since
        if since is not None and clock.now() - since < SUBMISSION_GRACE:
            raise JobStateError(f"{job._title()} is being submitted by another process.")
        if fresh.state.as_status.kind.active:
            raise JobStateError(f"{job._title()} was submitted by another process.")
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

    job._take(job._backend.update(job._record.id, intend))
    try:
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
    job._apply(News(Source.HAND, statuses.PENDING, f"Not submitted: {error}"), values={"submitting_since": None})
    job._wait_shown()
    return SubmissionError(f"{job._title()} was not submitted: {error} Execute it again later.")


def accepted(job: "Job", message: str = "") -> None:
    """Commits that the scheduler has the job; what the hook noted in ``job._submitted`` is kept."""
    noted, job._submitted = dict(job._submitted), {}
    message = message or str(noted.pop("message", ""))
    remote_id = noted.pop("remote_id", None)
    job._apply(
        Accepted(message),
        native=noted,
        values={"submitting_since": None, **({"remote_id": str(remote_id)} if remote_id is not None else {})},
    )
    job._wait_shown()


def _adopt(job: "Job") -> bool:
    """Looks for an earlier submission whose end this database never saw."""
    if not hooks.call(job._find_submission):
        return False
    accepted(job)
    return True


# -- polls ----------------------------------------------------------------------------------------------------


def update(job: "Job") -> None:
    """See :meth:`Job.update_status`: asks if it is time to ask."""
    if job.id is None:
        return
    job._refresh()
    state = job._record.state
    if statuses.is_final(state.as_status):
        return
    last = state.last_status_update
    if last is not None and clock.now() - last < job.update_status_interval:
        return
    poll(job)


def poll_once(job: "Job") -> bool:
    """Asks now, whatever was asked before; whether the job is over."""
    job._refresh()
    if not statuses.is_final(job._record.state.as_status):
        poll(job)
    return statuses.is_final(job._record.state.as_status)


def poll(job: "Job") -> None:
    """One question to the scheduler, and what follows from the answer."""
    record = job._record
    status = record.state.as_status
    try:
        if status.text == statuses.RESULTS_READY:
            _fetch(job)
            return
        if record.submission_token and record.remote_id is None and status.text == statuses.PENDING:
            since = record.submitting_since
            if since is None or clock.now() - since > SUBMISSION_GRACE:
                if _adopt(job):
                    return
                job._apply(None, values={"submission_token": None, "submitting_since": None})
            return
        if not status.kind.non_terminal or status.text == statuses.PENDING:
            return
        news = hooks.call(job._update_status)
    except SchedulerConnectionError as error:
        note_unreachable(job, error)
        return
    observed(job, news)


def observed(job: "Job", news: "str | Observation | None") -> None:
    """Applies what a poll found, and goes on to fetch outputs if the work is over."""
    found = news if isinstance(news, Observation) else Observation(news)
    native = dict(found.native)
    message = found.message
    if _UNREACHABLE in job._record.native:
        native[_UNREACHABLE] = None
        message = message if message is not None else ""
    event = News(
        Source.SCHEDULER,
        found.status,
        message,
        attempt=job._record.state.attempt,
        started=found.started,
        ended=found.ended,
        crashed=found.crashed,
    )
    before = job._record
    job._apply(event, native=native, messages=found.messages)
    if job._record.face_seq != before.face_seq and job.cached_status != statuses.RESULTS_READY:
        job._wait_shown()
    if job.cached_status == statuses.RESULTS_READY:  # shown in the background if fetching takes its time
        try:
            _fetch(job)
        except SchedulerConnectionError as error:
            note_unreachable(job, error)


def note_unreachable(job: "Job", error: SchedulerConnectionError) -> None:
    """The status stays; the message says since when nobody can tell."""
    since = job._record.native.get(_UNREACHABLE) or clock.now().astimezone(UTC).isoformat(timespec="seconds")
    text = f"No answer from the scheduler since {since}; the status is the last one known. {error}"
    job._apply(News(Source.SCHEDULER, None, text), native={_UNREACHABLE: since})


# -- results --------------------------------------------------------------------------------------------------


def process_results(job: "Job") -> None:
    """See :meth:`Job.process_results`."""
    job._refresh()
    status = job._record.state.as_status
    if statuses.is_final(status):
        return
    if status.text != statuses.RESULTS_READY:
        raise JobStateError(f"{job._title()} is {status.text!r}: there are no results before its work is over.")
    _fetch(job)


def _fetch(job: "Job") -> None:
    """Fetches outputs under the lease and ends the job; on trouble it stays Results-Ready, to be tried again."""
    with job._backend.results_lease(job._record.id) as mine:
        if not mine:
            job._refresh()
            return
        job._refresh()
        if job.cached_status != statuses.RESULTS_READY:
            return
        try:
            result = hooks.call(job._process_results)
        except OutputsNotFetched as error:
            text = f"The work is over; its outputs could not be fetched yet and are safe: {error}"
            job._apply(News(Source.RESULTS, None, text))
            job._wait_shown()
            return
        except SchedulerConnectionError:
            raise
        except Exception as error:
            job._apply(News(Source.RESULTS, statuses.ERROR, _trace("The results could not be processed", error)))
            job._wait_shown()
            return
        verdict = job._record.native.get(OUTCOME) or {}
        status = verdict.get("status", statuses.COMPLETE)
        message = verdict.get("message", "")
        path = job._record.process_results_function
        if path and status in (statuses.COMPLETE, statuses.VARIOUS_COMPLETE):
            try:
                hooks.call(hooks.import_function(path), job if result is None else result)
            except Exception as error:
                status = statuses.ERROR
                message = _trace(f"The results function {path} failed; the outputs are kept", error)
        noted, job._fetched = dict(job._fetched), {}
        messages = tuple(noted.pop("messages", ()))
        ended = verdict.get("ended")
        event = News(
            Source.RESULTS,
            status,
            message,
            attempt=job._record.state.attempt,
            ended=clock.parse(ended) if ended else None,
        )
        job._apply(event, native=noted, messages=messages)
    job._wait_shown()


def _trace(what: str, error: Exception) -> str:
    return f"{what}: {error}\n{''.join(traceback.format_exception(error))}"


# -- commands -------------------------------------------------------------------------------------------------


def act(job: "Job", action: str) -> None:
    """Stop, pause or resume: at the scheduler first, then in the status."""
    hook = getattr(job, f"_{action}")
    if job._acting == action:  # super().stop() inside an overriding stop()
        _parent_hook(job, action)
        return
    job._refresh()
    job._check_known(action)
    _check_possible(job, action)
    was_pending = job.cached_status == statuses.PENDING
    if was_pending and job._record.submission_token and job._record.remote_id is None:
        _adopt(job)
        was_pending = job.cached_status == statuses.PENDING
    answer: Any = None
    if not was_pending:
        job._acting = action
        try:
            answer = hooks.call(hook)
        finally:
            job._acting = None
    default = {"stop": statuses.ABORTED, "pause": statuses.PAUSED, "resume": statuses.SUBMITTED}[action]
    if isinstance(answer, Observation):
        observed(job, answer)
        return
    status = answer if isinstance(answer, str) else default
    if action == "resume" and answer is None and job._record.state.has_run:
        status = statuses.RUNNING
    said = {"stop": "Stopped.", "pause": "Paused.", "resume": ""}[action]
    job._apply(
        News(Source.SCHEDULER, status, said, attempt=job._record.state.attempt), values={"submitting_since": None}
    )
    job._wait_shown()


def _parent_hook(job: "Job", action: str) -> None:
    """The hook above the overriding one in the class' line of descent."""
    found = [cls.__dict__[f"_{action}"] for cls in type(job).__mro__ if f"_{action}" in cls.__dict__]
    if len(found) > 1:
        hooks.call(found[1], job)


def _check_possible(job: "Job", action: str) -> None:
    status = job._record.state.as_status
    if action == "stop":
        possible = not status.kind.terminal
    elif action == "pause":
        possible = status.kind.active
    else:
        possible = status.text in (statuses.PAUSED, statuses.HELD)
    if not possible:
        raise JobStateError(f"{job._title()} is {status.text!r}: it is not possible to {action} it now.")


# -- deletion -------------------------------------------------------------------------------------------------


def delete(job: "Job") -> None:
    """See :meth:`Job.delete`."""
    if job.id is None:
        return
    record = job._backend.get(job._record.id)
    if record is None:
        return
    job._take(record)
    status = record.state.as_status
    waiting = status.text == statuses.PENDING
    lost = waiting and record.submission_token is not None and record.remote_id is None
    if (lost and _adopt(job)) or not (waiting or status.kind.terminal):
        act(job, "stop")
    hooks.call(job._clean_up)
    directory = job._directory()
    job._backend.delete(record.id)
    if job.clean_on_delete and directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
    job._record = replace(record, id=0, version=0)
