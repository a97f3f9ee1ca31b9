"""The one door for changes of status: :func:`transition`, pure, from a state and an event to a state.

Polls, pushes, callbacks, hands, commands and the Prefect UI all come through here. What may follow what
is written down once, so that no late or repeated news can undo what is known:

* news from a scheduler never leaves a final status, never goes from Results-Ready back to a running one,
  and is ignored if it is about an earlier submission than the present one;
* a custom status that a person set stays until the scheduler has something new to say;
* a person may set anything.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from prefect_jobs import statuses
from prefect_jobs.records import StatusState


class Source(Enum):
    """Who says so."""

    HAND = "hand"
    #: The scheduler was asked, or told us.
    SCHEDULER = "scheduler"
    #: The outputs were fetched (or the fetching's verdict is known).
    RESULTS = "results"


@dataclass(frozen=True)
class News:
    """A status told by somebody; ``None`` as status: only the message is news."""

    source: Source
    status: str | None
    message: str | None = None
    #: The submission it is about; none: whatever is the present one.
    attempt: int | None = None
    #: When the work began and ended by the scheduler's own clock, where it says.
    started: datetime | None = None
    ended: datetime | None = None
    crashed: bool = False


@dataclass(frozen=True)
class Intent:
    """The job is about to be submitted (again)."""


@dataclass(frozen=True)
class Accepted:
    """The scheduler took the submission."""

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
        if state.status != statuses.PENDING:
            # Somebody was faster: a poll saw it run, or a person stopped it meanwhile.
            return replace(state, execute_time=state.execute_time or now)
        return _moved(
            replace(state, execute_time=now, observed_status=statuses.SUBMITTED),
            statuses.SUBMITTED,
            event.message,
            now,
        )
    if isinstance(event, Refused):
        return _moved(replace(state, execute_time=now), statuses.ERROR, event.message, now)
    return _told(state, event, now)


def _told(state: StatusState, news: News, now: datetime) -> StatusState:
    current = state.as_status
    if news.attempt is not None and news.attempt != state.attempt:
        return state
    if news.status is None:
        if news.message is None or news.message == state.status_message:
            return state
        return replace(state, status_message=news.message)
    if news.source is Source.HAND:
        return _moved(state, news.status, news.message or "", now)

    new = statuses.parse(news.status)
    if statuses.is_final(current):
        return state
    if current.text == statuses.RESULTS_READY and not new.kind.terminal:
        return state
    unseen = news.status != state.observed_status
    if news.source is Source.SCHEDULER:
        if current.custom and current.text != statuses.HELD and not unseen:
            return replace(state, last_status_update=now)
        state = replace(state, observed_status=news.status)
    if new.text == current.text and current.code == new.code:
        message = state.status_message if news.message is None else news.message
        return replace(
            state, status_message=message, start_time=state.start_time or news.started, last_status_update=now
        )
    return _moved(state, news.status, news.message or "", now, news)


def _moved(state: StatusState, status: str, message: str, now: datetime, news: News | None = None) -> StatusState:
    """The state with another status and the times that follow from it."""
    new = statuses.parse(status)
    started = news.started if news else None
    ended = news.ended if news else None
    has_run = state.has_run or new.kind.running or started is not None
    start_time = state.start_time or started
    if new.kind.running and start_time is None:
        start_time = now
    completion_time: datetime | None = None
    if statuses.is_final(new):
        completion_time = ended or state.completion_time or now
        if start_time is not None and completion_time < start_time:
            # Clocks of different hosts disagree; a job never ends before it begins.
            completion_time = start_time
    return replace(
        state,
        status_code=new.code,
        status=new.text,
        status_class=new.kind.encode(),
        status_message=message,
        has_run=has_run,
        crashed=bool(news and news.crashed),
        start_time=start_time,
        completion_time=completion_time,
        last_status_update=now,
    )


def visible_change(old: StatusState, new: StatusState) -> bool:
    """Whether the job's face in Prefect must change."""
    return (old.status_code, old.status, old.status_class, old.status_message, old.crashed) != (
        new.status_code,
        new.status,
        new.status_class,
        new.status_message,
        new.crashed,
    )
