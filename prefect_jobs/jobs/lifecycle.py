"""What happens to a job after its submission: polls, results, commands, deletion.

Every change of status goes through :func:`prefect_jobs.jobs.changes.change_for`, that is through
:func:`prefect_jobs.transition.transition`, on the record as it is at that moment.
"""

import logging
import shutil
import traceback
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Any

from prefect_jobs import clock, statuses
from prefect_jobs.errors import DatabaseError, JobStateError, SchedulerConnectionError
from prefect_jobs.jobs import changes, hooks
from prefect_jobs.jobs.observation import OUTCOME, Observation, OutputsNotFetched
from prefect_jobs.jobs.submission import GRACE, adopt
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.transition import News, Source

if TYPE_CHECKING:
    from prefect_jobs.jobs.base import Job

log = logging.getLogger(__name__)

_UNREACHABLE = "unreachable_since"
_NOT_FETCHED = "The work is over; its outputs could not be fetched yet and are safe"
#: Times that is looked again after an action, where others write the job at the same moment.
_RACES = 5
#: It was asked, and that is all there is to say.
NOTHING_NEW = Observation(None)
#: When the scheduler was last asked in vain.
_ASKED = "asked"


# -- polls ----------------------------------------------------------------------------------------------------


def update(job: "Job") -> None:
    """See :meth:`Job.update_status`: asks if it is time to ask."""
    if job.id is None:
        return
    job._refresh()
    state = job._record.state
    if statuses.is_final(state.as_status):
        return
    asked = job._record.native.get(_ASKED)
    last = max(
        (moment for moment in (state.last_status_update, clock.parse(asked) if asked else None) if moment), default=None
    )
    if last is not None and abs(clock.now() - last) < job.update_status_interval:
        return
    poll(job)


def poll_once(job: "Job") -> bool:
    """Asks now, whatever was asked before; whether the job is over."""
    job._refresh()
    if not statuses.is_final(job._record.state.as_status):
        poll(job)
    return statuses.is_final(job._record.state.as_status)


def poll(job: "Job", *, fetch: bool = True) -> None:
    """One question to the scheduler, and what follows from the answer; with ``fetch`` the outputs, too."""
    record = job._record
    status = record.state.as_status
    try:
        if status.text == statuses.RESULTS_READY:
            if fetch:
                _fetch(job)
            return
        if record.submission_token and record.remote_id is None and status.text == statuses.PENDING:
            since = record.submitting_since
            if (since is None or clock.now() - since > GRACE) and not adopt(job):
                job._take(job._backend.update(record.id, lambda fresh: _forget_submission(record, fresh)))
            return
        if not status.kind.non_terminal or status.text == statuses.PENDING:
            return
        news = job._hook(job._update_status)
    except SchedulerConnectionError as error:
        note_unreachable(job, error)
        return
    observed(job, news, fetch=fetch)


def _forget_submission(looked_for: JobRecord, fresh: JobRecord) -> Change | None:
    """Nothing of it got through. Not where another one has begun since it was looked for."""
    same = (fresh.submission_token, fresh.submitting_since, fresh.remote_id) == (
        looked_for.submission_token,
        looked_for.submitting_since,
        None,
    )
    return Change({"submission_token": None, "submitting_since": None}) if same else None


def _as_news(record: JobRecord, found: Observation) -> tuple[News, dict[str, Any]]:
    """What was found as an event, and what is to be kept of it."""
    native = dict(found.native)
    message = found.message
    if _UNREACHABLE in record.native:
        native[_UNREACHABLE] = native[_ASKED] = None
        message = message if message is not None else ""
    event = News(
        Source.SCHEDULER,
        found.status,
        message,
        attempt=record.state.attempt,
        started=found.started,
        ended=found.ended,
        crashed=found.crashed,
    )
    return event, native


def is_news(record: JobRecord, found: Observation) -> bool:
    """Whether it says more than that somebody has looked."""
    event, native = _as_news(record, found)
    change = changes.change_for(record, event, native=native, messages=found.messages, nodes=found.nodes)
    if change is None:
        return False
    state = change.values.get("state")
    looked = state is not None and replace(state, last_status_update=record.state.last_status_update) == record.state
    return bool(change.messages or change.nodes or change.values.keys() - ({"state"} if looked else set()))


def unreachable(record: JobRecord) -> bool:
    """Whether the job says that nobody can tell how it is."""
    return _UNREACHABLE in record.native


def observed(job: "Job", news: "str | Observation | None", *, fetch: bool = True) -> bool:
    """Applies what a poll found, and goes on to fetch outputs if the work is over.

    Returns:
        Whether it still held; what is found of an older state of the job is dropped.
    """
    found = news if isinstance(news, Observation) else Observation(news)
    event, native = _as_news(job._record, found)
    before = job._record
    stale: list[bool] = []

    def change(fresh: JobRecord) -> Change | None:
        stale[:] = [found.version not in (None, fresh.version)]
        if stale == [True]:
            return None
        return changes.change_for(fresh, event, native=native, messages=found.messages, nodes=found.nodes)

    job._take(job._backend.update(job._record.id, job._with_noted(change)))
    if stale == [True]:
        return False
    if job._record.face_seq != before.face_seq and job.cached_status != statuses.RESULTS_READY:
        job._wait_shown()
    if job.cached_status == statuses.RESULTS_READY and fetch:  # shown in the background if fetching takes its time
        try:
            _fetch(job)
        except SchedulerConnectionError as error:
            note_unreachable(job, error)
    return True


def note_unreachable(job: "Job", error: SchedulerConnectionError) -> None:
    """The status stays; the message says since when nobody can tell."""
    since = job._record.native.get(_UNREACHABLE) or clock.now().astimezone(UTC).isoformat(timespec="seconds")
    text = f"No answer from the scheduler since {since}; the status is the last one known. {error}"
    job._apply(News(Source.SCHEDULER, None, text), native={_UNREACHABLE: since, _ASKED: clock.now().isoformat()})


def was_reached(job: "Job") -> bool:
    """Whether the last look at the job had an answer, or needs none."""
    return statuses.is_final(job._record.state.as_status) or _UNREACHABLE not in job._record.native


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


def fetch(job: "Job") -> bool:
    """Fetches what the work left behind, if the job waits for that; whether it is over now.

    Raises:
        SchedulerConnectionError: not reached: it waits on.
    """
    job._refresh()
    if job.cached_status == statuses.RESULTS_READY:
        _fetch(job)
    return statuses.is_final(job._record.state.as_status)


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
            result = job._hook(job._process_results)
        except OutputsNotFetched as error:
            if not job.status_message.startswith(
                _NOT_FETCHED
            ):  # said once: errors may differ in what matters to nobody
                job._apply(News(Source.RESULTS, None, f"{_NOT_FETCHED}: {error}"))
                job._wait_shown()
            return
        except (SchedulerConnectionError, DatabaseError):
            raise  # no verdict on the job: tried again
        except Exception as error:
            job._apply(News(Source.RESULTS, statuses.ERROR, _trace("The results could not be processed", error)))
            _results_done(job)
            return
        verdict = job._record.native.get(OUTCOME) or {}
        status = verdict.get("status", statuses.COMPLETE)
        message = verdict.get("message", "")
        path = job._record.process_results_function
        if path and status in (statuses.COMPLETE, statuses.VARIOUS_COMPLETE):
            try:
                job._hook(hooks.import_function(path), job._for_function(result))
            except Exception as error:
                status = statuses.ERROR
                kept = "the outputs are kept" if job._keeps_results() else "the result is not kept (forget=True)"
                message = _trace(f"The results function {path} failed; {kept}", error)
        noted, job._fetched = dict(job._fetched), {}
        messages, nodes = tuple(noted.pop("messages", ())), tuple(noted.pop("nodes", ()))
        message = " ".join(filter(None, (message, noted.pop("outcome_note", ""))))
        ended = verdict.get("ended")
        event = News(
            Source.RESULTS,
            status,
            message,
            attempt=job._record.state.attempt,
            ended=clock.parse(ended) if ended else None,
        )
        job._apply(event, native=noted, messages=messages, nodes=nodes)
        _results_done(job)


def _results_done(job: "Job") -> None:
    """The verdict is written: what is left at the scheduler may go."""
    try:
        hooks.call(job._results_done)
    except Exception as error:  # the job is over, whatever becomes of what is left
        log.warning("What is left of %s at its scheduler could not be removed: %s", job._title(), error)
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
    job._check_supported(action)
    _check_possible(job, action)
    was_pending = job.cached_status == statuses.PENDING
    if was_pending and job._record.submission_token and job._record.remote_id is None:
        adopt(job)
        was_pending = job.cached_status == statuses.PENDING
    answer: Any = None
    if not was_pending:
        job._acting = action
        try:
            answer = job._hook(hook)
        finally:
            job._acting = None
    default = {"stop": statuses.ABORTED, "pause": statuses.PAUSED, "resume": statuses.SUBMITTED}[action]
    if isinstance(answer, Observation):
        for _ in range(_RACES):
            if observed(job, answer):
                return
            job._refresh()  # somebody else looked at the same moment
            answer = job._hook(job._update_status)
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
    job._depth += 1
    try:
        if job._depth < len(found):
            hooks.call(found[job._depth], job)
    finally:
        job._depth -= 1


def _check_possible(job: "Job", action: str) -> None:
    status = job._record.state.as_status
    if action == "stop":
        possible = not status.kind.terminal
    elif action == "pause":
        possible = status.kind.active
    else:
        possible = not status.kind.terminal and job._can_resume()
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
    if (lost and adopt(job)) or not (waiting or status.kind.terminal):
        try:
            act(job, "stop")
        except NotImplementedError as error:
            log.warning("%s is deleted while it is %r: %s", job._title(), job.cached_status, error)
    try:
        hooks.call(job._clean_up)
    except SchedulerConnectionError as error:
        # The work is over; what may be left of it at a scheduler that is gone must not keep the job for ever.
        log.warning("What is left of %s at its scheduler could not be removed: %s", job._title(), error)
    directory = job._directory()
    job._backend.delete(record.id)
    if job.clean_on_delete and directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
    job._record = replace(record, id=0, version=0)
