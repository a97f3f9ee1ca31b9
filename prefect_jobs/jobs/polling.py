"""Polls: one request to the scheduler, and the changes that follow from the answer."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from types import MappingProxyType
from typing import Any

from prefect_jobs import clock, statuses
from prefect_jobs.errors import JobStateError, SchedulerConnectionError
from prefect_jobs.jobs import changes, results, submission
from prefect_jobs.jobs.observation import NOTHING_NEW, Observation
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.noted import ASKED, UNREACHABLE_SINCE
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.transition import News, Source

log = logging.getLogger(__name__)


def update(job: AnyJob, interval: timedelta) -> None:
    """See :meth:`Job.update_status`: polls if ``interval`` has passed since the last poll."""
    handle = job.handle
    if handle.id is None:
        return
    refresh(job)
    if handle.record.final:
        return
    moments = (handle.record.state.last_status_update, handle.record.noted.asked)
    last = max((moment for moment in moments if moment), default=None)
    if last is None or abs(clock.now() - last) >= interval:
        poll(job)


def poll_once(job: AnyJob) -> bool:
    """Polls now, however recent the last poll is; returns whether the job is over."""
    refresh(job)
    if not job.handle.record.final:
        poll(job)
    return job.handle.record.final


def refresh(job: AnyJob) -> None:
    """Reads the job again. If its work is over, drops what this process keeps of the work."""
    job.handle.refresh()
    if job.handle.record.final or job.handle.status.text == statuses.RESULTS_READY:
        job.engine.ended()


def poll(job: AnyJob, *, fetch: bool = True) -> None:
    """Polls the scheduler and applies the answer; with ``fetch`` also fetches the outputs."""
    record, status = job.handle.record, job.handle.status
    try:
        if status.text == statuses.RESULTS_READY:
            if fetch:
                results.fetch_and_end(job)
            return
        if record.submission_unknown and status.text == statuses.PENDING:
            if record.submission_interrupted and not submission.adopt(job):
                submission.forget(job)
            return
        if not status.kind.non_terminal or status.text == statuses.PENDING:
            return
        found = job.hooks.update_status()
    except SchedulerConnectionError as error:
        note_unreachable(job, error)
        return
    observed(job, found or NOTHING_NEW, fetch=fetch)


# -- observations -----------------------------------------------------------------------------------------------


def change_by(found: Observation, known: JobRecord) -> Callable[[JobRecord], Change | None]:
    """The change that an observation makes to a job, computed once for the known record.

    Args:
        found: what was observed.
        known: the record before the observation. Nothing is written if the observation is no longer valid.
    """
    event, native = _as_news(known, found)

    def compute(record: JobRecord) -> Change | None:
        if found.version not in (None, record.version):
            return None
        return changes.change_for(record, event, native=native, messages=found.messages, nodes=found.nodes)

    first = compute(known)
    return lambda fresh: first if fresh is known else compute(fresh)


def is_news(known: JobRecord, change: Change | None) -> bool:
    """Whether a change says more than that the scheduler was polled."""
    if change is None:
        return False
    state = change.values.get("state")
    asked = state is not None and replace(state, last_status_update=known.state.last_status_update) == known.state
    return bool(change.messages or change.nodes or change.values.keys() - ({"state"} if asked else set()))


def _as_news(record: JobRecord, found: Observation) -> tuple[News, dict[str, Any]]:
    """An observation as an event, and the values to keep of it."""
    native = dict(found.native)
    message = found.message
    if record.noted.unreachable_since is not None:
        native[UNREACHABLE_SINCE] = native[ASKED] = None
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


def observed(
    job: AnyJob,
    found: Observation,
    *,
    fetch: bool = True,
    change: Callable[[JobRecord], Change | None] | None = None,
) -> bool:
    """Applies an observation, and fetches the outputs if the work is over.

    Args:
        job: the job.
        found: what was observed.
        fetch: whether to fetch outputs.
        change: the result of :func:`change_by`, if it was called already.

    Returns:
        Whether the observation was still valid. One of an older version of the job is dropped.
    """
    handle = job.handle
    before = handle.record
    written = handle.backend.jobs.update(before.id, handle.with_noted(change or change_by(found, before)), before)
    handle.take(written.after)
    if found.version not in (None, written.before.version):
        return False
    if handle.status.text == statuses.RESULTS_READY and fetch:  # shown in the background if fetching takes its time
        try:
            results.fetch_and_end(job)
        except SchedulerConnectionError as error:
            note_unreachable(job, error)
    return True


def observed_many(
    found: Sequence[tuple[AnyJob, Observation]],
    changes: Mapping[int, Callable[[JobRecord], Change | None]] = MappingProxyType({}),
) -> bool:
    """As :func:`observed`, without fetching, for many jobs of one backend in one transaction.

    Args:
        found: the jobs, and what was observed of each.
        changes: results of :func:`change_by` that there are already, by job, all of them news: each is written on the
            record as last read.

    Returns:
        Whether all observations were still valid.
    """
    if not found:
        return True
    jobs = found[0][0].handle.backend.jobs
    known = {job.handle.record.id: job.handle.record for job, _ in found}
    wanted = [
        (record.id, job.handle.with_noted(changes.get(record.id) or change_by(news, record)))
        for job, news in found
        for record in (job.handle.record,)
    ]
    valid = True
    for (job, news), written in zip(found, jobs.update_all(wanted, known if changes else {}), strict=True):
        if isinstance(written, Exception):
            gone = isinstance(written, JobStateError)
            log.log(logging.INFO if gone else logging.WARNING, "Job %s: %s", job.handle.id, written)
            valid = valid and gone
            continue
        job.handle.take(written.after)
        valid = valid and news.version in (None, written.before.version)
    return valid


# -- no answer --------------------------------------------------------------------------------------------------


def silence(error: SchedulerConnectionError) -> Callable[[JobRecord], Change | None]:
    """The change that notes, of a job that does not say so yet, that its scheduler does not answer."""
    since = clock.now().astimezone(UTC).isoformat(timespec="seconds")
    asked = {UNREACHABLE_SINCE: since, ASKED: clock.now().isoformat()}
    text = _no_answer(since, error)

    def change(fresh: JobRecord) -> Change | None:
        if fresh.noted.unreachable_since is not None:
            return None  # another process was sooner
        return changes.change_for(fresh, News(Source.SCHEDULER, None, text), native=asked)

    return change


def note_unreachable(job: AnyJob, error: SchedulerConnectionError) -> None:
    """Notes that the scheduler does not answer: the status stays, and the message has the time since when."""
    since = job.handle.record.noted.unreachable_since
    if since is None:
        since = clock.now().astimezone(UTC).isoformat(timespec="seconds")
    text = _no_answer(since, error)
    asked = {UNREACHABLE_SINCE: since, ASKED: clock.now().isoformat()}
    job.handle.apply(News(Source.SCHEDULER, None, text), native=asked)


def _no_answer(since: str, error: SchedulerConnectionError) -> str:
    return f"No answer from the scheduler since {since}; the status is the last one known. {error}"


def was_reached(job: AnyJob) -> bool:
    """Whether the last poll had an answer, or needs none."""
    return job.handle.record.final or job.handle.record.noted.unreachable_since is None
