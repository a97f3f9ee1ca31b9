"""Checks: status refreshes that were requested for a given time; rows, so that they survive any process."""

from datetime import datetime, timedelta

from sqlalchemy import and_, case, delete, func, insert, or_, select, update

from prefect_jobs.store.database import Database
from prefect_jobs.store.errors import job_gone
from prefect_jobs.store.tables import CheckRow, JobRow


class CheckStore:
    """The checks in one database; a part of :class:`prefect_jobs.store.store.Store`."""

    database: Database

    def add_check(self, job_id: int, due: datetime) -> None:
        """Notes that a job is to be polled at a time; one note for that time is enough.

        Raises:
            JobGone: the job was deleted.
        """
        with self.database.writing() as connection:
            if connection.execute(select(JobRow.id).where(JobRow.id == job_id).with_for_update()).first() is None:
                raise job_gone(job_id)
            same = and_(CheckRow.job_id == job_id, CheckRow.due == due, CheckRow.owner.is_(None))
            if connection.execute(select(CheckRow.id).where(same)).first() is None:
                connection.execute(insert(CheckRow).values(job_id=job_id, due=due))

    def claim_check(self, owner: str, seconds: float) -> tuple[int, int] | None:
        """The check that has been due for longest, claimed by ``owner`` for ``seconds``.

        Returns:
            The ids of the check and the job; ``None`` if no check is due.
        """
        with self.database.writing() as connection:
            now = self.database.now(connection)
            free = or_(CheckRow.owner.is_(None), CheckRow.until < now)
            found = connection.execute(
                select(CheckRow.id, CheckRow.job_id)
                .where(CheckRow.due <= now, free)
                .order_by(CheckRow.due)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).first()
            if found is None:
                return None
            mine = {"owner": owner, "until": now + timedelta(seconds=seconds)}
            done = connection.execute(update(CheckRow).where(and_(CheckRow.id == found.id, free)).values(**mine))
        return (found.id, found.job_id) if done.rowcount else None

    def keep_check(self, check_id: int, owner: str, seconds: float) -> None:
        """Renews ``owner``'s claim on a check."""
        with self.database.writing() as connection:
            until = self.database.now(connection) + timedelta(seconds=seconds)
            mine = and_(CheckRow.id == check_id, CheckRow.owner == owner)
            connection.execute(update(CheckRow).where(mine).values(until=until))

    def check_done(self, check_id: int) -> None:
        """Removes a check."""
        with self.database.writing() as connection:
            connection.execute(delete(CheckRow).where(CheckRow.id == check_id))

    def retry_check(self, check_id: int, due: datetime) -> None:
        """Delays a check, so that any process can claim it then."""
        with self.database.writing() as connection:
            connection.execute(update(CheckRow).where(CheckRow.id == check_id).values(due=due, owner=None, until=None))

    def next_check(self) -> datetime | None:
        """When the next one can be claimed; ``None`` if there is none."""
        free = case((CheckRow.until > CheckRow.due, CheckRow.until), else_=CheckRow.due)
        with self.database.reading() as connection:
            found: datetime | None = connection.execute(select(func.min(free))).scalar()
        return found
