"""Searches for jobs that no machine has taken for long."""

import heapq
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

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

    def late(
        self, waiting: Collection[int], read: Callable[[Iterable[int]], Sequence[AnyJob]], limit: float
    ) -> Iterator[tuple[AnyJob, float]]:
        """Those that have waited for so many seconds, and how long; say so once for each submission.

        Args:
            waiting: jobs of which a part may wait.
            read: reads jobs.
            limit: the seconds.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        if time.monotonic() < self._next:
            return
        left = heapq.nsmallest(AT_ONCE + 1, (job_id for job_id in waiting if job_id > self._last))
        turn = [job for job in read(left[:AT_ONCE]) if _may_be_late(job.handle.record, limit)]
        waited = self._group.unmatched(turn) if turn else {}
        if len(left) > AT_ONCE:
            self._last = left[AT_ONCE - 1]
        else:
            self._last, self._next = 0, time.monotonic() + min(PAUSE, limit)
        for job in turn:
            seconds = waited.get(job.handle.record.id, 0.0)
            if seconds >= limit:
                yield job, seconds


def _may_be_late(record: JobRecord, limit: float) -> bool:
    """Whether a job, as last known, has waited for its first machine for so long."""
    state = record.state
    if state.status != statuses.SUBMITTED or state.has_run or state.execute_time is None:
        return False
    noted = record.noted
    if noted.late_match == state.attempt or noted.unreachable_since is not None:
        return False
    return (clock.now() - state.execute_time).total_seconds() >= limit


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
