"""The jobs that are not final. There may be many, and monitors and pages ask for them every few seconds, so the cost
depends on what has changed: the database sums up parts of the table, and only parts with other sums are read."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy import text as sql

from prefect_jobs.store.database import Database
from prefect_jobs.store.tables import JOBS

#: Number of ids in a part, and of parts in one statement.
_PART, _AT_ONCE = 256, 400
#: As in the condition of the index, which has all of these columns.
WATCHED = sql("watched")
_COLUMNS = (JOBS.c.id, JOBS.c.version, JOBS.c.type, JOBS.c.scheduler, JOBS.c.status)
_PARTS = (JOBS.c.id // _PART).label("part")
_SUMS = (
    select(_PARTS, func.count(), func.sum(JOBS.c.version), func.sum(JOBS.c.id))
    .select_from(JOBS)
    .where(WATCHED)
    .group_by(_PARTS)
)
_ALL = select(*_COLUMNS).where(WATCHED).order_by(JOBS.c.id)
_SOME = select(*_COLUMNS).where(WATCHED, (JOBS.c.id // _PART).in_(bindparam("parts", expanding=True)))


class Watched(NamedTuple):
    """A job that is not final."""

    id: int
    version: int
    type: str
    scheduler: str | None
    status: str


class WatchedStore:
    """Reads the jobs that are not final; see the module."""

    database: Database

    def watched(self) -> list[Watched]:
        """All of them."""
        with self.database.reading() as connection:
            return [Watched(*row) for row in connection.execute(_ALL)]

    def watched_sums(self) -> dict[int, tuple[int, int, int]]:
        """Part of the table → sums that differ after each change."""
        with self.database.reading() as connection:
            # The sums are of a wider type on PostgreSQL.
            return {row[0]: (int(row[1]), int(row[2]), int(row[3])) for row in connection.execute(_SUMS)}

    def watched_in(self, parts: Iterable[int]) -> list[Watched]:
        """Those in some parts of the table."""
        wanted, found = sorted(parts), list[Watched]()
        with self.database.reading() as connection:
            for start in range(0, len(wanted), _AT_ONCE):
                rows = connection.execute(_SOME, {"parts": wanted[start : start + _AT_ONCE]})
                found += [Watched(*row) for row in rows]
        return found


class WatchedJobs:
    """The jobs that are not final, as last read."""

    def __init__(self, store: WatchedStore) -> None:
        self._store = store
        self._sums: dict[int, tuple[int, int, int]] = {}
        self._parts: dict[int, dict[int, Watched]] = {}

    def read(self) -> tuple[list[Watched], list[Watched]]:
        """Reads them again.

        Returns:
            Those that are new, or were written, since the last read; and those that are no longer there. One that goes
            to another scheduler is among both.

        Raises:
            DatabaseError: the database does not answer; the next read tells what this one should have.
        """
        sums = self._store.watched_sums()
        differ = [part for part, each in sums.items() if self._sums.get(part) != each]
        now: dict[int, dict[int, Watched]] = {part: {} for part in differ}
        for job in self._store.watched_in(differ):
            now[job.id // _PART][job.id] = job
        now.update({part: {} for part in self._sums if part not in sums})
        changed: list[Watched] = []
        gone: list[Watched] = []
        for part, jobs in now.items():
            before = self._parts.get(part, {})
            changed += [job for job_id, job in jobs.items() if before.get(job_id) != job]
            gone += [job for job_id, job in before.items() if job_id not in jobs or _moved(job, jobs[job_id])]
            self._parts[part] = jobs
            if not jobs:
                del self._parts[part]
        # A part that was written between the two statements has other sums at the next read.
        self._sums = sums
        return changed, gone

    def all(self) -> Iterable[Watched]:
        """All of them, as last read."""
        for jobs in self._parts.values():
            yield from jobs.values()

    def __len__(self) -> int:
        return sum(map(len, self._parts.values()))


def _moved(before: Watched, now: Watched) -> bool:
    return (before.type, before.scheduler) != (now.type, now.scheduler)
