"""How many jobs there are, and which statuses they have."""

from collections.abc import Sequence

from sqlalchemy import func, select

from prefect_jobs import statuses
from prefect_jobs.store.database import Database
from prefect_jobs.store.filters import JobQuery, conditions
from prefect_jobs.store.tables import JobRow, NodeRow


class CountStore:
    """Numbers of jobs."""

    database: Database

    def count(self, query: JobQuery) -> int:
        """The number of jobs of a query, without its limit and offset."""
        statement = (
            select(func.count()).select_from(JobRow).where(*conditions(query, self.database.engine.dialect.name))
        )
        with self.database.reading() as connection:
            return int(connection.execute(statement).scalar_one())

    def totals(self, query: JobQuery) -> dict[str, int]:
        """Status → the number of jobs of a query that have it, without its limit and offset."""
        chosen = conditions(query, self.database.engine.dialect.name)
        statement = select(JobRow.status, func.count()).where(*chosen).group_by(JobRow.status)
        with self.database.reading() as connection:
            return {str(status): int(number) for status, number in connection.execute(statement)}

    def versions(self) -> dict[int, tuple[int, str, str]]:
        """Job that is not over → its version, user and app."""
        columns = (JobRow.id, JobRow.version, JobRow.user, JobRow.label)
        with self.database.reading() as connection:
            rows = connection.execute(select(*columns).where(JobRow.watched)).all()
        return {job_id: (version, user, label) for job_id, version, user, label in rows}

    def node_totals(self, job_ids: Sequence[int]) -> dict[int, dict[str, int]]:
        """Workflow → status → the number of its nodes that have it, in one statement."""
        statement = (
            select(NodeRow.job_id, NodeRow.status, func.count())
            .where(NodeRow.job_id.in_(job_ids))
            .group_by(NodeRow.job_id, NodeRow.status)
        )
        found: dict[int, dict[str, int]] = {}
        with self.database.reading() as connection:
            for job_id, status, number in connection.execute(statement) if job_ids else ():
                found.setdefault(int(job_id), {})[str(status)] = int(number)
        return found

    def custom_statuses(self) -> list[str]:
        """The custom statuses that jobs have."""
        wanted = select(JobRow.status).where(JobRow.status_code == statuses.OTHER_CODE).distinct()
        with self.database.reading() as connection:
            return [str(text) for text in connection.execute(wanted).scalars()]
