"""Bytes that belong to a job: its result, and the work for submitting it again."""

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, delete, insert, select

from prefect_jobs import clock
from prefect_jobs.store.database import Database
from prefect_jobs.store.errors import job_gone
from prefect_jobs.store.tables import BLOBS, JOBS

_DELETE = delete(BLOBS).where(BLOBS.c.job_id == bindparam("the_id"), BLOBS.c.kind == bindparam("the_kind"))
_INSERT = insert(BLOBS)


class BlobStore:
    """The bytes in one database; a part of :class:`prefect_jobs.store.store.Store`."""

    database: Database

    def put_blob(self, job_id: int, kind: str, data: bytes) -> None:
        """Stores bytes, and replaces those of that kind.

        Raises:
            JobGone: the job was deleted.
        """
        with self.database.writing() as connection:
            if connection.execute(select(JOBS.c.id).where(JOBS.c.id == job_id).with_for_update()).first() is None:
                raise job_gone(job_id)
            write_blobs(connection, job_id, {kind: data})

    def get_blob(self, job_id: int, kind: str) -> bytes | None:
        """The bytes of a kind; ``None`` if there are none."""
        with self.database.reading() as connection:
            found = connection.execute(
                select(BLOBS.c.data).where(BLOBS.c.job_id == job_id, BLOBS.c.kind == kind)
            ).scalar()
        return None if found is None else bytes(found)

    def delete_blob(self, job_id: int, kind: str) -> None:
        """Removes the bytes of a kind, if there are any."""
        with self.database.writing() as connection:
            connection.execute(delete(BLOBS).where(BLOBS.c.job_id == job_id, BLOBS.c.kind == kind))


def write_blobs(connection: Connection, job_id: int, blobs: Mapping[str, bytes]) -> None:
    """Writes bytes of a job by their kinds, and replaces those of these kinds."""
    for kind, data in blobs.items():
        connection.execute(_DELETE, {"the_id": job_id, "the_kind": kind})
        connection.execute(_INSERT, {"job_id": job_id, "kind": kind, "data": data, "time": clock.now()})
