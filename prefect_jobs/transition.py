"""The only function that changes statuses: :func:`transition`, pure, from a state and an event to a state.

Polls, pushes, callbacks, API calls, commands and the Prefect UI all use it. It defines which status may follow
which, so that late or repeated news never overwrites what is known:

* news from a scheduler never leaves a final status, never goes from Results-Ready back to a running one,
  and is ignored if it is about an earlier submission than the present one;
* a custom status that a person set stays until the scheduler reports a change;
* a person may set anything.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from prefect_jobs import statuses
from prefect_jobs.records import StatusState


class Source(Enum):
    """Where news comes from."""

    HAND = "hand"
    #: The scheduler answered a poll, or reported by itself.
    SCHEDULER = "scheduler"
    #: The outputs were fetched, or fetching them failed for good.
    RESULTS = "results"


@dataclass(frozen=True)
class News:
    """A reported status; ``None`` as status: only the message is news."""

    source: Source
    status: str | None
    message: str | None = None
    #: The submission that it is about; none: the present one.
    attempt: int | None = None
    #: When the work began and ended by the scheduler's clock, if it reports that.
    started: datetime | None = None
    ended: datetime | None = None
    crashed: bool = False


@dataclass(frozen=True)
class Intent:
    """The job is about to be submitted (again)."""


@dataclass(frozen=True)
class Accepted:
    """The scheduler accepted the submission."""

    message: str = ""


@dataclass(frozen=True)
class Refused:
    """The scheduler refused the submission, for good."""

    message: str


Event = News | Intent | Accepted | Refused


def transition(state: StatusState, event: Event, now: datetime) -> StatusState:
    """The state after ``event``; the same object if nothing changes.

    Args:
        state: the job's present state.
        event: what happened.
        now: aware UTC.

    Raises:
        ValueError: a status that cannot be one (blank, over 255 characters).
    """
    if isinstance(event, Intent):
        return StatusState(attempt=state.attempt + 1, last_status_update=now)
    if isinstance(event, Accepted):
        return _accepted(state, event, now)
    if isinstance(event, Refused):
        if statuses.is_final(state.as_status):
            return state  # a person has stopped it meanwhile
        return _moved(_submitted(state, now), statuses.ERROR, event.message, now)
    return _told(state, event, now)


def _accepted(state: StatusState, event: Accepted, now: datetime) -> StatusState:
    if state.status == statuses.PENDING:
        taken = replace(_submitted(state, now), observed_status=statuses.SUBMITTED)
        return _moved(taken, statuses.SUBMITTED, event.message, now)
    # A poll has seen it run, or a person has set another status meanwhile.
    if state.execute_time is not None:
        return state
    return replace(_submitted(state, now), observed_status=state.observed_status or statuses.SUBMITTED)


def _submitted(state: StatusState, now: datetime) -> StatusState:
    return replace(state, execute_time=min(now, state.start_time or state.completion_time or now))


def _told(state: StatusState, news: News, now: datetime) -> StatusState:
    current = state.as_status
    if news.attempt is not None and news.attempt != state.attempt:
        return state
    if news.source is Source.HAND and news.status is not None:
        return _moved(state, news.status, news.message or "", now)
    if news.source is not Source.HAND and statuses.is_final(current):
        return state
    if news.status is None:
        if news.message is None or news.message == state.status_message:
            return state
        return replace(state, status_message=news.message)

    new = statuses.parse(news.status)
    if current.text == statuses.RESULTS_READY and not new.kind.terminal:
        return state
    if news.source is Source.SCHEDULER:
        unseen = new.text != state.observed_status
        if current.custom and current.text not in (statuses.HELD, new.text) and not unseen:
            return replace(state, last_status_update=now)
        state = replace(state, observed_status=new.text)
    if new.text == current.text and current.code == new.code:
        message = state.status_message if news.message is None else news.message
        return replace(_begun(state, news.started), status_message=message, last_status_update=now)
    return _moved(state, new.text, news.message or "", now, news)


def _begun(state: StatusState, started: datetime | None) -> StatusState:
    """The state with the time when the work began, if that is reported and was not known.

    The scheduler's clock counts in whole seconds, and may differ from ours: if work began by the scheduler's clock
    before it was submitted by ours, it began when it was submitted.
    """
    if started is None:
        return state
    start_time = state.start_time or started
    execute_time = min(state.execute_time, start_time) if state.execute_time else None
    return replace(state, has_run=True, start_time=start_time, execute_time=execute_time)


def _moved(state: StatusState, status: str, message: str, now: datetime, news: News | None = None) -> StatusState:
    """The state with another status and the times that follow from it."""
    new = statuses.parse(status)
    state = _begun(state, news.started if news else None)
    if new.kind.running:
        state = _begun(state, now)
    completion_time: datetime | None = None
    if statuses.is_final(new):
        ended = (news.ended if news else None) or state.completion_time or now
        # Clocks of different hosts disagree; a job never ends before it begins.
        completion_time = max(ended, state.start_time or state.execute_time or ended)
    return replace(
        state,
        status_code=new.code,
        status=new.text,
        status_class=new.kind.encode(),
        status_message=message,
        crashed=bool(news and news.crashed),
        completion_time=completion_time,
        last_status_update=now,
    )


def visible_change(old: StatusState, new: StatusState) -> bool:
    """Whether what Prefect shows of the job must change."""
    return _face(old) != _face(new)


def _face(state: StatusState) -> tuple[object, ...]:
    return (
        state.status_code,
        state.status,
        state.status_class,
        state.status_message,
        state.crashed,
        # "Submitted" is RUNNING once it has run.
        state.has_run,
    )
