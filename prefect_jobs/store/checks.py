"""Checks: status refreshes that were requested for a given time; rows, so that they survive any process."""

from datetime import datetime, timedelta

from sqlalchemy import and_, case, delete, func, insert, or_, select, update

from prefect_jobs.store.database import Database
from prefect_jobs.store.errors import job_gone
from prefect_jobs.store.tables import CHECKS, JOBS


class CheckStore:
    """The checks in one database; a part of :class:`prefect_jobs.store.store.Store`."""

    database: Database

    def add_check(self, job_id: int, due: datetime) -> None:
        """Notes that a job is to be polled at a time; one note for that time is enough.

        Raises:
            JobGone: the job was deleted.
        """
        with self.database.writing() as connection:
            if connection.execute(select(JOBS.c.id).where(JOBS.c.id == job_id).with_for_update()).first() is None:
                raise job_gone(job_id)
            same = and_(CHECKS.c.job_id == job_id, CHECKS.c.due == due, CHECKS.c.owner.is_(None))
            if connection.execute(select(CHECKS.c.id).where(same)).first() is None:
                connection.execute(insert(CHECKS).values(job_id=job_id, due=due))

    def claim_check(self, owner: str, seconds: float) -> tuple[int, int] | None:
        """The check that has been due for longest, claimed by ``owner`` for ``seconds``.

        Returns:
            The ids of the check and the job; ``None`` if no check is due.
        """
        with self.database.writing() as connection:
            now = self.database.now(connection)
            free = or_(CHECKS.c.owner.is_(None), CHECKS.c.until < now)
            found = connection.execute(
                select(CHECKS.c.id, CHECKS.c.job_id)
                .where(CHECKS.c.due <= now, free)
                .order_by(CHECKS.c.due)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).first()
            if found is None:
                return None
            mine = {"owner": owner, "until": now + timedelta(seconds=seconds)}
            done = connection.execute(update(CHECKS).where(and_(CHECKS.c.id == found.id, free)).values(**mine))
        return (found.id, found.job_id) if done.rowcount else None

    def keep_check(self, check_id: int, owner: str, seconds: float) -> None:
        """Renews ``owner``'s claim on a check."""
        with self.database.writing() as connection:
            until = self.database.now(connection) + timedelta(seconds=seconds)
            mine = and_(CHECKS.c.id == check_id, CHECKS.c.owner == owner)
            connection.execute(update(CHECKS).where(mine).values(until=until))

    def check_done(self, check_id: int) -> None:
        """Removes a check."""
        with self.database.writing() as connection:
            connection.execute(delete(CHECKS).where(CHECKS.c.id == check_id))

    def retry_check(self, check_id: int, due: datetime) -> None:
        """Delays a check, so that any process can claim it then."""
        with self.database.writing() as connection:
            connection.execute(update(CHECKS).where(CHECKS.c.id == check_id).values(due=due, owner=None, until=None))

    def next_check(self) -> datetime | None:
        """When the next one can be claimed; ``None`` if there is none."""
        free = case((CHECKS.c.until > CHECKS.c.due, CHECKS.c.until), else_=CHECKS.c.due)
        with self.database.reading() as connection:
            found: datetime | None = connection.execute(select(func.min(free))).scalar()
        return found
