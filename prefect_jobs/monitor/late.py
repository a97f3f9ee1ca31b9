"""Searches for jobs that no machine has taken for long."""

import heapq
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from prefect_jobs import clock, statuses
from prefect_jobs.jobs import changes
from prefect_jobs.jobs.group import Group
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.noted import LATE, LATE_MATCH, Happened
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.transition import News, Source

#: Seconds between two searches.
PAUSE = 60.0
#: Number of jobs that a scheduler is asked for at once.
AT_ONCE = 50


class LateSearch:
    """The search at one scheduler: some jobs in each turn, then a pause when all had their turn."""

    def __init__(self, group: Group) -> None:
        self._group = group
        #: When the next search begins (monotonic), and the last job, by its id, that this one has come to.
        self._next = 0.0
        self._last = 0
        #: Jobs that cannot be late any more in the submission that is as old.
        self._settled: dict[int, datetime] = {}

    def late(
        self, since: Mapping[int, datetime], read: Callable[[Iterable[int]], Sequence[AnyJob]], limit: float
    ) -> Iterator[tuple[AnyJob, float]]:
        """Those that have waited for so many seconds, and how long; say so once for each submission.

        Args:
            since: jobs of which a part may wait, and since when their scheduler has them.
            read: reads jobs.
            limit: the seconds.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        if time.monotonic() < self._next:
            return
        latest = clock.now() - timedelta(seconds=limit)
        left = heapq.nsmallest(
            AT_ONCE + 1,
            (
                job_id
                for job_id, at in since.items()
                if job_id > self._last and at <= latest and self._settled.get(job_id) != at
            ),
        )
        turn: list[AnyJob] = []
        for job in read(left[:AT_ONCE]):
            record = job.handle.record
            if _may_be_late(record, limit):
                turn.append(job)
            elif _is_settled(record):
                self._settled[record.id] = since[record.id]
        waited = self._group.unmatched(turn) if turn else {}
        if len(left) > AT_ONCE:
            self._last = left[AT_ONCE - 1]
        else:
            self._last, self._next = 0, time.monotonic() + min(PAUSE, limit)
            self._settled = {job_id: at for job_id, at in self._settled.items() if since.get(job_id) == at}
        for job in turn:
            seconds = waited.get(job.handle.record.id, 0.0)
            if seconds >= limit:
                yield job, seconds


def _may_be_late(record: JobRecord, limit: float) -> bool:
    """Whether a job, as last known, has waited for its first machine for so long."""
    state = record.state
    if state.status != statuses.SUBMITTED or state.execute_time is None or _is_settled(record):
        return False
    if record.noted.unreachable_since is not None:
        return False
    return (clock.now() - state.execute_time).total_seconds() >= limit


def _is_settled(record: JobRecord) -> bool:
    """Whether a machine has taken the job, or it was said that none has."""
    return record.state.has_run or record.noted.late_match == record.state.attempt


def is_late(seconds: float) -> Callable[[JobRecord], Change | None]:
    """The change that says that no machine has taken a job for so long."""

    def change(fresh: JobRecord) -> Change | None:
        if not _may_be_late(fresh, 0.0):
            return None
        state = fresh.state
        text = f"{state.status_message} No machine has taken it for {seconds / 60:.0f} min.".lstrip()
        return changes.change_for(
            fresh,
            News(Source.SCHEDULER, None, text, attempt=state.attempt),
            native={LATE: state.attempt},
            messages=((logging.WARNING, text),),
            happened=(Happened(LATE_MATCH, {"waited_seconds": round(seconds)}),),
        )

    return change
