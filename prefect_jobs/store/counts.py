"""How many jobs there are, and which statuses they have."""

from collections.abc import Sequence

from sqlalchemy import func, select

from prefect_jobs import statuses
from prefect_jobs.store.database import Database
from prefect_jobs.store.filters import JobQuery, conditions
from prefect_jobs.store.tables import JOBS, MESSAGES, NODES


class CountStore:
    """Numbers of jobs."""

    database: Database

    def count(self, query: JobQuery) -> int:
        """The number of jobs of a query, without its limit and offset."""
        statement = select(func.count()).select_from(JOBS).where(*conditions(query, self.database.engine.dialect.name))
        with self.database.reading() as connection:
            return int(connection.execute(statement).scalar_one())

    def totals(self, query: JobQuery) -> dict[str, int]:
        """Status → the number of jobs of a query that have it, without its limit and offset."""
        chosen = conditions(query, self.database.engine.dialect.name)
        statement = select(JOBS.c.status, func.count()).where(*chosen).group_by(JOBS.c.status)
        with self.database.reading() as connection:
            return {str(status): int(number) for status, number in connection.execute(statement)}

    def last_message(self) -> int:
        """The number of the newest line about any job."""
        with self.database.reading() as connection:
            return int(connection.execute(select(func.coalesce(func.max(MESSAGES.c.id), 0))).scalar_one())

    def told_since(self, message: int, most: int) -> list[tuple[int, int]]:
        """Number and job of the lines after one, in their order: jobs that are over may change, too."""
        wanted = select(MESSAGES.c.id, MESSAGES.c.job_id).where(MESSAGES.c.id > message).order_by(MESSAGES.c.id)
        with self.database.reading() as connection:
            return [(int(number), int(job_id)) for number, job_id in connection.execute(wanted.limit(most))]

    def missing(self, job_ids: Sequence[int]) -> set[int]:
        """Those of some jobs that are not there."""
        with self.database.reading() as connection:
            there = connection.execute(select(JOBS.c.id).where(JOBS.c.id.in_(job_ids))).scalars().all()
        return set(job_ids) - set(there)

    def node_totals(self, job_ids: Sequence[int]) -> dict[int, dict[str, int]]:
        """Workflow → status → the number of its nodes that have it, in one statement."""
        statement = (
            select(NODES.c.job_id, NODES.c.status, func.count())
            .where(NODES.c.job_id.in_(job_ids))
            .group_by(NODES.c.job_id, NODES.c.status)
        )
        found: dict[int, dict[str, int]] = {}
        with self.database.reading() as connection:
            for job_id, status, number in connection.execute(statement) if job_ids else ():
                found.setdefault(int(job_id), {})[str(status)] = int(number)
        return found

    def custom_statuses(self) -> list[str]:
        """The custom statuses that jobs have."""
        wanted = select(JOBS.c.status).where(JOBS.c.status_code == statuses.OTHER_CODE).distinct()
        with self.database.reading() as connection:
            return [str(text) for text in connection.execute(wanted).scalars()]
