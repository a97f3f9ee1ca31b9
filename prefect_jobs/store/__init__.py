"""What Prefect cannot keep, in SQL: jobs, their groups, nodes and messages, and what Prefect must still show."""

from prefect_jobs.errors import DatabaseError
from prefect_jobs.store.database import Database
from prefect_jobs.store.errors import JobGone
from prefect_jobs.store.store import Store

__all__ = ["Database", "DatabaseError", "JobGone", "Store"]
