"""Jobs that have been over for long: which they are, and their removal with all of their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select

from prefect_jobs import clock, statuses
from prefect_jobs.store.database import Database
from prefect_jobs.store.tables import JOBS, RUN_DELETIONS

#: Jobs in one answer, whether they are old or not. Ids are read in their order, which is that of creation: no index is
#: needed, and younger jobs are not read.
PAGE = 500
#: A retry with a shorter delay than this begins within this time after the job is over, or never: its run is gone.
_RETRIED = timedelta(days=1)


@dataclass(frozen=True)
class Page:
    """Some jobs, in the order of their ids."""

    #: Those of them that have been over for long.
    old: list[int]
    #: The last id; ``None``: what follows is too young.
    last: int | None


class OldJobs:
    """The jobs of one database that may be removed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, before: datetime, after: int) -> Page:
        """The first jobs after an id.

        Args:
            before: jobs are old that were over at that time.
            after: the last id that is known; 0: none.
        """
        old = and_(*_old(before)).label("old")
        wanted = select(JOBS.c.id, JOBS.c.creation_time, old).where(JOBS.c.id > after).order_by(JOBS.c.id).limit(PAGE)
        with self._database.reading() as connection:
            rows = connection.execute(wanted).all()
        more = len(rows) == PAGE and rows[-1].creation_time < before
        return Page([int(row.id) for row in rows if row.old], int(rows[-1].id) if more else None)

    def remove(self, job_ids: Sequence[int], before: datetime) -> int:
        """Removes jobs with their history, log lines, nodes and results, if they are still old; in the same
        transaction, their flow runs are noted for deletion.

        Returns:
            The number of those that were removed.
        """
        # One statement, as in Store.delete: it waits for those who write one of the jobs, and reads it again.
        gone = delete(JOBS).where(JOBS.c.id.in_(job_ids), *_old(before)).returning(JOBS.c.flow_run_id)
        with self._database.writing() as connection:
            runs = list(connection.execute(gone).scalars())
            noted = [{"flow_run_id": run, "asked": clock.now()} for run in runs if run is not None]
            if noted:
                connection.execute(insert(RUN_DELETIONS), noted)
        return len(runs)


def _old(before: datetime) -> tuple[ColumnElement[bool], ...]:
    """The job was over at a time, and people could see it; nobody fetches its results, and the monitor will not submit
    it again."""
    ended = func.coalesce(JOBS.c.completion_time, JOBS.c.last_status_update, JOBS.c.creation_time)
    well = JOBS.c.status.in_((statuses.COMPLETE, statuses.ABORTED))
    soon = _RETRIED.total_seconds()
    too_late = and_(ended < before - _RETRIED, func.coalesce(JOBS.c.retry_delay, 0) < soon)
    return (
        JOBS.c.watched.is_(False),
        ended < before,
        # The scheduler may say when the work ended long after that: nobody was there to ask it, or it was away.
        or_(JOBS.c.last_status_update.is_(None), JOBS.c.last_status_update < before),
        or_(JOBS.c.results_until.is_(None), JOBS.c.results_until < clock.now()),
        or_(JOBS.c.retries.is_(None), JOBS.c.attempt > JOBS.c.retries, well, too_late),
    )
