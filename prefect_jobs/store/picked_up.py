"""What Prefect starts: the deployments whose runs become jobs here, and what these jobs keep of their runs."""

from datetime import datetime, timedelta

from sqlalchemy import and_, delete, func, insert, or_, select
from sqlalchemy.exc import IntegrityError

from prefect_jobs import clock, statuses
from prefect_jobs.store.database import Database
from prefect_jobs.store.tables import DEPLOYMENTS, JOBS, SCHEDULES
from prefect_jobs.store.watched import WATCHED

#: A retry that was due so long ago does not come: a person has deleted its run in Prefect, or called it over.
_MISSED = timedelta(hours=1)

# Asked for in each round: made once.
_SCHEDULED = select(SCHEDULES.c.deployment_id).where(SCHEDULES.c.deployment_id.is_not(None))
_TIMED = select(JOBS.c.id, JOBS.c.execute_time, JOBS.c.timeout).where(
    WATCHED, JOBS.c.timeout.is_not(None), JOBS.c.execute_time.is_not(None)
)
_LIMITED = select(JOBS.c.id, JOBS.c.concurrency_lease).where(WATCHED, JOBS.c.concurrency_lease.is_not(None))


class PickedUpStore:
    """Deployments and picked-up runs in one database; a part of :class:`prefect_jobs.store.store.Store`."""

    database: Database

    def note_deployment(self, deployment_id: str, label: str) -> None:
        """Notes that runs of a deployment become jobs of this database."""
        with self.database.reading() as connection:
            known = select(DEPLOYMENTS.c.id).where(DEPLOYMENTS.c.id == deployment_id)
            if connection.execute(known).first() is not None:
                return
        with self.database.writing() as connection:
            try:
                with connection.begin_nested():
                    connection.execute(insert(DEPLOYMENTS).values(id=deployment_id, label=label))
            except IntegrityError:
                pass  # another process has noted it at this moment

    def deployments(self) -> list[str]:
        """The deployments whose runs become jobs of this database, those of schedules included."""
        with self.database.reading() as connection:
            found = [*connection.execute(select(DEPLOYMENTS.c.id)).scalars(), *connection.execute(_SCHEDULED).scalars()]
        return sorted({str(each) for each in found})

    def drop_unsubmitted(self, job_id: int) -> bool:
        """Deletes a job that nobody has begun to submit; its flow run stays.

        Returns:
            Whether it was deleted.
        """
        untouched = (JOBS.c.attempt == 0, JOBS.c.submission_token.is_(None), JOBS.c.watched)
        with self.database.writing() as connection:
            return connection.execute(delete(JOBS).where(JOBS.c.id == job_id, *untouched)).rowcount > 0

    def timed(self) -> list[tuple[int, datetime, float]]:
        """The active jobs with a timeout: id, time of the submission, seconds."""
        with self.database.reading() as connection:
            return [(job_id, began, limit) for job_id, began, limit in connection.execute(_TIMED) if began and limit]

    def limited(self) -> list[tuple[int, str]]:
        """The active jobs with a place in a concurrency limit: id, and the place's lease in Prefect."""
        with self.database.reading() as connection:
            return [(int(row[0]), str(row[1])) for row in connection.execute(_LIMITED)]

    def active_of(self, deployment_id: str) -> tuple[int, str] | None:
        """Id and status of a job of a deployment that is active, or waits for its retry; ``None``: there is none. A
        retry that should have begun an hour ago does not count."""
        failed = JOBS.c.status_code.in_(
            (statuses.BY_NAME[statuses.ERROR].code, statuses.BY_NAME[statuses.VARIOUS_COMPLETE].code)
        )
        again = and_(failed, JOBS.c.attempt <= JOBS.c.retries)
        mine = (JOBS.c.deployment_id == deployment_id, or_(JOBS.c.watched, again))
        names = (JOBS.c.id, JOBS.c.status, JOBS.c.watched, JOBS.c.completion_time, JOBS.c.retry_delay)
        with self.database.reading() as connection:
            for row in connection.execute(select(*names).where(*mine).order_by(JOBS.c.id)):
                ended = row.completion_time
                due = ended and ended + timedelta(seconds=row.retry_delay or 0)
                if row.watched or due is None or due > clock.now() - _MISSED:
                    return int(row.id), str(row.status)
        return None

    def count_of_worker(self, worker: str) -> int:
        """The number of active jobs whose runs a worker has picked up."""
        wanted = select(func.count()).select_from(JOBS).where(WATCHED, JOBS.c.worker == worker)
        with self.database.reading() as connection:
            return int(connection.execute(wanted).scalar_one())
