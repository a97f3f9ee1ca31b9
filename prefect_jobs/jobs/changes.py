"""The change that an event makes to a job's row: the only way in which a status changes."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from prefect_jobs import clock, statuses
from prefect_jobs.acting import SCHEDULER, actor
from prefect_jobs.noted import STANDING, STEERED, Happened
from prefect_jobs.records import Change, JobRecord, NodeRecord, StatusState
from prefect_jobs.transition import Accepted, Event, News, Refused, Source, transition, visible_change

#: Statuses in which work that has begun does not run: it is held, or it was evicted and waits.
_NOT_AT_WORK = (statuses.HELD, statuses.PAUSED, statuses.SUBMITTED)
#: The statuses that actions of people lead to.
_OUTCOMES = {
    "stop": (statuses.ABORTED, statuses.VARIOUS_COMPLETE),
    "pause": (statuses.PAUSED,),
    "resume": (statuses.SUBMITTED, statuses.RUNNING, statuses.VARIOUS),
}


def change_for(
    record: JobRecord,
    event: Event | None,
    *,
    native: dict[str, Any] | None = None,
    values: dict[str, Any] | None = None,
    messages: tuple[tuple[int, str], ...] = (),
    nodes: tuple[NodeRecord, ...] = (),
    happened: tuple[Happened, ...] = (),
) -> Change | None:
    """The change that an event makes: the new state, what follows from it, and the number of visible changes."""
    now = clock.now()
    event = _in_time(record, event)
    state = transition(record.state, event, now) if event is not None else record.state
    changed: dict[str, Any] = dict(values or {})
    if state != record.state and not _only_looked(record.state, state):
        changed["state"] = state
    who, steered = _who(record, event, state)
    native = {**(native or {}), **_stands(record.native, state, now)}
    if steered:
        native[STEERED] = None  # its outcome is known
    if happened:
        native.update(record.noted.with_events(happened))
    if native:
        merged = {**record.native, **native}
        merged = {key: value for key, value in merged.items() if value is not None}
        if merged != record.native:
            changed["native"] = merged
    said, told = list(messages), None
    if visible_change(record.state, state):
        changed["face_seq"] = record.face_seq + 1
        properties = _with_other_status(record.extended_properties, state)
        if properties != record.extended_properties:
            changed["extended_properties"] = properties
        text = f"{state.status}: {state.status_message}" if state.status_message else state.status
        said.insert(0, (_level(state), text))
        told = state.status, who
    if isinstance(event, News) and event.attempt is not None and event.attempt != record.state.attempt:
        return None  # news of an earlier submission is ignored
    return Change(changed, tuple(said), nodes, told) if changed or said or nodes else None


def _who(record: JobRecord, event: Event | None, state: StatusState) -> tuple[str, bool]:
    """Who has made the status that it is now, and whether it is the outcome of what was asked for."""
    if not isinstance(event, Accepted | Refused | News) or (isinstance(event, News) and event.source is Source.HAND):
        return actor(record.user), False
    attempt = record.state.attempt
    steered = record.noted.steered(attempt)
    if steered is None or state.status == record.state.status:
        return SCHEDULER, False
    timed_out = state.status == statuses.ERROR and record.noted.timed_out(attempt) is not None
    outcome = state.status in _OUTCOMES[steered[0]] or timed_out
    return (steered[1], True) if outcome else (SCHEDULER, False)


def _in_time(record: JobRecord, event: Event | None) -> Event | None:
    """The event; for a job that is stopped since it was not over in time, Error in place of Aborted. Whichever process
    sees the end first says so, so Prefect never shows the run as cancelled."""
    if not isinstance(event, News) or event.source is Source.HAND or event.status != statuses.ABORTED:
        return event
    late = record.noted.timed_out(record.state.attempt)
    return event if late is None else replace(event, status=statuses.ERROR, message=late)


def stood(native: Mapping[str, Any], end: datetime) -> timedelta:
    """How long work that had begun did not run, up to ``end``."""
    known = native.get(STANDING) or {}
    since = known.get("since")
    now = max(end - clock.parse(since), timedelta(0)) if since else timedelta(0)
    return timedelta(seconds=known.get("seconds", 0)) + now


def _stands(native: Mapping[str, Any], state: StatusState, now: datetime) -> dict[str, Any]:
    """Notes how long work that had begun has not run; empty if that is noted already."""
    stands = state.start_time is not None and state.status in _NOT_AT_WORK
    since = (native.get(STANDING) or {}).get("since")
    if stands == bool(since):
        return {}
    seconds = stood(native, state.completion_time or now).total_seconds()
    return {STANDING: {"seconds": seconds, "since": now.isoformat() if stands else None}}


def _only_looked(old: StatusState, new: StatusState) -> bool:
    """Whether only the time of the poll changed, and the last time was written recently."""
    if replace(new, last_status_update=old.last_status_update) != old:
        return False
    if old.last_status_update is None or new.last_status_update is None:
        return False
    return abs(new.last_status_update - old.last_status_update) < timedelta(seconds=8)


def _with_other_status(properties: dict[str, Any], state: StatusState) -> dict[str, Any]:
    found = {key: value for key, value in properties.items() if key != statuses.OTHER_STATUS_KEY}
    if state.status_code == statuses.OTHER_CODE:
        found[statuses.OTHER_STATUS_KEY] = state.status
    return found


def _level(state: StatusState) -> int:
    if state.status in (statuses.ERROR, statuses.VARIOUS_COMPLETE):
        return logging.ERROR
    return logging.WARNING if state.status in (statuses.HELD, statuses.ABORTED) else logging.INFO
